"""Annotated images, their division into training and validation pixels, and the score of a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.instances.known import known_objects
from napari_medssl.learn.finetune.distances import known_distance, taught_objects
from napari_medssl.learn.finetune.split import IMAGES_FOR_HOLD_OUT, hold_out, in_both
from napari_medssl.learn.losses import IGNORED
from napari_medssl.learn.patches import Cache
from napari_medssl.learn.predict import Tiles
from napari_medssl.learn.task import UNREADABLE, Task
from napari_medssl.project.images import UnreadableImageError
from napari_medssl.project.units import units_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from napari_medssl.learn.finetune.config import FinetuneConfig
    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.project import Project

__all__ = ["Annotated", "AnnotationTask"]

_OBJECTS = np.uint16(np.iinfo(np.uint16).max)
"""Less a class, it stands in the split for the pixels of that class's objects."""


@dataclass(frozen=True)
class Annotated:
    """One annotated image: planes, class index per pixel (`IGNORED` where none), validation pixels."""

    planes: NDArray[np.float32]
    train: NDArray[np.int16]
    validation: NDArray[np.int16]
    distance: NDArray[np.float32] | None = None
    """Where objects are learned: see `known_distance`."""

    @property
    def nbytes(self) -> int:
        """Bytes of all of them."""
        distance = 0 if self.distance is None else self.distance.nbytes
        return self.planes.nbytes + self.train.nbytes + self.validation.nbytes + distance


