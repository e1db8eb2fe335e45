"""Prediction of a whole project or folder, and its score."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from napari_medssl.engine.prediction_outputs import stored_outputs
from napari_medssl.engine.predictor import (
    Predictor,
    check_channels,
    check_head,
    find_run,
    model_of,
)
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Event, Note, Progress, Saved, Started
from napari_medssl.learn.control import pausing
from napari_medssl.learn.devices import choose_device
from napari_medssl.learn.memory import lack_explained
from napari_medssl.learn.predict import Tiles
from napari_medssl.learn.task import UNREADABLE
from napari_medssl.project import Project, Run
from napari_medssl.project.checkpoint import read_ids, read_labels
from napari_medssl.project.label_exports import label_export
from napari_medssl.project.listing import is_project
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.engine.job import PredictJob
    from napari_medssl.engine.prediction_outputs import Output
    from napari_medssl.engine.predictor import Prediction
    from napari_medssl.learn.control import Control
    from napari_medssl.project.label_exports import LabelExport

__all__ = [
    "check_channels",
    "check_head",
    "chosen_images",
    "find_run",
    "model_of",
    "predict",
]


class _Waiting(NamedTuple):
    """An image of which something is to be made."""

    image: str
    stored: bool
    """Whether its prediction is in the project, and stays."""
    exported: bool
    """Whether its file for other programs is there, and stays."""


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
        project.update(
            channels=spec.channels, normalisation=spec.normalisation, classes=spec.classes
        )
        yield from _predict(job, project, run, control)


def _predict(job: PredictJob, project: Project, run: Run, control: Control) -> Iterator[Event]:
    device = choose_device(job.device)
    torch_device = torch.device(device.name)
    predictor = Predictor(
        model_of(run).to(torch_device), run, project, objects=job.objects, flips=job.flips
    )
    names = chosen_images(project, job.images)
    outputs = () if job.project is None else stored_outputs(project, predictor, maps=job.maps)
    export = _export(job, project, predictor, names)
    waiting = _waiting(job, names, outputs, export)
    yield Started(
        kind=job.kind,
        title=f"Prediction of {len(waiting)} images with {run.name}",
        total=len(waiting),
        device=device,
    )
    for text in predictor.notes:
        yield Note(level="warning", text=text)
    notes: list[str] = []
    tiles = Tiles(tell=notes.append)
    began, failed = time.monotonic(), 0
    try:
        for done, (name, stored, exported) in enumerate(waiting, start=1):
            began += yield from pausing(control, done - 1)
            if control.stopped:
                summary = f"Stopped after {done - 1} of {len(waiting)} images."
                yield Done(stopped=True, summary=summary)
                return
            file: Path | None = None
            mask = _stored_mask(job, project, predictor, name) if stored else None
            if mask is None:
                try:
                    seen = project.fingerprints.of(name)
                    planes = project.planes(name)
                except (*UNREADABLE, MemoryError) as error:  # one such file does not end a folder
                    failed += 1
                    yield Note(level="warning", text=f"Left out {name}: {error}")
                    if export is not None:
                        file = export.leave_out(name)
                else:
                    with lack_explained():
                        prediction = predictor.prediction(
                            name, planes, seen, device=torch_device, tiles=tiles
                        )
                    while notes:
                        yield Note(level="warning", text=notes.pop(0))
                    for output in outputs:
                        output.write(prediction)
                    mask = _mask(job, prediction)
                    if outputs:
                        path = project.prediction_path(predictor.name, name)
                        yield Saved(what="prediction", path=str(path), image=name)
            if export is not None and mask is not None and not exported:
                file = export.write(name, mask)
            if file is not None:
                yield Saved(what="mask", path=str(file), image=name)
            rate = done / (time.monotonic() - began)
            eta = (len(waiting) - done) / rate
            yield Progress(step=done, total=len(waiting), rate=rate, eta=eta)
    finally:
        if export is not None:
            export.close()
    if waiting and failed == len(waiting):
        raise MedsslError("Not one image could be segmented; the reasons stand above.")
    where = job.out or f"predictions/{predictor.name}"
    summary = f"{len(waiting) - failed} images segmented into {where}"
    summary += f", {failed} left out" if failed else ""
    kept = len(names) - len(waiting)
    summary += f", {kept} were there already" if kept else ""
    yield Done(summary=f"{summary}.")


def _waiting(
    job: PredictJob, names: Iterable[str], outputs: Sequence[Output], export: LabelExport | None
) -> list[_Waiting]:
    """List what there is to do, in the order of the images."""
    if job.overwrite:
        return [_Waiting(name, stored=False, exported=False) for name in names]
    waiting = []
    for name in names:
        stored = bool(outputs) and all(output.has(name) for output in outputs)
        exported = export is None or export.has(name)
        if not exported or (outputs and not stored):
            waiting.append(_Waiting(name, stored, exported))
    return waiting


def _export(
    job: PredictJob, project: Project, predictor: Predictor, names: Sequence[str]
) -> LabelExport | None:
    if job.out is None:
        return None
    folder = given(job.out).resolve()
    if folder.is_relative_to(project.image_root):
        raise MedsslError(
            f"{folder} is in the image folder, where the masks would count as images.",
            advice="Choose a folder outside of it.",
        )
    for place in (folder, *folder.parents):
        if is_project(place):
            raise MedsslError(
                f"{folder} is in the project {place}, where masks could take the place of annotations.",
                advice="Choose a folder outside of it.",
            )
    if job.out_objects and predictor.objects is None:
        raise MedsslError(
            "This run does not tell objects apart by itself.",
            advice='Have the areas of its classes parted (objects "separate"), or fine-tune it with objects.',
        )
    return label_export(
        job.out_format,
        folder,
        project,
        names,
        classes=None if job.out_objects else predictor.classes,
        note=predictor.note | ({"found": predictor.objects} if job.out_objects else {}),
    )


def _mask(job: PredictJob, prediction: Prediction) -> NDArray[np.integer]:
    """Give what the files in `out` hold."""
    if not job.out_objects:
        return prediction.labels
    assert prediction.objects is not None  # `_export` refused what finds none
    return prediction.objects


def _stored_mask(
    job: PredictJob, project: Project, predictor: Predictor, image: str
) -> NDArray[np.integer] | None:
    try:
        if job.out_objects:
            return read_ids(project.predicted_objects_path(predictor.name, image))
        return read_labels(project.prediction_path(predictor.name, image))
    except MedsslError:  # damaged since it was written: predicted anew
        return None


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
