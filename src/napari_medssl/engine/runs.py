"""Runs: pretraining and fine-tuning, from a checked job to weights that were tried out."""

from __future__ import annotations

import contextlib
import math
import os
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch

from napari_medssl.engine.choosing import Chooser
from napari_medssl.engine.job import FinetuneJob, PretrainJob, ResumeJob, parse_job
from napari_medssl.engine.predicting import find_run, model_of
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.estimate import ANSWERS
from napari_medssl.evaluate.taught import taught
from napari_medssl.events import Device, Done, Event, Failed, Note, Started
from napari_medssl.learn.devices import choose_device, choose_threads
from napari_medssl.learn.features import calibrate
from napari_medssl.learn.finetune import FinetuneTask, ProbeTask
from napari_medssl.learn.imagenet import announce
from napari_medssl.learn.memory import lack_explained
from napari_medssl.learn.networks import ModelSpec, SegmentationModel
from napari_medssl.learn.predict import predict_maps
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.learn.recording import Outage
from napari_medssl.learn.scale_choice import choose_scale, patch_at
from napari_medssl.learn.task import UNREADABLE, nothing_left
from napari_medssl.learn.training import Task, train
from napari_medssl.learn.transfer import (
    build_model,
    origin,
    standardised_like,
    transfer,
)
from napari_medssl.learn.weights import load_model, save_model
from napari_medssl.project import Project, Run
from napari_medssl.project.checkpoint import WriteError
from napari_medssl.project.working_scale import ScaledImages, ScaleRule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medssl.config import Config
    from napari_medssl.evaluate.estimate import Choice
    from napari_medssl.learn.control import Control
    from napari_medssl.learn.trial import Choice as Computing

__all__ = ["check_start", "model_at_start", "start"]


def start(job: PretrainJob | FinetuneJob | ResumeJob, control: Control) -> Iterator[Event]:
    """Carry out a training job in a new run, or go on with an old one."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise MedsslError(
            f"This job was started in {processes} processes; training in several is not possible yet.",
            advice="Start it in one process (without torchrun or accelerate launch).",
        )
    project = Project.open(job.project)
    if isinstance(job, ResumeJob):
        run = project.run(job.run)
        if run.status == "done":
            raise MedsslError(
                f"The run {run.name} is done: there is nothing to go on with.",
                advice="Start a new run from it (from_run).",
            )
        if run.kind == "finetune" and run.job_version < 2:
            raise MedsslError(
                f"The run {run.name} is a fine-tuning that an older version began, in a way that is no longer there.",
                advice=f"Start a new fine-tuning; it can begin with these weights (--from {run.name}).",
            )
        yield from _recorded(run, _resume(project, run, job, control))
        return
    if isinstance(job, PretrainJob):
        method = pretext_method(job.method)  # both refuse early, before a run folder exists
        config = method.config_type.parse(job.method_config, where=f"method_config of {job.method}")
        job = job.model_copy(update={"method_config": config.model_dump(mode="json")})
    else:
        job = job.model_copy(update={"images": _annotated(project, job)})
    source = _source(project, job)
    if source is not None:
        job = job.model_copy(
            update={"network": source.spec.network, "from_run": _settled(project, job)}
        )
    job, why_scale = _with_scale(project, job, source)
    if isinstance(job, FinetuneJob) and job.mode == "probe" and job.threads is None:
        # Embeddings are computed before the trial; with other threads a resumed run's would round differently.
        job = job.model_copy(update={"threads": choose_threads()})
    run = project.new_run(job.method if isinstance(job, PretrainJob) else f"finetune-{job.mode}")
    _write(run, job)
    yield from _recorded(run, _train(project, run, job, control, source=source, said=why_scale))


def _settled(project: Project, job: PretrainJob | FinetuneJob) -> str:
    """Name the run that a job starts from: "latest" means another one as soon as this job has its own."""
    assert job.from_run is not None
    before = find_run(job.from_run, project)
    own = before.path.parent == project.path / "runs"
    return before.name if own else job.from_run


def _with_scale(
    project: Project, job: PretrainJob | FinetuneJob, source: SegmentationModel | None
) -> tuple[PretrainJob | FinetuneJob, str]:
    """Settle the working scale of a job, and say in a sentence which it is and why."""
    if job.scale is not None:
        rule, why = job.scale, f"Working scale: {job.scale.text()}, as asked for."
    elif source is not None:
        rule = source.spec.scale
        why = f"Working scale: {rule.text()}, that of {job.from_run}."
    else:
        images = job.images if isinstance(job, FinetuneJob) else None
        chosen = choose_scale(project, images=images)
        rule, why = chosen.rule, f"Working scale: {chosen.rule.text()}. {chosen.why}"
    update: dict[str, Any] = {"scale": rule}
    if "patch_size" not in job.training.model_fields_set:
        patch = {"patch_size": patch_at(project, rule)}
        update["training"] = job.training.model_copy(update=patch)
    return job.model_copy(update=update), why


def _write(run: Run, job: PretrainJob | FinetuneJob) -> None:
    run.write_job(job.model_dump(mode="json") | {"project": "."})


def _resume(project: Project, run: Run, wish: ResumeJob, control: Control) -> Iterator[Event]:
    if not run.job:
        raise MedsslError(
            f"The run {run.name} ended before anything of it was written.",
            advice="Delete its folder and start it anew.",
        )
    data = run.job | {"project": str(project.path)}
    if wish.device is not None:
        data["device"] = wish.device
    job = parse_job(data, where=str(run.job_path))
    assert isinstance(job, PretrainJob | FinetuneJob)
    if run.state_path.is_file():
        yield from _train(project, run, job, control, resume=True)
    else:  # ended before its first checkpoint: nothing was learned yet
        yield from _train(project, run, job, control, source=_source(project, job))


def _recorded(run: Run, events: Iterator[Event]) -> Iterator[Event]:
    """Hold the run's lock, write its events down, and leave the reason of a failure in it."""
    log = _Log(run)
    with run.lock():
        try:
            with lack_explained():
                for event in events:
                    yield from log.append(event)
                    if isinstance(event, Done):
                        log.finish()  # a run whose log lacks its end would not count as done
                    yield event
        except Exception as error:
            message = error.message if isinstance(error, MedsslError) else repr(error)
            advice = error.advice if isinstance(error, MedsslError) else ""
            details = traceback.format_exc()
            for _ in log.append(Failed(error=message, advice=advice, details=details)):
                pass  # that the log cannot be written matters less than the failure itself
            raise


