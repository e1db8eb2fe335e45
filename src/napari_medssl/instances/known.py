"""Which objects of an annotated image are known as a whole: training can learn from those alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from napari_medssl.instances.by_class import FOREGROUND

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Known", "known_objects"]


class Known(NamedTuple):
    """What annotations say of objects."""

    objects: NDArray[np.int32]
    """(Y, X): the ids of those that are known as a whole; 0 elsewhere."""
    unknown: NDArray[np.bool_]
    """(Y, X): where it is not known whether a pixel is of an object, or how far its object goes."""


def known_objects(labels: NDArray[np.integer[Any]], objects: NDArray[np.integer[Any]]) -> Known:
    """Tell which objects are known as a whole.

    An object that touches a pixel of which it is not known whether it is of that object (not annotated, or of a class
    but of no object) may go on there: all of it is left out.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        0 = not annotated, 1 = background, 2 and up = classes.
    objects : ndarray of integers, (Y, X)
        Ids; those outside the classes have no meaning.
    """
    own = np.where(labels >= FOREGROUND, objects, 0).astype(np.int32)
    unknown = (labels == 0) | ((labels >= FOREGROUND) & (own == 0))
    beside = cv2.dilate(unknown.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    open_ends = np.unique(own[beside])
    unknown |= np.isin(own, open_ends[open_ends > 0])
    own[unknown] = 0
    return Known(own, unknown)
