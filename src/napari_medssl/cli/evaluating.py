"""The commands `medssl evaluate` and `medssl assess`: how good predictions are, and what features are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medssl.cli.arguments import DONE, is_run_folder, open_project, open_run, run_job
from napari_medssl.project.checkpoint import read_json
from napari_medssl.project.paths import given
from napari_medssl.project.units import units_of

if TYPE_CHECKING:
    import argparse

    from napari_medssl.cli.display import Sink
    from napari_medssl.project import Project

__all__ = ["assess", "evaluate"]


def evaluate(args: argparse.Namespace, sink: Sink) -> int:
    """Carry out ``medssl evaluate``."""
    from napari_medssl.evaluate import Evaluation
    from napari_medssl.evaluate.evaluated import EVALUATION
    from napari_medssl.evaluate.paired import paired_difference, scores_of

    project = open_project(args.project)
    run = open_run(project, args.run)
    rival = None if args.against is None else scores_of(open_run(project, args.against))
    job: dict[str, Any] = {"kind": "evaluate", "project": str(project.path), "run": run.name}
    wanted = ("truth", "masks_as", "images", "units", "objects", "boundary", "tolerance")
    job |= _given(args, *wanted, "volumes", "background", "out", "report", "device")
    code = run_job(job, sink)
    if code != DONE:
        return code
    path = run.path / EVALUATION
    evaluation: Evaluation = Evaluation.parse(read_json(path), where=str(path))
    out = args.out or str(path)
    data = {**evaluation.model_dump(mode="json"), "path": out}
    sink.result(data, f"{evaluation.table()}\n\nwritten to {out}")
    if rival is not None:
        compared = paired_difference(rival, evaluation, groups=units_of(project))
        sink.result(compared.model_dump(mode="json"), "\n".join(["", *compared.lines()]))
    return DONE


def assess(args: argparse.Namespace, sink: Sink) -> int:
    """Carry out ``medssl assess``."""
    project = open_project(args.project)
    job: dict[str, Any] = {
        "kind": "assess",
        "project": str(project.path),
        "run": _run(project, args.run),
        "cka": "paper" if args.paper else "unbiased",
        "rivals": [_run(project, name) for name in args.rivals or ()],
    }
    if args.against is not None:
        job["against"] = _run(project, args.against)
    return run_job(job | _given(args, "images", "most", "focal", "device"), sink)


def _run(project: Project, text: str) -> str:
    """Give the name of a run of the project, or the whole path of one that lies elsewhere."""
    if is_run_folder(text) and given(text).resolve().parent != project.path / "runs":
        return str(given(text).resolve())
    return open_run(project, text).name


def _given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(args, name)) is not None}
