"""Views: where a patch lies in its image, and what its intensities look like.

A `View` knows its coordinates: the same view applied to an image and to any map over that image
(a mask, a pseudo-label) keeps them aligned. Drawing a view is separate from applying it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pixel = TypeVar("Pixel", bound=np.integer | np.floating)

__all__ = ["View", "change_intensity", "cut", "draw_view"]


@dataclass(frozen=True)
class View:
    """A square window of an image, resampled to ``size x size`` pixels.

    Attributes
    ----------
    matrix : ndarray of shape (2, 3)
        Maps view pixel centres (x, y, 1) to image pixel centres (x, y).
    size : int
        Side of the view, pixels.
    """

    matrix: NDArray[np.float64]
    size: int


def draw_view(
    rng: np.random.Generator,
    shape: tuple[int, int],
    size: int,
    *,
    crop: tuple[float, float] = (0.5, 1.0),
    flips: bool = True,
    rotations: bool = True,
    centre: tuple[float, float] | None = None,
) -> View:
    """Draw a random crop-resize with flips and quarter turns.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    shape : tuple of int
        Image height and width, pixels.
    size : int
        Side of the view, pixels.
    crop : tuple of float
        Range of the crop's area. The middle of the range is shown at the image's own scale, so
        that a network trained on views works on unscaled images.
    flips, rotations : bool
        Whether to mirror and to turn by multiples of 90 degrees.
    centre : tuple of float, optional
        (y, x) of an image pixel that must lie inside the view; random otherwise.
    """
    height, width = shape
    scale = np.sqrt(rng.uniform(*crop) / (sum(crop) / 2))  # image pixels per view pixel
    side = scale * size
    turns = int(rng.integers(4)) if rotations else 0
    mirror = bool(rng.integers(2)) if flips else False
    offsets = rng.uniform(size=2)
    if centre is None:
        # Windows larger than the image are centred on it; the border is mirrored.
        cy, cx = (
            side / 2 + u * (n - side) if n > side else n / 2
            for u, n in zip(offsets, (height, width), strict=True)
        )
    else:
        cy, cx = (
            float(
                np.clip(c + (u - 0.5) * side * 0.8, min(side / 2, n / 2), max(n - side / 2, n / 2))
            )
            for c, u, n in zip(centre, offsets, (height, width), strict=True)
        )
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns]
    linear = scale * np.array([[cos, -sin], [sin, cos]], dtype=np.float64)
    if mirror:
        linear[:, 0] *= -1
    middle = (size - 1) / 2
    shift = np.array([cx - 0.5, cy - 0.5]) - linear @ np.array([middle, middle])
    return View(matrix=np.column_stack([linear, shift]), size=size)


def cut(array: NDArray[Pixel], view: View, *, labels: bool = False) -> NDArray[Pixel]:
    """Resample an image or a label map at a view.

    Parameters
    ----------
    array : ndarray
        ``(Y, X)`` or ``(C, Y, X)``; float32 for images, uint8, uint16 or int16 for labels.
    view : View
        Where.
    labels : bool
        Nearest neighbour instead of linear interpolation.

    Returns
    -------
    ndarray
        ``(size, size)`` or ``(C, size, size)``, same dtype. Outside the image it is mirrored.
    """
    flags = (cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP

    def warp(plane: NDArray[Pixel]) -> NDArray[Pixel]:
        warped = cv2.warpAffine(
            plane,
            view.matrix,
            (view.size, view.size),
            flags=flags,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return warped.astype(plane.dtype, copy=False)

    return warp(array) if array.ndim == 2 else np.stack([warp(plane) for plane in array])


def change_intensity(
    rng: np.random.Generator, image: NDArray[np.float32], *, strength: float = 0.2
) -> NDArray[np.float32]:
    """Change brightness and contrast by up to `strength`.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    image : ndarray of shape (C, Y, X)
        Values in [0, 1].
    strength : float
        Contrast factor in ``1 +- strength``, brightness offset in ``+- strength`` (of the value range).

    Returns
    -------
    ndarray of shape (C, Y, X)
        Not clipped.
    """
    contrast, brightness = rng.uniform(-strength, strength, size=2).astype(np.float32)
    mean = image.mean(dtype=np.float32)
    changed: NDArray[np.float32] = (image - mean) * (1 + contrast) + mean + brightness
    return changed
