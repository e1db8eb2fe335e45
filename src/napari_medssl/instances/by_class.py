"""Objects and classes of the same image: the labels say what a pixel is, the ids which object it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.instances.watershed import separate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.instances.watershed import SeparateConfig

__all__ = ["FOREGROUND", "classes_of", "separate_classes"]

FOREGROUND = 2
"""The first value of a class that has objects: 0 is not annotated, 1 is background."""


def separate_classes(
    labels: NDArray[np.integer[Any]], config: SeparateConfig | None = None
) -> NDArray[np.int32]:
    """Tell the touching objects of every class apart; none spans two classes.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        0 is not annotated, 1 background, the rest classes.
    config : SeparateConfig, optional
        As of `separate`.

    Returns
    -------
    ndarray of int32, (Y, X)
        Ids from 1 on without gaps, class by class; every pixel of a class has one.
    """
    objects = np.zeros(labels.shape, np.int32)
    count = 0
    for value in np.unique(labels[labels >= FOREGROUND]):
        mask = labels == value
        found = separate(mask, config)
        objects[mask] = found[mask] + count
        count += int(found.max())
    return objects


def classes_of(
    objects: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]]
) -> dict[int, int]:
    """Give the class of every object: that of most of its pixels, background and what is not annotated left aside.

    Parameters
    ----------
    objects : ndarray of integers, (Y, X)
        Ids; 0 is no object.
    labels : ndarray of integers, (Y, X)
        0 is not annotated, 1 background, the rest classes.

    Returns
    -------
    dict
        Id -> value of the class, the lower one of two that are equally frequent; objects that lie in no class are not
        in it.

    Raises
    ------
    MedsslError
        If the shapes differ.
    """
    if objects.shape != labels.shape:
        raise MedsslError(
            f"The objects have shape {objects.shape}, the labels have {labels.shape}."
        )
    within = (objects > 0) & (labels >= FOREGROUND)
    values = int(labels.max(initial=0)) + 1
    pairs, counts = np.unique(
        objects[within].astype(np.int64) * values + labels[within], return_counts=True
    )
    classes: dict[int, int] = {}
    most: dict[int, int] = {}
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        number, value = divmod(pair, values)
        if count > most.get(number, 0):
            classes[number], most[number] = value, count
    return classes
