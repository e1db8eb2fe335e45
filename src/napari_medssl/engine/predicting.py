"""Prediction of a whole project or folder, and its score."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import torch

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate import Evaluation
from napari_medssl.evaluate.taught import remarks, taught
from napari_medssl.events import Done, Event, Note, Progress, Saved, Started
from napari_medssl.learn.control import pausing
from napari_medssl.learn.devices import choose_device
from napari_medssl.learn.memory import lack_explained
from napari_medssl.learn.predict import Tiles, predict_labels
from napari_medssl.learn.task import UNREADABLE
from napari_medssl.learn.weights import load_model
from napari_medssl.project import Project, Run
from napari_medssl.project.checkpoint import read_labels, write_tiff_labels
from napari_medssl.project.paths import given, is_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.engine.job import PredictJob
    from napari_medssl.learn.control import Control
    from napari_medssl.learn.networks import SegmentationModel

__all__ = [
    "check_channels",
    "check_head",
    "chosen_images",
    "find_run",
    "model_of",
    "predict",
    "score",
    "with_truth",
]


def find_run(name: str, project: Project | None) -> Run:
    """Give a run by its name in the project, or by the path of its folder."""
    path = given(name)
    if project is not None and not is_folder(path):
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


def predict(job: PredictJob, control: Control) -> Iterator[Event]:
    """Segment the images of a project, or of a folder."""
    if job.project is not None:
        project = Project.open(job.project)
        run = find_run(job.run, project)
        yield from _predict(job, project, run, control)
        return
    assert job.folder is not None
    run = find_run(job.run, None)
    with tempfile.TemporaryDirectory(prefix="medssl-") as scratch:
        project = Project.create(job.folder, project=Path(scratch) / "project")
        for skipped in project.report.skipped:
            yield Note(level="warning", text=f"Left out {skipped.name}: {skipped.reason}")
        spec = model_of(run).spec
        project.update(channels=spec.channels, normalisation=spec.normalisation)
        yield from _predict(job, project, run, control)


def _predict(job: PredictJob, project: Project, run: Run, control: Control) -> Iterator[Event]:
    device = choose_device(job.device)
    torch_device = torch.device(device.name)
    model = model_of(run).to(torch_device)
    check_head(model, run)
    check_channels(model, project, run)
    names = chosen_images(project, job.images)
    targets = _targets(project, run, names, job.out)
    if not job.overwrite:
        names = tuple(name for name in names if not targets[name].is_file())
    yield Started(
        kind=job.kind,
        title=f"Prediction of {len(names)} images with {run.name}",
        total=len(names),
        device=device,
    )
    notes: list[str] = []
    tiles = Tiles(tell=notes.append)
    began, failed = time.monotonic(), 0
    for done, name in enumerate(names, start=1):
        began += yield from pausing(control, done - 1)
        if control.stopped:
            summary = f"Stopped after {done - 1} of {len(names)} images."
            yield Done(stopped=True, summary=summary)
            return
        try:
            planes = project.planes(name)
        except (*UNREADABLE, MemoryError) as error:  # one such file does not end a folder
            failed += 1
            yield Note(level="warning", text=f"Left out {name}: {error}")
            continue
        with lack_explained():
            labels = predict_labels(model, planes, device=torch_device, tiles=tiles)
        while notes:
            yield Note(level="warning", text=notes.pop())
        write_tiff_labels(targets[name], labels, note={"run": run.name})
        yield Saved(what="prediction", path=str(targets[name]), image=name)
        rate = done / (time.monotonic() - began)
        yield Progress(step=done, total=len(names), rate=rate, eta=(len(names) - done) / rate)
    if names and failed == len(names):
        raise MedsslError("Not one image could be segmented; the reasons stand above.")
    where = job.out or f"predictions/{run.name}"
    left_out = f", {failed} left out" if failed else ""
    yield Done(summary=f"{len(names) - failed} images segmented into {where}{left_out}.")


def check_channels(model: SegmentationModel, project: Project, run: Run) -> None:
    """Refuse a model made for other channels than the project's."""
    if model.spec.channels != project.settings.channels:
        raise MedsslError(
            f"The run {run.name} was made for the channels {', '.join(model.spec.channels)}; "
            f"the images have {', '.join(project.settings.channels)}.",
            advice="Choose a run that was made for such images.",
        )


def check_head(model: SegmentationModel, run: Run) -> None:
    """Refuse a model that learned features alone: its last layer knows no classes."""
    if model.spec.head == "none":
        raise MedsslError(
            f"The run {run.name} learned features, not classes, so it cannot segment.",
            advice="Fine-tune it on a few annotated images, or explore it.",
        )


def with_truth(
    project: Project,
    run: Run,
    images: Iterable[str] | None,
    truth: Mapping[str, NDArray[np.uint16]],
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Give the images (of these, or unset all of the project) that can test a run: they have truth and did not teach.

    Returns
    -------
    tuple of str
        Images to score.
    dict of str to str
        Images with truth on which the run, or one it descends from, was fine-tuned -> the reason to leave them out.

    Raises
    ------
    MedsslError
        If an image is not of the project, none of them has truth, or all that have it taught.
    """
    wanted = chosen_images(project, None if images is None else tuple(images))
    names = tuple(name for name in wanted if name in truth)
    if not names:
        raise MedsslError(
            "None of these images has a mask.", advice="Masks are found by image name."
        )
    learned = taught(project, run).annotated
    honest = tuple(name for name in names if name not in learned)
    if not honest:
        raise MedsslError(
            f"{run.name} was fine-tuned on every image that could be scored, so a score would say how well they"
            " were learned by heart.",
            advice="Give true masks of other images, or fine-tune on fewer (images).",
        )
    return honest, {name: "the run was fine-tuned on it" for name in names if name in learned}


def score(
    project: Project,
    run: Run,
    truth: Mapping[str, NDArray[np.uint16]],
    names: tuple[str, ...],
    skipped: Mapping[str, str],
) -> Evaluation:
    """Score the stored predictions of a run on images of `with_truth`."""
    classes = {info.value: info.name for info in project.settings.classes[1:]}
    return Evaluation.of(
        (
            (name, read_labels(project.prediction_path(run.name, name)), truth[name])
            for name in names
        ),
        classes=classes,
        groups=project.groups(),
        run=run.name,
        skipped=skipped,
        notes=remarks(project, taught(project, run), names),
    )


def chosen_images(project: Project, images: tuple[str, ...] | None) -> tuple[str, ...]:
    """Give the images that were asked for, all where none were named; refuse those that there are not."""
    if images is None:
        return project.images
    unknown = sorted(set(images) - set(project.images))
    if unknown:
        raise MedsslError(
            f"Not among the project's images: {', '.join(unknown[:5])}.",
            advice="Names are paths relative to the image folder.",
        )
    return images


def _targets(
    project: Project, run: Run, names: tuple[str, ...], out: str | None
) -> dict[str, Path]:
    if out is None:
        return {name: project.prediction_path(run.name, name) for name in names}
    folder = given(out)
    stems = [str(PurePosixPath(name).with_suffix("")) for name in names]
    if len(set(stems)) == len(stems):
        return {name: folder / f"{stem}.tif" for name, stem in zip(names, stems, strict=True)}
    return {name: folder / f"{name}.tif" for name in names}
