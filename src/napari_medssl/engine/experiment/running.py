"""An experiment from its plan to its report: what is missing is handed out as tasks, and none is computed twice."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_medssl.engine.experiment.cells import cells_of, counts_of
from napari_medssl.engine.experiment.crew import Errand, at_once, cluster, processes
from napari_medssl.engine.experiment.estimate import Costs, Pace, timed
from napari_medssl.engine.experiment.ground import copies_across, survey
from napari_medssl.engine.experiment.tasks import Outcome, tasks_of
from napari_medssl.engine.experiment.trainings import ExperimentTrainings, pretraining_key
from napari_medssl.engine.experiment.working import EXAMPLES, Worker, in_turn, key_of
from napari_medssl.engine.experiment.workplace import check_plan, read_plan, teaching_project
from napari_medssl.evaluate.examples import Examples
from napari_medssl.evaluate.report import experiment as page
from napari_medssl.evaluate.report.efficiency import write_markdown
from napari_medssl.evaluate.results import Cell, Table
from napari_medssl.events import Done, Event, Note, Paused, Progress, Resumed, Saved, Started
from napari_medssl.learn.devices import choose_device, choose_threads
from napari_medssl.learn.networks import ModelSpec
from napari_medssl.learn.trial import duration
from napari_medssl.project import Project
from napari_medssl.project.locks import held
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from napari_medssl.engine.experiment.plan import ExperimentJob
    from napari_medssl.engine.experiment.tasks import Report, Task
    from napari_medssl.learn.control import Control

__all__ = ["experiment", "folder_of"]

REPORT = "report.html"
"""What is to be looked at, in the folder of the experiment."""


def folder_of(job: ExperimentJob, project: Project) -> Path:
    """Give the folder of an experiment."""
    return given(job.out) if job.out else project.path / "experiments" / job.name


def experiment(job: ExperimentJob, control: Control) -> Iterator[Event]:
    """Compare pretraining methods on a folder with full truth.

    Yields events; `Progress` counts expected seconds of work. Leaves in the experiment's folder ``results.csv`` (a
    line per cell), a report made of it (HTML, and Markdown with plots), the plan, and the runs of the pretrainings.
    A training that fails costs its own cells alone; they are tried again when the experiment is started again.

    Raises
    ------
    MedsslError
        If the plan does not fit what is there already, truth does not suffice, or a worker died.
    """
    project = Project.open(job.project)
    folder = folder_of(job, project)
    with held(
        folder / "experiment.lock",
        busy=f"The experiment in {folder} is being worked on by another process.",
        unwritable=f"The experiment cannot be kept in {folder}",
    ):
        yield from _Experiment(job, project, folder, control).carry_out()


class _Experiment:
    def __init__(
        self, job: ExperimentJob, project: Project, folder: Path, control: Control
    ) -> None:
        if job.workers > 1 and job.threads is None:
            job = job.model_copy(update={"threads": max(1, (os.cpu_count() or 1) // job.workers)})
        self.job, self.project, self.folder, self.control = job, project, folder, control
        self.ground = survey(project, job)
        self.split = self.ground.split
        if not job.estimate:
            check_plan(folder, job, ground=self.ground.digest, pool=len(self.split.pool))
        self.table = Table(folder / "results.csv")
        self.scored = self.split.test if job.score_on == "test" else self.split.validation
        # Workers of a cluster may have what this computer lacks.
        self.device = choose_device("auto" if job.dask else job.device)
        self.failed = 0

    # -- the story -------------------------------------------------------------------------------

    def carry_out(self) -> Iterator[Event]:
        """Compute what is missing, then write the report."""
        job = self.job
        torch.set_num_threads(job.threads or choose_threads())
        pool, classes = len(self.split.pool), len(self.project.settings.classes) - 1
        every = cells_of(job, pool=pool, classes=classes)
        missing = [cell for cell in every if cell not in self.table]
        costs, trainings = self._costs(), self._trainings()
        self.expected = {
            task: self._cost(task, costs, trainings) for task in tasks_of(job, missing)
        }
        self.pace = Pace(sum(self.expected.values()))
        yield Started(
            kind=job.kind,
            title=f"Experiment {job.name}: {len(missing)} of {len(every)} cells",
            total=round(self.pace.total),
            device=self.device,
        )
        for text in (*self.ground.notes, *self._plan_texts()):
            yield Note(text=text)
        if job.estimate:
            yield Done(summary=f"{len(missing)} cells would take about {self._duration()}.")
            return
        copies = tuple(copies_across(self.project, self.split))
        for text in copies:
            yield Note(level="warning", text=text)
        assert trainings is not None  # only an estimate has none
        trainings.forget_all({key_of(row.cell) for row in self.table.rows})
        try:
            with self._crew() as (texts, reports):
                for text in texts:
                    yield Note(text=text)
                yield from self._told(reports)
        finally:
            self.table.arrange(every)
            written = write_markdown(self.table.rows, self.folder, title=job.name, pool=self._pool)
        if self.table.rows:
            written.append(self._page(every, trainings, copies))
        for path in written:
            yield Saved(what="report", path=str(path))
        yield self._outcome(every, written)

    @contextlib.contextmanager
    def _crew(self) -> Iterator[tuple[tuple[str, ...], Iterator[Report]]]:
        """Have somebody carry out the tasks; gives what there is to say about that, and what comes of them."""
        job, tasks = self.job, list(self.expected)
        if not tasks or (job.workers == 1 and job.dask is None):
            worker = Worker(job, self.project, self.folder, self.ground, self.control)
            yield (), in_turn(tasks, worker)
            return
        own = {"project": str(self.project.path), "dask": None, "workers": 1}
        own |= {
            key: str(given(path).absolute())
            for key, path in (("truth", job.truth), ("weights_file", job.weights_file))
            if path is not None
        }
        errand = Errand(
            job=job.model_copy(update=own).model_dump_json(),
            folder=str(self.folder.absolute()),
            ground=self.ground.digest,
        )
        crew = processes(job.workers, threads=job.threads or 1)
        if job.dask is not None:
            crew = cluster(job.dask)
        with (
            crew as (executor, text),
            # Closed before the crew: whoever is at work is then told to stop, and need not be waited for long.
            contextlib.closing(at_once(tasks, errand, executor, self.control)) as reports,
        ):
            shared = self.device.name != "cpu" and job.dask is None
            more = f"They share {self.device.label} and its memory." if shared else None
            yield (text, more) if more else (text,), reports

    def _told(self, reports: Iterable[Report]) -> Iterator[Event]:
        """Turn what comes of tasks into the events of the experiment."""
        finished, shares, began = 0.0, dict.fromkeys(self.expected, 0.0), 0.0
        for task, event in reports:
            if isinstance(event, Outcome):
                finished += self.expected[task]
                del shares[task]
                self.table.refresh()
                yield from self._reason(task, event)
            elif isinstance(event, Progress):
                shares[task] = event.step / event.total
            elif isinstance(event, Paused):
                began = time.monotonic()
            elif isinstance(event, Resumed):
                self.pace.leave_out(time.monotonic() - began)
            self.pace.done = finished + sum(
                share * self.expected[task] for task, share in shares.items()
            )
            if isinstance(event, Paused | Resumed):
                yield event.model_copy(update={"step": round(self.pace.done)})
            elif isinstance(event, Note):
                yield event
            else:
                yield self._progress(event.metrics if isinstance(event, Progress) else {})

    def _reason(self, task: Task, outcome: Outcome) -> Iterator[Event]:
        if outcome.how not in ("failed", "skipped"):
            return
        left = [cell for cell in task.cells if cell not in self.table]
        self.failed += len(left)
        if outcome.how == "skipped":
            return  # why the pretraining failed was told
        where = f"{task.arm}, which could not be pretrained for draw {task.draw}"
        if left:
            first = left[0]
            where = f"{first.arm}, {first.downstream}, k = {first.k}, draw {first.draw}"
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        yield Note(level="warning", text=f"No result for {where}{more}: {outcome.reason}")

    def _outcome(self, every: list[Cell], written: list[Path]) -> Event:
        left = sum(cell not in self.table for cell in every)
        parts = [f"{len(every) - left} of {len(every)} cells are finished"]
        if self.failed:
            parts.append(f"{self.failed} failed (the reasons stand above)")
        if left > self.failed:
            parts.append(f"{left - self.failed} are left")
        report = f" Report: {written[-1]}" if written else ""
        return Done(stopped=self.control.stopped, summary=f"{'; '.join(parts)}.{report}")

    def _page(
        self, every: list[Cell], trainings: ExperimentTrainings, copies: tuple[str, ...]
    ) -> Path:
        """Write the report to be looked at."""
        path, split, plan = self.folder / REPORT, self.split, read_plan(self.folder)
        arms = [arm["name"] for arm in plan["arms"] if arm["method"] is not None]
        subject = page.Subject(
            title=self.job.name,
            project=self.project,
            truth=self.ground.truth,
            plan=plan,
            parts={
                "to draw annotated ones from": split.pool,
                "to choose settings by": split.validation,
                "to test": split.test,
            },
            pretrained={arm: trainings.run_of(arm) for arm in arms if trainings.is_done(arm)},
            examples=Examples(self.folder / EXAMPLES),
            left=sum(cell not in self.table for cell in every),
            pool=self._pool,
            notes=(*self.ground.notes, *copies),
        )
        page.write_page(path, self.table.rows, subject)
        return path

    @property
    def _pool(self) -> int | None:
        """Units that there are to annotate, where annotation rates were asked for."""
        return len(self.split.pool) if self.job.rates else None

    def _plan_texts(self) -> Iterator[str]:
        split = self.split
        what = "units" if any(len(names) > 1 for names in split.units.values()) else "images"
        yield (
            f"{len(split.pool)} {what} to draw annotated ones from, {len(split.validation)} for choosing settings, "
            f"{len(split.test)} for testing; scored on {self.job.score_on}, {len(split.images(self.scored))} images "
            "that pretraining does not see."
        )
        counts = counts_of(self.job, pool=len(split.pool))
        too_many = [str(k) for k in self.job.units if k > len(split.pool)]
        if self.job.rates:
            yield (
                f"The annotation rates come to {', '.join(map(str, counts[:-1]))} of {counts[-1]} {what}; "
                "all of them are annotated as well."
            )
        elif too_many:
            yield f"There are too few {what} for {', '.join(too_many)} annotated ones: left out."
        yield f"Expected to take {self._duration()}."

    # -- how long --------------------------------------------------------------------------------

    def _trainings(self) -> ExperimentTrainings | None:
        """Give the trainings there are, with the project that they are of; before the first start there are none."""
        own = self.folder / "project"
        if self.job.estimate and not own.is_dir():
            return None
        teaching = teaching_project(own, self.project, self.ground.held_back)
        return ExperimentTrainings(self.job, teaching, self.folder / "runs.json", self.control)

    def _cost(self, task: Task, costs: Costs, trainings: ExperimentTrainings | None) -> float:
        """Give the seconds that a task is expected to take."""
        if task.work != "pretraining":
            return costs.cells(task.cells)
        if trainings is not None and trainings.is_done(pretraining_key(*task.start)):
            return 0.0
        return costs.pretraining(next(arm for arm in self.job.arms if arm.name == task.arm))

    def _costs(self) -> Costs:
        settings = self.project.settings
        spec = ModelSpec(
            network=self.job.network,
            channels=settings.channels,
            classes=settings.classes,
            normalisation=settings.normalisation,
        )
        step, pixel = timed(spec, self.job, torch.device(self.device.name))

        def pixels(names: Sequence[str]) -> int:
            return sum(int(np.prod(self.project.shape(name))) for name in names)

        pool = self.split.pool
        return Costs(
            job=self.job,
            step=step,
            pixel=pixel,
            test_pixels=pixels(self.split.images(self.scored)),
            unit_pixels=pixels(self.split.images(pool)) / len(pool),
        )

    def _duration(self) -> str:
        """Say how long it will take. Of a cluster nobody knows how many will help."""
        each = duration(self.pace.total / self.job.workers)
        return f"{each} on {self.device.label}" + (" by one worker alone" if self.job.dask else "")

    def _progress(self, metrics: dict[str, float]) -> Event:
        pace = self.pace
        done = min(round(pace.done), round(pace.total))
        return Progress(
            step=done, total=round(pace.total), rate=pace.rate, eta=pace.eta, metrics=metrics
        )
