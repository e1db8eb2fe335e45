"""What a probe learns from: annotated pixels of an image, with their features and the filters of the image there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.explore.probe_features import check_grid, features_at, filtered, spread_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["ProbePixels", "probe_pixels"]


class ProbePixels(NamedTuple):
    """What was read of an annotated image."""

    pixels: NDArray[np.float32]
    """(N, D + F): features, then filters; any first part is a fair sample."""
    values: NDArray[np.int64]
    """(N,): the label of each."""
    spread: NDArray[np.float32]
    """(D + F,): what each column is divided by, of the whole image."""
    width: int
    """D."""


def probe_pixels(
    name: str,
    labels: NDArray[np.integer],
    cells: NDArray[np.floating],
    stride: int,
    planes: NDArray[np.float32],
    *,
    sigmas: Sequence[float],
    most: int,
    balanced: bool,
) -> ProbePixels:
    """Draw annotated pixels of an image and read what is seen there.

    Parameters
    ----------
    name : str
        Of the image, for messages.
    labels : ndarray of integers, (Y, X)
        0 is not annotated.
    cells : ndarray of float, (Y / stride, X / stride, D)
        Stored features.
    stride : int
        Pixels per cell and axis.
    planes : ndarray of float32, (C, Y, X)
        The image.
    sigmas : sequence of float
        Widths of its filters, as for `probe_features.filtered`.
    most : int
        Pixels at most.
    balanced : bool
        Whether equally many of each class are drawn, as long as there are any.

    Raises
    ------
    MedsslError
        If labels or features are not of the image's size.
    """
    if labels.shape != planes.shape[1:]:
        raise MedsslError(
            f"The labels of {name} have shape {labels.shape}, the image has {planes.shape[1:]}.",
            advice="The image was replaced: bring it back, or delete its labels.",
        )
    check_grid(name, cells, stride, labels.shape)
    ys, xs, values = _chosen(labels, most=most, balanced=balanced)
    columns = [features_at(cells, stride, ys, xs)]
    spread = [spread_of(cells)]
    for part in filtered(planes, sigmas):
        columns.append(part[ys, xs, None])
        spread.append(part.std(keepdims=True)[0])
    return ProbePixels(
        np.concatenate(columns, axis=1), values, np.concatenate(spread), cells.shape[-1]
    )


def _chosen(
    labels: NDArray[np.integer], *, most: int, balanced: bool
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int64]]:
    """Choose annotated pixels, (N,) each: y, x and label, in an order in which any first part is a fair sample.

    Of balanced classes every first part has equally many pixels, as long as there are any.
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
    return ys, xs, flat[chosen].astype(np.int64)
