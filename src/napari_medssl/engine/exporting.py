"""Weights of a run as a file for other projects and other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.engine.predicting import find_run, model_of
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.estimate import ANSWERS
from napari_medssl.events import Done, Event, Note, Saved, Started
from napari_medssl.learn.devices import choose_device
from napari_medssl.learn.weights import save_part
from napari_medssl.project import Project
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medssl.engine.job import ExportJob
    from napari_medssl.learn.weights import ExportPart

__all__ = ["export"]

_WORDS: dict[ExportPart, str] = {
    "encoder": "Encoder",
    "encoder+decoder": "Encoder and decoder",
    "whole": "Whole network",
}


def export(job: ExportJob) -> Iterator[Event]:
    """Write the weights of a run, or a part of them, into a file.

    Raises
    ------
    MedsslError
        If the run has no weights, the file exists and is not to be replaced, or cannot be written.
    """
    project = Project.open(job.project) if job.project is not None else None
    run = find_run(job.run, project)
    out = given(job.out)
    if out.exists() and not job.overwrite:
        raise MedsslError(
            f"There is a file {out} already, so nothing was written.",
            advice="Choose another name, or say that it may be replaced (overwrite).",
        )
    what = _WORDS[job.part]
    yield Started(
        kind=job.kind, title=f"Export of {run.name}", total=1, device=choose_device("cpu")
    )
    model = model_of(run)
    if model.spec.answer != "network" and (job.part, job.names) != ("whole", "medssl"):
        yield Note(
            level="warning",
            text=f"{run.name} predicts with {ANSWERS[model.spec.answer]}; what is exported is of the network alone.",
        )
    count = save_part(model, out, part=job.part, names=job.names)
    yield Saved(what="export", path=str(out))
    size = out.stat().st_size / 1e6
    yield Done(summary=f"{what} of {run.name}: {count} tensors, {size:.1f} MB, in {out}.")
