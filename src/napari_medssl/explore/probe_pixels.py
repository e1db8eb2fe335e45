"""What a probe learns from: annotated pixels of an image, with their features."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medssl.explore.probe_features import check_grid, features_at, spread_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Chosen", "ProbePixels", "chosen_pixels", "probe_pixels"]


class Chosen(NamedTuple):
    """Annotated pixels of an image, (N,) each, in an order in which any first part is a fair sample."""

    shape: tuple[int, ...]
    """(Y, X) of the image."""
    ys: NDArray[np.intp]
    xs: NDArray[np.intp]
    values: NDArray[np.int64]
    """The label of each."""


class ProbePixels(NamedTuple):
    """What was read of an annotated image."""

    pixels: NDArray[np.float32]
    """(N, D): features; any first part is a fair sample."""
    values: NDArray[np.int64]
    """(N,): the label of each."""
    spread: NDArray[np.float32]
    """(D,): what each feature is divided by, of the whole image."""


def chosen_pixels(labels: NDArray[np.integer], *, most: int, balanced: bool) -> Chosen:
    """Choose annotated pixels of an image.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        0 is not annotated.
    most : int
        Pixels at most.
    balanced : bool
        Whether every first part has equally many of each class, as long as there are any.
    """
    rng = np.random.default_rng(0)
    flat = labels.ravel()
    if balanced:
        places = [np.flatnonzero(flat == value) for value in np.unique(flat) if value]
    else:
        places = [np.flatnonzero(flat)]
    drawn = [rng.permutation(own)[:most] for own in places]
    turns = np.concatenate([np.arange(len(own)) for own in drawn]) if drawn else np.empty(0)
    chosen = np.concatenate([np.empty(0, np.intp), *drawn])[np.argsort(turns, kind="stable")][:most]
    ys, xs = np.unravel_index(chosen, labels.shape)
    return Chosen(labels.shape, ys, xs, flat[chosen].astype(np.int64))


def probe_pixels(
    name: str, chosen: Chosen, cells: NDArray[np.floating], stride: int
) -> ProbePixels:
    """Read the features of annotated pixels.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    chosen : Chosen
        The pixels.
    cells : ndarray of float, (Y / stride, X / stride, D)
        Stored features.
    stride : int
        Pixels per cell and axis.

    Raises
    ------
    EmbeddingError
        If the features are not of the image's size.
    """
    check_grid(name, cells, stride, chosen.shape)
    features = features_at(cells, stride, chosen.ys, chosen.xs)
    return ProbePixels(features, chosen.values, spread_of(cells))
