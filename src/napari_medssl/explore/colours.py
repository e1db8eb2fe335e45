"""Colour views: what the network finds alike gets the same colour, in every image of the folder.

Fitted once on cells drawn from the whole folder, then applied to each image, so that colours agree between images.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

import cv2
import numpy as np
from skimage.color import lab2rgb
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from napari_medssl.explore.similarity import EmbeddingError
from napari_medssl.explore.tsne import flat_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medssl.explore.store import EmbeddingStore

__all__ = [
    "Clusters",
    "ColourView",
    "Kind",
    "MapColours",
    "PrincipalColours",
    "colour_map",
    "enlarged",
    "fit_colours",
    "wheel",
]

Kind = Literal["pca", "tsne", "kmeans"]
T = TypeVar("T", bound=np.generic)

FIT_CELLS = 50_000
TSNE_CELLS = 3_000
"""t-SNE takes about 15 s for so many on one core, and grows a little faster than they do."""
NEIGHBOURS = 5
"""Fitted cells whose places in the map are averaged for a new cell."""
LIMITS = (1.0, 99.0)
"""Percentiles that become the ends of a colour axis."""
LIGHTNESS, CHROMA = 68.0, 70.0


def colour_map(places: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colour places of the unit square, as the reference map of Pix2Rep's figure 4 does.

    Hue tells the direction from the middle, saturation the distance; all are of about the same lightness (CIELAB),
    so that no place of the map stands out.

    Parameters
    ----------
    places : ndarray of shape (..., 2)
        Values in [0, 1]; those beyond are moved to the border.

    Returns
    -------
    ndarray of uint8, (..., 3)
        Red, green, blue.
    """
    centred = 2 * np.clip(places, 0, 1) - 1
    lab = np.empty((*centred.shape[:-1], 3))
    lab[..., 0] = LIGHTNESS
    lab[..., 1:] = CHROMA * centred
    rgb: NDArray[np.uint8] = np.rint(255 * np.clip(lab2rgb(lab), 0, 1)).astype(np.uint8)
    return rgb


def wheel(count: int) -> NDArray[np.uint8]:
    """Give colours of the same lightness, evenly apart in hue, ``(count, 3)``: for groups of equal standing."""
    turns = 2 * np.pi * np.arange(count) / max(1, count)
    return colour_map(0.5 + 0.5 * np.stack([np.cos(turns), np.sin(turns)], axis=1))


