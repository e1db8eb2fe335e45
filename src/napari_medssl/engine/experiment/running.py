"""Carry out an experiment, cell by cell; each finished cell is on disk, and none is computed twice."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medssl.engine import runs
from napari_medssl.engine.experiment.cells import cells_of
from napari_medssl.engine.experiment.estimate import Costs, Pace, duration, timed
from napari_medssl.engine.experiment.forest import fit_forest, forest_features, forest_labels
from napari_medssl.engine.experiment.probing import annotated_pixels, apply_probes, fit_probes
from napari_medssl.engine.experiment.scoring import Scorer
from napari_medssl.engine.experiment.split import divide
from napari_medssl.engine.experiment.workplace import Runs, check_plan, teaching_project
from napari_medssl.engine.job import parse_job
from napari_medssl.engine.predicting import model_of
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.label_efficiency import write_report
from napari_medssl.evaluate.results import Cell, Row, Table
from napari_medssl.events import Done, Event, Note, Paused, Progress, Resumed, Saved, Started
from napari_medssl.learn.devices import choose_device, choose_threads
from napari_medssl.learn.features import calibrate
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.predict import Tiles, predict_labels
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.learn.pretext.medsass import MedSASSConfig, foreground_is_dark, pseudo_label
from napari_medssl.learn.thresholds import bright_side, otsu_threshold
from napari_medssl.learn.transfer import build_model
from napari_medssl.project import Project, load_truth
from napari_medssl.project.images import split_plane
from napari_medssl.project.locks import held
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.engine.experiment.plan import Arm, ExperimentJob
    from napari_medssl.learn.control import Control

__all__ = ["experiment"]

GRID = 2
"""The forest's pixels are scored on every second row and column: it is slow, and Dice hardly depends on it."""


def experiment(job: ExperimentJob, control: Control) -> Iterator[Event]:
    """Compare pretraining methods on a folder with full truth.

    Yields events; `Progress` counts expected seconds. Leaves in the experiment's folder ``results.csv`` (a line
    per cell), the tables and plots made of it, the plan, and the runs of the pretrainings.

    Raises
    ------
    MedsslError
        If the plan does not fit what is there already, or truth does not suffice.
    """
    project = Project.open(job.project)
    folder = given(job.out) if job.out else project.path / "experiments" / job.name
    with held(
        folder / "experiment.lock",
        busy=f"The experiment in {folder} is being worked on by another process.",
        unwritable=f"The experiment cannot be kept in {folder}",
    ):
        yield from _Experiment(job, project, folder, control).carry_out()


class _Stopped(Exception):  # noqa: N818 (no error)
    """The job was asked to end."""


