"""Pixel features of single images: asked of the warm engine once, read once, kept while memory allows."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from qtpy.QtCore import QObject, Signal

from napari_medssl.errors import MedsslError
from napari_medssl.explore.similarity import PixelEmbedding
from napari_medssl.explore.store import weights_of
from napari_medssl.project.listing import identity_of
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from pathlib import Path

    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["Features", "State"]

State = Literal["nothing", "computing", "ready", "failed"]

_MOST_BYTES = 1 << 29  # kept in memory, besides the features that are needed now


class _Key(NamedTuple):
    project: Path
    run: str
    source: str
    image: str
    stride: int | None
    """Pixels per cell; as the engine chooses if None."""
    made_from: tuple[object, ...]
    """Size and time of the files of the weights and the image, and how the image is read."""


class Features(QObject):
    """Pixel features of images of the session's project, as its current run sees them.

    Parameters
    ----------
    session : Session
        Whose run and engine.
    """

    arrived = Signal()
    """The features that were asked for are here."""
    changed = Signal()
    """`state` or `why` differ."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.source = "mix"
        """What of the network they come from, see `napari_medssl.embed`."""
        self.full = False
        """Whether there is a feature for every pixel of an image that is asked for."""
        self._kept: OrderedDict[_Key, PixelEmbedding] = OrderedDict()
        self._files: dict[str, tuple[int, int] | None] = {}
        self._network: tuple[tuple[object, ...], tuple[int, int] | None] | None = None
        self._needed: tuple[_Key, ...] = ()
        self._wanted: _Key | None = None
        self._failed: _Key | None = None
        self.why = ""
        """Why the features could not be computed, when `state` is ``failed``."""
        for moved in (session.image_changed, session.images_changed, session.project_changed):
            moved.connect(self._files.clear)

    @property
    def state(self) -> State:
        """Where the features are that were asked for last, of all those images together."""
        session = self._session
        project = session.project.path if session.project is not None else None
        now = (project, session.current_run, self.source, self._stride)
        if not self._needed or any((*key[:3], key.stride) != now for key in self._needed):
            return "nothing"
        if all(key in self._kept for key in self._needed):
            return "ready"
        if self._wanted in self._needed:
            return "computing"
        return "failed" if self._failed in self._needed else "nothing"

    @property
    def awaited(self) -> str:
        """The image whose features are being computed; empty if none is."""
        return self._wanted.image if self._wanted is not None else ""

    @property
    def _stride(self) -> int | None:
        return 1 if self.full else None

    def key(self, image: str) -> Hashable:
        """Identify the features of an image as they should be now; None where there can be none."""
        keys = self._keys([image])
        return keys[0] if keys is not None else None

    def get(self, images: Sequence[str]) -> dict[str, PixelEmbedding] | None:
        """Return the features of images by name; those that are not here are asked for (`arrived` follows).

        Parameters
        ----------
        images : sequence of str
            What is needed now; the engine is asked for one after the other.
        """
        self._network = None  # looked at once for each question
        keys = self._keys(images)
        if keys is None:
            return None
        self._needed = keys
        missing = next((key for key in keys if key not in self._kept), None)
        if missing is None:
            for key in keys:
                self._kept.move_to_end(key)
            return {key.image: self._kept[key] for key in keys}
        if self._wanted != missing:
            self._ask(missing)
        return None

    def has(self, found: Mapping[str, PixelEmbedding]) -> bool:
        """Whether features that `get` returned are still those of the current run and source."""
        keys = self._keys(list(found)) or ()
        return bool(keys) and all(self._kept.get(key) is found[key.image] for key in keys)

    def _keys(self, images: Sequence[str]) -> tuple[_Key, ...] | None:
        session = self._session
        run = next((run for run in session.usable_runs if run.name == session.current_run), None)
        project = session.project
        if project is None or run is None or not images:
            return None
        asked = (project.path, run.name, self.source)
        if self._network is None or self._network[0] != asked:
            weights = weights_of(run, self.source)
            self._network = asked, _identity(weights) if weights is not None else None
        read = (project.settings.channel_indices, tuple(project.settings.axes.items()))
        network = (self._network[1], *read)
        return tuple(
            _Key(
                project.path,
                run.name,
                self.source,
                image,
                self._stride,
                (*network, self._file(project, image)),
            )
            for image in dict.fromkeys(images)
        )

    def _file(self, project: Project, image: str) -> tuple[int, int] | None:
        if image not in self._files:
            try:
                path = project.image_path(image)
            except MedsslError:  # of a kept query; the engine has a sentence for it
                return None
            self._files[image] = _identity(path)  # a folder of many files is looked at once
        return self._files[image]

    def _ask(self, key: _Key) -> None:
        self._wanted, self._failed = key, None
        self._session.request(
            "embed",
            run=key.run,
            image=key.image,
            source=key.source,
            stride=key.stride,
            on_result=lambda data: self._on_embedded(key, data),
            on_failed=lambda problem: self._on_failed(key, problem),
        )
        self.changed.emit()

    def _on_embedded(self, key: _Key, data: dict[str, Any]) -> None:
        if key != self._wanted:
            return
        path = key.project / data["path"]
        stride, (height, width) = int(data["stride"]), data["shape"]

        def opened(features: PixelEmbedding) -> None:
            self._keep(key, features)
            if key == self._wanted:
                self._wanted = None
                missing = next((other for other in self._needed if other not in self._kept), None)
                if missing is not None:
                    self._ask(missing)
                    return
                self.changed.emit()
                self.arrived.emit()

        def failed(error: BaseException) -> None:
            self._on_failed(key, Problem.of(error, doing=f"reading the features of {key.image}"))

        self._session.background(
            lambda: PixelEmbedding.open(path, stride=stride, shape=(height, width)),
            on_result=opened,
            on_failed=failed,
        )

    def _keep(self, key: _Key, features: PixelEmbedding) -> None:
        self._kept[key] = features
        others = [other for other in self._kept if other not in self._needed]
        for other in others:
            if sum(kept.nbytes for kept in self._kept.values()) <= _MOST_BYTES:
                break
            del self._kept[other]

    def _on_failed(self, key: _Key, problem: Problem) -> None:
        if key == self._wanted:
            self._wanted, self._failed = None, key
            self.why = problem.sentence
            self.changed.emit()
            self._session.problem.emit(problem)


def _identity(path: Path) -> tuple[int, int] | None:
    """Give size and time of a file; None for one that is gone, which the engine has a sentence for."""
    try:
        return identity_of(path)
    except OSError:
        return None
