"""Runs are written as the engine writes them; nothing is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.training_time import settling, training_clock
from napari_medssl.events import Device, Done, Event, Paused, Progress, Resumed, Saved, Started

if TYPE_CHECKING:
    from napari_medssl.project import Project, Run

DEVICE = Device(name="cpu", label="CPU", reason="there is no other")


def started(time: float, step: int = 0) -> Started:
    return Started(time=time, kind="pretrain", title="", step=step, total=9, device=DEVICE)


def at(time: float, step: int) -> Progress:
    return Progress(time=time, step=step, total=9, rate=1, eta=1)


def made(project: Project, events: list[Event], **curves: list[float]) -> Run:
    run = project.new_run("pix2rep")
    run.write_job({"kind": "pretrain"})
    for event in events:
        run.append(event)
    for name, values in curves.items():
        for step, value in enumerate(values, start=1):
            run.log_metrics(step, {name.replace("validation_", "validation/"): value})
    return run


def test_pauses_the_trial_and_what_is_made_again_take_no_part(project: Project) -> None:
    events = [
        started(100),
        Saved(time=130, what="last", path="", step=0),  # after the trial
        at(140, 2),
        Paused(time=141, step=2),
        Resumed(time=900, step=2),
        at(905, 3),
        Saved(time=906, what="last", path="", step=3),
        at(950, 5),  # killed here
        started(2000, step=3),
        at(2020, 4),
        Done(time=2030, summary=""),
    ]
    assert training_clock(made(project, events)) == ([0, 2, 3, 4], [0, 10, 16, 36])


def test_validation_counts_only_where_all_have_one(project: Project) -> None:
    def progress(pace: float) -> list[Event]:
        return [
            started(0),
            Saved(time=10, what="last", path="", step=0),
            *(at(10 + pace * n, n) for n in range(1, 10)),
        ]

    falling = [9.0, 5.0, 3.0, *[1.0] * 6]
    slow = made(project, progress(2), loss=[1.0] * 9, validation_loss=falling)
    fast = made(project, progress(1), loss=falling, validation_loss=falling)
    by_run = {found.run: found for found in settling([slow, fast])}
    assert {found.curve for found in by_run.values()} == {"validation/loss"}
    # The mean over five losses is 1 first at the sixth.
    assert by_run[fast.name].seconds == pytest.approx(6)
    assert by_run[slow.name].seconds == pytest.approx(12)
    assert [by_run[run.name].rqc for run in (slow, fast)] == pytest.approx([2, 1])
    without = made(project, progress(3), loss=falling)
    assert {found.curve for found in settling([fast, without])} == {"loss"}


def test_a_queue_counts_from_where_it_is_full(project: Project) -> None:
    """The loss rises while the queue fills, so it is lowest at the first step."""
    events: list[Event] = [
        started(0),
        Saved(time=0, what="last", path="", step=0),
        *(at(n, n) for n in range(1, 21)),
    ]
    loss = [*np.linspace(1, 6, 8), *np.linspace(6, 2, 8), *[2.0] * 4]
    share = np.linspace(0.1, 1, 9).tolist() + [1.0] * 11
    filling = made(project, events, loss=loss, queue_filled=share)
    (found,) = settling([filling])
    assert 15 <= found.seconds <= 18
    never = made(project, events, loss=loss, queue_filled=[0.5] * 20)
    with pytest.raises(MedsslError, match="50% of its queue"):
        settling([never])


def test_a_run_without_records_is_named(project: Project) -> None:
    with pytest.raises(MedsslError, match=r"pix2rep.*no record"):
        settling([made(project, [started(0)])])