class AnnotationTask(Task):
    """What the probe and fine-tuning share: annotated images, split, and the score of a prediction.

    Parameters
    ----------
    model : SegmentationModel
        What learns; its classes are those of the project.
    project : Project
        Gives images and annotations.
    images : tuple of str
        Annotated images to use.
    config : FinetuneConfig
        Settings.
    seed : int
        Chooses the validation pixels.
    seen : frozenset of str
        Images whose annotations taught the network before. They validate only where all did.

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
        seen: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.model = model
        self.project = project
        self.images = images
        self.annotated = images
        self.training_config = config
        self.seed = seed
        labels = {name: project.annotations.read(name) for name in images}
        self._check(labels)
        self._labels = labels
        self._taught: dict[str, NDArray[np.int32]] = {}  # objects, see `_objects`
        # what taught the network before would flatter it: only the others validate, if there are any
        unseen = {name: labels[name] for name in images if name not in seen}
        self._validating = unseen or labels
        self._flattered = bool(seen) and not unseen
        kinds = {name: self._kinds(name) for name in self._validating}
        self._units = units_of(project)
        held = hold_out(kinds, share=config.held_out, seed=seed, units=self._units)
        self._held = {name: held.get(name, np.zeros(labels[name].shape, bool)) for name in images}
        self._both = in_both(labels, self._held)
        self._cache: Cache[Annotated] = Cache(self._load)
        self._tiles = Tiles(tell=self.tell)
        self.notes = [self._split_note()]

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

    def _kinds(self, name: str) -> NDArray[np.uint16]:
        """Give the kinds of pixels that both sides of the split get: classes, and learned objects of each class."""
        labels = self._labels[name]
        if not self.model.spec.objects:
            return labels
        return np.where(self._knows_objects(name), _OBJECTS - labels, labels)

    def _split_note(self) -> str:
        held = [(self._held[name], self._labels[name] > 0) for name in self._validating]
        pixels = sum(int(mask.sum()) for mask, _ in held)
        images = sum(bool(mask.any()) for mask, _ in held)
        fresh = len(held) < len(self.annotated)
        of_those = " that the network had not learned from before" if fresh else ""
        if not any((annotated & ~mask).any() for mask, annotated in held if mask.any()):
            where = f"{images} whole image{'s' if images > 1 else ''}{of_those}{self._apart()}"
        else:
            where = f"squares of the annotated images{of_those}"
            if len(held) >= IMAGES_FOR_HOLD_OUT:
                where += ", since no choice of whole images has every class on both sides"
        note = f"Held out for validation: {pixels:,} annotated pixels ({where})."
        if self._flattered:
            note += (
                " The network has learned from all of these images before, so its scores flatter."
            )
        for info in self.model.spec.classes:
            if info.value in self._both:
                note += f" The only pixel of {info.name} is learned from as well."
        return note

    def _apart(self) -> str:
        """Say whether the images held out share a group or file with those learned from; nothing where none could."""
        held, learned = (
            [self._units.get(name, name) for name in self.images if self._held[name].any() == side]
            for side in (True, False)
        )
        if shared := set(held) & set(learned):
            return f", {sum(unit in shared for unit in held)} of them of groups or files that are learned from as well"
        if len(set(held)) < len(held) or len(set(learned)) < len(learned):
            return ", of groups or files that nothing is learned from"
        return ""

    def _learned_from(self, name: str) -> NDArray[np.bool_]:
        """Give the annotated pixels (Y, X) of an image that training learns from."""
        labels = self._labels[name]
        both: NDArray[np.bool_] = np.isin(labels, list(self._both))
        return (labels > 0) & (~self._held[name] | both)

    def _load(self, name: str) -> Annotated:
        index = np.full(int(np.iinfo(np.uint16).max) + 1, IGNORED, dtype=np.int16)
        for position, info in enumerate(self.model.spec.classes):
            index[info.value] = position
        target = index[self._labels[name]]
        held = self._held[name]
        train = np.where(self._learned_from(name), target, np.int16(IGNORED))
        if (train == IGNORED).all() and not held.any():
            raise MedsslError(f"The image {name} has no annotation.")
        validation = np.where(held, target, np.int16(IGNORED))
        planes = self.project.planes(name)
        if planes.shape[1:] != train.shape:
            raise UnreadableImageError(
                f"{name} is {planes.shape[1:]} pixels now, its labels are {train.shape}."
            )
        distance = self._known_distance(name) if self.model.spec.objects else None
        return Annotated(planes=planes, train=train, validation=validation, distance=distance)

    def _known_distance(self, name: str) -> NDArray[np.float32]:
        return known_distance(self._labels[name], self._objects(name))

    def _knows_objects(self, name: str) -> NDArray[np.bool_]:
        """Tell which pixels, (Y, X), are of an object that is known as a whole."""
        return known_objects(self._labels[name], self._objects(name)).objects > 0

    def _objects(self, name: str) -> NDArray[np.int32]:
        """Give the objects to learn from; parting classes takes a while, so it is done once."""
        if name not in self._taught:
            labels, config = self._labels[name], self.training_config
            self._taught[name] = taught_objects(self.project, name, labels, config)
        return self._taught[name]

    def _readable(self, names: Iterable[str]) -> Iterator[Annotated]:
        """Give these images, leaving out those that cannot be read any more."""
        for name in names:
            if name in self.lost:
                continue
            try:
                yield self._cache(name)
            except UNREADABLE as error:
                self.leave_out(name, error)

    def _score(
        self, pairs: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]
    ) -> dict[str, float]:
        """Give the Dice score over pixels, mean over the classes that the truth holds.

        `pairs` are (predicted, true) class indices of the same pixels; without any there is no score.
        """
        classes = self.model.spec.classes
        n = len(classes)
        confusion = np.zeros((n, n), dtype=np.int64)  # truth x prediction
        for predicted, truth in pairs:
            confusion += np.bincount(truth * n + predicted, minlength=n * n).reshape(n, n)
        present = confusion.sum(1) > 0
        if not present.any():
            return {}
        dice = 2 * np.diag(confusion) / np.maximum(confusion.sum(0) + confusion.sum(1), 1)
        mean = float(dice[present].mean())
        per_class = {f"dice/{classes[i].name}": float(dice[i]) for i in np.flatnonzero(present)}
        return {"dice": mean, "score": mean, **per_class}
