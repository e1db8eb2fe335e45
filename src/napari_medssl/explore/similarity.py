"""Cosine similarity of every pixel of an image to one or several query pixels of it.

A network gives one vector per *cell* of a grid over the image: with stride s, cell i covers the
pixels ``[i * s, (i + 1) * s)`` and its centre lies at ``(i + 0.5) * s - 0.5``, pixel 0 having its
centre at 0. The last cells reach beyond an image whose size is not a multiple of the stride.

Source: the pixel similarity maps of Pix2Rep, which compare the representation of a query pixel
with those of all others; several pixels, regions and counter-examples are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["EmbeddingError", "How", "PixelEmbedding", "Prototypes", "cosine_similarity"]

How = Literal["mean", "max", "contrast"]
"""How several examples make one map, see `Prototypes`."""


class EmbeddingError(MedsslError, ValueError):
    """An embedding, or a query into one, that cannot be used."""


@dataclass(frozen=True)
class Prototypes:
    """What pixels are compared with: the directions of examples, and of counter-examples.

    ``mean`` is the cosine similarity to the examples' mean direction, ``max`` that to the most similar example,
    ``contrast`` half the difference between the most similar example and the most similar counter-example: above
    0 a pixel is nearer to an example. All lie in [-1, 1].
    """

    positive: NDArray[np.float32]
    """(P, D), unit vectors."""
    negative: NDArray[np.float32]
    """(N, D), unit vectors; used by ``contrast`` alone."""
    how: How = "mean"

    def __post_init__(self) -> None:
        if not len(self.positive):
            raise EmbeddingError("There is no query pixel to compare with.")
        if self.how == "contrast" and not len(self.negative):
            raise EmbeddingError(
                "A contrast needs at least one counter-example.", advice="Add a negative pixel."
            )

    def scores(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compare unit vectors ``(n, D)`` with the prototypes, ``(n,)``."""
        if self.how == "mean":
            mean: NDArray[np.float32] = vectors @ _direction(self.positive)
            return mean
        best: NDArray[np.float32] = _nearest(vectors, self.positive)
        if self.how == "max":
            return best
        margin: NDArray[np.float32] = (best - _nearest(vectors, self.negative)) * np.float32(0.5)
        return margin


