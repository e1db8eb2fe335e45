"""What is kept in a project of each predicted image. Another kind of output is another class in `stored_outputs`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_medssl.engine.predictor import way_of
from napari_medssl.project.checkpoint import write_tiff, write_tiff_labels
from napari_medssl.project.objects import write_ids
from napari_medssl.project.prediction_table import (
    PredictionRow,
    add_to_table,
    predicted_images,
)
from napari_medssl.project.project import PREDICTED_MAPS

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from napari_medssl.engine.predictor import Prediction, Predictor
    from napari_medssl.project import Project
    from napari_medssl.project.project import PredictedMap

__all__ = ["Output", "stored_outputs"]


class Output(Protocol):
    """Something that is kept of each image."""

    def has(self, image: str) -> bool:
        """Whether it is complete on disk."""

    def write(self, prediction: Prediction) -> None:
        """Write it, so that at any moment there is the old one or the whole new one."""


def stored_outputs(
    project: Project, predictor: Predictor, *, maps: Collection[PredictedMap] = ()
) -> tuple[Output, ...]:
    """List what is written of each image, in this order.

    Parameters
    ----------
    project : Project
        Where.
    predictor : Predictor
        Whose predictions.
    maps : collection of {"probability", "uncertainty"}
        Maps that are wanted. One that is there already is renewed all the same: it would belong to another prediction.
    """
    return (
        _Labels(project, predictor),
        *(_Map(project, predictor, which, wanted=which in maps) for which in PREDICTED_MAPS),
        _Objects(project, predictor),
        _Row(project, predictor),  # last: it says that all others are complete
    )


def _note(predictor: Predictor, prediction: Prediction) -> dict[str, Any]:
    """Say in a file where it comes from, and at which working scale it was computed."""
    return {**predictor.note, "file_pixels_per_network_pixel": prediction.factor}


class _Labels:
    def __init__(self, project: Project, predictor: Predictor) -> None:
        self._project, self._predictor = project, predictor

    def has(self, image: str) -> bool:
        return True  # `_Row` compares its size, of all images at once

    def write(self, prediction: Prediction) -> None:
        path = self._project.prediction_path(self._predictor.name, prediction.image)
        write_tiff_labels(path, prediction.labels, note=_note(self._predictor, prediction))


class _Map:
    def __init__(
        self, project: Project, predictor: Predictor, which: PredictedMap, *, wanted: bool
    ) -> None:
        self._project, self._predictor = project, predictor
        self._which: PredictedMap = which
        self._wanted = wanted

    def has(self, image: str) -> bool:
        return not self._wanted or self._path(image).is_file()

    def write(self, prediction: Prediction) -> None:
        path = self._path(prediction.image)
        if not self._wanted and not path.is_file():
            return
        values = prediction.chances if self._which == "probability" else prediction.uncertainty
        label_values = [info.value for info in self._predictor.classes]
        note = {**_note(self._predictor, prediction), "values": label_values}
        write_tiff(path, values.astype(np.float16), note=note)

    def _path(self, image: str) -> Path:
        return self._project.predicted_map_path(self._predictor.name, image, self._which)


class _Objects:
    """Objects, and the map of distances that they were found in; what is there of another prediction is deleted."""

    def __init__(self, project: Project, predictor: Predictor) -> None:
        self._project, self._predictor = project, predictor

    def has(self, image: str) -> bool:
        how, (objects, distance) = self._predictor.objects, self._paths(image)
        if how is None:
            return True
        return way_of(objects) == how and (how != "distance" or distance.is_file())

    def write(self, prediction: Prediction) -> None:
        objects, distance = self._paths(prediction.image)
        note = {**_note(self._predictor, prediction), "found": prediction.found}
        if prediction.distance is None:
            distance.unlink(missing_ok=True)
        else:
            write_tiff(distance, prediction.distance.astype(np.float16), note=note)
        if prediction.objects is None:
            objects.unlink(missing_ok=True)
        else:
            write_ids(objects, prediction.objects, note=note)

    def _paths(self, image: str) -> tuple[Path, Path]:
        project, run = self._project, self._predictor.name
        return (
            project.predicted_objects_path(run, image),
            project.predicted_distance_path(run, image),
        )


class _Row:
    def __init__(self, project: Project, predictor: Predictor) -> None:
        self._project, self._predictor = project, predictor

    @cached_property
    def _done(self) -> frozenset[str]:
        return predicted_images(self._project, self._predictor.name, self._predictor.weights)

    def has(self, image: str) -> bool:
        return image in self._done

    def write(self, prediction: Prediction) -> None:
        predictor, project = self._predictor, self._project
        counts = np.bincount(prediction.labels.ravel())
        objects = prediction.objects
        row = PredictionRow(
            uncertainty=float(prediction.uncertainty.mean(dtype=np.float64)),
            shares={
                info.name: float(counts[info.value : info.value + 1].sum()) / prediction.labels.size
                for info in predictor.classes
            },
            objects=None if objects is None else int(np.count_nonzero(np.unique(objects))),
            bytes=project.prediction_path(predictor.name, prediction.image).stat().st_size,
            weights=predictor.weights,
            seen=prediction.seen,
        )
        add_to_table(
            project,
            predictor.name,
            prediction.image,
            row,
            classes=[info.name for info in predictor.classes],
        )
