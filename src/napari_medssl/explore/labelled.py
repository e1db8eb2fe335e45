"""Features of annotated pixels, with their class: for whatever asks how classes lie in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "MOST_IMAGES",
    "LabelledCells",
    "cells_of",
    "evenly",
    "joined",
    "labelled_cells",
]

PIXELS_PER_IMAGE = 2000
MOST_IMAGES = 40
"""Of more annotated images, so many are looked at: take them by `evenly`."""


class LabelledCells(NamedTuple):
    """Features of pixels, one row each."""

    features: NDArray[np.float32]
    """(N, D)."""
    values: NDArray[np.int64]
    """(N,): the label of each."""
    images: NDArray[np.int64]
    """(N,): the number of the image that each lies in, from 0 on."""
    groups: NDArray[np.int64]
    """(N,): the number of the group of that image, from 0 on: what some teach is tested on others."""


def evenly(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Give at most so many of the names, evenly spread."""
    if len(names) <= count:
        return tuple(names)
    return tuple(names[i * len(names) // count] for i in range(count))


def cells_of(
    grid: NDArray[np.floating],
    stride: int,
    labels: NDArray[np.integer],
    *,
    pixels: int = PIXELS_PER_IMAGE,
    rng: np.random.Generator,
) -> LabelledCells:
    """Draw annotated pixels of one image and read their features.

    Parameters
    ----------
    grid : ndarray of float, (Y / stride, X / stride, D)
        The features.
    stride : int
        Pixels per cell.
    labels : ndarray of integers, (Y, X)
        0 is not annotated.
    pixels : int
        At most so many.
    rng : Generator
        Which.
    """
    ys, xs = np.nonzero(labels)
    chosen = rng.permutation(len(ys))[:pixels]
    ys, xs = ys[chosen], xs[chosen]
    nothing = np.zeros(len(ys), np.int64)
    features = grid[ys // stride, xs // stride].astype(np.float32)
    return LabelledCells(features, labels[ys, xs].astype(np.int64), nothing, nothing)


def joined(
    parts: Mapping[str, LabelledCells], groups: Mapping[str, str] | None = None
) -> LabelledCells:
    """Put the cells of several images together.

    Parameters
    ----------
    parts : mapping of str to LabelledCells
        Image -> its cells, by `cells_of`; those without any take no part.
    groups : mapping of str to str, optional
        Image -> group, such as `units_of` gives; an image without one is a group of its own.
    """
    found = {name: part for name, part in parts.items() if len(part.values)}
    if not found:
        none = np.empty(0, np.int64)
        return LabelledCells(np.empty((0, 0), np.float32), none, none, none)
    sizes = [len(part.values) for part in found.values()]
    names = [(groups or {}).get(name, name) for name in found]
    group = np.unique(names, return_inverse=True)[1].astype(np.int64)
    return LabelledCells(
        np.concatenate([part.features for part in found.values()]),
        np.concatenate([part.values for part in found.values()]),
        np.repeat(np.arange(len(sizes)), sizes),
        np.repeat(group, sizes),
    )


def labelled_cells(
    grid: Callable[[str], tuple[NDArray[np.floating], int] | None],
    labels: Iterable[tuple[str, NDArray[np.integer]]],
    *,
    groups: Mapping[str, str] | None = None,
    pixels: int = PIXELS_PER_IMAGE,
    seed: int = 0,
) -> LabelledCells:
    """Draw annotated pixels of several images and read their features.

    Parameters
    ----------
    grid : callable
        Gives the features of an image by its name, ``(Y / stride, X / stride, D)``, and the stride; None where there
        are none.
    labels : iterable of (str, ndarray of shape (Y, X))
        Image names and label values; 0 is not annotated. Images that lack labels or features take no part.
    groups : mapping of str to str, optional
        Image -> group, such as `units_of` gives; an image without one is a group of its own.
    pixels : int
        At most so many of each image.
    seed : int
        Which pixels.
    """
    rng = np.random.default_rng(seed)
    parts = {}
    for name, label in labels:
        found = grid(name) if label.any() else None
        if found is not None:
            parts[name] = cells_of(*found, label, pixels=pixels, rng=rng)
    return joined(parts, groups)
