"""Asks before the window closes on an active run or on unsaved labels, and ends the children when it does close."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_medssl.widgets.unsaved import ask_about_unsaved

if TYPE_CHECKING:
    from napari._qt.qt_main_window import _QtMainWindow

    from napari_medssl.widgets.session import Session

__all__ = ["CloseGuard"]

_PATIENCE_MS = 20_000  # a hung engine must not hold the window


class CloseGuard(QObject):
    """Watches the main window of a viewer.

    Parameters
    ----------
    session : Session
        Whose run and children these are.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        window: _QtMainWindow = session.viewer.window._qt_window
        self._reference = ref(window)  # the window must not live on with a widget that someone kept
        self._closing = False
        self._stopping = False
        self.box: QMessageBox | None = None
        window.installEventFilter(self)
        window.destroyed.connect(session.shut_down)
        app = QCoreApplication.instance()
        if app is not None:
            app.aboutToQuit.connect(session.shut_down)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802
        """See the close events of the main window."""
        window = self._reference()
        if event is None or window is None or watched is not window:
            return False
        if event.type() == QEvent.Type.Close:
            if _by_user(window, event) and self._must_ask(window):
                event.ignore()
                return True
            # napari may still refuse; hidden means that it did not
            self._closing = True
            QTimer.singleShot(0, self._closed_or_not)
        elif event.type() == QEvent.Type.Hide and self._closing:
            self._session.shut_down()
        return False

    def _closed_or_not(self) -> None:
        self._closing = False

    def _must_ask(self, window: _QtMainWindow) -> bool:
        if self.box is not None:  # asked already; the answer closes the window, or does not
            self.box.raise_()
            return True
        quits = bool(getattr(window, "_quit_app", False))
        close = lambda: self._close(quits)  # noqa: E731
        self.box = ask_about_unsaved(self._session, window, on_leave=close)
        if self.box is None and self._session.active is not None:
            self.box = self._ask_about_run(window, self._session.active.name, quits)
        if self.box is None:
            return False
        # Ctrl+Q set it; if the user stays, the next close is of the window alone
        window._quit_app = False
        self.box.finished.connect(self._answered)
        self.box.open()  # not exec: events of the run keep coming
        return True

    def _answered(self) -> None:
        box, self.box = self.box, None
        if box is not None:
            box.deleteLater()

    def _ask_about_run(self, window: _QtMainWindow, name: str, quits: bool) -> QMessageBox:
        box = QMessageBox(window)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("A run is active")
        box.setText(f"{name} is still running.")
        box.setInformativeText(
            "Stop it and keep what it has learned so far? It can be resumed at any time."
        )
        stop = box.addButton("Stop, keep and close", QMessageBox.ButtonRole.AcceptRole)
        stay = box.addButton("Stay", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(stay)
        box.setEscapeButton(stay)

        def answered() -> None:
            if box.clickedButton() is stop:
                self._stop_then_close(quits)

        box.finished.connect(answered)
        return box

    def _stop_then_close(self, quits: bool) -> None:
        session = self._session
        if session.jobs.quiet:
            self._close(quits)
            return
        if self._stopping:
            return
        self._stopping = True

        def stopped() -> None:
            if self._stopping:
                self._stopping = False
                session.jobs.idle.disconnect(stopped)
                session.jobs.shut_down()  # if it hangs
                self._close(quits)

        session.jobs.idle.connect(stopped)
        QTimer.singleShot(_PATIENCE_MS, stopped)
        session.stop()
        session.busy_changed.emit()

    def _close(self, quits: bool) -> None:
        window = self._reference()
        if window is not None:
            window.close(quit_app=quits)


def _by_user(window: _QtMainWindow, event: QEvent) -> bool:
    """Whether the window manager or the menu closes; a program that calls viewer.close() is not asked."""
    if event.spontaneous():
        return True
    # viewer.close() takes the canvas down first, the menu does not
    central = window.centralWidget()
    return central is not None and any(
        child.isVisible() for child in central.children() if isinstance(child, QWidget)
    )
