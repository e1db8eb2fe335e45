"""A run's network, ready to segment the images of a project."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, get_args

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.explore.uncertainty import entropy
from napari_medssl.instances.finding import How, find_objects
from napari_medssl.learn.objects import way_to_objects
from napari_medssl.learn.predict import predict_maps
from napari_medssl.learn.weights import load_model
from napari_medssl.project import Run
from napari_medssl.project.applied_run import (
    check_run_channels,
    check_run_head,
    translated,
    weights_here,
)
from napari_medssl.project.checkpoint import read_labels_note
from napari_medssl.project.paths import given, is_folder
from napari_medssl.project.prediction_table import prediction_name, weights_digest
from napari_medssl.project.working_scale import ScaledImages

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.learn.objects import ObjectsFrom
    from napari_medssl.learn.predict import Tiles
    from napari_medssl.project import ClassInfo, Project
    from napari_medssl.project.fingerprints import Fingerprint

__all__ = [
    "Prediction",
    "Predictor",
    "check_channels",
    "check_head",
    "find_run",
    "model_of",
    "way_of",
]

_ROWS = 512
"""Rows whose uncertainty is computed at once: a slide's would take as much memory as its probabilities again."""


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image."""

    image: str
    labels: NDArray[np.uint16]
    """(Y, X): the label value of the most probable class."""
    chances: NDArray[np.float32]
    """(K, Y, X): the probability of each class."""
    seen: Fingerprint
    """Which image it is of, should another one take its name."""
    factor: float
    """File pixels per network pixel."""
    objects: NDArray[np.int32] | None = None
    """(Y, X): which object a pixel belongs to, 0 for none; None where none were told apart."""
    found: How | None = None
    """How they were told apart."""
    distance: NDArray[np.float32] | None = None
    """(Y, X): the map of distances that they were found in, where they were."""

    @cached_property
    def uncertainty(self) -> NDArray[np.float32]:
        """(Y, X): entropy of the probabilities over that of chance, 0 to 1."""
        values = np.empty(self.labels.shape, np.float32)
        for start in range(0, len(values), _ROWS):
            values[start : start + _ROWS] = entropy(self.chances[:, start : start + _ROWS])
        return values


class Predictor:
    """Segments images of a project.

    Parameters
    ----------
    model : SegmentationModel
        The run's network, on its device, in eval mode.
    run : Run
        Of this project or another one.
    project : Project
        Whose images.
    objects : {"auto", "none", "distance", "separate", "connected"}
        How objects are told apart, see `way_to_objects`. With ``auto``, a run without a map of distances renews objects
        that are there already, in the way that they were found in.
    flips : bool
        See `predict_maps`.

    Raises
    ------
    MedsslError
        If the network knows no classes, was made for other channels than the project's, or has no map of distances that
        is asked for.
    """

    name: str
    """Under which the predictions are kept, see `prediction_name`."""
    weights: str
    """Digest of the run's weights; of a run of another project see `weights_here`."""
    classes: tuple[ClassInfo, ...]
    """What the network tells apart, in the order of its maps, with the label values that are written."""
    note: dict[str, str]
    """Kept in every file: which run, and which weights."""
    notes: tuple[str, ...]
    """What the user should know of them, as sentences."""
    objects: How | None
    """How objects are told apart in every image; None where that is not settled for all."""

    def __init__(
        self,
        model: SegmentationModel,
        run: Run,
        project: Project,
        *,
        objects: ObjectsFrom = "auto",
        flips: bool = True,
    ) -> None:
        check_head(model, run)
        check_channels(model, project, run)
        self._model, self._project, self._flips = model, project, flips
        self._scaled = ScaledImages(project, model.spec.scale)
        self.objects = way_to_objects(model.spec, objects, run=run.name)
        self._as_before = objects == "auto" and self.objects is None
        weights = run.weights()
        assert weights is not None  # the model came from them
        self.name, self.weights = prediction_name(project, run), weights_digest(weights)
        self.note = {"run": run.name, "weights": self.weights}
        self.classes = model.spec.classes
        self.notes = tuple(self._scaled.notes(project.images))
        if self.name != run.name:
            self.classes, told = translated(model.spec.classes, project.settings.known_classes)
            self.notes += told
            self.weights = weights_here(self.weights, self.classes)
            self.note["weights"] = self.weights

    def prediction(
        self,
        image: str,
        planes: NDArray[np.float32],
        seen: Fingerprint,
        *,
        device: torch.device,
        tiles: Tiles | None = None,
    ) -> Prediction:
        """Segment an image.

        Parameters
        ----------
        image : str
            Its name.
        planes, device, tiles
            As of `predict_maps`.
        seen : Fingerprint
            Of the image, taken before `planes` were read: one that replaces it meanwhile counts as not predicted.

        Raises
        ------
        MemoryShortageError
            If memory does not suffice for the smallest tile.
        """
        factor = self._scaled.factor(image)
        chances, distance = predict_maps(
            self._model, planes, factor=factor, device=device, tiles=tiles, flips=self._flips
        )
        values = np.array([info.value for info in self.classes], dtype=np.uint16)
        labels = values[chances.argmax(0)]
        how = self.objects
        if self._as_before:
            how = way_of(self._project.predicted_objects_path(self.name, image))
        if how is None or (how == "distance" and distance is None):
            return Prediction(image, labels, chances, seen, factor)
        objects = find_objects(labels, distance, how)
        kept = distance if how == "distance" else None
        return Prediction(image, labels, chances, seen, factor, objects, how, kept)


def way_of(path: Path) -> How | None:
    """Read how the objects of a file were told apart; None where it is missing, damaged, or does not say."""
    try:
        note = read_labels_note(path) if path.is_file() else None
    except MedsslError:
        return None
    found = note.get("found") if note is not None else None
    return found if found in get_args(How) else None


def find_run(name: str, project: Project | None) -> Run:
    """Give a run by its name in the project, or by the path of its folder."""
    path = given(name)
    if project is not None:
        # first: a folder of that name may happen to lie where the program was started
        own = name == "latest" or any(run.name == name for run in project.runs())
        if own or not is_folder(path):
            return project.run(name)
    if not is_folder(path):
        raise MedsslError(f"There is no run folder {path}.", advice="Give the path of a run.")
    return Run(path)


def model_of(run: Run) -> SegmentationModel:
    """Load a run's best model."""
    weights = run.weights("best")
    if weights is None:
        raise MedsslError(
            f"The run {run.name} has no weights ({run.status}).", advice="Choose another run."
        )
    return load_model(weights)


def check_channels(model: SegmentationModel, project: Project, run: Run) -> None:
    """Refuse a model made for other channels than the project's."""
    check_run_channels(run, model.spec.channels, project)


def check_head(model: SegmentationModel, run: Run) -> None:
    """Refuse a model that learned features alone: its last layer knows no classes."""
    check_run_head(run, model.spec.head)
