"""What a map of distances is taught with: the objects that are known as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.instances.by_class import separate_classes
from napari_medssl.instances.known import known_objects
from napari_medssl.instances.watershed import distance_target

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.learn.finetune.config import FinetuneConfig
    from napari_medssl.project import Project

__all__ = ["known_distance", "taught_objects"]


def taught_objects(
    project: Project, name: str, labels: NDArray[np.uint16], config: FinetuneConfig
) -> NDArray[np.int32]:
    """Give the objects of an image that training learns from.

    Parameters
    ----------
    project : Project
        Whose image it is.
    name : str
        The image.
    labels : ndarray of uint16, (Y, X)
        Its labels.
    config : FinetuneConfig
        Says whether the classes of an image without an object map count as objects, told apart at their necks.

    Returns
    -------
    ndarray of int32, (Y, X)
        Zeros where nothing says which object a pixel is of.
    """
    if config.objects_from == "classes" and not project.objects.path(name).is_file():
        return separate_classes(labels)
    return project.objects.read(name)


def known_distance(labels: NDArray[np.uint16], objects: NDArray[np.int32]) -> NDArray[np.float32]:
    """Give the distances of `distance_target` where they are known, and NaN elsewhere.

    Background is at 0. An object that may go on where nothing is annotated is left out, see `known_objects`.

    Each distance is divided by the largest in its object, so it stays what it is when an image is turned, mirrored or
    scaled: a view of the whole image's map is the map of the view, also of objects that the view cuts.

    Parameters
    ----------
    labels : ndarray of uint16, (Y, X)
        0 = not annotated, 1 = background, 2 and up = classes.
    objects : ndarray of int32, (Y, X)
        Ids; those outside the classes have no meaning.

    Returns
    -------
    ndarray of float32, (Y, X)
    """
    known = known_objects(labels, objects)
    target = distance_target(known.objects)
    target[known.unknown] = np.nan
    return target
