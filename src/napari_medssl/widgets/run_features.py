"""Features of images by several runs: asked of the warm engine one after the other, told as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QObject, Signal

from napari_medssl.explore.store import weights_of
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from napari_medssl.project import Run
    from napari_medssl.widgets.session import Session

__all__ = ["Network", "RunFeatures", "RunState", "Stored", "Wanted"]


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


class Network(NamedTuple):
    """The network of a run as it is now, and what of it is looked at."""

    state: RunState
    source: str
    """See `napari_medssl.embed`."""
    written: int
    """When its weights were written, ns: training on makes another network. 0 before training."""

    @classmethod
    def of(cls, run: Run, state: RunState, source: str) -> Network:
        """Look at the run's files."""
        weights = None if state.at_start else weights_of(run, source)
        known = weights is not None and weights.is_file()
        return cls(state, source, weights.stat().st_mtime_ns if weights and known else 0)


class Wanted(NamedTuple):
    """Features of an image, and what becomes of them."""

    network: Network
    image: str
    read: Callable[[Stored], Any]
    """Reads them in a thread, as soon as they are there: the file may be replaced or removed later."""
    take: Callable[[Any], None]
    """Receives what was read."""
    stride: int | None = None
    """Pixels per cell and axis; as the engine chooses if None."""


class RunFeatures(QObject):
    """Asks for features, one request at a time, so that it can be stopped between two.

    Parameters
    ----------
    session : Session
        Whose engine and project.
    channel : str
        See `WarmEngine.ask`: one for each that asks.
    """

    advanced = Signal(int, int)
    """So many are read, of so many that were asked for."""
    finished = Signal()
    """All are read."""
    failed = Signal(object)
    """A `Problem`; nothing more comes."""

    def __init__(
        self, session: Session, parent: QObject | None = None, *, channel: str = "compare"
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._channel = channel
        self._waiting: list[Wanted] = []
        self._total = 0
        self._ticket = 0

    def ask(self, wanted: Iterable[Wanted]) -> None:
        """Ask for features, in the order in which they are needed; what was asked for before is dropped."""
        self._ticket += 1
        self._waiting = list(wanted)
        self._total = len(self._waiting)
        self._next(self._ticket)

    def stop(self) -> None:
        """Ask for nothing more."""
        self._ticket += 1
        self._waiting = []

    def _next(self, ticket: int) -> None:
        project = self._session.project
        self.advanced.emit(self._total - len(self._waiting), self._total)
        if project is None:
            return
        if not self._waiting:
            self.finished.emit()
            return
        wanted = self._waiting[0]

        def answered(data: dict[str, Any]) -> None:
            if ticket != self._ticket:
                return
            y, x = data["shape"]
            stored = Stored(project.path / data["path"], int(data["stride"]), (int(y), int(x)))
            self._session.background(
                lambda: wanted.read(stored), on_result=taken, on_failed=unreadable
            )

        def taken(found: Any) -> None:
            if ticket != self._ticket:
                return
            del self._waiting[0]
            wanted.take(found)
            if ticket == self._ticket:
                self._next(ticket)

        def unreadable(error: BaseException) -> None:
            failed(Problem.of(error, doing=f"reading the features of {wanted.image}"))

        def failed(problem: Problem) -> None:
            if ticket == self._ticket:
                self.stop()
                self.failed.emit(problem)

        state = wanted.network.state
        self._session.request(
            "embed",
            run=state.run,
            image=wanted.image,
            at_start=state.at_start,
            source=wanted.network.source,
            stride=wanted.stride,
            channel=self._channel,
            on_result=answered,
            on_failed=failed,
        )
