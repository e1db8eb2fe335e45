"""Which part of a large image is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PART", "densest"]

PART = 256
"""Pixels along its sides."""


def densest(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Find the part of an image (Y, X) where most pixels are set; all of a small one."""
    height, width = min(PART, mask.shape[0]), min(PART, mask.shape[1])
    sums = np.pad(mask.astype(np.float64).cumsum(0).cumsum(1), [(1, 0), (1, 0)])
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width]
    inside += sums[:-height, :-width]
    top, left = np.unravel_index(int(inside.argmax()), inside.shape)
    return slice(int(top), int(top) + height), slice(int(left), int(left) + width)
