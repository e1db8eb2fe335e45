"""The commands: each takes the parsed arguments and a sink, and gives an exit code.

Heavy imports stand inside the functions: `medssl runs` needs no torch.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medssl.cli import evaluating, explore, forecasting, planning, suggesting
from napari_medssl.cli.arguments import is_run_folder, open_project, open_run, run_job
from napari_medssl.cli.display import Sink, stop_on_signal
from napari_medssl.cli.experiment import experiment, ranks
from napari_medssl.cli.planning import start_of
from napari_medssl.cli.settings import assign, fields, read_config
from napari_medssl.config import ConfigError
from napari_medssl.errors import MedsslError
from napari_medssl.events import Failed, Note, Progress
from napari_medssl.project.paths import given
from napari_medssl.project.working_scale import ScaleRule

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from napari_medssl.engine.protocol import Description
    from napari_medssl.project import Project

__all__ = ["COMMANDS"]

DONE, FAILED, STOPPED = 0, 1, 130
DEFAULT_METHOD = "medsass"
_COUNT_SECONDS = 0.5


def _init(args: argparse.Namespace, sink: Sink) -> int:
    from napari_medssl.project import Project

    rules = planning.image_rules(args)
    project = Project.create(
        args.folder,
        project=args.project,
        masks=args.masks,
        masks_as=args.masks_as,
        recursive=not args.flat,
        channels=args.channels,
        axes=_axes(args.axes),
        groups=rules.get("groups"),
        image_labels=rules.get("image_labels"),
        progress=_counting(sink),
    )
    parts = [project.report.text()]
    data: dict[str, Any] = {
        "project": str(project.path),
        "images": list(project.images),
        "report": project.report.model_dump(mode="json"),
    }
    if project.imported is not None:
        parts.append(project.imported.text())
        data["masks"] = project.imported.model_dump(mode="json")
    known, text = planning.told(project, only_given=True)
    data |= known
    parts += [text] if text else []
    sink.result(data, "\n".join([*parts, f"Project: {project.path}"]))
    return DONE


def _check(args: argparse.Namespace, sink: Sink) -> int:
    from napari_medssl.project import Project

    try:
        project = Project.open(args.project, images=args.images, quick=True)
    except MedsslError as error:
        raise ConfigError(error.message, advice=error.advice) from error
    stopped = threading.Event()
    count = _counting(sink)
    with stop_on_signal(stopped.set):
        for told in project.check(stopped.is_set):
            count(told.done, told.total)
    changed = project.annotations.changed_images()
    damaged = project.annotations.damaged()
    parts = [project.report.text()]
    if changed:
        parts.append(f"Changed since they were annotated: {', '.join(changed)}.")
    parts += damaged.values()
    data = {
        "report": project.report.model_dump(mode="json"),
        "unchecked": project.unchecked,
        "changed": list(changed),
        "damaged": damaged,
    }
    sink.result(data, "\n".join(parts))
    return STOPPED if project.unchecked and stopped.is_set() else DONE


def _pretrain(args: argparse.Namespace, sink: Sink) -> int:
    job = _base(args, "pretrain")
    if args.recommended:
        job = _recommended(args, sink, given=job)
    job["method"] = args.method or job.get("method", DEFAULT_METHOD)
    if args.from_run is not None:
        job["from_run"] = _run_or_folder(open_project(args.project), args.from_run)
    return _train(job, args, sink)


def _finetune(args: argparse.Namespace, sink: Sink) -> int:
    job = _base(args, "finetune")
    if args.from_run == "none":
        job["from_run"] = None
    elif args.from_run is not None:
        job["from_run"] = _run_or_folder(open_project(args.project), args.from_run)
    elif "from_run" not in job:
        job["from_run"] = _newest_pretraining(open_project(args.project), sink)
    for key in ("mode", "preset", "answer"):
        if getattr(args, key) is not None:
            job[key] = getattr(args, key)
    if args.no_estimate:
        job["estimate"] = False
    if args.images is not None:
        job["images"] = args.images
    return _train(job, args, sink)


def _resume(args: argparse.Namespace, sink: Sink) -> int:
    project = open_project(args.project)
    run = open_run(project, args.run)
    return run_job({"kind": "resume", "project": str(project.path), "run": run.name}, sink)


def _predict(args: argparse.Namespace, sink: Sink) -> int:
    from napari_medssl.project.listing import is_project

    place = given(args.project)
    job: dict[str, Any] = {
        "kind": "predict",
        "overwrite": not args.skip_done,
        "out_format": args.format,
        "out_objects": args.out_objects,
        "probabilities": args.probabilities,
        "uncertainty": args.uncertainty,
        "objects": args.objects,
        "flips": not args.no_flips,
    }
    if is_project(place) or place.name == "project.json":
        project = open_project(args.project)
        run = args.run if is_run_folder(args.run) else open_run(project, args.run).name
        job |= {"project": str(project.path), "run": run}
    elif not place.is_dir():
        raise ConfigError(f"There is no folder {place}.")
    elif not args.out:
        raise ConfigError(
            f"{place} is no project, so there is no default place for the result.",
            advice="Say where to write with --out.",
        )
    elif not is_run_folder(args.run):
        raise ConfigError(
            f"--run {args.run}: {place} is no project, so the run must be given as a folder.",
            advice="For example --run my-project/runs/20260401-probe-01.",
        )
    else:
        job |= {"folder": str(place), "run": args.run}
    if args.out:
        job["out"] = args.out
    if args.images is not None:
        job["images"] = args.images
    return run_job(_with_device(job, args), sink)


def _export(args: argparse.Namespace, sink: Sink) -> int:
    project = open_project(args.project)
    job = {
        "kind": "export",
        "project": str(project.path),
        "run": _run_or_folder(project, args.run),
        "out": args.out,
        "part": args.part,
        "names": args.names,
        "overwrite": args.overwrite,
    }
    return run_job(job, sink)


def _runs(args: argparse.Namespace, sink: Sink) -> int:
    from napari_medssl.cli.listing import list_runs

    data, text = list_runs(open_project(args.project))
    sink.result({"runs": data}, text)
    return DONE


def _describe(args: argparse.Namespace, sink: Sink) -> int:
    from napari_medssl.cli.listing import describe_job, describe_method, list_methods

    known = _description()
    if args.method is None:
        sink.result(known.model_dump(mode="json"), list_methods(known))
        return DONE
    methods = {method.key: method for method in known.methods}
    if args.method in methods:
        method = methods[args.method]
        sink.result(method.model_dump(mode="json"), describe_method(known, method))
    elif args.method in known.jobs:
        sink.result(known.jobs[args.method], describe_job(known, args.method))
    else:
        names = ", ".join([*methods, *known.jobs])
        raise ConfigError(f"There is no method {args.method!r}.", advice=f"There are: {names}.")
    return DONE


def _demo(args: argparse.Namespace, sink: Sink) -> int:
    from napari_medssl.cli.entry import main
    from napari_medssl.demo import StepFailedError, demo

    passed_on = ["--json"] if args.json else []
    try:
        report, outcome = demo(
            Path(args.out),
            main=lambda argv: main([*argv, *passed_on]),
            quick=args.quick,
            images=args.images,
            masks=args.masks,
            device=args.device,
        )
    except StepFailedError as error:
        sink(Failed(error=error.message))
        return error.code
    sink.result({"report": str(report), "outcome": outcome}, f"\n{outcome}\n\n{report}")
    return DONE


def _doctor(args: argparse.Namespace, sink: Sink) -> int:
    from napari_medssl.doctor import diagnose

    diagnosis = diagnose(
        given(args.project) if args.project else None,
        progress=lambda title: sink(Note(text=f"looking at {title}")),
    )
    sink.result(diagnosis.model_dump(mode="json"), diagnosis.text())
    return DONE if diagnosis.healthy else FAILED


COMMANDS: dict[str, Callable[[argparse.Namespace, Sink], int]] = {
    "init": _init,
    "check": _check,
    "recommend": planning.recommend,
    "compare": planning.compare,
    "groups": planning.groups,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "resume": _resume,
    "predict": _predict,
    "evaluate": evaluating.evaluate,
    "assess": evaluating.assess,
    "more": forecasting.more,
    "export": _export,
    "embed": explore.embed,
    "similar": explore.similar,
    "neighbours": explore.neighbours,
    "colours": explore.colours,
    "suggest": suggesting.suggest,
    "experiment": experiment,
    "ranks": ranks,
    "runs": _runs,
    "describe": _describe,
    "demo": _demo,
    "doctor": _doctor,
}


def _axes(items: list[str]) -> dict[str, str]:
    """Read ``QYX=CYX`` and so on."""
    found = {}
    for item in items:
        stored, sign, meant = item.upper().partition("=")
        if not sign:
            raise ConfigError(f"--axes {item}: axes are given as STORED=MEANT, such as QYX=CYX.")
        found[stored] = meant
    return found


def _counting(sink: Sink) -> Callable[[int, int], None]:
    """Show how far the look at a folder has come, if it takes longer than a moment."""
    began = shown = time.monotonic()

    def count(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < _COUNT_SECONDS:
            return
        shown = now
        rate = done / (now - began)
        eta = (total - done) / rate if rate > 0 else 0.0
        sink(Progress(step=done, total=total, rate=rate, eta=eta))

    return count


def _base(args: argparse.Namespace, kind: str) -> dict[str, Any]:
    """Start a training job from ``--config``."""
    job = read_config(args.config) if args.config else {}
    if job.get("kind", kind) != kind:
        raise ConfigError(
            f"{args.config}: is a job of kind {job['kind']!r}, which `medssl {kind}` does not run."
        )
    return {**job, "kind": kind, "project": str(open_project(args.project).path)}


def _recommended(args: argparse.Namespace, sink: Sink, *, given: dict[str, Any]) -> dict[str, Any]:
    """Put what is recommended under what a job says itself."""
    from napari_medssl.learn.recommend import recommend

    start = start_of(args.weights) or (given.get("network") or {}).get("encoder_weights")
    found = recommend(
        open_project(args.project),
        method=args.method or given.get("method"),
        start=start,
        device=args.device or given.get("device", "auto"),
    )
    sink(Note(text=f"As recommended: {found.headline()}."))
    parts = {
        name: {**found.job[name], **(given.get(name) or {})} for name in ("network", "training")
    }
    if (
        start is None
    ):  # nobody asked: left to the encoder, as another than the recommended may be named
        del parts["network"]["encoder_weights"]
    return {**found.job, **given, **parts}


def _train(job: dict[str, Any], args: argparse.Namespace, sink: Sink) -> int:
    """Put the options that trainings share into the job, and run it."""
    network = dict(job.get("network") or {})
    if args.encoder is not None:
        network["encoder"] = args.encoder
    if (start := start_of(args.weights)) is not None:
        file = args.weights if start == "file" else None
        network |= {"encoder_weights": start, "weights_file": file}
    if network:
        job["network"] = network
    if args.take is not None:
        job["take"] = args.take
    if args.scale is not None:
        job["scale"] = ScaleRule.read(args.scale).model_dump()
    if args.seed is not None:
        job["seed"] = args.seed
    if args.settings:
        assign(job, args.settings, _known_fields(job))
    return run_job(_with_device(job, args), sink)


def _run_or_folder(project: Project, text: str) -> str:
    """Give the name of a run of the project, or the whole path of one that lies elsewhere."""
    if is_run_folder(text) and given(text).resolve().parent != project.path / "runs":
        return str(given(text).resolve())
    return open_run(project, text).name


def _with_device(job: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    return {**job, "device": args.device} if args.device is not None else job


def _known_fields(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Give all settings of a job, those of its method included."""
    known = _description()
    found = fields(known.jobs[job["kind"]])
    for name in ("kind", "project", "method_config"):
        found.pop(name, None)
    for method in known.methods:
        if method.key == job.get("method"):
            found |= {f"method_config.{k}": v for k, v in fields(method.config_schema).items()}
    return found


def _description() -> Description:
    from napari_medssl.engine.describe import describe

    return describe()


def _newest_pretraining(project: Project, sink: Sink) -> str | None:
    for run in project.runs():
        if run.kind == "pretrain" and run.weights() is not None:
            sink(Note(text=f"Starts from the newest pretraining, {run.name} (--from to choose)."))
            return run.name
    sink(Note(text="There is no pretraining in this project: a new network starts."))
    return None
