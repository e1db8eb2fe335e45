"""After a fine-tuning: the forest beside the network, leave-one-out estimates of both, and what is handed back."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_medssl.engine.forests import Forests
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.class_scores import ClassScore
from napari_medssl.evaluate.estimate import (
    Choice,
    Estimate,
    choose_alone,
    choose_answer,
    folds_of,
)
from napari_medssl.events import Note, Paused, Progress, Resumed, Started
from napari_medssl.learn.predict import labels_of, mean_of, network_maps
from napari_medssl.learn.training import train
from napari_medssl.learn.trial import duration
from napari_medssl.learn.weights import load_model, save_model
from napari_medssl.project import Run
from napari_medssl.project.units import units_of
from napari_medssl.project.working_scale import ScaledImages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medssl.engine.job import FinetuneJob
    from napari_medssl.events import Device, Event
    from napari_medssl.forest import PixelForest
    from napari_medssl.learn.control import Control
    from napari_medssl.learn.finetune import FinetuneTask
    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.plan import Answer
    from napari_medssl.project import Project

__all__ = ["ESTIMATING", "Chooser"]

ESTIMATING = "Estimating quality"
"""What its progress is called, in which the trainings without a part of the annotated images count."""

FOLDS = "folds"
"""Folder of a run that holds the trainings of its estimate while they last."""
MOST_TESTED = 4
"""Images on which a forest is looked at where there is no estimate."""


class Chooser:
    """Adds a forest to a fine-tuned network, estimates both by leave-one-out, and settles which of them predicts.

    Parameters
    ----------
    project : Project
        Images and annotations.
    run : Run
        Whose network has been trained.
    job : FinetuneJob
        What was asked for; its images are the annotated ones.
    device : Device
        Where to compute.
    control : Control
        Pauses and stops.
    task : callable
        Makes the training of some of the images from the run's own start.
    seen : collection of str
        Images whose annotations taught that start: left out, they would flatter it, so their groups never are.
    """

    def __init__(
        self,
        project: Project,
        run: Run,
        job: FinetuneJob,
        device: Device,
        control: Control,
        task: Callable[[Sequence[str]], FinetuneTask],
        *,
        seen: Collection[str] = (),
    ) -> None:
        assert job.images is not None  # resolved when the job started
        self._project, self._run, self._job = project, run, job
        self._device, self._control, self._task = device, control, task
        self._units = units_of(project)
        self._images = job.images
        known = {self._units.get(name, name) for name in seen}
        fresh = [name for name in job.images if self._units.get(name, name) not in known]
        self._why_none = "One annotated image leaves nothing for an estimate"
        self._folds, self._parts = folds_of(fresh, self._units), self._units
        self._independent = bool(self._folds)
        if not self._folds:  # one group: its own images may choose, but are no judges
            self._folds, self._parts = folds_of(fresh, {}), {}
        if len(fresh) < len(job.images):
            self._why_none = (
                "The start has learned from these annotations, which leaves nothing for an estimate"
            )
        self._values = np.array([info.value for info in project.settings.classes], np.uint16)
        units = [self._units.get(name, name) for name in self._images]
        self._forests = Forests(
            project.planes,
            project.annotations.read,
            {name: units.count(unit) for name, unit in zip(self._images, units, strict=True)},
            self._values,
        )

    def events(self) -> Generator[Event, None, Choice]:
        """Do it, yielding progress; at any moment the run's best weights are a whole model that predicts."""
        model = load_model(self._run.best_path)
        if model.spec.forest is None and self._job.answer != "network":
            model = model.with_forest(self._forest(self._images), answer=self._job.answer or "mean")
            save_model(model, self._run.best_path)
        estimate, otherwise = Estimate(), "No estimate was asked for"
        if self._job.estimate and not self._control.stopped:
            otherwise = self._why_none
            try:
                estimate = yield from self._estimated(Estimate.read(self._run))
            except MedsslError as error:
                otherwise = f"There is no leave-one-out estimate ({error.message.rstrip('.')})"
        if self._control.stopped:
            otherwise = "The estimate was stopped"
        if self._job.answer is not None:
            known = estimate.scores and self._independent
            score = estimate.mean(self._job.answer) if known else None
            choice = Choice(answer=self._job.answer, why="", score=score)
        elif estimate.scores:
            choice = choose_answer(estimate, independent=self._independent)
        else:
            choice = choose_alone(self._forest_alone(), otherwise=otherwise)
        if choice.answer != model.spec.answer:
            save_model(model.answering(choice.answer), self._run.best_path)
        if choice.why:
            yield Note(text=choice.why)
        return choice

    def _forest(self, names: Sequence[str]) -> PixelForest:
        return self._forests.fit(names, seed=self._job.seed, threads=torch.get_num_threads())

    def _forest_alone(self) -> float:
        """Return the Dice of forests on what they did not learn from: other images, or the other half of a single one.

        What takes seconds, where the network would take minutes.
        """
        project, forests = self._project, self._forests
        planes: Callable[[str], NDArray[np.float32]] = project.planes
        labels: Callable[[str], NDArray[np.uint16]] = project.annotations.read
        parts = folds_of(self._images, self._units, most=2) or folds_of(self._images, {}, most=2)
        if not parts:
            (name,) = self._images
            image, halves = project.planes(name), _halves(project.annotations.read(name))
            planes, labels = (lambda _: image), halves.__getitem__
            forests = Forests(planes, labels, dict.fromkeys(halves, 1), self._values)
            parts = [[half] for half in halves]
        counts = np.zeros((len(self._values) - 1, 3), np.int64)
        threads = torch.get_num_threads()
        for taught, tested in (parts, parts[::-1]):
            if not any(labels(part).any() for part in taught):
                continue
            forest = forests.fit(taught, seed=self._job.seed, threads=threads)
            for part in tested[:MOST_TESTED]:
                chances = forest.probabilities(planes(part), threads=threads)
                counts += _counted(self._values[chances.argmax(0)], labels(part), self._values[1:])
        return _dice(counts)

    # -- leave-one-out ---------------------------------------------------------------------------

    def _estimated(self, estimate: Estimate) -> Generator[Event, None, Estimate]:
        folds = self._folds
        steps = self._job.training.steps
        left = [number for number in range(len(folds)) if number not in estimate.done]
        if left:
            yield Note(
                text=f"Estimating the quality on new images: {len(left)} more trainings, each without a part of the"
                f" annotated images{self._time_of(len(left))}. It can be stopped; what was learned stays."
            )
        for number in left:
            taught = [name for name in self._images if name not in folds[number]]
            run = self._run_of(number)
            begun = number * steps
            for event in self._trained(run, taught):
                if isinstance(event, Progress):
                    ahead = (len(folds) - number - 1) * steps / event.rate if event.rate else 0.0
                    yield event.model_copy(
                        update={
                            "step": begun + event.step,
                            "total": len(folds) * steps,
                            "eta": event.eta + ahead,
                            "metrics": {},
                            "doing": ESTIMATING,
                        }
                    )
                elif isinstance(event, Paused | Resumed) or (
                    isinstance(event, Note) and event.level == "warning"
                ):
                    yield event
            if self._control.stopped:
                return Estimate()  # part of the folds would favour what they happen to hold
            found = self._scores(load_model(run.best_path), taught, folds[number])
            estimate = Estimate(scores=estimate.scores | found, done=(*estimate.done, number))
            estimate.write(self._run)
            shutil.rmtree(run.path)
        shutil.rmtree(self._run.path / FOLDS, ignore_errors=True)
        return estimate

    def _time_of(self, folds: int) -> str:
        """Say how long the folds take, from how long the run's own training took."""
        times = [
            event.time
            for event in self._run.events()
            if isinstance(event, Progress) and not event.doing
        ]
        if len(times) < 2:
            return ""
        return f", about {duration(folds * (times[-1] - times[0]))}"

    def _run_of(self, number: int) -> Run:
        path = self._run.path / FOLDS / str(number)
        path.mkdir(parents=True, exist_ok=True)
        return Run(path)

    def _trained(self, run: Run, taught: Sequence[str]) -> Iterator[Event]:
        task = self._task(taught)

        def started(step: int) -> Started:
            total = self._job.training.steps
            return Started(kind="finetune", title="", step=step, total=total, device=self._device)

        return train(
            task,
            run=run,
            config=self._job.training,
            device=self._device,
            control=self._control,
            seed=self._job.seed,
            threads=self._job.threads,
            resume=run.state_path.is_file(),
            on_start=started,
            on_choice=lambda _: None,
        )

    def _scores(
        self, network: SegmentationModel, taught: Sequence[str], left_out: Sequence[str]
    ) -> dict[str, dict[Answer, float]]:
        """Return the Dice of each group that was left out: the mean over the classes that it shows."""
        device = torch.device(self._device.name)
        network.to(device)
        forest = self._forest(taught)
        scaled = ScaledImages(self._project, network.spec.scale)
        counts: dict[str, dict[Answer, NDArray[np.int64]]] = {}
        for name in left_out:
            planes = self._project.planes(name)
            truth = self._project.annotations.read(name)
            first = network_maps(network, planes, factor=scaled.factor(name), device=device).chances
            second = forest.probabilities(planes, threads=torch.get_num_threads())
            both: dict[Answer, NDArray[np.float32]] = {
                "network": first,
                "forest": second,
                "mean": mean_of(first, second),
            }
            of_group = counts.setdefault(self._parts.get(name, name), {})
            for answer, chances in both.items():
                found = _counted(labels_of(network, chances), truth, self._values[1:])
                of_group[answer] = of_group.get(answer, np.zeros_like(found)) + found
        return {
            group: {answer: _dice(found) for answer, found in answers.items()}
            for group, answers in counts.items()
            if (next(iter(answers.values()))[:, [0, 2]].sum() > 0)  # it shows a class at all
        }


def _counted(
    found: NDArray[np.uint16], truth: NDArray[np.uint16], values: Iterable[int]
) -> NDArray[np.int64]:
    """Return TP, FP and FN of each class, (K, 3)."""
    scores = [ClassScore.count(found, truth, value) for value in values]
    return np.array([(s.true_positives, s.false_positives, s.false_negatives) for s in scores])


def _halves(labels: NDArray[np.uint16]) -> dict[str, NDArray[np.uint16]]:
    """Return the labels of the upper and of the lower rows, each with as much of the classes."""
    middle = int(np.median(np.nonzero((labels > 1).any(1))[0]))
    halves = {"upper": labels.copy(), "lower": labels.copy()}
    halves["upper"][middle:] = 0
    halves["lower"][:middle] = 0
    return halves


def _dice(counts: NDArray[np.int64]) -> float:
    """Return the mean Dice over the classes (K, 3: TP, FP, FN) that are there, 0 where none is."""
    true, false, missed = counts.T
    shown = true + missed > 0
    if not shown.any():
        return 0.0
    return float((2 * true / np.maximum(2 * true + false + missed, 1))[shown].mean())
