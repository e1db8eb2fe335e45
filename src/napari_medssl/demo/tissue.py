"""The real image of the demo: colon glands, with outlines and brush strokes of our own.

The image is ``skimage.data.immunohistochemistry`` (FHL2 stained brown, nuclei blue; Center for
Microscopy and Molecular Imaging, no known copyright restrictions), which scikit-image carries
inside its package. It comes without truth. The outlines below were drawn by hand for this demo, a
few pixels exact; a band along them and the hollows of the glands therefore count as not annotated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CLASSES", "TILE", "strokes", "tile_names", "tiles", "truth"]

TILE = 256
"""Side of the pieces that the image is cut into: one piece is one image of the project."""

CLASSES = ("background", "gland")

# Curves are written as in SVG: "x,y x,y ...", in pixels of the whole image.

_GLANDS = (
    "0,0 238,0 246,30 256,60 262,90 268,120 273,145 272,170 268,195 258,225 245,240 "
    "225,252 200,260 175,256 165,248 150,240 125,230 100,219 72,214 62,208 50,195 "
    "30,170 12,155 0,145",
    "238,0 420,0 428,20 436,50 445,90 455,130 458,165 455,195 450,225 440,255 432,280 "
    "424,292 412,297 400,290 380,283 360,277 345,262 325,240 310,222 300,200 290,180 "
    "282,155 275,138 268,115 256,60",
    "0,155 12,170 35,183 60,205 75,217 90,238 105,262 118,288 130,310 143,330 150,355 "
    "157,385 158,420 157,460 156,490 158,511 40,511 42,480 45,450 38,430 44,405 "
    "48,380 50,350 48,328 35,310 18,285 0,272",
    "287,300 300,312 325,320 348,335 370,345 380,370 382,400 380,440 375,470 370,500 "
    "355,505 320,511 305,500 290,475 275,450 262,425 255,395 252,365 255,340 268,318",
)

_HOLLOWS = (
    "50,0 82,0 74,14 60,14",
    "135,0 168,0 172,40 192,72 182,116 165,95 135,30",
    "272,0 286,0 298,30 312,60 328,85 350,105 364,130 378,155 388,182 380,198 363,187 "
    "347,165 332,140 317,112 303,78 290,45",
    "98,408 112,408 112,428 98,428",
)

_BAND = 9
"""Width of the band along the outlines that is not annotated, pixels."""

_STROKES = {
    "background": (
        "150,285 190,330 215,400 200,460 230,500",
        "12,320 20,370 12,430 18,490",
        "118,240 146,251",
    ),
    "gland": (
        "95,300 110,350 95,395 115,450 90,500",
        "30,40 100,130 140,215",
    ),
}
"""What a person would paint in the two pieces on the left, less than a minute's work."""

_BRUSH = 9


def tiles() -> dict[str, NDArray[np.uint8]]:
    """Give the image in pieces, (Y, X, 3), by file name."""
    from skimage import data

    return _cut(data.immunohistochemistry())


def truth() -> dict[str, NDArray[np.uint16]]:
    """Give our outlines in pieces: 0 not annotated, 1 background, 2 gland."""
    labels = np.ones((2 * TILE, 2 * TILE), np.uint8)
    glands = [_curve(points) for points in _GLANDS]
    for points in glands:
        cv2.fillPoly(labels, [points], 2)
    cv2.polylines(labels, glands, isClosed=True, color=0, thickness=_BAND)
    for hollow in _HOLLOWS:
        cv2.fillPoly(labels, [_curve(hollow)], 0)
    return _cut(labels.astype(np.uint16))


def strokes() -> dict[str, NDArray[np.uint16]]:
    """Give the brush strokes in pieces, only the pieces that have any."""
    labels = np.zeros((2 * TILE, 2 * TILE), np.uint8)
    for value, name in enumerate(CLASSES, start=1):
        for points in _STROKES[name]:
            curve = [_curve(points)]
            cv2.polylines(labels, curve, isClosed=False, color=value, thickness=_BRUSH)
    return {name: piece for name, piece in _cut(labels.astype(np.uint16)).items() if piece.any()}


def tile_names() -> tuple[str, ...]:
    """Give the file names of the pieces, row by row."""
    return tuple(f"tissue_{row}{column}.png" for row in "ab" for column in "12")


def _curve(points: str) -> NDArray[np.int32]:
    return np.array([point.split(",") for point in points.split()], np.int32)  # (N, 2) of x, y


def _cut(whole: NDArray[Any]) -> dict[str, NDArray[Any]]:
    corners = [(y, x) for y in (0, TILE) for x in (0, TILE)]
    return {
        name: np.ascontiguousarray(whole[y : y + TILE, x : x + TILE])
        for name, (y, x) in zip(tile_names(), corners, strict=True)
    }
