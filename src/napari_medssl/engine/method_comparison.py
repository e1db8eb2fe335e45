"""Which pretraining helps on a project's own annotations: short pretrainings, each fine-tuned and estimated."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from napari_medssl.engine.calls import OnEvent, events_of, opened
from napari_medssl.engine.experiment.estimate import Pace
from napari_medssl.engine.method_plan import key_of, settled, start_alone, titles, what_it_takes
from napari_medssl.engine.trainings import StoppedError, Trainings
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.estimate import Estimate
from napari_medssl.events import Done, Event, Failed, Note, Paused, Progress, Resumed, Started
from napari_medssl.learn.devices import choose_device
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.project import Project
from napari_medssl.project.locks import held
from napari_medssl.project.method_comparison import (
    Candidate,
    MethodComparison,
    comparisons_of,
)
from napari_medssl.project.run import make_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from napari_medssl.engine.job import CompareJob
    from napari_medssl.learn.control import Control
    from napari_medssl.learn.devices import DeviceName
    from napari_medssl.project import Run

__all__ = ["carry_out", "compare_methods"]


def compare_methods(
    project: Project | str | Path,
    methods: Iterable[str] = (),
    *,
    minutes: float = 5.0,
    network: Mapping[str, Any] | None = None,
    finetuning: Mapping[str, Any] | None = None,
    device: DeviceName = "auto",
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> MethodComparison:
    """Find out which pretraining method helps on a project's own annotations.

    Each method pretrains shortly; from each, and from the start alone, the whole network is fine-tuned and estimated by
    leave-one-out. The same comparison on the same images goes on where it was stopped.

    Parameters
    ----------
    project : Project or path
        The project, with at least two annotated images or groups.
    methods : iterable of str
        Up to three keys of pretext methods; by default the one that is recommended.
    minutes : float
        Budget of each pretraining.
    network, finetuning : mapping, optional
        Settings that differ from the defaults, of `NetworkConfig`, of `FinetuneConfig`.
    device : {"auto", "cpu", "cuda", "mps"}
        Where to compute.
    seed : int
        Same seed, same result (on the same machine).
    on_event : callable, optional
        Called with every event.

    Returns
    -------
    MethodComparison
        Its `candidates` hold the scores and the runs; `best` is what to start from, None where these annotations show
        no difference.

    Raises
    ------
    MedsslError
        If a setting is refused, fewer than two images or groups are annotated, or a training fails.
    """
    project = opened(project)
    job = {
        "kind": "compare",
        "project": str(project.path),
        "methods": list(methods),
        "minutes": minutes,
        "network": dict(network or {}),
        "finetuning": dict(finetuning or {}),
        "device": device,
        "seed": seed,
    }
    for _ in events_of(job, on_event):
        pass
    return next(iter(comparisons_of(project).values()))


def carry_out(job: CompareJob, control: Control) -> Iterator[Event]:
    """Pretrain shortly by each method, fine-tune from each and from the start alone, and estimate by leave-one-out.

    Yields events; `Progress` counts expected seconds of work. Leaves a folder in ``comparisons`` of the project, and
    the runs among the others. The same comparison on the same images goes on where it was stopped or killed.

    Raises
    ------
    MedsslError
        If fewer than two images or groups are annotated, or a training fails.
    """
    project = Project.open(job.project)
    folder, comparison = settled(job, project)
    if folder is None:
        folder = make_run(project.path / "comparisons", "methods").path
        comparison.write(folder)
    with held(
        folder / "comparison.lock",
        busy=f"The comparison in {folder} is being worked on by another process.",
        unwritable=f"The comparison cannot be kept in {folder}",
    ):
        yield from _Comparing(job, project, folder, comparison, control).carry_out()


class _Comparing:
    def __init__(
        self,
        job: CompareJob,
        project: Project,
        folder: Path,
        comparison: MethodComparison,
        control: Control,
    ) -> None:
        self._job, self._folder, self._found = job, folder, comparison
        self._trainings = Trainings(
            project, folder / "runs.json", control, device=job.device, threads=job.threads
        )
        finished = {candidate.method for candidate in comparison.candidates}
        self._left = [method for method in (None, *comparison.methods) if method not in finished]
        keys = [key_of(method, kind) for method in self._left for kind in ("pretrain", "finetune")]
        self._expected = {
            key: comparison.expected[key]
            for key in keys
            if key in comparison.expected and not self._trainings.is_done(key)
        }
        self._pace = Pace(sum(self._expected.values()))

    def carry_out(self) -> Iterator[Event]:
        """Do what is missing; the start alone comes first, for it shows whether estimates can be had."""
        yield Started(
            kind="compare",
            title=f"Comparison of {titles(self._found)} with {start_alone(self._found)}",
            total=round(self._pace.total),
            device=choose_device(self._job.device),
        )
        yield Note(text=what_it_takes(self._found))
        try:
            for method in self._left:
                yield from self._candidate(method)
        except StoppedError:
            done, all_ = len(self._found.candidates), 1 + len(self._found.methods)
            yield Done(
                stopped=True,
                summary=f"{done} of {all_} candidates are finished; started again, the comparison goes on.",
            )
            return
        yield Done(summary=self._found.verdict())

    def _candidate(self, method: str | None) -> Iterator[Event]:
        """Train and estimate one candidate, and keep what came of it."""
        title, runs, job = start_alone(self._found), [], dict(self._found.trainings["finetune"])
        if method is not None:
            title = pretext_method(method).title
            key = key_of(method, "pretrain")
            yield from self._trained(key, self._found.trainings[method], f"{title}: pretraining")
            runs.append(self._trainings.run_of(key))
            job["from_run"] = runs[0].name
        key = key_of(method, "finetune")
        yield from self._trained(key, job, f"{title}: fine-tuning")
        runs.append(self._trainings.run_of(key))
        scores = Estimate.read(runs[-1]).scores
        if not scores:
            raise MedsslError(
                f"There is no leave-one-out estimate of {title} to compare: {_last_note(runs[-1])}",
                advice="Annotate more images, with every class in at least two images or groups.",
            )
        candidate = Candidate(
            method=method,
            title=title,
            runs=tuple(run.name for run in runs),
            scores=scores,
            seconds=sum(map(_seconds_of, runs)),
        )
        self._found = self._found.model_copy(
            update={"candidates": (*self._found.candidates, candidate), "written": time.time()}
        )
        self._found.write(self._folder)

    def _trained(self, key: str, job: dict[str, Any], title: str) -> Iterator[Event]:
        """Carry out a training, with its events as parts of the whole."""
        pace, begun, paused = self._pace, self._pace.done, 0.0
        for event in self._trainings.run(key, job, title, seed=self._job.seed):
            if isinstance(event, Progress):
                pace.done = begun + self._share(event, job) * self._expected[key]
                yield Progress(
                    step=min(round(pace.done), round(pace.total)),
                    total=round(pace.total),
                    rate=pace.rate,
                    eta=pace.eta,
                    metrics=event.metrics,
                )
            elif isinstance(event, Paused | Resumed):
                if isinstance(event, Paused):
                    paused = time.monotonic()
                else:
                    pace.leave_out(time.monotonic() - paused)
                yield event.model_copy(update={"step": round(pace.done)})
            else:
                yield event
        pace.done = begun + self._expected.get(key, 0.0)

    def _share(self, event: Progress, job: dict[str, Any]) -> float:
        """Compute which share of a training is done; a fine-tuning goes on with those of its estimate."""
        if job["kind"] == "pretrain":
            return event.step / event.total
        steps: int = job["training"]["steps"]
        before = steps if event.total > steps else 0
        return (before + event.step) / (steps * (1 + self._found.folds))


def _last_note(run: Run) -> str:
    notes = [event.text for event in run.events() if isinstance(event, Note)]
    return notes[-1] if notes else "the run does not say why."


def _seconds_of(run: Run) -> float:
    """Add up the time that a run took, without its breaks."""
    return sum(
        after.time - before.time
        for before, after in pairwise(run.events())
        if not isinstance(after, Started | Resumed) and not isinstance(before, Done | Failed)
    )