class _Experiment:
    def __init__(
        self, job: ExperimentJob, project: Project, folder: Path, control: Control
    ) -> None:
        self.job, self.project, self.folder, self.control = job, project, folder, control
        truth = _truth(project, job)
        self.truth: Mapping[str, NDArray[np.uint16]] = truth
        files = {name: split_plane(name)[0] for name in truth}
        self.split = divide(
            truth,
            files | project.groups(),
            test=job.test,
            validation=job.validation,
            seed=job.seed,
        )
        if not job.estimate:
            check_plan(folder, job)
        self.table = Table(folder / "results.csv")
        self.runs = Runs(folder / "runs.json")
        held_back = self.split.images((*self.split.test, *self.split.validation))
        self.teaching = teaching_project(folder / "project", project, held_back)
        scoring = self.split.test if job.score_on == "test" else self.split.validation
        self.scored = self.split.images(scoring)
        self.unit_of = {name: unit for unit in scoring for name in self.split.units[unit]}
        self.values = [info.value for info in project.settings.classes]
        self.classes = self.values[1:]
        self.device = choose_device(job.device)
        self.torch_device = torch.device(self.device.name)
        self.planes = project.planes
        self.notes: list[str] = []
        self.tiles = Tiles(tell=self.notes.append)

    # -- the story -------------------------------------------------------------------------------

    def carry_out(self) -> Iterator[Event]:
        job, split = self.job, self.split
        torch.set_num_threads(job.threads or choose_threads())
        every = cells_of(job, pool=len(split.pool), classes=len(self.classes))
        self._clear_up()
        missing = [cell for cell in every if cell not in self.table]
        self.costs = self._costs()
        total = self.costs.cells(missing) + sum(
            self.costs.pretraining(arm) for arm in job.arms if self._untrained(arm, missing)
        )
        self.pace = Pace(total)
        yield Started(
            kind=job.kind,
            title=f"Experiment {job.name}: {len(missing)} of {len(every)} cells",
            total=round(self.pace.total),
            device=self.device,
        )
        yield Note(text=self._split_text())
        yield Note(text=f"Expected to take {duration(total)} on {self.device.label}.")
        if job.estimate:
            yield Done(summary=f"{len(missing)} cells would take about {duration(total)}.")
            return
        try:
            yield from self._thresholds(_of(missing, "threshold"))
            for arm in job.arms:
                mine = [cell for cell in missing if cell.arm == arm.name]
                yield from self._frozen_features(arm, _of(mine, "zero-shot", "probe"))
            yield from self._forests(_of(missing, "forest"))
            for cell in _of(missing, "full", "frozen", "supervised"):
                yield from self._tuned(cell)
        except _Stopped:
            pass
        for path in write_report(self.table.rows, self.folder, title=job.name):
            yield Saved(what="report", path=str(path))
        left = sum(cell not in self.table for cell in every)
        stopped = f"Stopped; {left} of {len(every)} cells are left." if left else ""
        done = f"{len(every)} cells are finished." if not left else stopped
        yield Done(stopped=bool(left), summary=f"{done} Report: {self.folder / 'report.md'}")

    def _split_text(self) -> str:
        split = self.split
        what = "units" if any(len(names) > 1 for names in split.units.values()) else "images"
        return (
            f"{len(split.pool)} {what} to draw annotated ones from, {len(split.validation)} for choosing settings, "
            f"{len(split.test)} for testing; scored on {self.job.score_on}, {len(self.scored)} images that "
            "pretraining does not see."
        )

    # -- segmentations that learn nothing --------------------------------------------------------

    def _thresholds(self, cells: list[Cell]) -> Iterator[Event]:
        if not cells:
            return
        began = time.monotonic()
        config = MedSASSConfig()
        dark = foreground_is_dark(config, self.teaching)
        scorers = {cell.arm: self._scorer() for cell in cells}
        for name in self.scored:
            self._look()
            grey = self.project.grey(name)
            masks = {
                "all foreground": np.ones(grey.shape, dtype=bool),
                "Otsu": bright_side(grey, otsu_threshold(grey)) == 1,
                "pseudo-label": pseudo_label(config, grey, dark=dark) == 1,
            }
            for arm, scorer in scorers.items():
                background, foreground = 1, self.classes[0]
                labels = np.where(masks[arm], foreground, background).astype(np.uint16)
                scorer.add(name, labels, self.truth[name])
        seconds = (time.monotonic() - began) / len(cells)
        self._keep([(cell, scorers[cell.arm]) for cell in cells], None, seconds)
        yield self._finished(self.costs.cells(cells))

    # -- frozen features -------------------------------------------------------------------------

    def _frozen_features(self, arm: Arm, cells: list[Cell]) -> Iterator[Event]:
        """Pretrain where that was not done, then segment without annotations and by linear probes."""
        if not cells:
            return
        model = yield from self._network(arm)
        model.eval().to(self.torch_device)
        for cell in _of(cells, "zero-shot"):
            began = time.monotonic()
            scorer = self._scorer()
            for name in self.scored:
                self._look()
                labels = predict_labels(
                    model, self.planes(name), device=self.torch_device, tiles=self.tiles
                )
                scorer.add(name, labels, self.truth[name])
            self._keep([(cell, scorer)], arm, time.monotonic() - began)
            yield self._finished(self.costs.cells([cell]))
        probes = _of(cells, "probe")
        if probes:
            yield from self._probes(arm, model, probes)

    def _probes(self, arm: Arm, model: SegmentationModel, cells: list[Cell]) -> Iterator[Event]:
        yield Note(text=f"{arm.name}: {len(cells)} linear probes on frozen features.")
        began = time.monotonic()
        expected = self.costs.cells(cells)
        fitted = []
        sizes = {name: len(names) for names in self.split.units.values() for name in names}
        for probe in fit_probes(
            model,
            [self.split.images(self.split.drawn(cell.k, cell.draw)) for cell in cells],
            self.planes,
            self.truth,
            sizes,
            values=self.values,
            l2=self.job.finetuning.probe_l2,
            device=self.torch_device,
            tiles=self.tiles,
        ):
            self._look()
            fitted.append(probe)
            yield self._finished(expected / 2 / len(cells))
        scorers = [self._scorer() for _ in cells]
        for _ in apply_probes(
            model,
            fitted,
            self.scored,
            self.planes,
            self.truth,
            scorers,
            values=self.values,
            device=self.torch_device,
            tiles=self.tiles,
        ):
            self._look()
            yield self._finished(expected / 2 / len(self.scored))
        seconds = (time.monotonic() - began) / len(cells)
        self._keep(list(zip(cells, scorers, strict=True)), arm, seconds)

    def _network(self, arm: Arm) -> Generator[Event, None, SegmentationModel]:
        """Give an arm's network with calibrated features; pretrains it, or goes on with that."""
        network = self._network_config(arm)
        if arm.method is not None:
            method = pretext_method(arm.method)
            training = self.job.pretraining.model_dump() | arm.training
            job = {
                "kind": "pretrain",
                "method": arm.method,
                "method_config": method.config_type.parse(
                    arm.method_config, where=arm.name
                ).model_dump(mode="json"),
                "network": network.model_dump(),
                "training": training,
            }
            name = yield from self._run(
                arm.name, job, f"{arm.name}: pretraining", self.costs.pretraining(arm)
            )
            return model_of(self.teaching.run(name))
        settings = self.teaching.settings
        torch.manual_seed(self.job.seed)
        spec = ModelSpec(
            network=network,
            channels=settings.channels,
            classes=settings.classes,
            normalisation=settings.normalisation,
            head="none",
        )
        model = build_model(spec, note=self.notes.append).to(self.torch_device)
        calibrate(model, self.teaching, device=self.torch_device, tell=self.notes.append)
        yield from self._said()
        return model

    # -- the forest ------------------------------------------------------------------------------

    def _forests(self, cells: list[Cell]) -> Iterator[Event]:
        if not cells:
            return
        yield Note(
            text=f"{len(cells)} random forests on filtered images, scored on every {GRID}nd row and column."
        )
        taught: dict[str, tuple[NDArray[np.float32], NDArray[np.uint16]]] = {}
        sizes = {name: len(names) for names in self.split.units.values() for name in names}

        def pixels_of(name: str) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
            if name not in taught:
                truth, rng = self.truth[name], np.random.default_rng(0)
                ys, xs = annotated_pixels(truth, images=sizes[name], rng=rng)
                taught[name] = forest_features(self.planes(name))[ys, xs], truth[ys, xs]
            return taught[name]

        grid = (slice(None, None, GRID), slice(None, None, GRID))
        seen = {}
        for name in self.scored:
            self._look()
            seen[name] = forest_features(self.planes(name))[grid]
        for cell in cells:
            began = time.monotonic()
            names = self.split.images(self.split.drawn(cell.k, cell.draw))
            features, labels = zip(*(pixels_of(name) for name in names), strict=True)
            self._look()
            forest = fit_forest(
                np.concatenate(features),
                np.concatenate(labels),
                seed=cell.draw,
                threads=torch.get_num_threads(),
            )
            scorer = self._scorer()
            for name in self.scored:
                self._look()
                scorer.add(name, forest_labels(forest, seen[name]), self.truth[name][grid])
            self._keep([(cell, scorer)], None, time.monotonic() - began)
            yield self._finished(self.costs.cells([cell]))

    # -- fine-tuning -----------------------------------------------------------------------------

    def _tuned(self, cell: Cell) -> Iterator[Event]:
        began = time.monotonic()
        (arm,) = [arm for arm in self.job.arms if arm.name == cell.arm]
        if arm.method is not None and self.runs.get(arm.name) is None:
            yield from self._network(arm)  # where its probes were there already
        names = self.split.images(self.split.drawn(cell.k, cell.draw))
        annotated = set(self.teaching.annotations.annotated())
        for name in names:
            if name not in annotated:
                self.teaching.annotations.write(name, self.truth[name], done=True)
        supervised = cell.downstream == "supervised"
        loss = {"loss": "focal_tversky"} if supervised else {}
        job = {
            "kind": "finetune",
            "mode": "full" if supervised else cell.downstream,
            "images": names,
            "network": self._network_config(arm).model_dump(),
            "from_run": self.runs.get(arm.name) if arm.method is not None else None,
            "training": self.job.finetuning.model_dump() | loss,
        }
        key = _key(cell)
        expected = self.costs.cells([cell])
        title = f"{cell.arm}: {cell.downstream} fine-tuning, k = {cell.k}, draw {cell.draw}"
        run = self.teaching.run(
            (yield from self._run(key, job, title, 0.9 * expected, seed=cell.draw))
        )
        model = model_of(run).to(self.torch_device)
        scorer = self._scorer()
        for name in self.scored:
            self._look()
            labels = predict_labels(
                model, self.planes(name), device=self.torch_device, tiles=self.tiles
            )
            scorer.add(name, labels, self.truth[name])
        self._keep([(cell, scorer)], arm, time.monotonic() - began)
        yield self._finished(0.1 * expected)
        self._forget(key)

    # -- parts -----------------------------------------------------------------------------------

    def _run(
        self, key: str, job: dict[str, Any], title: str, expected: float, *, seed: int | None = None
    ) -> Generator[Event, None, str]:
        """Make a training of the experiment, or go on with it where it was stopped or killed; gives the run's name."""
        common = {"project": str(self.teaching.path), "device": self.job.device}
        name = self.runs.get(key)
        status = self.teaching.run(name).status if name is not None else ""
        if status == "done":
            assert name is not None
            return name
        if name is not None and self.teaching.run(name).job and status != "failed":
            parsed = parse_job({"kind": "resume", "run": name, **common})
        else:
            parsed = parse_job(
                job
                | common
                | {"seed": self.job.seed if seed is None else seed}
                | ({"threads": self.job.threads} if self.job.threads else {})
            )
        yield Note(text=title)
        before = self.pace.done
        for event in runs.start(parsed, self.control):  # type: ignore[arg-type]
            if isinstance(event, Started):
                self.runs.set(key, event.run)
                name = event.run
            elif isinstance(event, Progress):
                self.pace.done = before + expected * event.step / event.total
                yield self._progress(event.metrics)
            elif (isinstance(event, Note) and event.level == "warning") or isinstance(
                event, (Paused, Resumed)
            ):
                yield event
            elif isinstance(event, Done) and event.stopped:
                raise _Stopped
        self.pace.done = before + expected
        assert name is not None  # a training begins with `Started`
        return name

    def _network_config(self, arm: Arm) -> NetworkConfig:
        start: dict[str, str] = {"encoder_weights": arm.start}
        if arm.start == "file":
            start["weights_file"] = str(given(self.job.weights_file or ""))
        network: NetworkConfig = NetworkConfig.parse(
            self.job.network.model_dump() | arm.network | start, where=arm.name
        )
        return network

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

    def _untrained(self, arm: Arm, missing: list[Cell]) -> bool:
        name = self.runs.get(arm.name)
        needed = any(cell.arm == arm.name for cell in missing)
        return needed and (name is None or self.teaching.run(name).status != "done")

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

    def _clear_up(self) -> None:
        """Remove fine-tuned runs whose cell was finished just before the experiment was killed."""
        finished = {_key(row.cell) for row in self.table.rows}
        for key, _ in self.runs.items():
            if key in finished:
                self._forget(key)

    def _forget(self, key: str) -> None:
        """Remove a fine-tuned run that was scored: hundreds of them would fill the disk."""
        name = self.runs.get(key)
        assert name is not None
        path = self.teaching.run(name).path
        self.runs.set(key, None)
        shutil.rmtree(path)

    def _look(self) -> None:
        """Wait or end where asked to, between two images."""
        self.control.wait_while_paused()
        if self.control.stopped:
            raise _Stopped

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
        while self.notes:
            yield Note(text=self.notes.pop(0))


def _truth(project: Project, job: ExperimentJob) -> dict[str, NDArray[np.uint16]] | Any:
    if job.truth is not None:
        return load_truth(project, given(job.truth), masks_as=job.masks_as)
    done = [name for name, status in project.annotations.statuses().items() if status == "done"]
    if not done:
        raise MedsslError(
            "An experiment needs full truth; no image of the project is marked done.",
            advice="Give a folder of masks (truth), or mark fully annotated images as done.",
        )
    return {name: project.annotations.read(name) for name in done}


def _of(cells: list[Cell], *kinds: str) -> list[Cell]:
    return [cell for cell in cells if cell.downstream in kinds]


def _key(cell: Cell) -> str:
    return f"{cell.arm}/{cell.downstream}/{cell.k}/{cell.draw}/{cell.scored_on}"
