"""Live prediction in a project: which strokes there are, which features, and which are still missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medssl.explore.live_probe import Annotated, LiveProbe
from napari_medssl.explore.store import EmbeddingStore, Index, index_path, store_path, weights_of
from napari_medssl.project.listing import Identity, identity_of

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.explore.live_probe import LivePrediction
    from napari_medssl.project import Project, Run

__all__ = ["SOURCE", "LiveAnswer", "LiveProject", "Strokes"]

SOURCE = "mix"
"""What of the network the features come from."""
_BACKGROUND = 1


@dataclass(frozen=True)
class Strokes:
    """What is painted in the open image and may not be on the disk yet."""

    labels: NDArray[np.uint16]
    """(Y, X); nobody changes it any more."""
    version: int
    """Changes whenever the labels do."""


@dataclass(frozen=True)
class LiveAnswer:
    """What live prediction gave, and what stands against it or against a better one."""

    prediction: LivePrediction | None
    """The very object of the last answer, where nothing changed since."""
    images: int
    """Annotated images, all of which it learned from."""
    missing: tuple[str, ...]
    """Images whose features have to be made, the open one first."""
    stride: int | None
    """Pixels per cell of the features to be made; as the engine chooses if None."""
    why: str
    """A sentence on the strokes that it needs; empty where there are enough."""


class _Made(NamedTuple):
    """Features of one image that were made for live prediction."""

    path: Path
    stride: int
    image: Identity
    """Of the image file that they were made from."""


class _Found(NamedTuple):
    """An annotated image."""

    image: Annotated
    values: frozenset[int]
    """Label values that are painted in it."""


class LiveProject:
    """Live prediction of a project's images, by filters and by the features of one run as far as there are any.

    `answer` is for one thread at a time; `add` and `cancel` may be called from any.

    Parameters
    ----------
    project : Project
        Whose images and annotations.
    run : Run, optional
        Whose features; without it, filters are all that is learned from.
    """

    def __init__(self, project: Project, run: Run | None) -> None:
        self._project = project
        self._run = run
        self._store: EmbeddingStore | None = None
        self._index: Identity | None = None
        self._made: dict[str, _Made] = {}
        self._files: dict[str, Identity | None] = {}
        self._shown = ""
        self._last: tuple[Hashable, LivePrediction] | None = None
        self._probe = self._new_probe()

    def add(self, name: str, path: Path, stride: int) -> None:
        """Use features that were made of an image just now: a file (Y / stride, X / stride, D)."""
        identity = _identity(self._project.image_path(name))
        if identity is not None:
            self._made[name] = _Made(path, stride, identity)
            self._files[name] = (
                identity  # else those of a file that has just changed are never the right ones
            )

    def cancel(self) -> None:
        """End the answer that is being computed, if there is one."""
        self._probe.cancel()

    def answer(self, shown: str, strokes: Strokes | None = None) -> LiveAnswer | None:
        """Learn from all annotated images, and predict one.

        Parameters
        ----------
        shown : str
            The image to predict.
        strokes : Strokes, optional
            What is painted in it; what is on the disk by default.

        Returns
        -------
        LiveAnswer or None
            None if `cancel` was called meanwhile.

        Raises
        ------
        MedsslError
            If an image, its annotation or stored features cannot be read.
        """
        if shown != self._shown:  # files are looked at once for each image that is opened
            self._shown, self._files = shown, {}
        self._open_store()
        found = self._annotated(shown, strokes)
        names = dict.fromkeys([shown, *(item.image.name for item in found)])
        missing = tuple(name for name in names if not self._has(name))
        stride = self._store.stride if self._store is not None else None
        why = self._lacking(_values(found))
        if why:
            return LiveAnswer(None, 0, missing, stride, why)
        asked = (shown, tuple((item.image.name, item.image.version) for item in found), missing)
        if self._last is None or self._last[0] != asked:
            prediction = self._probe.predict([item.image for item in found], shown)
            if prediction is None:
                return None
            self._last = asked, prediction
        return LiveAnswer(self._last[1], len(found), missing, stride, "")

    # -- strokes ---------------------------------------------------------------------------------

    def _annotated(self, shown: str, strokes: Strokes | None) -> list[_Found]:
        """Find the images with strokes, in the project's order; those whose file is gone are none."""
        annotations = self._project.annotations
        found = []
        for name, labels in annotations.versions().items():
            image = self._file(name)
            values = frozenset(annotations.counts(name)) - {0}
            if image is None or not values or (strokes is not None and name == shown):
                continue
            read = partial(annotations.read, name)
            found.append(_Found(Annotated(name, (labels, image), read), values))
        if strokes is not None:
            painted = strokes.labels
            values = frozenset(np.flatnonzero(np.bincount(painted.ravel())).tolist()) - {0}
            if values:
                version = (strokes.version, self._file(shown))
                found.append(_Found(Annotated(shown, version, lambda: painted), values))
        return found

    def _lacking(self, values: frozenset[int]) -> str:
        if len(values) > 1:
            return ""
        if not values:
            return "Paint some background and some of a class."
        (value,) = values
        if value == _BACKGROUND:
            return "Only background is painted: paint some of a class."
        names = {item.value: item.name for item in self._project.settings.classes}
        return f"Only {names.get(value, value)} is painted: paint some background."

    # -- features --------------------------------------------------------------------------------

    def _new_probe(self) -> LiveProbe:
        return LiveProbe(self._grid, self._project.planes)

    def _open_store(self) -> None:
        """Open the store as it is now, if it is of this network; with other features the probe starts anew."""
        if self._run is None:
            return
        folder = store_path(self._project, self._run.name, SOURCE)
        identity = _identity(index_path(folder))
        if identity == self._index:
            return
        before, self._store = self._store, None
        weights = weights_of(self._run, SOURCE)
        if identity is not None and weights is not None:
            index = Index.read(index_path(folder))
            if (index.weights_size, index.weights_mtime) == _identity(weights):
                self._store = EmbeddingStore(folder, index, index.images)
        self._index = identity
        if _dimensions(before) != _dimensions(self._store):
            self._probe, self._last = self._new_probe(), None

    def _stored(self, name: str) -> bool:
        """Whether the store holds an image as its file is now."""
        entry = self._store.index.images.get(name) if self._store is not None else None
        return entry is not None and (entry.size, entry.mtime) == self._file(name)

    def _has(self, name: str) -> bool:
        if self._run is None or self._stored(name):
            return True
        made = self._made.get(name)  # the engine deletes the oldest of them
        return made is not None and made.image == self._file(name) and made.path.is_file()

    def _grid(self, name: str) -> tuple[NDArray[np.floating], int] | None:
        """Give the features of an image, if there are any, and their stride; in the dimensions of a store.

        Both are coordinates along the same principal directions, of which a store keeps the first.
        """
        if self._run is None or not self._has(name):
            return None
        if self._store is not None and self._stored(name):
            return self._store.grid(name)
        made = self._made[name]
        cells: NDArray[np.float16] = np.load(made.path, mmap_mode="r", allow_pickle=False)
        return cells[..., : _dimensions(self._store)], made.stride

    def _file(self, name: str) -> Identity | None:
        if name not in self._files:
            self._files[name] = _identity(self._project.image_path(name))
        return self._files[name]


def _dimensions(store: EmbeddingStore | None) -> int | None:
    return store.dimensions if store is not None else None


def _values(found: list[_Found]) -> frozenset[int]:
    return frozenset[int]().union(*(item.values for item in found))


def _identity(path: Path) -> Identity | None:
    """Give size and time of a file; None where there is none."""
    try:
        return identity_of(path)
    except FileNotFoundError:
        return None
