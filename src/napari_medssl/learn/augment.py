"""Views: where a patch lies in its image, and what its intensities look like.

A `View` knows its coordinates: the same view applied to an image and to any map over that image
(a mask, a pseudo-label) keeps them aligned. Drawing a view is separate from applying it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pixel = TypeVar("Pixel", bound=np.integer | np.floating)

__all__ = [
    "View",
    "add_bias_field",
    "add_noise",
    "between",
    "blur",
    "change_colour",
    "change_gamma",
    "change_intensity",
    "change_strongly",
    "cut",
    "draw_any_view",
    "draw_view",
    "matched_cells",
]


@dataclass(frozen=True)
class View:
    """A square window of an image, resampled to ``size x size`` pixels.

    Attributes
    ----------
    matrix : ndarray of shape (2, 3)
        Maps view pixel centres (x, y, 1) to image pixel centres (x, y).
    size : int
        Side of the view, pixels.
    field : ndarray of float32 of shape (2, size, size), optional
        An elastic deformation: by how much, in view pixels (x, y), each pixel looks aside before `matrix` applies.
    """

    matrix: NDArray[np.float64]
    size: int
    field: NDArray[np.float32] | None = None

    def inside(self, matrix: NDArray[np.float64]) -> View:
        """Give the view whose pixels lie in this view where `matrix` (2, 3) says, in pixel centres."""
        linear = self.matrix[:, :2]
        shift = linear @ matrix[:, 2] + self.matrix[:, 2]
        return View(matrix=np.column_stack([linear @ matrix[:, :2], shift]), size=self.size)


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


def draw_any_view(
    rng: np.random.Generator,
    shape: tuple[int, int],
    size: int,
    *,
    centre: tuple[float, float],
    zoom: tuple[float, float] = (0.7, 1.3),
    shift: float = 0.2,
    elastic: float = 0.03,
) -> View:
    """Draw a view of any rotation and scale, shifted, mirrored and deformed.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    shape : tuple of int
        Image height and width, pixels.
    size : int
        Side of the view, pixels.
    centre : tuple of float
        (y, x) around which an image is viewed that is larger than the view; of one that fits, the middle is taken.
    zoom : tuple of float
        Smallest and largest image pixels per view pixel.
    shift : float
        Largest shift along each axis, as a share of the side.
    elastic : float
        Standard deviation of the displacements of a 4 x 4 grid, as a share of the side, in half of the views.
    """
    scale = float(np.exp(rng.uniform(*np.log(zoom))))
    angle = rng.uniform(-np.pi, np.pi)
    mirror = -1.0 if rng.integers(2) else 1.0
    moved = rng.uniform(-shift, shift, size=2) * size
    middle = [n / 2 if n <= size else c for n, c in zip(shape, centre, strict=True)]
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[mirror * cos, -sin], [mirror * sin, cos]])
    half = (size - 1) / 2
    at = np.array([middle[1] - 0.5, middle[0] - 0.5]) + moved
    field = None
    if rng.integers(2) and elastic > 0:
        grid = rng.normal(0, elastic * size, size=(2, 4, 4)).astype(np.float32)
        field = np.stack([cv2.resize(g, (size, size), interpolation=cv2.INTER_CUBIC) for g in grid])
    matrix = np.column_stack([linear, at - linear @ np.array([half, half])])
    return View(matrix=matrix, size=size, field=field)


def cut(
    array: NDArray[Pixel], view: View, *, labels: bool = False, outside: float | None = None
) -> NDArray[Pixel]:
    """Resample an image or a label map at a view.

    Parameters
    ----------
    array : ndarray
        ``(Y, X)`` or ``(C, Y, X)``; float32 for images, uint8, uint16 or int16 for labels.
    view : View
        Where.
    labels : bool
        Nearest neighbour instead of linear interpolation.
    outside : float, optional
        Value outside the image; mirrored where it is not given.

    Returns
    -------
    ndarray
        ``(size, size)`` or ``(C, size, size)``, same dtype.
    """
    how = cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR
    border: dict[str, Any] = {"borderMode": cv2.BORDER_REFLECT_101}
    if outside is not None:
        border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": outside}
    places = None
    if view.field is not None:
        xs, ys = np.meshgrid(*(np.arange(view.size, dtype=np.float32),) * 2)
        points = np.stack([xs, ys]) + view.field
        linear, shift = view.matrix[:, :2], view.matrix[:, 2]
        places = (np.tensordot(linear, points, axes=1) + shift[:, None, None]).astype(np.float32)

    def warp(plane: NDArray[Pixel]) -> NDArray[Pixel]:
        if places is not None:
            warped = cv2.remap(plane, places[0], places[1], how, **border)
        else:
            size = (view.size, view.size)
            flags = how | cv2.WARP_INVERSE_MAP
            warped = cv2.warpAffine(plane, view.matrix, size, flags=flags, **border)
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


def change_strongly(
    rng: np.random.Generator, image: NDArray[np.float32], *, rgb: bool
) -> NDArray[np.float32]:
    """Change the intensities of an image (C, Y, X) in [0, 1] in all ways that scanners and microscopes do.

    Gamma up to 1.5, contrast and brightness up to .25, hue and saturation (or gain and offset of each channel), and in
    a part of the images blur (sigma up to 1.5) and noise (up to .08).
    """
    changed = image
    if rng.uniform() < 0.5:
        changed = change_gamma(rng, np.clip(changed, 0, 1), strength=0.5)
    changed = change_intensity(rng, changed, strength=0.25)
    if rng.uniform() < 0.5:
        changed = change_colour(rng, changed, strength=0.2, rgb=rgb)
    if rng.uniform() < 0.3:
        changed = blur(rng, changed, sigma=1.5)
    if rng.uniform() < 0.3:
        changed = add_noise(rng, changed, sigma=0.08)
    return changed


def between(start: View, end: View) -> NDArray[np.float64]:
    """Give the matrix (2, 3) from pixel centres (x, y, 1) of one view to those of another of the same image."""
    inverse = np.linalg.inv(end.matrix[:, :2])
    linear = inverse @ start.matrix[:, :2]
    return np.column_stack([linear, inverse @ (start.matrix[:, 2] - end.matrix[:, 2])])


def matched_cells(start: View, end: View, stride: int) -> NDArray[np.int64]:
    """Say which cell of one view shows what each cell of another shows.

    Parameters
    ----------
    start, end : View
        Views of one image; they may overlap in part, be scaled, turned and mirrored.
    stride : int
        Side of a cell, view pixels; cells are numbered row by row.

    Returns
    -------
    ndarray of shape (cells of start,)
        The cell of `end` in which the centre of each cell of `start` lies, -1 where `end` does not show it.
    """
    count = start.size // stride
    centres = stride * np.arange(count) + (stride - 1) / 2
    ys, xs = np.meshgrid(centres, centres, indexing="ij")
    matrix = between(start, end)
    seen = (
        matrix[:, :2] @ np.stack([xs.ravel(), ys.ravel()]) + matrix[:, 2:]
    )  # (2, cells), pixel centres
    columns = end.size // stride
    # A centre on the border of two cells belongs to the second; rounding must not decide which.
    cells = np.floor(np.round((seen + 0.5) / stride, 9)).astype(np.int64)
    inside = ((cells >= 0) & (cells < columns)).all(axis=0)
    return np.where(inside, cells[1] * columns + cells[0], -1)


def change_gamma(
    rng: np.random.Generator, image: NDArray[np.float32], *, strength: float
) -> NDArray[np.float32]:
    """Raise an image in [0, 1] to a power between ``1 / (1 + strength)`` and ``1 + strength``."""
    power = float((1 + strength) ** rng.uniform(-1, 1))
    return np.asarray(cv2.pow(image.ravel(), power), np.float32).reshape(image.shape)


def add_bias_field(
    rng: np.random.Generator, image: NDArray[np.float32], *, strength: float
) -> NDArray[np.float32]:
    """Multiply an image (C, Y, X) by a smooth field, as uneven illumination or a coil does.

    The field is ``exp(strength * g)`` with g interpolated from a 4 x 4 grid of numbers in [-1, 1].
    """
    grid = rng.uniform(-strength, strength, size=(4, 4)).astype(np.float32)
    field = cv2.resize(np.exp(grid), image.shape[:0:-1], interpolation=cv2.INTER_CUBIC)
    changed: NDArray[np.float32] = image * field
    return changed


def blur(
    rng: np.random.Generator, image: NDArray[np.float32], *, sigma: float
) -> NDArray[np.float32]:
    """Blur an image (C, Y, X) by a Gaussian whose width is drawn up to `sigma` pixels."""
    width = rng.uniform(0, sigma)
    if width < 0.1:  # narrower than the pixels
        return image
    return np.stack([cv2.GaussianBlur(plane, (0, 0), width) for plane in image])


def add_noise(
    rng: np.random.Generator, image: NDArray[np.float32], *, sigma: float
) -> NDArray[np.float32]:
    """Add Gaussian noise whose standard deviation is drawn up to `sigma`."""
    level = np.float32(rng.uniform(0, sigma))
    noisy: NDArray[np.float32] = image + level * rng.standard_normal(image.shape, dtype=np.float32)
    return noisy


def change_colour(
    rng: np.random.Generator, image: NDArray[np.float32], *, strength: float, rgb: bool
) -> NDArray[np.float32]:
    """Change hue and saturation of a colour image, or gain and offset of each channel of any other.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    image : ndarray of shape (C, Y, X)
        Values in [0, 1]. A single channel has no colour and stays.
    strength : float
        Saturation factor in ``1 +- strength``; the hue turns by up to a quarter of `strength` of the circle.
        Gain in ``1 +- strength``, offset in ``+- strength / 2``.
    rgb : bool
        Whether the channels are red, green and blue.
    """
    if len(image) == 1:
        return image
    if not rgb:
        gain = rng.uniform(1 - strength, 1 + strength, size=(len(image), 1, 1)).astype(np.float32)
        offset = rng.uniform(-strength, strength, size=gain.shape).astype(np.float32) / 2
        return np.asarray(image * gain + offset, np.float32)
    angle = 2 * np.pi * rng.uniform(-strength, strength) / 4
    factor = rng.uniform(1 - strength, 1 + strength)
    # A turn about the grey axis of YIQ, and a stretch away from it: one matrix for hue and saturation.
    turn = np.array(
        [
            [1, 0, 0],
            [0, factor * np.cos(angle), -factor * np.sin(angle)],
            [0, factor * np.sin(angle), factor * np.cos(angle)],
        ]
    )
    matrix = (np.linalg.inv(_YIQ) @ turn @ _YIQ).astype(np.float32)
    changed: NDArray[np.float32] = np.tensordot(matrix, image, axes=1)
    return changed


_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
