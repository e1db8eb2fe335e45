"""Long work of ours in napari's activity dock; engine jobs stand there by `napari_medssl.widgets.run_handle`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils import progress
from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["Activity"]

_WAIT_MS = 500


class Activity(QObject):
    """One piece of work, in the dock until it is closed. For the GUI thread alone.

    Its bar comes after half a second, so that short work does not flicker; and not at once, since napari handles
    events of all kinds while it makes a bar.

    Parameters
    ----------
    session : Session
        In whose viewer; with it the bar goes.
    text : str
        What is being done: ``looking for the next image``.
    total : int, optional
        Of how many parts; not known yet if None.
    """

    def __init__(self, session: Session, text: str, total: int | None = None) -> None:
        super().__init__(session)
        self.text = text
        self.done = 0
        self.total = total
        self._bar: progress | None = None
        self._closed = False
        self._wait = QTimer(self)
        self._wait.setSingleShot(True)
        self._wait.timeout.connect(self._show)
        self._wait.start(_WAIT_MS)

    def advance(self, done: int, total: int | None = None) -> None:
        """Say that so many parts are done, and of how many if that was not known."""
        self.done = done
        self.total = self.total if total is None else total
        self._follow()

    def close(self) -> None:
        """Say that the work is over, in whatever way."""
        self._closed = True
        self._wait.stop()
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self.deleteLater()

    def _show(self) -> None:
        bar = progress(desc=self.text, total=self.total)
        if self._closed:  # by an event that napari handled while it made the bar
            bar.close()
            return
        self._bar = bar
        self._follow()

    def _follow(self) -> None:
        bar = self._bar
        if bar is None:
            return
        if self.total is not None and bar.total != self.total:
            bar.total = self.total
        bar.update(self.done - bar.n)
