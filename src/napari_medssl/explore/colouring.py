"""One colouring of a folder, and what it makes of an image: what the viewer shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medssl.explore.colours import (
    Clusters,
    ColourView,
    Kind,
    MapColours,
    colour_map,
    enlarged,
    fit_colours,
    wheel,
)
from napari_medssl.explore.labelled import labelled_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from napari_medssl.explore.store import EmbeddingStore

__all__ = ["Colouring", "Painted", "PlacedLabels"]

LABELLED_PER_IMAGE = 150
"""Pixels of each annotated image that are placed on the map: enough to see where a class lies."""


class PlacedLabels(NamedTuple):
    """Annotated pixels on the map."""

    places: NDArray[np.float32]
    """(N, 2)."""
    values: NDArray[np.int64]
    """(N,): their labels."""


class Painted(NamedTuple):
    """What a colouring makes of an image."""

    image: str
    picture: NDArray[np.uint8]
    """(Y, X, 3)."""
    clusters: NDArray[np.uint16] | None
    """(Y, X): the cluster of every pixel, from 1 on."""
    grid: NDArray[np.float32] | None
    """(Y / stride, X / stride, 2): the place of every cell on the map."""
    stride: int

    def pixels(self, cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Give the pixels ``(Y, X)`` of some cells, ``(Y / stride, X / stride)``."""
        return enlarged(cells, self.stride, (self.picture.shape[0], self.picture.shape[1]))

    def cells(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Give the cells that hold a pixel of a mask ``(Y, X)``."""
        rows, columns = (-(-side // self.stride) for side in mask.shape)
        found = np.zeros((rows, columns), bool)
        ys, xs = np.nonzero(mask)
        found[ys // self.stride, xs // self.stride] = True
        return found


@dataclass(frozen=True)
class Colouring:
    """A fitted colour view and the features it is of."""

    store: EmbeddingStore
    view: ColourView
    labelled: PlacedLabels | None
    """Of a map with annotated images in its folder."""

    @classmethod
    def of(
        cls,
        store: EmbeddingStore,
        kind: Kind,
        *,
        clusters: int = 8,
        labels: Iterable[tuple[str, NDArray[np.integer]]] = (),
        progress: Callable[[int, int], None] | None = None,
    ) -> Colouring:
        """Fit a colouring on a folder.

        Parameters
        ----------
        store : EmbeddingStore
            The folder.
        kind : {"pca", "tsne", "kmeans"}
            Which, see `fit_colours`.
        clusters : int
            How many, for ``kmeans``.
        labels : iterable of (str, ndarray of shape (Y, X))
            Annotated images: their pixels are placed on a map.
        progress : callable, optional
            As for `fit_colours`.
        """
        view = fit_colours(store, kind, clusters=clusters, progress=progress)
        placed = None
        if isinstance(view, MapColours):
            cells = labelled_cells(store.grid, labels, pixels=LABELLED_PER_IMAGE)
            if len(cells.values):
                placed = PlacedLabels(view.place(cells.features), cells.values)
        return cls(store, view, placed)

    @property
    def places(self) -> NDArray[np.float32] | None:
        """Where the fitted cells lie on the map, ``(N, 2)``."""
        return self.view.places if isinstance(self.view, MapColours) else None

    @property
    def palette(self) -> NDArray[np.uint8]:
        """The colours of the fitted cells on the map ``(N, 3)``, or of the clusters ``(K, 3)``."""
        if isinstance(self.view, MapColours):
            return colour_map(self.view.places)
        return wheel(len(self.view.centres) if isinstance(self.view, Clusters) else 0)

    def paint(self, image: str) -> Painted:
        """Colour a stored image.

        Raises
        ------
        EmbeddingError
            If there are no stored features of it.
        """
        store, view = self.store, self.view
        stride, shape = store.stride, store.shape(image)
        if isinstance(view, MapColours):
            grid = view.grid(store, image)
            return Painted(image, enlarged(colour_map(grid), stride, shape), None, grid, stride)
        if isinstance(view, Clusters):
            clusters = view.labels(store, image)
            return Painted(image, self.palette[clusters - 1], clusters, None, stride)
        return Painted(image, view.image(store, image), None, None, stride)
