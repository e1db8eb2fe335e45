"""Many pixels of a Labels layer changed at once: one step, which napari's undo takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Labels
    from numpy.typing import NDArray

__all__ = ["box_of", "change_pixels"]


def box_of(pixels: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Give the smallest rectangle of an image (Y, X) that holds these pixels; an empty one where there are none."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def change_pixels(layer: Labels, values: NDArray[np.integer[Any]]) -> int:
    """Give a layer other values.

    `Labels.data_setitem` does the same from a list of the places of all pixels, which takes seconds and gigabytes for
    millions of them. Here napari's history keeps the rectangle that holds the change, before and after.

    Parameters
    ----------
    layer : napari.layers.Labels
        Of a plane.
    values : ndarray of integers, (Y, X)
        All of its new values.

    Returns
    -------
    int
        Number of pixels that changed.
    """
    data = np.asarray(layer.data)
    changed = data != values
    count = int(np.count_nonzero(changed))
    if not count:
        return 0
    box = box_of(changed)
    new = values[box].astype(data.dtype)
    layer._save_history((box, data[box].copy(), new))  # tells of it, too, as of a stroke
    layer.data[box] = new
    layer.refresh(extent=False, highlight=False)
    return count