class _Log:
    """Writes events into the run, later where the disk does not take them now."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._waiting: deque[Event] = deque()
        self._outage = Outage("The run's log")

    def append(self, event: Event) -> Iterator[Event]:
        """Write an event and those that wait; yields what there is to tell about it."""
        self._waiting.append(event)
        try:
            self.finish()
        except WriteError as error:
            yield from self._outage.begin(error)
        else:
            yield from self._outage.end()

    def finish(self) -> None:
        """Write what waits.

        Raises
        ------
        WriteError
            If the system refuses.
        """
        while self._waiting:
            self._run.append(self._waiting[0])
            self._waiting.popleft()


def _train(
    project: Project,
    run: Run,
    job: PretrainJob | FinetuneJob,
    control: Control,
    *,
    source: SegmentationModel | None = None,
    resume: bool = False,
    said: str = "",
) -> Iterator[Event]:
    torch.set_num_threads(job.threads or choose_threads())
    device = choose_device(job.device)
    if device.name == "cpu" and job.threads is None:
        device = device.model_copy(update={"label": "CPU"})  # the threads are chosen by a trial
    torch.manual_seed(job.seed)
    if source is None and not resume and job.network.encoder_weights == "imagenet":
        yield Note(text=announce(job.network.encoder))  # at once: the download may take minutes
    notes = [said] if said else []
    model = _model(project, run, job, source, resume=resume, note=notes.append)
    task = _task(project, job, model, device)
    title = _title(job, task)

    def started(step: int) -> Started:
        return Started(
            kind=job.kind,
            title=title,
            run=run.name,
            step=step,
            total=job.training.steps,
            device=device,
        )

    def keep(choice: Computing) -> None:
        nonlocal job
        settled = {"channels_last": choice.channels_last}
        training = job.training.model_copy(update=settled)
        job = job.model_copy(update={"threads": choice.threads, "training": training})
        _write(run, job)

    events = train(
        task,
        run=run,
        config=job.training,
        device=device,
        control=control,
        seed=job.seed,
        threads=job.threads,
        resume=resume,
        on_start=started,
        on_choice=keep,
    )
    for event in events:
        yield event
        if isinstance(event, Started):
            for text in (*notes, *getattr(task, "notes", ())):
                yield Note(text=text)
    choice: Choice | None = None
    if isinstance(job, FinetuneJob) and job.mode != "probe":

        def task_of(names: Sequence[str]) -> FinetuneTask:
            """Make the same training anew, on some of the images."""
            torch.manual_seed(job.seed)
            fresh = _model(
                project, run, job, _source(project, job), resume=False, note=lambda _: None
            )
            part = _task(project, job.model_copy(update={"images": tuple(names)}), fresh, device)
            assert isinstance(part, FinetuneTask)  # by the job's mode
            return part

        seen = _seen(project, job)
        chooser = Chooser(project, run, job, device, control, task_of, seen=seen)
        choice = yield from chooser.events()
    yield from _finish(project, run, job, device, stopped=control.stopped, choice=choice)


def _model(
    project: Project,
    run: Run,
    job: PretrainJob | FinetuneJob,
    source: SegmentationModel | None,
    *,
    resume: bool,
    note: Any,
) -> SegmentationModel:
    if resume:
        return load_model(run.last_path)  # what a probe embeds with, before its checkpoint is read
    settings = project.settings
    if isinstance(job, PretrainJob):
        pretext = pretext_method(job.method)
        classes, method = pretext.output_classes(project), job.method
        config = pretext.config_type.parse(job.method_config)
        head = "network" if pretext.segments(config) else "none"
        trained = pretext.trained_stages(config, job.network)
    else:
        classes, method = settings.classes, f"finetune-{job.mode}"
        head = "probe" if job.mode == "probe" else "network"
        trained = None
        if head == "probe":  # trains no stage itself
            trained = 0 if source is None else source.spec.trained_stages
    spec = ModelSpec(
        network=job.network,
        channels=settings.channels,
        classes=classes,
        normalisation=settings.normalisation,
        head=cast('Literal["network", "probe", "none"]', head),
        trained_stages=trained,
        method=method,
        objects=isinstance(job, FinetuneJob) and job.training.objects,
        scale=job.scale or ScaleRule(),
        ancestry=(*(origin(job.network) if source is None else source.spec.ancestry), run.name),
    )
    if source is None:
        return build_model(spec, note=note)
    assert job.from_run is not None  # or there were no source
    model = SegmentationModel(standardised_like(spec, source.spec))
    before = find_run(job.from_run, project)
    note(transfer(model, source, name=before.name, take=job.take).text())
    if head != "probe" or before.path.parent != run.path.parent:
        model.feature_calibrated.fill_(False)  # the features, or the images, are about to change
    return model


def check_start(source: str) -> None:
    """Refuse any features of a network before its training but those of all decoder stages.

    Raises
    ------
    MedsslError
        If another source is asked for.
    """
    if source != "mix":
        raise MedsslError(
            f"The network before training cannot be asked for its {source}.",
            advice="Choose the features of all decoder stages (mix).",
        )


def model_at_start(project: Project, run: Run) -> SegmentationModel:
    """Build the network of a run as it was before its first step: the same start, from the same seed."""
    job = parse_job(run.job)
    assert isinstance(job, PretrainJob | FinetuneJob)  # no other job makes a run
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        source = _source(project, job)
        return _model(project, run, job, source, resume=False, note=lambda _: None).eval()


def _task(
    project: Project,
    job: PretrainJob | FinetuneJob,
    model: SegmentationModel,
    device: Device,
) -> Task:
    if isinstance(job, PretrainJob):
        method = pretext_method(job.method)
        config: Config = method.config_type.parse(job.method_config)
        return method(
            config=config, model=model, project=project, training=job.training, seed=job.seed
        )
    assert job.images is not None  # resolved when the job started
    common: dict[str, Any] = {
        "model": model,
        "project": project,
        "images": job.images,
        "config": job.training,
        "seed": job.seed,
    }
    if job.mode != "probe":
        return FinetuneTask(mode=job.mode, **common)
    torch_device = torch.device(device.name)
    model.to(torch_device)
    notes: list[str] = []
    calibrate(model, project, device=torch_device, tell=notes.append)
    task = ProbeTask(device=torch_device, **common)
    task.notes += notes
    return task


def _finish(
    project: Project,
    run: Run,
    job: PretrainJob | FinetuneJob,
    device: Device,
    *,
    stopped: bool,
    choice: Choice | None,
) -> Iterator[Event]:
    """Calibrate the features of what is kept, and try it on one image before it is offered."""
    torch_device = torch.device(device.name)
    notes: list[str] = []
    for path in (run.last_path, run.best_path):
        if not path.is_file():
            continue
        model = load_model(path).to(torch_device)
        if not bool(model.feature_calibrated):
            calibrate(model, project, device=torch_device, tell=notes.append)
            save_model(model, path)
    for text in dict.fromkeys(notes):
        yield Note(level="warning", text=text)
    name, planes = _readable(project)
    factor = ScaledImages(project, model.spec.scale).factor(name)
    maps = predict_maps(model, planes, factor=factor, device=torch_device, flips=False)
    if not np.isfinite(maps.chances).all():
        raise MedsslError(
            "The trained network gives values that are not numbers, so it is not offered.",
            advice="Train again with a lower learning rate.",
        )
    curves = run.metrics()
    metrics = {name: values[-1][1] for name, values in curves.items() if values}
    verb = "Stopped" if stopped else "Done"
    steps = curves["loss"][-1][0] if "loss" in curves else 0
    parts = [f"{verb} after {steps} of {job.training.steps} steps"]
    if choice is not None:
        parts.append(f"{ANSWERS[choice.answer]} predicts")
        if choice.score is not None:
            metrics["estimate/dice"] = choice.score
            parts.append(f"leave-one-out Dice {choice.score:.3f}")
    elif math.isfinite(metrics.get("loss", math.nan)):
        parts.append(f"loss {metrics['loss']:.4f}")
    early = steps < job.training.steps and not stopped
    summary = "; ".join(parts) + (" (no further improvement)." if early else ".")
    yield Done(run=run.name, stopped=stopped, summary=summary, metrics=metrics)


def _readable(project: Project) -> tuple[str, NDArray[np.float32]]:
    """Read the first image that is still there."""
    for name in project.images:
        with contextlib.suppress(*UNREADABLE):
            return name, project.planes(name)
    raise nothing_left()


def _annotated(project: Project, job: FinetuneJob) -> tuple[str, ...]:
    annotated = project.annotations.annotated()
    wanted = annotated if job.images is None else job.images
    missing = sorted(set(wanted) - set(annotated))
    if missing:
        raise MedsslError(
            f"Not annotated, or not in the project: {', '.join(missing[:5])}.",
            advice=f"Annotated are: {', '.join(annotated[:10]) or 'none'}.",
        )
    if not wanted:
        raise MedsslError(
            "No image is annotated yet.", advice="Paint some labels first, or import masks."
        )
    return tuple(wanted)


def _source(project: Project, job: PretrainJob | FinetuneJob) -> SegmentationModel | None:
    if job.from_run is None:
        return None
    return model_of(find_run(job.from_run, project))


def _seen(project: Project, job: FinetuneJob) -> frozenset[str]:
    """Name the images whose annotations taught the network that a job starts from."""
    if job.from_run is None:
        return frozenset()
    return taught(project, find_run(job.from_run, project)).annotated


def _title(job: PretrainJob | FinetuneJob, task: Task) -> str:
    images = (job.images or ()) if isinstance(job, FinetuneJob) else task.images
    count = f"{len(images)} image{'s' if len(images) != 1 else ''}"
    if isinstance(job, PretrainJob):
        return f"{pretext_method(job.method).title} pretraining on {count}"
    names = {"probe": "Linear probe", "frozen": "Fine-tuning (frozen encoder)"}
    return f"{names.get(job.mode, 'Fine-tuning')} on {count}"