def _nearest(vectors: NDArray[np.float32], prototypes: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(prototypes) == 1:
        alone: NDArray[np.float32] = vectors @ prototypes[0]
        return alone
    highest: NDArray[np.float32] = (vectors @ prototypes.T).max(1)
    return highest


def _direction(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the mean direction ``(D,)`` of vectors; zero where they cancel out."""
    mean: NDArray[np.float32] = vectors.mean(0, dtype=np.float32)
    norm = np.float32(np.linalg.norm(mean))
    if norm > 0:
        mean /= norm
    return mean


class PixelEmbedding:
    """The pixel features of one image, normalised once: a query is one matrix-vector product.

    Parameters
    ----------
    features : np.ndarray
        ``(Yg, Xg, D)``, any float type: one vector per cell of the grid.
    stride : int
        Pixels per cell and axis.
    shape : tuple of int
        ``(Y, X)`` of the image.

    Raises
    ------
    EmbeddingError
        If the grid does not fit the image, or a feature is not finite.
    """

    def __init__(
        self, features: NDArray[np.floating], *, stride: int, shape: tuple[int, int]
    ) -> None:
        if features.ndim != 3:
            raise EmbeddingError(
                f"An embedding has the axes (y, x, feature); this one has shape {features.shape}."
            )
        if stride < 1:
            raise EmbeddingError(f"The stride is {stride}; it is at least 1.")
        grid = (-(-shape[0] // stride), -(-shape[1] // stride))  # rounded up
        if features.shape[:2] != grid:
            raise EmbeddingError(
                f"An image of {shape[0]} x {shape[1]} pixels at stride {stride} has {grid[0]} x "
                f"{grid[1]} cells; this embedding has {features.shape[0]} x {features.shape[1]}.",
                advice="The image has changed since the embedding was made: make it again.",
            )
        self.stride = stride
        self.shape = (int(shape[0]), int(shape[1]))
        self.grid = grid
        # One cast, here: a matrix-vector product in float16 is about 15 times slower.
        flat = features.reshape(-1, features.shape[-1]).astype(np.float32)  # (Yg * Xg, D)
        norms = np.sqrt(np.einsum("nd,nd->n", flat, flat))
        if not np.isfinite(norms).all():
            raise EmbeddingError(
                f"{np.count_nonzero(~np.isfinite(norms))} of {norms.size} features are not finite "
                "numbers.",
                advice="The run that made them has diverged: choose another run.",
            )
        # A zero vector points nowhere: it stays zero, and is similar to nothing.
        flat /= np.where(norms > 0, norms, 1.0)[:, None]
        self._unit = flat

    @classmethod
    def open(cls, path: Path, *, stride: int, shape: tuple[int, int]) -> PixelEmbedding:
        """Read the ``.npy`` file that the engine wrote.

        Parameters
        ----------
        path : Path
            The file.
        stride, shape
            As for the class.
        """
        return cls(np.load(path, allow_pickle=False), stride=stride, shape=shape)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return int(self._unit.nbytes)

    def at(self, y: int, x: int) -> NDArray[np.float32]:
        """Return the unit vector ``(D,)`` of the cell that pixel ``(y, x)`` lies in.

        Raises
        ------
        EmbeddingError
            If the pixel is outside the image.
        """
        if not (0 <= y < self.shape[0] and 0 <= x < self.shape[1]):
            raise EmbeddingError(
                f"Pixel (y={y}, x={x}) is outside the image of {self.shape[0]} x {self.shape[1]} "
                "pixels."
            )
        row, column = int(y) // self.stride, int(x) // self.stride
        unit: NDArray[np.float32] = self._unit[row * self.grid[1] + column]
        return unit

    def similarity(self, queries: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
        """Compare every pixel with the query pixels.

        Parameters
        ----------
        queries : sequence of (y, x)
            One pixel or more. With several, the map is the similarity to their mean direction.

        Returns
        -------
        np.ndarray
            float32 ``(Y, X)`` in [-1, 1].

        Raises
        ------
        EmbeddingError
            If there is no query, or one is outside the image.
        """
        if not queries:
            raise EmbeddingError("There is no query pixel to compare with.")
        positive = np.stack([self.at(y, x) for y, x in queries])
        return self.heat(Prototypes(positive, positive[:0]))

    def heat(self, prototypes: Prototypes) -> NDArray[np.float32]:
        """Compare every pixel with prototypes, which may come from other images of the same run.

        Returns
        -------
        np.ndarray
            float32 ``(Y, X)`` in [-1, 1].

        Raises
        ------
        EmbeddingError
            If the prototypes have another number of features.
        """
        return _upsample(self.cells(prototypes), self.stride, self.shape)

    def cells(self, prototypes: Prototypes) -> NDArray[np.float32]:
        """Compare every cell with prototypes, as `heat` does with the pixels.

        Returns
        -------
        np.ndarray
            float32 ``(Yg, Xg)`` in [-1, 1].

        Raises
        ------
        EmbeddingError
            If the prototypes have another number of features.
        """
        if prototypes.positive.shape[1] != self._unit.shape[1]:
            raise EmbeddingError(
                f"The examples have {prototypes.positive.shape[1]} features, the image has {self._unit.shape[1]}.",
                advice="Compare features that were made in the same way.",
            )
        return prototypes.scores(self._unit).reshape(self.grid)

    def direction(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return the mean direction ``(D,)`` of the pixels of a region.

        Parameters
        ----------
        mask : np.ndarray
            bool ``(Y, X)``.

        Raises
        ------
        EmbeddingError
            If the mask is of another size, or empty.
        """
        if mask.shape != self.shape:
            raise EmbeddingError(f"The region has shape {mask.shape}, the image has {self.shape}.")
        ys, xs = np.nonzero(mask)
        if not len(ys):
            raise EmbeddingError("The region is empty.")
        cells = (ys // self.stride) * self.grid[1] + xs // self.stride
        counts = np.bincount(cells, minlength=len(self._unit)).astype(np.float32)
        touched = np.flatnonzero(counts)
        return _direction(counts[touched, None] * self._unit[touched])


def cosine_similarity(
    features: NDArray[np.floating],
    queries: Sequence[tuple[int, int]],
    *,
    stride: int,
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Compare every pixel with the query pixels, once; to ask again keep a `PixelEmbedding`.

    Parameters
    ----------
    features : np.ndarray
        ``(Yg, Xg, D)``.
    queries : sequence of (y, x)
        One pixel or more.
    stride : int
        Pixels per cell and axis.
    shape : tuple of int
        ``(Y, X)`` of the image.

    Returns
    -------
    np.ndarray
        float32 ``(Y, X)`` in [-1, 1].
    """
    return PixelEmbedding(features, stride=stride, shape=shape).similarity(queries)


def _upsample(
    coarse: NDArray[np.float32], stride: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    # cv2 aligns the outer edges of the two grids, which is the convention of the cells; beyond the
    # outermost centres the outermost cell is repeated. What lies outside the image is cut off.
    height, width = coarse.shape
    fine = coarse
    if stride > 1:
        size = (width * stride, height * stride)
        fine = np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR), np.float32)
    fine = np.clip(fine[: shape[0], : shape[1]], -1.0, 1.0)
    return np.ascontiguousarray(fine, dtype=np.float32)
