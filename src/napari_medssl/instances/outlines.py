"""Outlines of objects, for drawing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

__all__ = ["outlines"]


def outlines(labels: NDArray[np.integer[Any]], ids: Collection[int]) -> list[NDArray[np.float64]]:
    """Give the closed outlines of objects, along the middles of their outermost pixels.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        Ids; 0 is no object.
    ids : collection of int
        Whose outlines; those that do not occur have none.

    Returns
    -------
    list of ndarray of float, (N, 2)
        Corners (y, x), pixels, the first one again at the end; one array per piece and per hole.
    """
    found = []
    boxes = ndimage.find_objects(labels, max_label=max(ids, default=0))
    for number in ids:
        box = boxes[number - 1] if number > 0 else None
        if box is None:
            continue
        mask = (labels[box] == number).astype(np.uint8)
        pieces, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        origin = (box[0].start, box[1].start)
        for piece in pieces:
            corners = np.asarray(piece, np.float64)[:, 0, ::-1] + origin  # OpenCV gives (x, y)
            found.append(np.concatenate([corners, corners[:1]]))
    return found
