"""A picture of views: their frames on the image, the views beside it, and points that belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medssl.learn.augment import View

__all__ = ["beside"]

GAP = 4
_SUBPIXEL = 4
"""Bits after the point in the coordinates that OpenCV draws with."""


def beside(
    shape: tuple[int, int],
    views: Sequence[tuple[View, NDArray[np.float32], NDArray[np.float64]]],
) -> NDArray[np.uint8]:
    """Draw views to the right of an image, and their frames where the image is.

    All but views, frames and points is transparent: the image stays visible under it.

    Parameters
    ----------
    shape : tuple of int
        Height and width of the image, pixels.
    views : sequence of (View, ndarray of shape (C, S, S), ndarray of shape (N, 2))
        Where each view lies, what it shows (values in [0, 1]), and points (x, y) in it. Point n of every view
        has the same colour.

    Returns
    -------
    ndarray of shape (Y, X, 4), uint8
        RGBA; at least as high as the image, and wider.
    """
    height, width = shape
    side = max(height // len(views) - GAP, 96)
    canvas = np.zeros((max(height, len(views) * (side + GAP)), width + GAP + side, 4), np.uint8)
    over = np.zeros((height, width, 3), np.uint8)
    thickness = max(1, round(max(shape) / 300))
    for number, (view, planes, points) in enumerate(views):
        colours = _colours(len(points))
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * view.size - 0.5
        frame = _fixed(_mapped(corners, view))
        tint = (255, 255, 255) if number == 0 else (255, 220, 0)
        cv2.polylines(over, [frame], True, tint, thickness, cv2.LINE_AA, _SUBPIXEL)
        panel = _rgb(planes, side)
        zoom = side / view.size
        _dots(panel, (points + 0.5) * zoom - 0.5, colours, max(2, side // 48))
        cv2.rectangle(panel, (0, 0), (side - 1, side - 1), tint, 1)
        top = number * (side + GAP)
        canvas[top : top + side, width + GAP :] = np.dstack(
            [panel, np.full_like(panel[..., 0], 255)]
        )
        if number == 0:
            _dots(over, _mapped(points, view), colours, max(2, thickness + 1))
    canvas[:height, :width] = np.dstack([over, np.where(over.any(-1), 255, 0).astype(np.uint8)])
    return canvas


def _mapped(points: NDArray[np.float64], view: View) -> NDArray[np.float64]:
    mapped: NDArray[np.float64] = points @ view.matrix[:, :2].T + view.matrix[:, 2]
    return mapped


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.round(points * 2**_SUBPIXEL).astype(np.int32)
    return fixed


def _rgb(planes: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    shown = planes if len(planes) == 3 else np.repeat(planes.mean(0, keepdims=True), 3, axis=0)
    sized = cv2.resize(np.clip(shown, 0, 1).transpose(1, 2, 0), (side, side))
    return (sized * 255).astype(np.uint8)


def _colours(count: int) -> list[tuple[int, int, int]]:
    """Give colours evenly around the circle."""
    hue = (np.arange(count) * 180 // max(1, count)).astype(np.uint8)
    hsv = np.stack([hue, np.full_like(hue, 220), np.full_like(hue, 255)], axis=1)[np.newaxis]
    return [(int(r), int(g), int(b)) for r, g, b in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]]


def _dots(
    picture: NDArray[np.uint8],
    points: NDArray[np.float64],
    colours: list[tuple[int, int, int]],
    radius: int,
) -> None:
    for (x, y), colour in zip(_fixed(points).tolist(), colours, strict=True):
        cv2.circle(picture, (x, y), radius << _SUBPIXEL, colour, -1, cv2.LINE_AA, _SUBPIXEL)
