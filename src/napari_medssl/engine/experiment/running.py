"""Carry out an experiment, cell by cell; each finished cell is on disk, and none is computed twice."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from napari_medssl.engine.experiment.baselines import GRID, Forests, threshold_masks
from napari_medssl.engine.experiment.cells import cells_of, counts_of
from napari_medssl.engine.experiment.estimate import Costs, Pace, timed
from napari_medssl.engine.experiment.ground import survey
from napari_medssl.engine.experiment.probing import apply_probes, fit_probes
from napari_medssl.engine.experiment.scoring import Scorer
from napari_medssl.engine.experiment.trainings import StoppedError, Trainings
from napari_medssl.engine.experiment.workplace import check_plan, teaching_project
from napari_medssl.engine.predicting import model_of
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.annotation_table import iqc_section
from napari_medssl.evaluate.label_efficiency import write_report
from napari_medssl.evaluate.results import Cell, Row, Table
from napari_medssl.events import Done, Event, Note, Progress, Saved, Started
from napari_medssl.learn.control import pausing
from napari_medssl.learn.devices import choose_device, choose_threads
from napari_medssl.learn.features import calibrate
from napari_medssl.learn.networks import ModelSpec
from napari_medssl.learn.predict import Tiles, predict_labels
from napari_medssl.learn.transfer import build_model
from napari_medssl.learn.trial import duration
from napari_medssl.project import Project
from napari_medssl.project.checkpoint import WriteError
from napari_medssl.project.locks import held
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from napari_medssl.engine.experiment.plan import Arm, ExperimentJob
    from napari_medssl.learn.control import Control
    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["experiment", "folder_of"]

T = TypeVar("T")


def folder_of(job: ExperimentJob, project: Project) -> Path:
    """Give the folder of an experiment."""
    return given(job.out) if job.out else project.path / "experiments" / job.name


def experiment(job: ExperimentJob, control: Control) -> Iterator[Event]:
    """Compare pretraining methods on a folder with full truth.

    Yields events; `Progress` counts expected seconds. Leaves in the experiment's folder ``results.csv`` (a line
    per cell), the tables and plots made of it, the plan, and the runs of the pretrainings. A training that fails
    costs its own cells alone; they are tried again when the experiment is started again.

    Raises
    ------
    MedsslError
        If the plan does not fit what is there already, or truth does not suffice.
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
        self.job, self.project, self.folder, self.control = job, project, folder, control
        self.ground = survey(project, job)
        self.split, self.truth = self.ground.split, self.ground.truth
        if not job.estimate:
            check_plan(folder, job, ground=self.ground.digest)
        self.table = Table(folder / "results.csv")
        scoring = self.split.test if job.score_on == "test" else self.split.validation
        self.scored = self.split.images(scoring)
        self.unit_of = self.ground.units_of(scoring)
        self.values = [info.value for info in project.settings.classes]
        self.classes = self.values[1:]
        self.device = choose_device(job.device)
        self.torch_device = torch.device(self.device.name)
        self.notes: list[str] = []
        self.tiles = Tiles(tell=self.notes.append)
        self.failed = 0
        self._trainings: Trainings | None = None

    # -- the story -------------------------------------------------------------------------------

    def carry_out(self) -> Iterator[Event]:
        """Compute what is missing, then write the report."""
        job = self.job
        torch.set_num_threads(job.threads or choose_threads())
        every = cells_of(job, pool=len(self.split.pool), classes=len(self.classes))
        missing = [cell for cell in every if cell not in self.table]
        self.costs = self._costs()
        if not job.estimate or (self.folder / "project").is_dir():
            held_back = self.ground.held_back
            self.teaching = teaching_project(self.folder / "project", self.project, held_back)
            self._trainings = Trainings(job, self.teaching, self.folder / "runs.json", self.control)
        self.pace = Pace(self._expected(missing))
        yield Started(
            kind=job.kind,
            title=f"Experiment {job.name}: {len(missing)} of {len(every)} cells",
            total=round(self.pace.total),
            device=self.device,
        )
        for text in (*self.ground.notes, *self._plan_texts()):
            yield Note(text=text)
        if job.estimate:
            about = duration(self.pace.total)
            yield Done(summary=f"{len(missing)} cells would take about {about}.")
            return
        self.trainings.forget_all({_key(row.cell) for row in self.table.rows})
        try:
            yield from self._cells(missing)
        except StoppedError:
            pass
        finally:
            written = write_report(
                self.table.rows, self.folder, title=job.name, further=self._integrated()
            )
        for path in written:
            yield Saved(what="report", path=str(path))
        yield self._outcome(every, written)

    def _cells(self, missing: list[Cell]) -> Iterator[Event]:
        yield from self._thresholds(_of(missing, "threshold"))
        for arm in self.job.arms:
            mine = _of([c for c in missing if c.arm == arm.name], "zero-shot", "probe")
            yield from self._attempt(self._frozen_features(arm, mine), mine)
        yield from self._forests(_of(missing, "forest"))
        for cell in _of(missing, "full", "frozen", "supervised"):
            yield from self._attempt(self._tuned(cell), [cell])

    def _attempt(self, events: Iterator[Event], cells: list[Cell]) -> Iterator[Event]:
        """Let some cells fail without the others: one draw may show no foreground, one method diverge."""
        try:
            yield from events
        except (StoppedError, WriteError):
            raise
        except MedsslError as error:
            left = [cell for cell in cells if cell not in self.table]
            self.failed += len(left)
            first = left[0]
            where = f"{first.arm}, {first.downstream}, k = {first.k}, draw {first.draw}"
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            yield Note(level="warning", text=f"No result for {where}{more}: {error}")
        yield from self._said()

    def _outcome(self, every: list[Cell], written: list[Path]) -> Event:
        left = sum(cell not in self.table for cell in every)
        parts = [f"{len(every) - left} of {len(every)} cells are finished"]
        if self.failed:
            parts.append(f"{self.failed} failed (the reasons stand above)")
        if left > self.failed:
            parts.append(f"{left - self.failed} are left")
        report = f" Report: {written[-1]}" if written else ""
        return Done(stopped=self.control.stopped, summary=f"{'; '.join(parts)}.{report}")

    def _integrated(self) -> dict[str, str]:
        """Write the table of IQC, where annotation rates were asked for."""
        if not self.job.rates:
            return {}
        pool, rows = len(self.split.pool), self.table.rows
        return {on: iqc_section(rows, scored_on=on, pool=pool) for on in ("test", "validation")}

    def _plan_texts(self) -> Iterator[str]:
        split = self.split
        what = "units" if any(len(names) > 1 for names in split.units.values()) else "images"
        yield (
            f"{len(split.pool)} {what} to draw annotated ones from, {len(split.validation)} for choosing settings, "
            f"{len(split.test)} for testing; scored on {self.job.score_on}, {len(self.scored)} images that "
            "pretraining does not see."
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
        yield f"Expected to take {duration(self.pace.total)} on {self.device.label}."

    # -- segmentations that need no network ------------------------------------------------------

    def _thresholds(self, cells: list[Cell]) -> Iterator[Event]:
        if not cells:
            return
        began = time.monotonic()
        masks = threshold_masks(self.teaching)
        scorers = {cell.arm: self._scorer() for cell in cells}
        background, foreground = self.values
        for name in self.scored:
            yield from self._look()
            found = masks(self.project.grey(name))
            for arm, scorer in scorers.items():
                labels = np.where(found[arm], foreground, background).astype(np.uint16)
                scorer.add(name, labels, self.truth(name))
        seconds = (time.monotonic() - began) / len(cells)
        self._keep([(cell, scorers[cell.arm]) for cell in cells], None, seconds)
        yield self._finished(self.costs.cells(cells))

    def _forests(self, cells: list[Cell]) -> Iterator[Event]:
        if not cells:
            return
        every = f"every {GRID}nd row and column"
        yield Note(text=f"{len(cells)} random forests on filtered images, scored on {every}.")
        forests = Forests(self.project.planes, self.truth, self.ground.sizes)
        for cell in cells:
            yield from self._look()
            began = time.monotonic()
            names = self.split.images(self.split.drawn(cell.k, cell.draw))
            forest = forests.fit(names, seed=cell.draw, threads=torch.get_num_threads())
            scorer = self._scorer()
            for name in self.scored:
                yield from self._look()
                scorer.add(name, *forests.segment(forest, name))
            self._keep([(cell, scorer)], None, time.monotonic() - began)
            yield self._finished(self.costs.cells([cell]))

    # -- frozen features -------------------------------------------------------------------------

    def _frozen_features(self, arm: Arm, cells: list[Cell]) -> Iterator[Event]:
        """Pretrain where that was not done, then segment without annotations and by linear probes."""
        if not cells:
            return
        model = yield from self._network(arm)
        model.eval().to(self.torch_device)
        for cell in _of(cells, "zero-shot"):
            began = time.monotonic()
            scorer = yield from self._predicted(model)
            self._keep([(cell, scorer)], arm, time.monotonic() - began)
            yield self._finished(self.costs.cells([cell]))
        probes = _of(cells, "probe")
        if probes:
            yield from self._probes(arm, model, probes)

    def _probes(self, arm: Arm, model: SegmentationModel, cells: list[Cell]) -> Iterator[Event]:
        yield Note(text=f"{arm.name}: {len(cells)} linear probes on frozen features.")
        began, expected = time.monotonic(), self.costs.cells(cells)
        fitted = []
        for probe in fit_probes(
            model,
            [self.split.images(self.split.drawn(cell.k, cell.draw)) for cell in cells],
            self.project.planes,
            self.truth,
            self.ground.sizes,
            values=self.values,
            l2=self.job.finetuning.probe_l2,
            device=self.torch_device,
            tiles=self.tiles,
        ):
            yield from self._look()
            fitted.append(probe)
            yield self._finished(expected / 2 / len(cells))
        scorers = [self._scorer() for _ in cells]
        for _ in apply_probes(
            model,
            fitted,
            self.scored,
            self.project.planes,
            self.truth,
            scorers,
            values=self.values,
            device=self.torch_device,
            tiles=self.tiles,
        ):
            yield from self._look()
            yield self._finished(expected / 2 / len(self.scored))
        seconds = (time.monotonic() - began) / len(cells)
        self._keep(list(zip(cells, scorers, strict=True)), arm, seconds)

    def _network(self, arm: Arm) -> Generator[Event, None, SegmentationModel]:
        """Give an arm's network with calibrated features."""
        if arm.method is not None:
            training = self.trainings.pretrained(arm)
            run = yield from self._in_own_time(training, self.costs.pretraining(arm))
            return model_of(run)
        settings = self.teaching.settings
        torch.manual_seed(self.job.seed)
        spec = ModelSpec(
            network=self.trainings.network_of(arm),
            channels=settings.channels,
            classes=settings.classes,
            normalisation=settings.normalisation,
            head="none",
        )
        model = build_model(spec, note=self.notes.append).to(self.torch_device)
        calibrate(model, self.teaching, device=self.torch_device, tell=self.notes.append)
        return model

    # -- fine-tuning -----------------------------------------------------------------------------

    def _tuned(self, cell: Cell) -> Iterator[Event]:
        began = time.monotonic()
        (arm,) = [arm for arm in self.job.arms if arm.name == cell.arm]
        source = None
        if arm.method is not None:
            pretraining = self.trainings.pretrained(
                arm
            )  # done already, unless its probes were kept alone
            source = (yield from self._in_own_time(pretraining, 0.0)).name
        names = self.split.images(self.split.drawn(cell.k, cell.draw))
        annotated = set(self.teaching.annotations.annotated())
        for name in names:
            if name not in annotated:
                self.teaching.annotations.write(name, self.truth(name), done=True)
        supervised = cell.downstream == "supervised"
        job = {
            "kind": "finetune",
            "mode": "full" if supervised else cell.downstream,
            "images": names,
            "network": self.trainings.network_of(arm).model_dump(),
            "from_run": source,
            "training": self.job.finetuning.model_dump()
            | ({"loss": "focal_tversky"} if supervised else {}),
        }
        expected = self.costs.cells([cell])
        title = f"{cell.arm}: {cell.downstream} fine-tuning, k = {cell.k}, draw {cell.draw}"
        training = self.trainings.run(_key(cell), job, title, seed=cell.draw)
        run = yield from self._in_own_time(training, 0.9 * expected)
        scorer = yield from self._predicted(model_of(run).to(self.torch_device))
        self._keep([(cell, scorer)], arm, time.monotonic() - began)
        yield self._finished(0.1 * expected)
        self.trainings.forget(_key(cell))

    # -- parts -----------------------------------------------------------------------------------

    def _predicted(self, model: SegmentationModel) -> Generator[Event, None, Scorer]:
        """Segment what scores with a network's own last layer."""
        scorer = self._scorer()
        for name in self.scored:
            yield from self._look()
            planes = self.project.planes(name)
            labels = predict_labels(model, planes, device=self.torch_device, tiles=self.tiles)
            scorer.add(name, labels, self.truth(name))
        return scorer

    def _in_own_time(
        self, events: Generator[Event, None, T], expected: float
    ) -> Generator[Event, None, T]:
        """Pass a training's events on, its steps turned into expected seconds."""
        before = self.pace.done
        while True:
            try:
                event = next(events)
            except StopIteration as end:
                self.pace.done = before + expected
                result: T = end.value
                return result
            if isinstance(event, Progress):
                self.pace.done = before + expected * event.step / event.total
                event = self._progress(event.metrics)
            yield event

    def _costs(self) -> Costs:
        settings = self.project.settings
        spec = ModelSpec(
            network=self.job.network,
            channels=settings.channels,
            classes=settings.classes,
            normalisation=settings.normalisation,
        )
        step, pixel = timed(spec, self.job, self.torch_device)

        def pixels(names: Sequence[str]) -> int:
            return sum(int(np.prod(self.project.shape(name))) for name in names)

        pool = self.split.pool
        return Costs(
            job=self.job,
            step=step,
            pixel=pixel,
            test_pixels=pixels(self.scored),
            unit_pixels=pixels(self.split.images(pool)) / len(pool),
        )

    @property
    def trainings(self) -> Trainings:
        """The trainings; an estimate has none."""
        assert self._trainings is not None
        return self._trainings

    def _expected(self, missing: list[Cell]) -> float:
        """Give the seconds that cells are expected to take, with the pretrainings that they still need."""
        total = 0.0
        for name in dict.fromkeys(cell.arm for cell in missing):
            total += self.costs.cells([cell for cell in missing if cell.arm == name])
        for arm in self.job.arms:
            needed = any(cell.arm == arm.name for cell in missing)
            if needed and (self._trainings is None or not self._trainings.is_done(arm.name)):
                total += self.costs.pretraining(arm)
        return total

    def _scorer(self) -> Scorer:
        return Scorer(self.unit_of, self.classes)

    def _keep(self, scored: list[tuple[Cell, Scorer]], arm: Arm | None, seconds: float) -> None:
        self.table.add(
            [
                Row(
                    project=self.project.path.name,
                    arm=cell.arm,
                    method=(arm.method or "") if arm is not None else "",
                    start=arm.start if arm is not None else "",
                    downstream=cell.downstream,
                    k=cell.k,
                    draw=cell.draw,
                    scored_on=cell.scored_on,
                    units=len(set(self.unit_of.values())),
                    images=len(self.scored),
                    seconds=seconds,
                    **scorer.scores(),
                )
                for cell, scorer in scored
            ]
        )

    def _look(self) -> Iterator[Event]:
        """Wait or end where asked to, between two images."""
        self.pace.leave_out((yield from pausing(self.control, round(self.pace.done))))
        if self.control.stopped:
            raise StoppedError

    def _finished(self, cost: float) -> Event:
        self.pace.done += cost
        return self._progress({})

    def _progress(self, metrics: dict[str, float]) -> Event:
        pace = self.pace
        done = min(round(pace.done), round(pace.total))
        return Progress(
            step=done, total=round(pace.total), rate=pace.rate, eta=pace.eta, metrics=metrics
        )

    def _said(self) -> Iterator[Event]:
        """Tell what computing had to say: smaller tiles, images left out, weights taken over."""
        for text in dict.fromkeys(self.notes):
            yield Note(level="warning", text=text)
        self.notes.clear()


def _of(cells: list[Cell], *kinds: str) -> list[Cell]:
    return [cell for cell in cells if cell.downstream in kinds]


def _key(cell: Cell) -> str:
    return f"{cell.arm}/{cell.downstream}/{cell.k}/{cell.draw}/{cell.scored_on}"
