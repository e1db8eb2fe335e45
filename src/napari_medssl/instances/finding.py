"""The objects of a predicted image: found in its map of distances, or in its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import ndimage

from napari_medssl.instances.by_class import FOREGROUND, separate_classes
from napari_medssl.instances.watershed import objects_of_distance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.instances.watershed import SeedConfig, SeparateConfig

__all__ = ["How", "find_objects"]

How = Literal["distance", "separate", "connected"]
"""In the map of distances; in the areas of each class, parted at their necks; or each connected area of a class."""


def find_objects(
    labels: NDArray[np.uint16],
    distance: NDArray[np.float32] | None,
    how: How,
    *,
    seeds: SeedConfig | None = None,
    necks: SeparateConfig | None = None,
) -> NDArray[np.int32]:
    """Find the objects of a predicted image.

    Parameters
    ----------
    labels : ndarray of uint16, (Y, X)
        Predicted classes; objects lie within those of the foreground.
    distance : ndarray of float32, (Y, X), or None
        The predicted map of distances, which ``distance`` needs.
    how : {"distance", "separate", "connected"}
        In the map of distances; in the areas of each class, parted at their necks; or each connected area (pixels that
        touch by a corner, too) of a class is an object.
    seeds : SeedConfig, optional
        Thresholds and areas for ``distance``.
    necks : SeparateConfig, optional
        For ``separate``.

    Returns
    -------
    ndarray of int32, (Y, X)
        Ids from 1 on; 0 is no object.
    """
    if how == "distance":
        if distance is None:
            raise ValueError("objects of a map of distances need the map")
        found = objects_of_distance(distance, seeds)
        return np.where(labels >= FOREGROUND, found, np.int32(0))
    if how == "separate":
        return separate_classes(labels, necks)
    return _connected(labels)


def _connected(labels: NDArray[np.uint16]) -> NDArray[np.int32]:
    objects = np.zeros(labels.shape, np.int32)
    count = 0
    for value in np.unique(labels[labels >= FOREGROUND]):
        pieces, number = ndimage.label(labels == value, np.ones((3, 3)))
        objects[pieces > 0] = pieces[pieces > 0] + count
        count += number
    return objects
