"""Saves what is drawn a second after the last stroke, and at the latest every few seconds while drawing goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_medssl.errors import MedsslError
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels

    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session
    from napari_medssl.widgets.write_behind import WriteBehind

__all__ = ["Autosave", "SaveState"]

T = TypeVar("T")

SaveState = Literal["none", "saved", "unsaved", "saving", "failed"]

_QUIET_MS = 1000  # after the last stroke
_LONGEST_MS = 4500  # while painting goes on: on the disk within five seconds, writing included


class Autosave(QObject, Generic[T]):
    """Sends the open image's drawing to its store, and knows whether it has arrived.

    Parameters
    ----------
    session : Session
        Whose messages are used; a job that starts reads the disk, so what is drawn is saved then.
    store : WriteBehind
        Writes.
    take : callable
        Gives what is drawn now, which nobody changes any more; None if it is what was taken last.
    what : str
        For messages: ``labels``.
    """

    changed = Signal()
    """`state` differs."""

    def __init__(
        self,
        session: Session,
        store: WriteBehind[T],
        take: Callable[[], T | None],
        *,
        what: str,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._store = store
        self._take = take
        self._what = what
        self._open: tuple[Project, str] | None = None
        self._told = False  # that something cannot be saved
        self.state: SaveState = "none"
        self.saved_at = 0.0
        """When the open image was written last since it is open, as `time.time`; 0 if it was not."""
        self._quiet, self._longest = QTimer(self), QTimer(self)
        for timer, milliseconds in ((self._quiet, _QUIET_MS), (self._longest, _LONGEST_MS)):
            timer.setSingleShot(True)
            timer.setTimerType(Qt.TimerType.PreciseTimer)
            timer.setInterval(milliseconds)
            timer.timeout.connect(self.save)
        store.written.connect(self._on_written)
        store.failed.connect(self._on_failed)
        session.busy_changed.connect(self._on_busy)

    def begin(self, project: Project, image: str) -> None:
        """Watch the drawing of this image from now on."""
        self._open = project, image
        self.saved_at = 0.0
        self._set_state(self._stand())

    def end(self) -> None:
        """Save, and watch nothing."""
        self.save()
        self._open = None
        self._set_state("none")

    def watch(self, layer: Labels) -> None:
        """Save soon whenever something may have been drawn on this layer."""
        events = layer.events
        for emitter in (events.paint, events.labels_update, events.set_data, events.data):
            emitter.connect(self._touch)

    def _touch(self, event: Any) -> None:
        # not all of these events mean another drawing: `take` compares
        if self._open is None:
            return
        self._quiet.start()
        if not self._longest.isActive():
            self._longest.start()
        if self.state in ("saved", "saving") and getattr(event, "type", "") in _CHANGES:
            self._set_state("unsaved")

    def save(self) -> None:
        """Send what is drawn to the disk, if it differs from what was sent last; returns at once."""
        self._quiet.stop()
        self._longest.stop()
        if self._open is None:
            return
        drawn = self._take()
        if drawn is not None:
            self._store.write(*self._open, drawn)
        self._set_state(self._stand())

    def save_again(self) -> None:
        """Try once more to write what could not be written."""
        self.save()
        self._store.retry()

    def flush(self) -> dict[str, BaseException]:
        """Save everything before returning: something is about to close.

        Returns
        -------
        dict
            Name of the image -> why it cannot be saved; empty when everything is on the disk.
        """
        drawn = self._take() if self._open is not None else None
        if drawn is not None and self._open is not None:
            self._store.put(*self._open, drawn)
        return self._store.flush()

    def _stand(self) -> SaveState:
        if self._open is None:
            return "none"
        if self._open[1] in self._store.unsaved:
            return "failed"
        return "saving" if self._store.waiting(*self._open) is not None else "saved"

    def _on_written(self, name: str) -> None:
        if self._told and not self._store.unsaved:
            self._told = False
            self._session.problem.emit(
                Problem(f"All {self._what} are saved again.", level="good", about=self._about)
            )
        if self._open is not None and name == self._open[1]:
            self.saved_at = time.time()
            if self.state in ("saving", "failed"):
                self._set_state(self._stand())

    def _on_failed(self, name: str, error: BaseException) -> None:
        if self._open is not None and name == self._open[1]:
            self._set_state("failed")
        if self._told:  # once; it is tried every few seconds
            return
        self._told = True
        problem = Problem.of(error, doing=f"saving the {self._what} of {name}")
        what_to_do = error.advice if isinstance(error, MedsslError) else ""
        advice = (
            f"{what_to_do} What you drew is kept here, and saved as soon as that is possible:"
            " it is tried again every few seconds. Do not close the viewer before."
        )
        self._session.problem.emit(
            Problem(problem.sentence, advice.strip(), problem.details, about=self._about)
        )

    @property
    def _about(self) -> str:
        return f"saving {self._what}"

    def _on_busy(self) -> None:
        if self._session.active is not None:
            self.save()

    def _set_state(self, state: SaveState) -> None:
        if state != self.state:
            self.state = state
            self.changed.emit()


_CHANGES = ("paint", "labels_update", "data")
