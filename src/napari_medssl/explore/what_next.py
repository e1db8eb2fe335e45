"""What to annotate next in a project, from what is annotated now: typical images first, uncertain ones afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from napari_medssl.explore.live_probe import Annotated, LiveProbe
from napari_medssl.explore.neighbours import Folder
from napari_medssl.explore.suggest import Suggestion, suggest
from napari_medssl.explore.uncertainty import Uncertain, uncertain_images

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_medssl.explore.linear import Linear
    from napari_medssl.explore.store import EmbeddingStore
    from napari_medssl.project import Project

__all__ = ["ENOUGH", "Advice", "WhatNext"]

ENOUGH = 5
"""Annotated images from which on the uncertain ones are suggested: a probe that knows fewer hesitates in the wrong
places, and what it asks for teaches less than typical images do (`benchmarks/suggest.py`; the same is told of other
models by Hacohen, Dekel and Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets",
ICML 2022)."""


@dataclass(frozen=True)
class Advice:
    """What to annotate next."""

    suggestions: tuple[Suggestion, ...]
    """The best first; empty when every stored image is annotated."""
    uncertain: Mapping[str, Uncertain]
    """How uncertain a probe on the stored features is about each stored image, annotated or not; empty as long as
    there are no strokes of two classes."""
    by_uncertainty: bool
    """Whether the suggestions are chosen by that; else by how many images each stands for."""


class WhatNext:
    """Gives advice on a project again and again; what was read of images and strokes that are the same is kept.

    Not for several threads at once.

    Parameters
    ----------
    project : Project
        Its annotations are what is known.
    store : EmbeddingStore
        The stored features of its images; those without any are never suggested.
    """

    def __init__(self, project: Project, store: EmbeddingStore) -> None:
        self._project = project
        self._store = store
        self._folder: Folder | None = None
        self._probe = LiveProbe(store.grid, project.planes)

    def advise(
        self,
        *,
        count: int = 5,
        enough: int = ENOUGH,
        progress: Callable[[int, int], None] | None = None,
    ) -> Advice:
        """Choose images.

        Parameters
        ----------
        count : int
            How many at most.
        enough : int
            Annotated images from which on uncertain ones are suggested.
        progress : callable, optional
            Called with (done, total) images; what it raises ends the work.

        Raises
        ------
        MedsslError
            If fewer than two images are stored, or features or annotations cannot be read.
        """
        store, annotated = self._store, self._project.annotations.annotated()
        if self._folder is None:
            self._folder = Folder.of(store, progress=progress)
        layer = self._layer()
        if layer is None:
            found = suggest(store, self._folder, annotated=annotated, count=count)
            return Advice(tuple(found), {}, by_uncertainty=False)
        uncertain = {}
        for item in uncertain_images(store, layer.probabilities):
            uncertain[item.image] = item
            if progress is not None:
                progress(len(uncertain), len(store))
        asked = len(set(store.names).intersection(annotated)) >= enough
        found = suggest(
            store,
            self._folder,
            annotated=annotated,
            count=count,
            uncertain=uncertain if asked else None,
        )
        return Advice(tuple(found), uncertain, by_uncertainty=asked)

    def _layer(self) -> Linear | None:
        """Fit a probe to all strokes in stored images; None as long as they are of fewer than two classes."""
        annotations = self._project.annotations
        versions, damaged = annotations.versions(), annotations.damaged()
        names = [name for name in self._store.names if name in versions and name not in damaged]
        if len({value for name in names for value in annotations.counts(name) if value}) < 2:
            return None
        return self._probe.fit_features(
            [Annotated(name, versions[name], partial(annotations.read, name)) for name in names]
        )
