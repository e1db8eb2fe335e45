"""Features of images by several runs: asked of the warm engine one after the other, told as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_medssl.widgets.problem import Problem
    from napari_medssl.widgets.session import Session

__all__ = ["RunFeatures", "RunState", "Stored"]


@dataclass(frozen=True)
class RunState:
    """A run's network, or the one it began with."""

    run: str
    at_start: bool = False

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.run}, before training" if self.at_start else self.run


class Stored(NamedTuple):
    """Where the features of an image lie."""

    path: Path
    stride: int
    shape: tuple[int, int]
    """(Y, X) of the image."""


class RunFeatures(QObject):
    """Asks for features, one request at a time, so that it can be stopped between two.

    Parameters
    ----------
    session : Session
        Whose engine and project.
    """

    arrived = Signal(object, str, object)
    """`RunState`, image and `Stored`: these features are there."""
    advanced = Signal(int, int)
    """So many are there, of so many that were asked for."""
    finished = Signal()
    """All are there."""
    failed = Signal(object)
    """A `Problem`; nothing more comes."""

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._waiting: list[tuple[RunState, str]] = []
        self._total = 0
        self._ticket = 0

    def ask(self, wanted: Iterable[tuple[RunState, str]], *, source: str) -> None:
        """Ask for the features of some images; what was asked for before is dropped.

        Parameters
        ----------
        wanted : iterable of (RunState, str)
            Networks and images, in the order in which they are needed.
        source : str
            What of the networks, see `napari_medssl.embed`; before training there is ``mix`` alone.
        """
        self._ticket += 1
        self._waiting = list(wanted)
        self._total = len(self._waiting)
        self._next(self._ticket, source)

    def stop(self) -> None:
        """Ask for nothing more."""
        self._ticket += 1
        self._waiting = []

    def _next(self, ticket: int, source: str) -> None:
        project = self._session.project
        self.advanced.emit(self._total - len(self._waiting), self._total)
        if project is None:
            return
        if not self._waiting:
            self.finished.emit()
            return
        state, image = self._waiting[0]

        def answered(data: dict[str, Any]) -> None:
            if ticket != self._ticket or project is not self._session.project:
                return
            del self._waiting[0]
            y, x = data["shape"]
            stored = Stored(project.path / data["path"], int(data["stride"]), (int(y), int(x)))
            self.arrived.emit(state, image, stored)
            if ticket == self._ticket:
                self._next(ticket, source)

        def failed(problem: Problem) -> None:
            if ticket == self._ticket:
                self.stop()
                self.failed.emit(problem)

        self._session.request(
            "embed",
            run=state.run,
            image=image,
            at_start=state.at_start,
            source="mix" if state.at_start else source,
            channel="compare",
            on_result=answered,
            on_failed=failed,
        )
