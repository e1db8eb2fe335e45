"""Carrying out the tasks of an experiment in one process; each finished cell is in the table at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_medssl.engine.experiment.baselines import threshold_masks
from napari_medssl.engine.experiment.probing import apply_probes, fit_probes
from napari_medssl.engine.experiment.scoring import Scorer
from napari_medssl.engine.experiment.tasks import Outcome, ended_before
from napari_medssl.engine.experiment.trainings import ExperimentTrainings, pretraining_key
from napari_medssl.engine.forests import Forests
from napari_medssl.engine.predicting import model_of
from napari_medssl.engine.trainings import StoppedError
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.examples import Examples
from napari_medssl.evaluate.results import Row, Table
from napari_medssl.events import Event, Note, Progress
from napari_medssl.learn.control import pausing
from napari_medssl.learn.devices import choose_device, choose_threads
from napari_medssl.learn.features import calibrate
from napari_medssl.learn.networks import ModelSpec
from napari_medssl.learn.predict import Tiles, labels_of, predict_maps
from napari_medssl.learn.scale_choice import choose_scale
from napari_medssl.learn.transfer import build_model
from napari_medssl.project import Project
from napari_medssl.project.checkpoint import WriteError
from napari_medssl.project.working_scale import ScaledImages

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from napari_medssl.engine.experiment.ground import Ground
    from napari_medssl.engine.experiment.plan import Arm, ExperimentJob
    from napari_medssl.engine.experiment.tasks import Report, Task
    from napari_medssl.evaluate.results import Cell
    from napari_medssl.learn.control import Control
    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["EXAMPLES", "Worker", "in_turn", "key_of"]

EXAMPLES = "examples"
"""Where predictions to be looked at are kept, in the folder of the experiment."""
TRAINED = 0.9
"""Share of a fine-tuning's time that is training; the rest is scoring."""
PARTS = 1000
"""Thousandths of a fine-tuning are told."""


def key_of(cell: Cell) -> str:
    """Name the training of a cell."""
    return f"{cell.arm}/{cell.downstream}/{cell.k}/{cell.draw}/{cell.scored_on}"


