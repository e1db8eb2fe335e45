"""How long a run trained until its loss had settled, from its own records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.convergence import convergence_time, rqc
from napari_medssl.events import Paused, Progress, Resumed, Saved, Started

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_medssl.project import Run

__all__ = ["Settling", "settling", "training_clock"]

FILLED = "queue_filled"
"""What a method with a queue of negatives logs beside its loss; see `learn.task.Task.forward`."""
CURVES: tuple[Literal["validation/loss", "loss"], ...] = ("validation/loss", "loss")


class Settling(Config):
    """When the loss of a run had settled."""

    run: str
    curve: Literal["validation/loss", "loss"]
    """Which loss was looked at: of held-out images, or of the training itself where one of the runs has no other."""
    seconds: float
    """Time of training until then."""
    rqc: float
    """Over that of the fastest run."""


def training_clock(run: Run) -> tuple[list[int], list[float]]:
    """Give steps of a run and the seconds of training that it took to reach each.

    Counted from the first step on: the trial before it, pauses, and whatever a resumed run had to make again take no
    part; validations and checkpoints do.

    Returns
    -------
    list of int, list of float
        Both rising; empty for a run without records.
    """
    steps: list[int] = []
    seconds: list[float] = []
    elapsed, before, waits = 0.0, 0.0, False
    for event in run.events():
        if isinstance(event, Started):
            kept = sum(step <= event.step for step in steps)
            del steps[kept:], seconds[kept:]
            elapsed = seconds[-1] if seconds else 0.0
        elif isinstance(event, Progress | Saved | Paused | Resumed):
            if not waits:
                elapsed += max(0.0, event.time - before)
            if event.step == 0:
                elapsed = 0.0
            if not steps or event.step > steps[-1]:
                steps.append(event.step)
                seconds.append(elapsed)
            waits = isinstance(event, Paused)
        else:
            continue
        before = event.time
    return steps, seconds


def settling(runs: Iterable[Run]) -> tuple[Settling, ...]:
    """Compare when the losses of several runs had settled (the runtime quality criterion, RQC).

    The loss on held-out images where all runs have one, else that of the training, for all. That of a method with a
    queue of negatives counts from where the queue is full: before, the loss rises with the number of negatives.

    Parameters
    ----------
    runs : iterable of Run
        Trained on one kind of computer, or the times mean little.

    Raises
    ------
    MedsslError
        If a run has no record of its loss, or too short a one for it to have settled after its first step, or never
        filled its queue.

    References
    ----------
    The evaluation paper on self-supervised learning (Rettenberger, Schilling et al.), equation 3.
    """
    curves = {run.name: (run, run.metrics()) for run in runs}
    both = all(len(found.get(CURVES[0], ())) > 1 for _, found in curves.values())
    name = CURVES[0] if both else CURVES[1]
    times = {}
    for run, found in curves.values():
        steps, seconds = training_clock(run)
        points = [(step, loss) for step, loss in found.get(name, ()) if steps and step <= steps[-1]]
        if len(points) < 2:
            raise MedsslError(
                f"The run {run.name} has no record of how its loss fell over time.",
                advice="Compare runs that trained for longer than a few steps.",
            )
        at = np.interp([step for step, _ in points], steps, seconds)
        rising = np.flatnonzero(np.diff(at, prepend=-1.0) > 0)
        times[run.name] = convergence_time(
            at[rising].tolist(),
            [points[i][1] for i in rising],
            begin=float(np.interp(_comparable_from(run, found), steps, seconds)),
        )
    return tuple(
        Settling(run=run, curve=name, seconds=times[run], rqc=ratio)
        for run, ratio in rqc(times).items()
    )


def _comparable_from(run: Run, curves: Mapping[str, Sequence[tuple[int, float]]]) -> int:
    """Give the step from which on the losses of a run compare with each other."""
    if FILLED not in curves:
        return 0
    full = [step for step, share in curves[FILLED] if share >= 1]
    if not full:
        raise MedsslError(
            f"The run {run.name} ended with {curves[FILLED][-1][1]:.0%} of its queue in use: its loss never settled.",
            advice="Train for longer, or with a shorter queue.",
        )
    return full[0]
