"""The objects of a predicted image: found in its map of distances, or in its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import ndimage

from napari_medssl.instances.by_class import FOREGROUND, separate_classes
from napari_medssl.instances.editing import renumber
from napari_medssl.instances.watershed import SeedConfig, objects_of_distance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.instances.watershed import SeparateConfig

__all__ = ["SPECK", "How", "find_objects"]

How = Literal["distance", "separate", "connected"]
"""In the map of distances; in the areas of each class, parted at their necks; or each connected area of a class."""

SPECK = 0.05
"""An object of less than this share of the typical area of its class is a speck; as `SeedConfig.smallest`."""


def find_objects(
    labels: NDArray[np.uint16],
    distance: NDArray[np.float32] | None,
    how: How,
    *,
    seeds: SeedConfig | None = None,
    necks: SeparateConfig | None = None,
    specks: bool = False,
) -> NDArray[np.int32]:
    """Find the objects of a predicted image.

    A predicted class has specks, which are no objects. In a map of distances `SeedConfig.smallest` leaves them out. Of
    parted areas those are left out that have less than `SPECK` of the typical area of their class: the area of the
    object in which the median pixel of the class lies, which many specks do not change. Connected areas are taken as
    they are.

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
    specks : bool
        Whether they are kept, whatever `seeds` says.

    Returns
    -------
    ndarray of int32, (Y, X)
        Ids from 1 on; 0 is no object.
    """
    if how == "distance":
        if distance is None:
            raise ValueError("objects of a map of distances need the map")
        seeds = seeds or SeedConfig()
        if specks:
            seeds = seeds.model_copy(update={"smallest": 0.0})
        found = objects_of_distance(distance, seeds)
        return np.where(labels >= FOREGROUND, found, np.int32(0))
    if how == "separate":
        parted = separate_classes(labels, necks)
        return parted if specks else _without_specks(parted, labels)
    return _connected(labels)


def _without_specks(
    objects: NDArray[np.int32], labels: NDArray[np.integer[Any]]
) -> NDArray[np.int32]:
    """Leave out the specks of every class; no object spans two."""
    areas = np.bincount(objects.ravel())
    values = np.zeros(len(areas), labels.dtype)
    values[objects] = labels
    kept = np.arange(len(areas), dtype=np.int32)
    for value in np.unique(values[1:]):
        own = np.flatnonzero(values == value)
        own = own[own > 0]
        ordered = np.sort(areas[own])
        pixels = np.cumsum(ordered)
        typical = ordered[np.searchsorted(pixels, pixels[-1] / 2)]
        kept[own[areas[own] < SPECK * typical]] = 0
    return renumber(kept[objects])


def _connected(labels: NDArray[np.uint16]) -> NDArray[np.int32]:
    objects = np.zeros(labels.shape, np.int32)
    count = 0
    for value in np.unique(labels[labels >= FOREGROUND]):
        pieces, number = ndimage.label(labels == value, np.ones((3, 3)))
        objects[pieces > 0] = pieces[pieces > 0] + count
        count += number
    return objects