class Worker:
    """Carries out tasks, one after the other.

    Parameters
    ----------
    job : ExperimentJob
        The experiment.
    project : Project
        The user's.
    folder : path
        The experiment's; its own project is there already.
    ground : Ground
        Truth and its division.
    control : Control
        Pauses and stops what is under way.
    """

    def __init__(
        self, job: ExperimentJob, project: Project, folder: Path, ground: Ground, control: Control
    ) -> None:
        self._job, self._project, self._control = job, project, control
        self._ground, self._split, self._truth = ground, ground.split, ground.truth
        self._teaching = Project.open(folder / "project")
        self._scale = job.scale or choose_scale(self._teaching, images=()).rule
        self._trainings = ExperimentTrainings(
            job, self._teaching, folder / "runs.json", control, scale=self._scale
        )
        self._table = Table(folder / "results.csv")
        scoring = self._split.test if job.score_on == "test" else self._split.validation
        self._scored = self._split.images(scoring)
        self._unit_of = ground.units_of(scoring)
        self._shown = ground.examples(scoring)
        self._examples = Examples(folder / EXAMPLES)
        self._values = [info.value for info in project.settings.classes]
        self._device = torch.device(choose_device(job.device).name)
        self._forests = Forests(project.planes, ground.truth, ground.sizes, self._values)
        self._notes: list[str] = []
        self._tiles = Tiles(tell=self._notes.append)
        self._looked, self._looks = 0, 1

    def attempt(self, task: Task) -> Generator[Event, None, Outcome]:
        """Carry out a task; one that fails does not end the others: a draw may show no foreground, a method diverge.

        Yields `Progress` (its step over its total is the share of the task that is done), `Paused`, `Resumed` and
        notes.

        Raises
        ------
        WriteError
            If the disk does not take results.
        """
        torch.set_num_threads(self._job.threads or choose_threads())
        outcome = Outcome("done")
        self._looked, self._looks = 0, 1
        parts = {
            "thresholds": self._thresholds,
            "pretraining": self._pretrained,
            "features": self._frozen_features,
            "forest": self._forest,
            "tuning": self._tuned,
        }
        try:
            yield from parts[task.work](task)
        except StoppedError:
            return Outcome("stopped")
        except WriteError:
            raise
        except MedsslError as error:
            outcome = Outcome("failed", str(error))
        for text in dict.fromkeys(self._notes):
            yield Note(level="warning", text=text)
        self._notes.clear()
        return outcome

    # -- segmentations that need no network ------------------------------------------------------

    def _thresholds(self, task: Task) -> Iterator[Event]:
        began, self._looks = time.monotonic(), len(self._scored)
        masks = threshold_masks(self._teaching)
        scorers = {cell.arm: self._scorer() for cell in task.cells}
        background, foreground = self._values
        for name in self._scored:
            yield from self._look()
            found = masks(self._project.grey(name))
            for arm, scorer in scorers.items():
                labels = np.where(found[arm], foreground, background).astype(np.uint16)
                scorer.add(name, labels, self._truth(name))
        seconds = (time.monotonic() - began) / len(task.cells)
        self._keep([(cell, scorers[cell.arm]) for cell in task.cells], None, seconds)

    def _forest(self, task: Task) -> Iterator[Event]:
        began, self._looks = time.monotonic(), len(self._scored)
        (cell,) = task.cells
        names = self._split.images(self._split.drawn(cell.k, cell.draw))
        threads = torch.get_num_threads()
        forest = self._forests.fit(names, seed=cell.draw, threads=threads)
        scorer, values = self._scorer(), np.array(self._values, np.uint16)
        for name in self._scored:
            yield from self._look()
            chances = forest.probabilities(self._project.planes(name), threads=threads)
            scorer.add(name, values[chances.argmax(0)], self._truth(name))
        self._keep([(cell, scorer)], None, time.monotonic() - began)

    # -- frozen features -------------------------------------------------------------------------

    def _pretrained(self, task: Task) -> Iterator[Event]:
        yield from self._trainings.pretrained(self._arm(task), task.draw)

    def _frozen_features(self, task: Task) -> Iterator[Event]:
        """Segment without annotations, and by linear probes."""
        arm = self._arm(task)
        model = self._network(arm, task.draw).eval().to(self._device)
        zero = [cell for cell in task.cells if cell.downstream == "zero-shot"]
        probes = [cell for cell in task.cells if cell.downstream == "probe"]
        self._looks = (len(zero) + bool(probes)) * len(self._scored) + len(probes)
        for cell in zero:
            began = time.monotonic()
            scorer = yield from self._predicted(model)
            self._keep([(cell, scorer)], arm, time.monotonic() - began)
        if probes:
            yield from self._probes(arm, model, probes)

    def _probes(self, arm: Arm, model: SegmentationModel, cells: list[Cell]) -> Iterator[Event]:
        yield Note(text=f"{arm.name}: {len(cells)} linear probes on frozen features.")
        began, fitted = time.monotonic(), []
        scaled = ScaledImages(self._project, model.spec.scale)
        for probe in fit_probes(
            model,
            [self._split.images(self._split.drawn(cell.k, cell.draw)) for cell in cells],
            scaled,
            self._truth,
            self._ground.sizes,
            values=self._values,
            l2=self._job.finetuning.probe_l2,
            device=self._device,
            tiles=self._tiles,
        ):
            yield from self._look()
            fitted.append(probe)
        scorers = [self._scorer() for _ in cells]
        for _ in apply_probes(
            model,
            fitted,
            self._scored,
            scaled,
            self._truth,
            scorers,
            values=self._values,
            device=self._device,
            tiles=self._tiles,
        ):
            yield from self._look()
        seconds = (time.monotonic() - began) / len(cells)
        self._keep(list(zip(cells, scorers, strict=True)), arm, seconds)

    def _network(self, arm: Arm, draw: int) -> SegmentationModel:
        """Give an arm's network with calibrated features."""
        if arm.method is not None:
            return model_of(self._trainings.run_of(pretraining_key(arm.name, draw)))
        settings = self._teaching.settings
        torch.manual_seed(self._job.seed + draw)
        spec = ModelSpec(
            network=self._trainings.network_of(arm),
            channels=settings.channels,
            classes=settings.classes,
            normalisation=settings.normalisation,
            trained_stages=0,
            head="none",
            scale=self._scale,
        )
        model = build_model(spec, note=self._notes.append).to(self._device)
        calibrate(model, self._teaching, device=self._device, tell=self._notes.append)
        return model

    # -- fine-tuning -----------------------------------------------------------------------------

    def _tuned(self, task: Task) -> Iterator[Event]:
        began, (cell,), arm = time.monotonic(), task.cells, self._arm(task)
        names = self._split.images(self._split.drawn(cell.k, cell.draw))
        annotated = set(self._teaching.annotations.annotated())
        for name in names:
            if name not in annotated:
                self._teaching.annotations.write(name, self._truth(name), done=True)
        supervised = cell.downstream == "supervised"
        job = {
            "kind": "finetune",
            "mode": "full" if supervised else cell.downstream,
            "images": names,
            "network": self._trainings.network_of(arm).model_dump(),
            "from_run": self._trainings.run_of(pretraining_key(*task.start)).name
            if task.pretrained
            else None,
            "scale": self._scale.model_dump(),
            "answer": "network",
            "estimate": False,
            "training": self._job.finetuning.model_dump()
            | ({"loss": "focal_tversky"} if supervised else {}),
        }
        title = f"{cell.arm}: {cell.downstream} fine-tuning, k = {cell.k}, draw {cell.draw}"
        training = self._trainings.run(key_of(cell), job, title, seed=cell.draw)
        while True:
            try:
                event = next(training)
            except StopIteration as end:
                run = end.value
                break
            if isinstance(event, Progress):
                step = round(TRAINED * PARTS * event.step / event.total)
                event = event.model_copy(update={"step": step, "total": PARTS})
            yield event
        self._looks = round(len(self._scored) / (1 - TRAINED))
        self._looked = self._looks - len(self._scored)
        scorer = yield from self._predicted(model_of(run).to(self._device))
        self._keep([(cell, scorer)], arm, time.monotonic() - began)
        self._trainings.forget(key_of(cell))

    # -- parts -----------------------------------------------------------------------------------

    def _arm(self, task: Task) -> Arm:
        (arm,) = [arm for arm in self._job.arms if arm.name == task.arm]
        return arm

    def _predicted(self, model: SegmentationModel) -> Generator[Event, None, Scorer]:
        """Segment what scores with what a run hands back."""
        scorer, scaled = self._scorer(), ScaledImages(self._project, model.spec.scale)
        for name in self._scored:
            yield from self._look()
            maps = predict_maps(
                model,
                self._project.planes(name),
                factor=scaled.factor(name),
                device=self._device,
                tiles=self._tiles,
            )
            scorer.add(name, labels_of(model, maps.chances), self._truth(name))
        return scorer

    def _scorer(self) -> Scorer:
        return Scorer(self._unit_of, self._values[1:], examples=self._shown)

    def _keep(self, scored: list[tuple[Cell, Scorer]], arm: Arm | None, seconds: float) -> None:
        for cell, scorer in scored:
            if scorer.examples:
                self._examples.keep(cell, scorer.examples)
        self._table.add(
            [
                Row(
                    project=self._project.path.name,
                    arm=cell.arm,
                    method=(arm.method or "") if arm is not None else "",
                    start=arm.start if arm is not None else "",
                    downstream=cell.downstream,
                    k=cell.k,
                    draw=cell.draw,
                    scored_on=cell.scored_on,
                    units=len(set(self._unit_of.values())),
                    images=len(self._scored),
                    seconds=seconds,
                    **scorer.scores(),
                )
                for cell, scorer in scored
            ]
        )

    def _look(self) -> Iterator[Event]:
        """Wait or end where asked to, between two images; tell how far the task has come."""
        yield from pausing(self._control, self._looked)
        if self._control.stopped:
            raise StoppedError
        # How long it takes is known where all tasks are.
        yield Progress(step=self._looked, total=self._looks, rate=0, eta=0)
        self._looked += 1


def in_turn(tasks: list[Task], worker: Worker) -> Iterator[Report]:
    """Have tasks carried out one after the other, in this process.

    Parameters
    ----------
    tasks : list of Task
        In the order of `tasks_of`.
    worker : Worker
        Who carries them out.

    Yields
    ------
    tuple of (Task, Event or Outcome)
        What comes of them, as it comes; nothing more after one that was stopped.
    """
    pretrainings: dict[tuple[str, int], Outcome] = {}
    for task in tasks:
        outcome = ended_before(task, pretrainings)
        if outcome is None:
            events = worker.attempt(task)
            while outcome is None:
                try:
                    yield task, next(events)
                except StopIteration as end:
                    outcome = end.value
        if task.work == "pretraining":
            pretrainings[task.start] = outcome
        yield task, outcome
        if outcome.how == "stopped":
            return
