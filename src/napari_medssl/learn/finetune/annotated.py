"""Annotated images as a network sees them: at the working scale, with shares of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.instances.known import known_objects
from napari_medssl.learn.finetune.distances import known_distance, taught_objects
from napari_medssl.learn.patches import Cache
from napari_medssl.learn.predict import Tiles
from napari_medssl.learn.task import Task
from napari_medssl.project.images import UnreadableImageError
from napari_medssl.project.working_scale import ScaledImages, to_network, to_targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.learn.finetune.config import FinetuneConfig
    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.project import Project

__all__ = ["Annotated", "AnnotationTask", "annotated_pixels", "pixels_per_image"]

PIXELS_PER_GROUP = 20_000
"""Annotated pixels of a group of images that a forest or a linear probe learns from."""
FEWEST_PER_IMAGE = 1_000


def pixels_per_image(images: int) -> int:
    """Return how many annotated pixels of an image are used whose group has so many annotated images."""
    return max(FEWEST_PER_IMAGE, PIXELS_PER_GROUP // images)


def annotated_pixels(
    labels: NDArray[np.uint16], *, most: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the annotated pixels (ys, xs) of an image in the order of its rows, a sample of more than `most`."""
    ys, xs = np.nonzero(labels)
    if len(ys) > most:
        chosen = np.sort(rng.choice(len(ys), most, replace=False))
        ys, xs = ys[chosen], xs[chosen]
    return ys, xs


@dataclass(frozen=True)
class Annotated:
    """One annotated image in network pixels."""

    planes: NDArray[np.float32]
    """(C, y, x), values in [0, 1]."""
    targets: NDArray[np.float32]
    """(K, y, x): see `to_targets`."""
    distance: NDArray[np.float32] | None = None
    """(y, x), where objects are learned: see `known_distance`."""

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        distance = 0 if self.distance is None else self.distance.nbytes
        return self.planes.nbytes + self.targets.nbytes + distance


class AnnotationTask(Task):
    """What the probe and fine-tuning share: annotated images, checked.

    Parameters
    ----------
    model : SegmentationModel
        What learns; its classes are those of the project, its working scale is kept.
    project : Project
        Gives images and annotations.
    images : tuple of str
        Annotated images to learn from.
    config : FinetuneConfig
        Settings.
    seed : int
        Chooses what is drawn outside of steps.

    Raises
    ------
    MedsslError
        If there are labels that are no classes, or of fewer than two classes.
    """

    training_config: FinetuneConfig

    def __init__(
        self,
        *,
        model: SegmentationModel,
        project: Project,
        images: tuple[str, ...],
        config: FinetuneConfig,
        seed: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.project = project
        self.scaled = ScaledImages(project, model.spec.scale)
        self.images = images
        self.annotated = images
        self.training_config = config
        self.seed = seed
        self._labels = {name: project.annotations.read(name) for name in images}
        self._check(self._labels)
        self._cache: Cache[Annotated] = Cache(self._load)
        self._tiles = Tiles(tell=self.tell)
        self.notes = self.scaled.notes(images)

    def _check(self, labels: dict[str, NDArray[np.uint16]]) -> None:
        classes = self.model.spec.classes
        found = {int(v) for array in labels.values() for v in np.unique(array)} - {0}
        unknown = found - {info.value for info in classes}
        if unknown:
            raise MedsslError(
                f"Labels hold the values {sorted(unknown)}, which are no classes of the project.",
                advice="Add the classes, or erase these labels.",
            )
        if len(found) < 2:
            have = ", ".join(info.name for info in classes if info.value in found) or "nothing"
            raise MedsslError(
                f"Training needs annotations of at least two classes (background is one); there is {have}.",
                advice="Paint some background and some of each class.",
            )

    def _load(self, name: str) -> Annotated:
        labels = self._labels[name]
        if not labels.any():
            raise MedsslError(f"The image {name} has no annotation.")
        planes = self._planes(name)
        factor = self.scaled.factor(name)
        values = [info.value for info in self.model.spec.classes]
        distance = None
        if self.model.spec.objects:
            known = known_distance(labels, self._objects(name))
            distance = to_network(known[np.newaxis], factor)[0]
        return Annotated(to_network(planes, factor), to_targets(labels, values, factor), distance)

    def _planes(self, name: str) -> NDArray[np.float32]:
        """Read an image (C, Y, X) in file pixels, of the size of its labels."""
        planes, labels = self.project.planes(name), self._labels[name]
        if planes.shape[1:] != labels.shape:
            raise UnreadableImageError(
                f"{name} is {planes.shape[1:]} pixels now, its labels are {labels.shape}."
            )
        return planes

    def _knows_objects(self, name: str) -> bool:
        """Tell whether an image has an object that is known as a whole."""
        return bool(known_objects(self._labels[name], self._objects(name)).objects.any())

    def _objects(self, name: str) -> NDArray[np.int32]:
        return taught_objects(self.project, name, self._labels[name], self.training_config)
