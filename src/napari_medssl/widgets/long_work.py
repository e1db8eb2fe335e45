"""Work in a thread that shows how far it is and can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_medssl.widgets.activity import Activity
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["LongWork", "Progress", "ProgressRow", "StoppedError"]

Progress = Callable[[int, int], None]
"""Takes (done, total)."""


class StoppedError(Exception):
    """The work was stopped by the user, or its window closed."""


class ProgressRow(QWidget):
    """What is being done, a bar and a Stop button; hidden while nothing is."""

    stop_clicked = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = QLabel()
        self.text.setWordWrap(True)
        set_role(self.text, "hint")
        self.bar = QProgressBar()
        self.bar.setAccessibleName("Progress")
        self.stop = QPushButton("Stop")
        self.stop.clicked.connect(self.stop_clicked)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.stop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.text)
        column.addLayout(row)
        self.setVisible(False)

    def begin(self, text: str) -> None:
        """Show that something is being done; how far is not known yet."""
        self.text.setText(text)
        self.bar.setRange(0, 0)
        self.setVisible(True)

    def advance(self, done: int, total: int) -> None:
        """Show how far it is."""
        self.bar.setRange(0, total)
        self.bar.setValue(done)

    def end(self) -> None:
        """Hide again."""
        self.setVisible(False)


class LongWork(ProgressRow):
    """Runs one piece of work at a time; a newer one stops the one before.

    Parameters
    ----------
    session : Session
        Shows what goes wrong.
    """

    changed = Signal()
    """Work began or ended."""
    _moved = Signal(object, int, int)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._stop: threading.Event | None = None
        self._activity: Activity | None = None
        self._moved.connect(self._on_moved)
        self.stop_clicked.connect(self.cancel)

    @property
    def running(self) -> bool:
        """Whether a result is awaited."""
        return self._stop is not None

    def start(
        self,
        text: str,
        work: Callable[[Progress], Any],
        *,
        doing: str,
        on_result: Callable[[Any], None],
    ) -> None:
        """Run `work` in a thread.

        Parameters
        ----------
        text : str
            Shown while it runs.
        work : callable
            Takes a function that it calls now and then with (done, total), and that ends it by an exception once it
            is to stop. Touches neither Qt objects nor napari layers.
        doing : str
            For the message of a failure: ``placing the cells``.
        on_result : callable
            Receives, in the GUI thread, what `work` returned, unless it was stopped.
        """
        self.cancel()
        stop = self._stop = threading.Event()
        self.destroyed.connect(stop.set)
        session = self._session

        def progress(done: int, total: int) -> None:
            if stop.is_set() or session.closed:
                raise StoppedError
            self._moved.emit(stop, done, total)

        def begun() -> Any:
            if stop.is_set():  # while it waited for the one before
                raise StoppedError
            return work(progress)

        def worked(result: Any) -> None:
            if not stop.is_set():
                self._finish()
                on_result(result)

        def failed(error: BaseException) -> None:
            if not stop.is_set():
                self._finish()
                session.show_error(error, doing=doing)

        self.begin(text)
        self._activity = Activity(session, text)
        self.destroyed.connect(self._activity.close)
        self.changed.emit()
        session.background(begun, on_result=worked, on_failed=failed, lane="fitting")

    def cancel(self) -> None:
        """Stop what runs; nothing comes of it any more."""
        if self._stop is not None:
            self._stop.set()
            self._finish()

    def _finish(self) -> None:
        self._stop = None
        if self._activity is not None:
            self._activity.close()
            self._activity = None
        self.end()
        self.changed.emit()

    def _on_moved(self, stop: threading.Event, done: int, total: int) -> None:
        if stop is self._stop:
            self.advance(done, total)
            if self._activity is not None:
                self._activity.advance(done, total)
