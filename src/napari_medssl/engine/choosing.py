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
    from collections.abc import Callable, Collection, Generator, Iterator, Sequence

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
        units = [self._units.get(name, name) for name in self._images]
        self._forests = Forests(
            project.planes,
            project.annotations.read,
            {name: units.count(unit) for name, unit in zip(self._images, units, strict=True)},
            [info.value for info in project.settings.classes],
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
        elif estimate.scores or len(self._images) > 1:
            choice = choose_answer(estimate, otherwise=otherwise, independent=self._independent)
        else:
            choice = choose_alone(self._forest_within(self._images[0]), otherwise=otherwise)
        if choice.answer != model.spec.answer:
            save_model(model.answering(choice.answer), self._run.best_path)
        if choice.why:
            yield Note(text=choice.why)
        return choice

    def _forest(self, names: Sequence[str]) -> PixelForest:
        return self._forests.fit(names, seed=self._job.seed, threads=torch.get_num_threads())

    def _forest_within(self, name: str) -> float:
        """Return the Dice of forests that learn from one half of an image's rows and predict the other."""
        planes, labels = self._project.planes(name), self._project.annotations.read(name)
        middle = int(
            np.median(np.nonzero((labels > 1).any(1))[0])
        )  # as much of the classes on either side
        halves = {"upper": labels.copy(), "lower": labels.copy()}
        halves["upper"][middle:] = 0
        halves["lower"][:middle] = 0
        values = [info.value for info in self._project.settings.classes]
        forests = Forests(lambda _: planes, halves.__getitem__, dict.fromkeys(halves, 1), values)
        counts = np.zeros((len(values) - 1, 3), np.int64)
        for taught, tested in (("upper", "lower"), ("lower", "upper")):
            if not halves[taught].any():
                continue
            forest = forests.fit([taught], seed=self._job.seed, threads=torch.get_num_threads())
            chances = forest.probabilities(planes, threads=torch.get_num_threads())
            found = np.array(values, np.uint16)[chances.argmax(0)]
            counts += [
                _counted(ClassScore.count(found, halves[tested], value)) for value in values[1:]
            ]
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
                labels = labels_of(network, chances)
                found = np.array(
                    [
                        _counted(ClassScore.count(labels, truth, info.value))
                        for info in network.spec.classes[1:]
                    ]
                )
                of_group[answer] = of_group.get(answer, np.zeros_like(found)) + found
        return {
            group: {answer: _dice(found) for answer, found in answers.items()}
            for group, answers in counts.items()
            if (next(iter(answers.values()))[:, [0, 2]].sum() > 0)  # it shows a class at all
        }


def _counted(score: ClassScore) -> tuple[int, int, int]:
    return score.true_positives, score.false_positives, score.false_negatives


def _dice(counts: NDArray[np.int64]) -> float:
    """Return the mean Dice over the classes (K, 3: TP, FP, FN) that are there, 0 where none is."""
    true, false, missed = counts.T
    shown = true + missed > 0
    if not shown.any():
        return 0.0
    return float((2 * true / np.maximum(2 * true + false + missed, 1))[shown].mean())
