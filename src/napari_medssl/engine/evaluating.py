"""How good a run is: its predictions scored against truth, with tables and a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.engine.job import PredictJob
from napari_medssl.engine.predicting import chosen_images, predict
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate import Evaluation
from napari_medssl.evaluate.evaluated import EVALUATION
from napari_medssl.evaluate.objects import ObjectEvaluation
from napari_medssl.evaluate.outlines import OutlineEvaluation
from napari_medssl.evaluate.report import write_report
from napari_medssl.evaluate.taught import remarks, taught
from napari_medssl.evaluate.truth import TruthSource, held_out
from napari_medssl.evaluate.volumes import VolumeEvaluation
from napari_medssl.events import Done, Event, Note, Saved, Started
from napari_medssl.project import Project
from napari_medssl.project.checkpoint import read_ids, read_labels
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.engine.scoring_jobs import EvaluateJob
    from napari_medssl.evaluate.class_scores import Labels
    from napari_medssl.evaluate.truth import AnnotationTruth
    from napari_medssl.learn.control import Control
    from napari_medssl.project import Run, Truth

__all__ = ["evaluate"]


def evaluate(job: EvaluateJob, control: Control) -> Iterator[Event]:
    """Predict the images that have truth and did not teach, score them, and write what was asked for."""
    project = Project.open(job.project)
    run = project.run(job.run)
    source = TruthSource.of(project, job.truth, job.masks_as)
    truth = source.open(project)
    names, learned = held_out(project, run, chosen_images(project, job.images), truth)
    skipped = dict.fromkeys(learned, "the run was fine-tuned on it")
    groups = project.groups()
    if job.volumes and not groups:
        raise MedsslError(
            "Volumes are groups of images, and the project has no groups.",
            advice="Say which images belong together: medssl groups PROJECT --groups-...",
        )
    predicted: list[str] = []
    wanted = PredictJob(
        project=str(project.path),
        run=run.name,
        images=names,
        objects=job.objects,
        device=job.device,
    )
    for event in predict(wanted, control):
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
        paths.append(given(job.out))
        (evaluation.to_csv if job.out.endswith(".csv") else evaluation.to_json)(paths[-1])
    if job.report is not None:
        page = given(job.report)
        paths += [page.with_suffix(".json"), page.with_suffix(".csv"), page]
        evaluation.to_json(paths[-3])
        evaluation.to_csv(paths[-2])
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
        """Score all that was asked for.

        Objects are scored where the truth numbers those of all these images, which all have predicted ones.
        """
        classes = {info.value: info.name for info in self.project.settings.classes[1:]}
        groups = self.project.groups()
        notes = remarks(self.project, taught(self.project, self.run), self.names)
        notes += self.truth.left_out
        objects = None
        if self.truth.has_objects and job.objects != "none":
            objects, note = self._objects()
            notes += () if note is None else (note,)
        scores = Evaluation.of(
            self.pairs(),
            classes=classes,
            groups=groups,
            run=self.run.name,
            objects=objects,
            skipped=skipped,
            notes=notes,
        )
        further: dict[str, OutlineEvaluation | VolumeEvaluation] = {}
        if job.boundary:
            further["outlines"] = OutlineEvaluation.of(
                (pair for pair in self.pairs() if pair[2].any()),
                classes=classes,
                tolerance=job.tolerance,
                groups=groups,
            )
        if job.volumes:
            further["volumes"] = VolumeEvaluation.of(
                self.pairs(), groups, classes=classes, background=job.background
            )
        return scores.model_copy(update=further)

    def _objects(self) -> tuple[ObjectEvaluation | None, str | None]:
        """Give the scores of objects, or why there are none."""
        paths = {
            name: self.project.predicted_objects_path(self.run.name, name) for name in self.names
        }
        if not all(path.is_file() for path in paths.values()):
            return None, (
                "The truth numbers objects, and not every image has predicted ones: fine-tune with objects, or have"
                ' the classes parted at their necks (objects "separate").'
            )
        open_ends = [name for name in self.names if not self.truth.numbers_all(name)]
        if open_ends:
            return None, (
                f"Objects are drawn, but {', '.join(open_ends[:5])} cannot be scored by them: that takes a label for"
                " every pixel, and an object for every pixel of a class."
            )
        pairs = ((name, read_ids(path), self.truth.objects(name)) for name, path in paths.items())
        return ObjectEvaluation.of(pairs, groups=self.project.groups()), None
