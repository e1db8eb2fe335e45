"""Features of annotated pixels, with their class: for whatever asks how classes lie in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

__all__ = ["MOST_IMAGES", "LabelledCells", "labelled_cells"]

PIXELS_PER_IMAGE = 2000
MOST_IMAGES = 40


class LabelledCells(NamedTuple):
    """Features of pixels, one row each."""

    features: NDArray[np.float32]
    """(N, D)."""
    values: NDArray[np.int64]
    """(N,): the label of each."""
    groups: NDArray[np.int64]
    """(N,): the number of the image that each lies in, from 0 on."""


def labelled_cells(
    grid: Callable[[str], tuple[NDArray[np.floating], int] | None],
    labels: Iterable[tuple[str, NDArray[np.integer]]],
    *,
    pixels: int = PIXELS_PER_IMAGE,
    seed: int = 0,
) -> LabelledCells:
    """Draw annotated pixels and read their features.

    Parameters
    ----------
    grid : callable
        Gives the features of an image by its name, ``(Y / stride, X / stride, D)``, and the stride; None where there
        are none.
    labels : iterable of (str, ndarray of shape (Y, X))
        Image names and label values; 0 is not annotated. The first 40 that have both labels and features are used.
    pixels : int
        At most so many of each image.
    seed : int
        Which pixels.
    """
    rng = np.random.default_rng(seed)
    features: list[NDArray[np.float32]] = []
    values: list[NDArray[np.int64]] = []
    groups: list[NDArray[np.int64]] = []
    for name, label in labels:
        if len(groups) == MOST_IMAGES:
            break
        found = grid(name)
        if found is None:
            continue
        ys, xs = np.nonzero(label)
        if not len(ys):
            continue
        chosen = rng.permutation(len(ys))[:pixels]
        ys, xs = ys[chosen], xs[chosen]
        cells, stride = found
        features.append(cells[ys // stride, xs // stride].astype(np.float32))
        values.append(label[ys, xs].astype(np.int64))
        groups.append(np.full(len(ys), len(groups)))
    if not groups:
        nothing = np.empty(0, np.int64)
        return LabelledCells(np.empty((0, 0), np.float32), nothing, nothing)
    return LabelledCells(np.concatenate(features), np.concatenate(values), np.concatenate(groups))
