"""The objects of an image in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ObjectRow", "areas", "object_table"]


class ObjectRow(NamedTuple):
    """One object."""

    label: int
    area: int
    """Pixels."""
    centroid: tuple[float, float]
    """(y, x), pixels; of a crescent it lies outside."""
    box: tuple[int, int, int, int]
    """(y0, x0, y1, x1), pixels; the last row and column are y1 - 1 and x1 - 1."""


def areas(labels: NDArray[np.integer[Any]]) -> dict[int, int]:
    """Count the pixels of every object.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        Ids; 0 is no object.

    Returns
    -------
    dict
        Id -> pixels, in the order of ids.
    """
    counts = np.bincount(labels.ravel())
    return {number: int(counts[number]) for number in np.flatnonzero(counts).tolist() if number}


def object_table(labels: NDArray[np.integer[Any]]) -> list[ObjectRow]:
    """List the objects of an image, by id.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        Ids; 0 is no object.
    """
    rows = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        ys, xs = np.nonzero(labels[box] == number)
        y0, x0 = box[0].start, box[1].start
        centre = (y0 + float(ys.mean()), x0 + float(xs.mean()))
        rows.append(ObjectRow(number, len(ys), centre, (y0, x0, box[0].stop, box[1].stop)))
    return rows
