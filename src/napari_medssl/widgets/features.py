"""The features of the open image: asked of the warm engine once, read once, kept while memory allows."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from qtpy.QtCore import QObject, Signal

from napari_medssl.explore.similarity import PixelEmbedding
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.widgets.session import Session

__all__ = ["Features", "State"]

State = Literal["nothing", "computing", "ready", "failed"]

_MOST_BYTES = 1 << 29  # kept in memory, besides the features of the open image


class _Key(NamedTuple):
    project: Path
    run: str
    image: str
    weights: int
    """When the run's weights were written: training on makes other features."""


class Features(QObject):
    """Pixel features of the session's open image, as its current run sees it.

    Parameters
    ----------
    session : Session
        Whose image, run and engine.
    """

    arrived = Signal()
    """The features that were asked for are here."""
    changed = Signal()
    """`state` or `why` differ."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._kept: OrderedDict[_Key, PixelEmbedding] = OrderedDict()
        self._wanted: _Key | None = None
        self._failed: _Key | None = None
        self.why = ""
        """Why the features could not be computed, when `state` is ``failed``."""

    @property
    def current(self) -> PixelEmbedding | None:
        """The features of the open image if they are here."""
        key = self._key()
        return self._kept.get(key) if key is not None else None

    @property
    def state(self) -> State:
        """Where the features of the open image are."""
        key = self._key()
        if key is None:
            return "nothing"
        if key in self._kept:
            return "ready"
        if key == self._wanted:
            return "computing"
        return "failed" if key == self._failed else "nothing"

    def get(self) -> PixelEmbedding | None:
        """Return the features of the open image; if they are not here, ask for them (`arrived` follows)."""
        key = self._key()
        if key is None:
            return None
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if self._wanted != key:
            self._wanted = key
            self._failed = None
            self._session.request(
                "embed",
                run=key.run,
                image=key.image,
                on_result=lambda data: self._on_embedded(key, data),
                on_failed=lambda problem: self._on_failed(key, problem),
            )
            self.changed.emit()
        return None

    def _key(self) -> _Key | None:
        session = self._session
        run = next((run for run in session.usable_runs if run.name == session.current_run), None)
        weights = run.weights() if run is not None else None
        if session.project is None or session.image is None or run is None or weights is None:
            return None
        written = weights.stat().st_mtime_ns if weights.is_file() else 0
        return _Key(session.project.path, run.name, session.image, written)

    def _on_embedded(self, key: _Key, data: dict[str, Any]) -> None:
        if key != self._wanted:
            return
        path = key.project / data["path"]
        stride, (height, width) = int(data["stride"]), data["shape"]

        def opened(features: PixelEmbedding) -> None:
            self._kept[key] = features
            while len(self._kept) > 1 and self._bytes() > _MOST_BYTES:
                self._kept.popitem(last=False)
            if key == self._wanted:
                self._wanted = None
                self.changed.emit()
                self.arrived.emit()

        def failed(error: BaseException) -> None:
            self._on_failed(key, Problem.of(error, doing=f"reading the features of {key.image}"))

        self._session.background(
            lambda: PixelEmbedding.open(path, stride=stride, shape=(height, width)),
            on_result=opened,
            on_failed=failed,
        )

    def _on_failed(self, key: _Key, problem: Problem) -> None:
        if key == self._wanted:
            self._wanted, self._failed = None, key
            self.why = problem.sentence
            self.changed.emit()
            self._session.problem.emit(problem)

    def _bytes(self) -> int:
        return sum(features.nbytes for features in self._kept.values())
