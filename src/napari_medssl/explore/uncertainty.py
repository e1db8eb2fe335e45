"""Where a model hesitates: maps of uncertainty, one number for an image, and the box to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import cv2
import numpy as np

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from napari_medssl.explore.store import EmbeddingStore

__all__ = [
    "Box",
    "Measure",
    "Uncertain",
    "entropy",
    "highest_box",
    "highest_share",
    "margin",
    "uncertain_images",
]

Measure = Literal["entropy", "margin"]
Box = tuple[int, int, int, int]
"""(y0, x0, y1, x1), pixels."""

SHARE = 0.1
"""Of an image: its uncertainty is the mean over so much of it, the most uncertain part."""
BOX = 0.25
"""Side of a box over the shorter side of its image."""
SMALLEST_BOX = 64
"""Pixels; in smaller images the box is the image."""


class Uncertain(NamedTuple):
    """How uncertain a model is about an image, and where most."""

    image: str
    value: float
    """0 to 1: the mean over the most uncertain part of the image."""
    box: Box

    @classmethod
    def of(
        cls,
        image: str,
        probabilities: NDArray[np.floating],
        *,
        shape: tuple[int, int],
        stride: int = 1,
        measure: Measure = "entropy",
        share: float = SHARE,
    ) -> Uncertain:
        """Measure it from probabilities.

        Parameters
        ----------
        image : str
            Its name.
        probabilities : ndarray of float, (K, Yg, Xg)
            Of each class.
        shape : tuple of int
            (Y, X) of the image.
        stride : int
            Pixels per cell and axis; 1 for probabilities of pixels.
        measure : {"entropy", "margin"}
            Of a cell.
        share : float
            Part of the image, the most uncertain, that is averaged.

        Raises
        ------
        MedsslError
            If the share is not above 0 and at most 1.
        """
        values = entropy(probabilities) if measure == "entropy" else margin(probabilities)
        box = highest_box(values, stride=stride, shape=shape)
        return cls(image, highest_share(values, share), box)


def entropy(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Give the entropy of probabilities ``(K, ...)`` over that of chance: 0 is certain, 1 knows nothing."""
    chances = np.asarray(probabilities, np.float32)
    logs = np.log(np.maximum(chances, np.finfo(np.float32).tiny))
    total: NDArray[np.float32] = -np.einsum("k...,k...->...", chances, logs)
    total /= np.float32(np.log(len(chances)))
    return total


def margin(probabilities: NDArray[np.floating]) -> NDArray[np.float32]:
    """Give 1 minus the lead of the first class over the second, of probabilities ``(K, ...)``: 1 is a tie."""
    ordered = np.partition(np.asarray(probabilities, np.float32), -2, axis=0)
    lead: NDArray[np.float32] = ordered[-1] - ordered[-2]
    return 1 - lead


def highest_share(values: NDArray[np.floating], share: float = SHARE) -> float:
    """Give the mean of the highest values: what is certain of an image, often most of it, does not count.

    Parameters
    ----------
    values : ndarray of float
        Of any shape.
    share : float
        How many of them, above 0 and at most 1.

    Raises
    ------
    MedsslError
        If the share is not in that range.
    """
    if not 0 < share <= 1:
        raise MedsslError(f"share = {share} must be above 0 and at most 1.")
    flat = values.ravel()
    count = max(1, round(share * flat.size))
    return float(np.partition(flat, flat.size - count)[-count:].mean(dtype=np.float64))


def highest_box(
    values: NDArray[np.floating], *, stride: int, shape: tuple[int, int], side: int | None = None
) -> Box:
    """Find the square with the highest mean.

    Parameters
    ----------
    values : ndarray of float, (Yg, Xg)
        One for each cell.
    stride : int
        Pixels per cell and axis.
    shape : tuple of int
        (Y, X) of the image.
    side : int, optional
        Of the square, pixels; a quarter of the image's shorter side by default, and at least 64.

    Returns
    -------
    tuple of int
        (y0, x0, y1, x1), pixels, within the image.
    """
    wanted = side or max(SMALLEST_BOX, round(BOX * min(shape)))
    rows, columns = (min(length, max(1, round(wanted / stride))) for length in values.shape)
    means = cv2.blur(
        np.asarray(values, np.float32),
        (columns, rows),
        anchor=(0, 0),
        borderType=cv2.BORDER_REFLECT,
    )
    inside = means[: values.shape[0] - rows + 1, : values.shape[1] - columns + 1]
    row, column = (int(part) for part in np.unravel_index(int(inside.argmax()), inside.shape))
    y1, x1 = min(shape[0], (row + rows) * stride), min(shape[1], (column + columns) * stride)
    return row * stride, column * stride, y1, x1


def uncertain_images(
    store: EmbeddingStore,
    probabilities: Callable[[NDArray[np.float32]], NDArray[np.floating]],
    *,
    names: Iterable[str] | None = None,
    measure: Measure = "entropy",
    share: float = SHARE,
) -> Iterator[Uncertain]:
    """Measure how uncertain a model is about images, from their stored features.

    Parameters
    ----------
    store : EmbeddingStore
        The folder.
    probabilities : callable
        Maps features ``(N, D)`` to probabilities ``(N, K)``: `Linear.probabilities`.
    names : iterable of str, optional
        Images to look at, in that order; all by default.
    measure : {"entropy", "margin"}
        Of a cell.
    share : float
        Part of an image, the most uncertain, that is averaged.

    Yields
    ------
    Uncertain
        For each image as soon as it is known, so that it can be left at any time.

    Raises
    ------
    EmbeddingError
        If an image is not stored, or its file cannot be read.
    """
    for name in store.names if names is None else names:
        rows, columns = store.read(name).shape[:2]
        chances = probabilities(store.flat(name)).T.reshape(-1, rows, columns)
        yield Uncertain.of(
            name,
            chances,
            shape=store.shape(name),
            stride=store.stride,
            measure=measure,
            share=share,
        )
