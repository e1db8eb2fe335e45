"""How good a run is: its predictions scored against truth, with tables and a report."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from napari_medssl.engine.job import PredictJob
from napari_medssl.engine.predicting import chosen_images, predict
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate import Evaluation
from napari_medssl.evaluate.evaluated import EVALUATION
from napari_medssl.evaluate.objects import ObjectEvaluation
from napari_medssl.evaluate.outlines import OutlineEvaluation
from napari_medssl.evaluate.remarks import remarks, taken_over
from napari_medssl.evaluate.report import write_report
from napari_medssl.evaluate.truth import AnnotationTruth, TruthSource, held_out
from napari_medssl.evaluate.volumes import VolumeEvaluation
from napari_medssl.events import Done, Event, Note, Saved, Started
from napari_medssl.project import Project
from napari_medssl.project.checkpoint import read_ids, read_labels
from napari_medssl.project.paths import given
from napari_medssl.project.units import units_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.engine.scoring_jobs import EvaluateJob
    from napari_medssl.evaluate.class_scores import Labels
    from napari_medssl.learn.control import Control
    from napari_medssl.project import Run, Truth

__all__ = ["evaluate"]

_NAMED = 5
"""Images in one sentence."""


def evaluate(job: EvaluateJob, control: Control) -> Iterator[Event]:
    """Predict the images that have truth and did not teach, score them, and write what was asked for."""
    project = Project.open(job.project)
    run = project.run(job.run)
    source = TruthSource.of(project, job.truth, job.masks_as)
    truth = source.open(project)
    wanted = chosen_images(project, job.images)
    names, learned, beside = held_out(project, run, wanted, truth, units=job.units)
    skipped = dict.fromkeys(learned, "the run was fine-tuned on it")
    if job.units == "group":
        skipped |= dict.fromkeys(beside, "the run was fine-tuned on images of its group or file")
    if job.volumes and not project.groups():
        raise MedsslError(
            "Volumes are groups of images, and the project has no groups.",
            advice="Say which images belong together: medssl groups PROJECT --groups-...",
        )
    predicted: list[str] = []
    prediction = PredictJob(
        project=str(project.path),
        run=run.name,
        images=names,
        objects=job.objects,
        device=job.device,
    )
    for event in predict(prediction, control):
        if isinstance(event, Started):
            title = f"Evaluation of {run.name} on {len(names)} images"
            yield event.model_copy(update={"kind": job.kind, "title": title})
        elif isinstance(event, Done):
            if event.stopped:
                yield event.model_copy(update={"summary": "Stopped; nothing was scored."})
                return
        else:
            if isinstance(event, Saved) and event.what == "prediction":
                predicted.append(event.image)
            yield event
    unreadable = {name: "it could not be read" for name in names if name not in predicted}
    scored = _Scored(project, run, truth, tuple(predicted))
    evaluation = scored.evaluation(job, skipped | unreadable)
    evaluation = evaluation.model_copy(update={"truth": source})
    paths = [run.path / EVALUATION]
    evaluation.to_json(paths[0])
    if job.out is not None:
        out = given(job.out)
        if job.out.endswith(".csv"):
            paths += evaluation.to_csv(out)
        else:
            evaluation.to_json(out)
            paths.append(out)
    if job.report is not None:
        page = given(job.report)
        evaluation.to_json(page.with_suffix(".json"))
        tables = evaluation.to_csv(page.with_suffix(".csv"))
        paths += [page.with_suffix(".json"), *tables, page]
        yield Note(text="Writing the report.")
        write_report(
            evaluation,
            project=project,
            run=run,
            truth=truth,
            predicted=scored.labels,
            path=page,
        )
    for path in paths:
        yield Saved(what="report", path=str(path))
    metrics = {"dice": evaluation.mean_dice, "iou": evaluation.mean_iou}
    yield Done(
        summary=f"Dice {evaluation.mean_dice:.4f}, the mean over {len(evaluation.images)} images.",
        metrics=metrics,
    )


class _Scored:
    """Stored predictions beside truth."""

    def __init__(
        self,
        project: Project,
        run: Run,
        truth: AnnotationTruth | Truth,
        names: tuple[str, ...],
    ) -> None:
        self.project, self.run, self.truth, self.names = project, run, truth, names

    def labels(self, name: str) -> NDArray[np.uint16]:
        """Read what was predicted, (Y, X)."""
        return read_labels(self.project.prediction_path(self.run.name, name))

    def pairs(self) -> Iterator[tuple[str, Labels, Labels]]:
        """Give image, prediction and truth, one after the other."""
        for name in self.names:
            yield name, self.labels(name), self.truth[name]

    def evaluation(self, job: EvaluateJob, skipped: Mapping[str, str]) -> Evaluation:
        """Score all that was asked for."""
        classes = {info.value: info.name for info in self.project.settings.classes[1:]}
        units = units_of(self.project)
        notes = [*remarks(self.project, self.run, self.names), *self.truth.left_out]
        if isinstance(self.truth, AnnotationTruth):
            notes += taken_over(self.project, self.run, self.names)
        objects = None
        if self.truth.has_objects and job.objects != "none":
            objects, note = self._objects(units)
            notes += [] if note is None else [note]
        scores = Evaluation.of(
            self.pairs(),
            classes=classes,
            groups=units,
            run=self.run.name,
            objects=objects,
            skipped=skipped,
            notes=notes,
        )
        further: dict[str, Any] = {}
        added = []
        if job.boundary:
            if len(scores.partly) < len(scores.images):
                further["outlines"] = OutlineEvaluation.of(
                    self.pairs(), classes=classes, tolerance=job.tolerance, groups=units
                )
            if scores.partly:
                added.append(
                    f"Outlines are not scored on {_listed(scores.partly)}: of partly annotated images they would be"
                    " those of the strokes."
                )
        if job.volumes:
            volumes = VolumeEvaluation.of(
                self.pairs(), units, classes=classes, background=job.background
            )
            further["volumes"] = volumes
            added += _incomplete(volumes, units)
        return scores.model_copy(update={**further, "notes": (*scores.notes, *added)})

    def _objects(self, units: Mapping[str, str]) -> tuple[ObjectEvaluation | None, str | None]:
        """Give the scores of objects, and of which images there are none and why."""
        known = [name for name in self.names if self.truth.numbers_all(name)]
        note = None
        if len(known) < len(self.names):
            known_ones = set(known)
            rest = [name for name in self.names if name not in known_ones]
            note = (
                f"Objects are not scored on {_listed(rest)}: that takes a label for every pixel, and an object for"
                " every pixel of a class."
            )
        if not known:
            return None, note
        paths = {name: self.project.predicted_objects_path(self.run.name, name) for name in known}
        if not all(path.is_file() for path in paths.values()):
            return None, (
                "The truth numbers objects, and not every image has predicted ones: fine-tune with objects, or have"
                ' the classes parted at their necks (objects "separate").'
            )
        pairs = ((name, read_ids(path), self.truth.objects(name)) for name, path in paths.items())
        return ObjectEvaluation.of(pairs, groups=units), note


def _incomplete(volumes: VolumeEvaluation, units: Mapping[str, str]) -> Iterator[str]:
    """Say that volumes lack images which taught, or have no truth."""
    sizes = Counter(units.values())
    count = sum(len(volume.images) < sizes[volume.group] for volume in volumes.volumes)
    if count:
        yield (
            f"{count} of {len(volumes.volumes)} volumes are not whole: not all of their images could be scored, so the"
            " 3-D Dice is of the others."
        )


def _listed(names: Sequence[str]) -> str:
    """Name a few images, and how many they are."""
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{rest}"
