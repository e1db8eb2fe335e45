"""The Python interface of evaluation: how good predictions are, and what features are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from napari_medssl.engine.calls import OnEvent, events_of, opened
from napari_medssl.engine.predicting import find_run
from napari_medssl.evaluate import Evaluation
from napari_medssl.evaluate.assessment import Assessment
from napari_medssl.evaluate.evaluated import EVALUATION
from napari_medssl.events import Saved
from napari_medssl.project.checkpoint import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_medssl.evaluate.truth import Units
    from napari_medssl.learn.devices import DeviceName
    from napari_medssl.learn.objects import ObjectsFrom
    from napari_medssl.project import MasksAs, Project

__all__ = ["assess", "evaluate"]


def evaluate(
    project: Project | str | Path,
    *,
    run: str,
    truth: str | Path | None = None,
    masks_as: MasksAs = "auto",
    images: Iterable[str] | None = None,
    units: Units = "group",
    objects: ObjectsFrom = "auto",
    boundary: bool = False,
    tolerance: float = 2.0,
    volumes: bool = False,
    background: bool = False,
    report: str | Path | None = None,
    device: DeviceName = "auto",
    on_event: OnEvent | None = None,
) -> Evaluation:
    """Predict the images that have truth with a run, and score them; images on which it was fine-tuned are left out.

    Parameters
    ----------
    project : Project or path
        The project.
    run : str
        Name of the run.
    truth : path, optional
        Folder of masks, found by image name; by default the annotations that the run did not learn from.
    masks_as : {"auto", "binary", "classes", "instances", "labels"}
        What the values of the masks mean; ``auto`` looks at them.
    images : iterable of str, optional
        Names of the images to score; all that have truth by default.
    units : {"group", "image"}
        What is left out besides the images on which it was fine-tuned: "group" all others of their groups (files of
        planes, where there are no groups); "image" none, and the scores flatter.
    objects : {"auto", "none", "distance", "separate", "connected"}
        Where predicted objects come from, as for `predict`; scored where the masks number objects.
    boundary : bool
        Score outlines as well: Hausdorff distance (95%) and surface Dice within the `tolerance` in pixels.
    tolerance : float
        What deviation of an outline is near enough, pixels.
    volumes : bool
        Score each group of images (a patient) as one volume as well; with `background` as one more class.
    background : bool
        As `volumes` says.
    report : path, optional
        Also write an HTML report there, with the scores as JSON and CSV beside it.
    device, on_event
        As for `pretrain`.

    Returns
    -------
    Evaluation
        Scores per image and class, their means with intervals, and pooled over all pixels; also in
        ``evaluation.json`` in the run's folder.

    Raises
    ------
    MedsslError
        If no image is left to score, or volumes are asked for in a project without groups.
    """
    project = opened(project)
    found = project.run(run)
    job: dict[str, Any] = {
        "kind": "evaluate",
        "project": str(project.path),
        "run": found.name,
        "truth": None if truth is None else str(truth),
        "masks_as": masks_as,
        "images": None if images is None else list(images),
        "units": units,
        "objects": objects,
        "boundary": boundary,
        "tolerance": tolerance,
        "volumes": volumes,
        "background": background,
        "report": None if report is None else str(report),
        "device": device,
    }
    for _ in events_of(job, on_event):
        pass
    path = found.path / EVALUATION
    evaluation: Evaluation = Evaluation.parse(read_json(path), where=str(path))
    return evaluation


def assess(
    project: Project | str | Path,
    *,
    run: str,
    against: str | None = None,
    rivals: Iterable[str] = (),
    images: Iterable[str] | None = None,
    most: int = 200,
    cka: Literal["unbiased", "paper"] = "unbiased",
    focal: float = 2.0,
    device: DeviceName = "auto",
    on_event: OnEvent | None = None,
) -> Assessment:
    """Measure what the features of a run are worth, by the measures of the evaluation paper.

    What is measured by annotations is of images that did not teach the run, nor others of their group or file; where
    too few such images are annotated all are taken, and the assessment's notes say so.

    Parameters
    ----------
    project : Project or path
        The project.
    run : str
        Name of the run.
    against : str, optional
        A run to compare its encoder with (CKA), such as one that was fine-tuned on all annotations.
    rivals : iterable of str
        Runs to compare the time with until the loss had settled (RQC).
    images : iterable of str, optional
        Images to look at; all by default.
    most : int
        Of more images than this, so many are taken, evenly spread over the folder.
    cka : {"unbiased", "paper"}
        Whole stages by the unbiased estimate; or biased, in batches of 12 images, mean over the layers of a stage.
    focal : float
        Exponent of the focal loss of the classifier of whole images; 0 is cross-entropy.
    device, on_event
        As for `pretrain`.

    Returns
    -------
    Assessment
        What the project's annotations, image classes and other runs allow to measure; also as JSON and CSV in the
        folder ``assessments`` of the run.

    Raises
    ------
    MedsslError
        If there are too few images, or the runs cannot be compared.
    """
    project = opened(project)
    found = find_run(run, project)
    job: dict[str, Any] = {
        "kind": "assess",
        "project": str(project.path),
        "run": run,
        "against": against,
        "rivals": list(rivals),
        "images": None if images is None else list(images),
        "most": most,
        "cka": cka,
        "focal": focal,
        "device": device,
    }
    path = None
    for event in events_of(job, on_event):
        if isinstance(event, Saved) and event.path.endswith(".json"):
            path = found.path / event.path
    assert path is not None  # nobody stops it here
    assessment: Assessment = Assessment.parse(read_json(path), where=str(path))
    return assessment
