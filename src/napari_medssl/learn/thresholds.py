"""Thresholds: grey images to pseudo-labels, without any training. Pure functions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from skimage.filters import threshold_multiotsu, threshold_otsu

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "adaptive_mask",
    "bright_side",
    "clipped",
    "ght_threshold",
    "multi_otsu",
    "otsu_threshold",
    "vote",
]

BINS = 256
REFERENCE_SIDE = 224
"""Side of the images, pixels, for which block sizes are given."""
OUTLIERS = 0.0005
"""Share of the pixels at either end of the range that may be hot or dead ones: 33 of 256 x 256."""
_SMALLEST = 1e-30


def clipped(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Limit a grey image to the range of all but the darkest and the brightest 0.05% of its pixels.

    Every threshold here counts the values in bins from the lowest to the highest: one hot pixel of 65535 would put all
    others into one bin. What is clipped stays on its side, so a bright foreground is kept where it covers more than
    that share.
    """
    last = grey.size - 1
    ends = math.ceil(OUTLIERS * last), math.floor((1 - OUTLIERS) * last)
    low, high = np.partition(grey, ends, axis=None)[list(ends)]
    return np.clip(grey, low, high)


def otsu_threshold(grey: NDArray[np.float32]) -> float:
    """Give Otsu's threshold of a grey image; pixels above it are the bright side.

    Parameters
    ----------
    grey : ndarray of shape (Y, X)
        In any unit.

    Returns
    -------
    float
        In the image's unit; infinity for an image that is constant but for outliers (`clipped`): it has no bright side.

    References
    ----------
    Otsu 1979, as in scikit-image, with 256 bins over the range of `clipped`; MedSASS section 3.3.3.
    """
    grey = clipped(grey)
    if grey.min() == grey.max():
        return float("inf")
    return float(threshold_otsu(grey, nbins=BINS))


def ght_threshold(
    grey: NDArray[np.float32],
    *,
    nu: float = 0.0,
    tau: float = 0.0,
    kappa: float = 0.0,
    omega: float = 0.5,
) -> float:
    """Give the threshold of generalized histogram thresholding; pixels above it are the bright side.

    Parameters
    ----------
    grey : ndarray of shape (Y, X)
        In any unit; a histogram of 256 bins over its range (`clipped`) is looked at.
    nu : float
        Strength of the belief that both sides have the standard deviation `tau`. 0 is minimum-error thresholding,
        infinity with `tau` near 0 is Otsu's.
    tau : float
        That standard deviation, in bins.
    kappa : float
        Strength of the belief about the share of the dark side, in pixels.
    omega : float
        That share, in [0, 1].

    Returns
    -------
    float
        In the image's unit; infinity for an image that is constant but for outliers (`clipped`).

    References
    ----------
    Barron, "A Generalization of Otsu's Method and Minimum Error Thresholding", ECCV 2020, equations 12 to 21.
    """
    grey = clipped(grey)
    low, high = float(grey.min()), float(grey.max())
    if low == high:
        return float("inf")
    counts, edges = np.histogram(grey, bins=BINS, range=(low, high))
    counts, x = counts.astype(np.float64), np.arange(BINS, dtype=np.float64)

    def score(order: slice, share: float) -> NDArray[np.float64]:
        """Say how well a normal distribution fits the bins from one end up to each of them."""
        n, at = counts[order], x[order]
        weight = np.maximum(np.cumsum(n), _SMALLEST)
        part = weight / counts.sum()
        mean = np.cumsum(n * at) / weight
        scatter = np.maximum(np.cumsum(n * at**2) - weight * mean**2, 0)
        variance = np.maximum((part * nu * tau**2 + scatter) / (part * nu + weight), _SMALLEST)
        fit = -scatter / variance - weight * np.log(variance)
        return np.asarray(fit + 2 * (weight + kappa * share) * np.log(weight))

    forwards, backwards = slice(None), slice(None, None, -1)
    total = score(forwards, omega)[:-1] + score(backwards, 1 - omega)[::-1][1:]
    best = np.flatnonzero(total == total.max()).mean()  # in the middle of equally good ones
    edge = np.interp(best + 1, np.arange(BINS + 1), edges)  # the upper one of the last dark bin
    return float(grey[grey < edge].max())


def adaptive_mask(
    grey: NDArray[np.float32],
    *,
    kind: Literal["mean", "gaussian"],
    block: int = 51,
    offset: float = 2.0,
) -> NDArray[np.uint8]:
    """Give the pixels brighter than their neighbourhood's mean less an offset, as 0 and 1.

    Parameters
    ----------
    grey : ndarray of shape (Y, X)
        In any unit.
    kind : {"mean", "gaussian"}
        How the neighbourhood is weighted.
    block : int
        Side of the neighbourhood in an image of 224 pixels; grows with the image's shorter side.
    offset : float
        In 1/255 of the image's range (`clipped`).

    References
    ----------
    OpenCV's ``adaptiveThreshold``, on floating point numbers.
    """
    grey = clipped(grey)
    low, high = float(grey.min()), float(grey.max())
    if low == high:
        return np.zeros(grey.shape, np.uint8)
    side = max(3, round(block * min(grey.shape) / REFERENCE_SIDE)) | 1  # odd
    if kind == "mean":
        local = cv2.blur(grey, (side, side), borderType=cv2.BORDER_REPLICATE)
    else:  # a width of 0 is OpenCV's rule for a kernel of this size
        local = cv2.GaussianBlur(grey, (side, side), 0, borderType=cv2.BORDER_REPLICATE)
    return (grey > local - offset * (high - low) / 255).astype(np.uint8)


def multi_otsu(grey: NDArray[np.float32], classes: int) -> NDArray[np.uint8]:
    """Give the class of each pixel, from dark (0) to bright (`classes` - 1), by Otsu's method for several.

    An image of fewer grey values than classes has one class for each of its values.
    """
    grey = clipped(grey)
    values = np.unique(grey)
    if len(values) <= classes:
        return np.searchsorted(values, grey).astype(np.uint8)
    return np.digitize(
        grey, threshold_multiotsu(grey, classes=classes, nbins=BINS), right=True
    ).astype(np.uint8)


def bright_side(grey: NDArray[np.float32], threshold: float) -> NDArray[np.uint8]:
    """Give the pixels above a threshold as 0 and 1, same shape."""
    return (grey > threshold).astype(np.uint8)


def vote(masks: list[NDArray[np.uint8]]) -> Literal["bright", "dark"]:
    """Say which side of the threshold is the foreground of a folder.

    For every image, the side that covers the smaller share of the image border votes for itself; where
    both cover the same, the smaller side does.

    Parameters
    ----------
    masks : list of ndarray of shape (Y, X)
        The bright sides, as 0 and 1; one-sided masks do not vote.
    """
    votes = 0
    for mask in masks:
        area = float(mask.mean())
        if area in (0.0, 1.0):
            continue
        rim = float(np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]).mean())
        votes += 1 if (rim, area) < (1 - rim, 1 - area) else -1
    return "dark" if votes < 0 else "bright"