class ColourView(abc.ABC):
    """A colouring of pixel features, fitted on a folder."""

    kind: ClassVar[Kind]

    @abc.abstractmethod
    def colour(self, cells: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Colour features ``(N, D)``, as red, green, blue ``(N, 3)``."""

    def image(self, store: EmbeddingStore, name: str) -> NDArray[np.uint8]:
        """Colour a stored image, ``(Y, X, 3)``; each cell is a block of pixels."""
        grid = store.read(name).shape[:2]
        coloured = self.colour(store.flat(name)).reshape(*grid, 3)
        return enlarged(coloured, store.stride, store.shape(name))


class PrincipalColours(ColourView):
    """The first three principal components as red, green and blue.

    Parameters
    ----------
    cells : ndarray of shape (N, D)
        Features to fit on.
    """

    kind = "pca"

    def __init__(self, cells: NDArray[np.float32]) -> None:
        self._mean = cells.mean(0)
        centred = cells - self._mean
        _, vectors = np.linalg.eigh(centred.T @ centred)  # ascending
        axes = vectors[:, ::-1][:, :3]
        # An eigenvector's sign is arbitrary; fixing it keeps colours the same on another machine.
        axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(axes.shape[1])])
        self._axes = axes
        self._low, self._high = _ends(centred @ axes)

    def colour(self, cells: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Colour features ``(N, D)``, as red, green, blue ``(N, 3)``."""
        scaled = ((cells - self._mean) @ self._axes - self._low) / (self._high - self._low)
        rgb = np.zeros((len(cells), 3), np.uint8)  # fewer features than colours leave the rest dark
        rgb[:, : scaled.shape[1]] = np.rint(255 * np.clip(scaled, 0, 1))
        return rgb

    def image(self, store: EmbeddingStore, name: str) -> NDArray[np.uint8]:
        """Colour a stored image, ``(Y, X, 3)``, interpolated: these colours are linear in the features."""
        rows, columns = store.read(name).shape[:2]
        coloured = self.colour(store.flat(name)).reshape(rows, columns, 3)
        fine = cv2.resize(coloured, (columns * store.stride, rows * store.stride))
        y, x = store.shape(name)
        interpolated: NDArray[np.uint8] = np.ascontiguousarray(fine[:y, :x], np.uint8)
        return interpolated


class MapColours(ColourView):
    """A flat map of the features by t-SNE, and the colour of each place of the map.

    t-SNE cannot place what it was not fitted on: a new cell gets the mean place of the most similar fitted ones.
    (Measured on 4,096 new cells: 0.3 s, where openTSNE's own transform takes 18 s for a map of the same
    trustworthiness, .971 and .974.)

    Parameters
    ----------
    cells : ndarray of shape (N, D)
        Features to fit on.
    seed : int
        Of the fit.
    progress : callable, optional
        As for `flat_map`.

    References
    ----------
    Pix2Rep, figure 4.
    """

    kind = "tsne"

    def __init__(
        self,
        cells: NDArray[np.float32],
        *,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        unit = _unit(cells)
        self._neighbours = NearestNeighbors(
            n_neighbors=min(NEIGHBOURS, len(cells)), algorithm="brute"
        ).fit(unit)
        # The distance of unit vectors orders them as their cosine similarity does.
        places = flat_map(unit, seed=seed, progress=progress)
        low, high = _ends(places)
        self.places: NDArray[np.float32] = ((places - low) / (high - low)).astype(np.float32)
        """(N, 2): where the fitted cells lie; most of them in the unit square."""

    def place(self, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """Place features ``(N, D)`` on the map, ``(N, 2)``."""
        nearest = self._neighbours.kneighbors(_unit(cells), return_distance=False)
        mean: NDArray[np.float32] = self.places[nearest].mean(1)
        return mean

    def grid(self, store: EmbeddingStore, name: str) -> NDArray[np.float32]:
        """Place every cell of a stored image on the map, ``(Y / stride, X / stride, 2)``."""
        return self.place(store.flat(name)).reshape(*store.read(name).shape[:2], 2)

    def colour(self, cells: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Colour features ``(N, D)``, as red, green, blue ``(N, 3)``."""
        return colour_map(self.place(cells))


class Clusters(ColourView):
    """Groups of alike features by k-means, numbered by their size.

    Parameters
    ----------
    cells : ndarray of shape (N, D)
        Features to fit on.
    count : int
        How many groups.
    seed : int
        Of the fit.
    """

    kind = "kmeans"

    def __init__(self, cells: NDArray[np.float32], *, count: int = 8, seed: int = 0) -> None:
        if not 2 <= count <= len(cells):
            raise EmbeddingError(
                f"{count} clusters cannot be made of {len(cells)} cells; at least 2."
            )
        unit = _unit(cells)
        fit = KMeans(count, n_init=3, random_state=seed).fit(unit)
        order = np.argsort(-np.bincount(fit.labels_, minlength=count), kind="stable")
        self.centres: NDArray[np.float32] = fit.cluster_centers_[order].astype(np.float32)
        """(K, D), the largest cluster first."""

    def group(self, cells: NDArray[np.float32]) -> NDArray[np.uint16]:
        """Tell of features ``(N, D)`` the cluster, from 1 on, ``(N,)``."""
        # |x - c|^2 = |x|^2 - 2 x c + |c|^2, of which the first does not tell clusters apart
        offsets = np.einsum("kd,kd->k", self.centres, self.centres) / 2
        nearest = (_unit(cells) @ self.centres.T - offsets).argmax(1)
        groups: NDArray[np.uint16] = (nearest + 1).astype(np.uint16)
        return groups

    def labels(self, store: EmbeddingStore, name: str) -> NDArray[np.uint16]:
        """Tell of every pixel of a stored image its cluster, ``(Y, X)``."""
        grid = store.read(name).shape[:2]
        groups = self.group(store.flat(name)).reshape(grid)
        return enlarged(groups, store.stride, store.shape(name))

    def colour(self, cells: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Colour features ``(N, D)``, as red, green, blue ``(N, 3)``."""
        return wheel(len(self.centres))[self.group(cells) - 1]


def fit_colours(
    store: EmbeddingStore,
    kind: Kind = "pca",
    *,
    clusters: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ColourView:
    """Fit a colour view on a folder.

    Parameters
    ----------
    store : EmbeddingStore
        The folder.
    kind : {"pca", "tsne", "kmeans"}
        Which.
    clusters : int
        How many, for ``kmeans``.
    seed : int
        Which cells are drawn, and of the fit.
    progress : callable, optional
        Called with (done, total) steps of a t-SNE; what it raises ends the fit. The others take a second or two.

    Raises
    ------
    EmbeddingError
        If there is nothing to fit on.
    """
    cells = store.sample(TSNE_CELLS if kind == "tsne" else FIT_CELLS, seed=seed)
    if len(cells) < 4:
        raise EmbeddingError(f"{len(cells)} stored cells are too few for a colour view.")
    if kind == "pca":
        return PrincipalColours(cells)
    if kind == "tsne":
        return MapColours(cells, seed=seed, progress=progress)
    return Clusters(cells, count=clusters, seed=seed)


def _unit(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    norms: NDArray[np.float32] = np.sqrt(np.einsum("nd,nd->n", cells, cells))
    unit: NDArray[np.float32] = cells / np.where(norms > 0, norms, 1).astype(np.float32)[:, None]
    return unit


def _ends(values: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    low, high = np.percentile(values, LIMITS, axis=0)
    return low, np.maximum(high, low + 1e-6)


def enlarged(cells: NDArray[T], stride: int, shape: tuple[int, int]) -> NDArray[T]:
    """Make of each cell ``(Y / stride, X / stride, ...)`` a block of pixels, cut to the image's shape (Y, X)."""
    return cells.repeat(stride, 0).repeat(stride, 1)[: shape[0], : shape[1]]
