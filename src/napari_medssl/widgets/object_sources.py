"""Where objects can be taken from, and how: no Qt in here, it runs in threads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.instances.by_class import classes_of
from napari_medssl.instances.editing import add_objects, keep_areas, renumber
from napari_medssl.instances.finding import find_objects
from napari_medssl.instances.watershed import SeedConfig, SeparateConfig
from napari_medssl.project.checkpoint import read_ids, read_labels, read_map

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.project import Project

__all__ = ["SOURCES", "Found", "ObjectSettings", "Recipe", "Source", "find", "only_free"]

Source = Literal["distance", "stored", "prediction", "live", "painted"]

SOURCES: dict[Source, str] = {
    "distance": "the predicted distance map",
    "stored": "the predicted objects, as they are",
    "prediction": "the predicted classes, separated",
    "live": "the live prediction, separated",
    "painted": "the painted classes, separated",
}
"""In words; the first one that there is is the best."""


class ObjectSettings(Config):
    """How objects are found."""

    seeds: SeedConfig = SeedConfig()
    """In a distance map."""
    separation: SeparateConfig = SeparateConfig()
    """In classes."""
    smallest: int | None = Field(None, ge=0)
    """Smaller objects are left out, pixels; None leaves out what the engine does, see `find_objects`."""
    largest: int | None = Field(None, ge=1)
    """Larger ones too."""

    @model_validator(mode="after")
    def _some_area(self) -> ObjectSettings:
        if self.largest is not None and self.largest < (self.smallest or 0):
            raise ValueError(
                f"largest = {self.largest} must not be below smallest = {self.smallest}"
            )
        return self


@dataclass(frozen=True)
class Recipe:
    """What to find objects in."""

    source: Source
    image: str
    run: str
    """Whose prediction; empty where none is needed."""
    labels: NDArray[np.uint16] | None
    """The classes as they are now, (Y, X), of the sources that are not on the disk."""
    settings: ObjectSettings


@dataclass(frozen=True)
class Found:
    """Objects that can be taken."""

    objects: NDArray[np.int32]
    """(Y, X): ids from 1 on without gaps; 0 is no object."""
    classes: NDArray[np.uint16]
    """(Y, X): the class of each object, on all of its pixels; 0 elsewhere."""

    @property
    def number(self) -> int:
        """Number of objects."""
        return int(self.objects.max(initial=0))


def find(project: Project, recipe: Recipe) -> Found:
    """Find objects in an image.

    Raises
    ------
    MedsslError
        If a prediction cannot be read, or is of another size than the image.
    """
    labels, settings = recipe.labels, recipe.settings
    specks = settings.smallest is not None
    if labels is None:
        labels = read_labels(project.prediction_path(recipe.run, recipe.image))
    _check(labels.shape, project.shape(recipe.image))
    if recipe.source == "distance":
        distance = read_map(project.predicted_distance_path(recipe.run, recipe.image))
        _check(distance.shape, project.shape(recipe.image))
        objects = find_objects(labels, distance, "distance", seeds=settings.seeds, specks=specks)
    elif recipe.source == "stored":
        objects = read_ids(project.predicted_objects_path(recipe.run, recipe.image))
        _check(objects.shape, project.shape(recipe.image))
    else:
        objects = find_objects(labels, None, "separate", necks=settings.separation, specks=specks)
    objects = keep_areas(objects, smallest=settings.smallest or 0, largest=settings.largest)
    objects = renumber(objects)
    values = np.zeros(int(objects.max(initial=0)) + 1, np.uint16)
    for number, value in classes_of(objects, labels).items():
        values[number] = value
    return Found(objects, values[objects])


def only_free(ids: NDArray[np.int32], found: Found) -> NDArray[np.int32]:
    """Add the found objects that lie, with more than half of their pixels, where no object is yet.

    Parameters
    ----------
    ids : ndarray of int32, (Y, X)
        Objects that are there; they stay as they are.
    found : Found
        Objects to add; they get what is free.

    Returns
    -------
    ndarray of int32, (Y, X)
    """
    size = np.bincount(found.objects.ravel())
    free = np.bincount(found.objects[ids == 0], minlength=len(size))
    wanted = 2 * free > size
    wanted[0] = False
    return add_objects(ids, np.where(wanted[found.objects], found.objects, 0))


def _check(predicted: tuple[int, ...], image: tuple[int, ...]) -> None:
    if predicted != image:
        raise MedsslError(
            f"What is predicted has {predicted[0]} x {predicted[1]} pixels, the image {image[0]} x {image[1]}.",
            advice="Predict the image again.",
        )
