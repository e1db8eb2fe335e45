"""What a linear probe looks at: stored features, also between their cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from napari_medssl.explore.linear import softmax
from napari_medssl.explore.similarity import EmbeddingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.explore.linear import Linear

__all__ = ["check_grid", "features_at", "probability_maps", "spread_of"]

_ROWS = 64
"""Rows of cells that are cast to single precision at once."""
_SPREAD_CELLS = 1000
"""Cells of an image that tell how much its features vary."""


def features_at(
    cells: NDArray[np.floating], stride: int, ys: NDArray[np.integer], xs: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Interpolate stored features at pixels, bilinearly between the centres of cells.

    Parameters
    ----------
    cells : ndarray of float, (Yg, Xg, D)
        Cell i covers the pixels ``[i * stride, (i + 1) * stride)``.
    stride : int
        Pixels per cell and axis.
    ys, xs : ndarray of integers, (N,)
        The pixels.

    Returns
    -------
    ndarray of float32, (N, D)
    """
    (y0, y1, y), (x0, x1, x) = (
        _between(places, stride, count)
        for places, count in zip((ys, xs), cells.shape[:2], strict=True)
    )
    if stride == 1:
        return np.asarray(cells[ys, xs], np.float32)
    total = np.zeros((len(ys), cells.shape[-1]), np.float32)
    for rows, columns, share in (
        (y0, x0, (1 - y) * (1 - x)),
        (y0, x1, (1 - y) * x),
        (y1, x0, y * (1 - x)),
        (y1, x1, y * x),
    ):
        total += share * cells[rows, columns]
    return total


def _between(
    places: NDArray[np.integer], stride: int, count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Give the cells before and after each place of an axis, and the share (N, 1) of the latter."""
    exact = np.clip((places + 0.5) / stride - 0.5, 0, count - 1)
    before = exact.astype(np.intp)
    return before, np.minimum(before + 1, count - 1), (exact - before).astype(np.float32)[:, None]


def probability_maps(
    probe: Linear,
    cells: NDArray[np.floating],
    stride: int,
    shape: tuple[int, int],
) -> NDArray[np.float32]:
    """Apply a probe to every pixel of an image.

    Parameters
    ----------
    probe : Linear
        For the features of a cell.
    cells : ndarray of float, (Yg, Xg, D)
        Stored features.
    stride : int
        Pixels per cell and axis.
    shape : tuple of int
        (Y, X) of the image.

    Returns
    -------
    ndarray of float32, (K, Y, X)
        Sums to 1 over the classes.

    Raises
    ------
    EmbeddingError
        If the grid does not fit the image.
    """
    height, width = shape
    check_grid("the image", cells, stride, shape)
    weight = np.ascontiguousarray(probe.weight.T)
    coarse = np.empty((len(probe.values), *cells.shape[:2]), np.float32)
    for row in range(0, len(cells), _ROWS):
        block = cells[row : row + _ROWS].astype(np.float32)
        coarse[:, row : row + _ROWS] = np.moveaxis(block @ weight, -1, 0)
    size = (cells.shape[1] * stride, cells.shape[0] * stride)  # OpenCV wants (x, y)
    logits = np.stack([cv2.resize(part, size)[:height, :width] for part in coarse])
    logits += probe.bias[:, None, None]
    return softmax(logits, axis=0)


def check_grid(name: str, cells: NDArray[np.floating], stride: int, shape: tuple[int, ...]) -> None:
    """Raise an `EmbeddingError` if the features (Yg, Xg, D) of an image are not those of its shape (Y, X)."""
    expected = tuple(-(-side // stride) for side in shape)
    if cells.shape[:2] != expected:
        raise EmbeddingError(
            f"The features of {name} have {cells.shape[0]} x {cells.shape[1]} cells; {shape[0]} x {shape[1]} pixels at"
            f" stride {stride} have {expected[0]} x {expected[1]}.",
            advice="The image has changed since they were made: make them again.",
        )


def spread_of(cells: NDArray[np.floating]) -> NDArray[np.float32]:
    """Give what the features of an image are divided by, (D,): the same number for all.

    They are principal components, whose order of importance stays: the penalty falls on those that hardly vary, in
    which a few strokes tell nothing. And it is a number of the image, not of the strokes: what happens to vary little
    under them would else weigh most.
    """
    every = max(1, round((cells.shape[0] * cells.shape[1] / _SPREAD_CELLS) ** 0.5))
    some = cells[::every, ::every].astype(np.float32)
    return np.full(cells.shape[-1], some.std((0, 1)).max(initial=0), np.float32)
