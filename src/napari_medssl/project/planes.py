"""Arithmetic on planes ``(C, Y, X)``: channels, grey, normalisation. No files here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["is_colour", "limits", "luminance", "rescale", "to_channels"]

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def to_channels(image: NDArray[Any], count: int) -> NDArray[Any]:
    """Give an image the project's channels.

    Parameters
    ----------
    image : ndarray, (1 or 3, Y, X)
        As `decode` gives it.
    count : int
        1: colour becomes luminance (or one of three equal channels, unchanged). 3: grey is repeated.
    """
    if len(image) == count:
        return image
    if count == 3:
        return np.repeat(image, 3, axis=0)
    if is_colour(image):
        return luminance(image)[np.newaxis]
    return image[:1]


def is_colour(image: NDArray[Any]) -> bool:
    """Tell whether the channels of an image (C, Y, X) differ anywhere."""
    return len(image) == 3 and not (
        np.array_equal(image[0], image[1]) and np.array_equal(image[0], image[2])
    )


def luminance(image: NDArray[Any]) -> NDArray[np.float32]:
    """Turn (1 or 3, Y, X) into grey (Y, X): 0.299 R + 0.587 G + 0.114 B."""
    if not is_colour(image):
        return np.asarray(image[0], np.float32)
    return np.tensordot(_LUMINANCE, image.astype(np.float32, copy=False), axes=1)


def limits(plane: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Give the grey values that normalisation maps to 0 and 1.

    Parameters
    ----------
    plane : ndarray, (Y, X)
        One channel as stored.
    low, high : float
        Percentiles.

    Returns
    -------
    tuple of float
        Where both percentiles meet (a few bright spots on nothing), the extremes instead; equal only for a
        constant plane.
    """
    if plane.dtype in (np.uint8, np.uint16):
        bottom, top = _counted_percentiles(plane, low, high)
    else:
        bottom, top = (float(value) for value in np.percentile(plane, (low, high)))
    if top <= bottom:
        bottom, top = float(plane.min()), float(plane.max())
    return bottom, top


def rescale(plane: NDArray[Any], bottom: float, top: float) -> NDArray[np.float32]:
    """Map `bottom` to 0 and `top` to 1 and clip; a constant plane gives zeros."""
    if top <= bottom:
        return np.zeros(plane.shape, np.float32)
    scaled = plane.astype(np.float32)
    scaled -= np.float32(bottom)
    scaled /= np.float32(top - bottom)
    return np.clip(scaled, 0.0, 1.0, out=scaled)


def _counted_percentiles(plane: NDArray[Any], low: float, high: float) -> tuple[float, float]:
    """Do what `numpy.percentile` does, by counting: several times faster for 8 and 16 bits."""
    counts = np.bincount(plane.ravel())
    cumulated = np.cumsum(counts)

    def at(rank: int) -> float:
        return float(np.searchsorted(cumulated, rank, side="right"))

    def percentile(q: float) -> float:
        position = q / 100 * (plane.size - 1)
        below = int(position)
        first, second = at(below), at(min(below + 1, plane.size - 1))
        return first + (second - first) * (position - below)

    return percentile(low), percentile(high)
