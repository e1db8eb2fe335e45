"""Stopping, pausing, killing and resuming change nothing about the result."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from napari_medssl import pretrain, resume
from napari_medssl.engine.job import execute
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Event, Note, Paused, Progress, Resumed, Saved, Started
from napari_medssl.learn.control import Control
from napari_medssl.learn.pretext.medsass import MedSASS
from napari_medssl.learn.training import learning_rate_at

if TYPE_CHECKING:
    from napari_medssl.project import Project, Run


def job(project: Project, network: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "pretrain",
        "project": str(project.path),
        "network": network,
        "training": training,
        "threads": 1,
    }


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.last_path)


def assert_equal(a: Run, b: Run) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def stop_after(events: Any, control: Control, step: int) -> list[Event]:
    seen = []
    for event in events:
        seen.append(event)
        if isinstance(event, Progress) and event.step >= step:
            control.stop()
    return seen


def test_stopped_and_resumed_equals_uninterrupted(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    training = tiny_training | {"steps": 8}
    whole = job(project, tiny_network, training)
    for _ in execute(whole):
        pass
    reference = project.run("latest")
    control = Control()
    seen = stop_after(execute(whole, control=control), control, 3)
    run = project.run("latest")
    assert isinstance(seen[-1], Done)
    assert seen[-1].stopped
    assert run.status == "stopped"
    assert run.weights("best") is not None
    stopped_at = max(e.step for e in seen if isinstance(e, Progress))
    events: list[Event] = []
    assert resume(project, run.name, on_event=events.append).status == "done"
    assert isinstance(events[0], Started)
    assert events[0].step == stopped_at
    assert_equal(run, reference)
    steps = [step for step, _ in run.metrics()["loss"]]
    assert steps == list(range(1, 9))
    with pytest.raises(MedsslError, match="done: there is nothing to go on with"):
        resume(project, run.name)


def test_pause_waits_and_goes_on(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    control = Control()
    events = execute(job(project, tiny_network, tiny_training), control=control)
    seen = []
    for event in events:
        seen.append(event)
        if isinstance(event, Started):
            control.pause()
        if isinstance(event, Paused):
            control.resume()
    kinds = [type(event) for event in seen]
    assert kinds.index(Paused) < kinds.index(Resumed) < kinds.index(Done)
    assert project.run("latest").status == "done"


class Diverging(MedSASS, key="diverging", title="Diverging"):
    """A method whose loss becomes infinite in its fourth step."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.calls += self.training
        loss = super().forward(batch)["loss"]
        return {"loss": loss * torch.where(self.calls < 4, 1.0, torch.inf)}


def test_a_loss_that_is_no_number_fails_and_keeps_the_last_checkpoint(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    described = job(project, tiny_network, tiny_training) | {"method": "diverging"}
    with pytest.raises(MedsslError, match=r"loss became inf at step 4.*Lower the learning rate"):
        list(execute(described))
    run = project.run("latest")
    assert run.status == "failed"
    assert [step for step, _ in run.metrics()["loss"]] == [1, 2, 3]
    assert all(torch.isfinite(v).all() for v in weights(run).values() if v.is_floating_point())


def test_quick_steps_between_frequent_validations_are_reported(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    """Progress comes a few times a second, however short the steps and however often validated."""
    training = tiny_training | {"steps": 60, "validate_every": 1}
    seen = list(execute(job(project, tiny_network, training)))
    times = [e.time for e in seen if isinstance(e, Progress)]
    assert max(b - a for a, b in itertools.pairwise(times)) < 2
    assert len(times) >= 3


class Stagnant(MedSASS, key="stagnant", title="Stagnant"):
    """A method whose score is best at step 4, and never again as good."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_buffer("calls", torch.zeros(()))

    @property
    def epoch(self) -> int:
        return 0

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.calls += self.training
        return super().forward(batch)

    def validate(self) -> dict[str, float]:
        return {"score": -abs(float(self.calls) - 4)}


def stagnant(project: Project, network: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    settings = training | {"steps": 40, "validate_every": 2, "patience": 2, "channels_last": True}
    return job(project, network, settings) | {"method": "stagnant"}


def test_early_stopping_keeps_the_best(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    events = list(execute(stagnant(project, tiny_network, tiny_training)))
    run = project.run("latest")
    assert run.status == "done"
    scores = run.metrics()["validation/score"]
    assert [step for step, _ in scores] == [0, 2, 4, 6, 8]  # two validations without improvement
    best = [e for e in events if isinstance(e, Saved) and e.what == "best"]
    assert best[-1].step == 4
    assert not torch.equal(
        *(
            load_file(p)["net.decoder.blocks.0.conv1.0.weight"]
            for p in (run.best_path, run.last_path)
        )
    )


def test_an_early_stop_that_was_interrupted_is_one_after_resuming(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    events = execute(stagnant(project, tiny_network, tiny_training))
    for event in events:
        if isinstance(event, Note) and "Stopped early" in event.text:
            break
    assert isinstance(next(events), Saved)
    events.close()  # as a kill: nothing is written after this
    run = project.run("latest")
    assert run.status == "stopped"
    reached = run.metrics()
    resume(project, run.name)
    assert run.status == "done"
    assert run.metrics() == reached


def test_warm_up_then_cosine() -> None:
    rates = [learning_rate_at(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] < 0.01


def test_bad_jobs_leave_no_run_behind(project: Project) -> None:
    for change, message in [
        ({"method": "nope"}, "no pretext method 'nope'"),
        ({"method_config": {"alpha": "much"}}, "alpha = 'much'"),
        ({"training": {"patch_size": 100}}, "patch_size = 100.*multiple of 32"),
        ({"from_run": "never"}, "never"),
        ({"kind": "dance"}, "a job is one of pretrain, finetune"),
    ]:
        data = {"kind": "pretrain", "project": str(project.path)} | change
        with pytest.raises(MedsslError, match=message):
            list(execute(data))
    assert project.runs() == []


def test_several_processes_are_refused_in_words(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(MedsslError, match="4 processes; training in several is not possible yet"):
        pretrain(project)
    assert project.runs() == []


def test_a_precision_that_the_device_lacks_is_refused_in_words(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    described = job(project, tiny_network, tiny_training | {"precision": "fp16"})
    with pytest.raises(MedsslError, match=r'fp16 is no precision for a CPU.*"auto"'):
        list(execute(described | {"device": "cpu"}))
