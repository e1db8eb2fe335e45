"""A trial before training finds out what to expect, and leaves no trace in the result."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from napari_medssl import resume
from napari_medssl.engine.job import execute
from napari_medssl.events import Event, Note, Progress, Started
from napari_medssl.learn.control import Control
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.pretext.medsass import MedSASS
from napari_medssl.learn.task import PretrainingConfig
from napari_medssl.learn.trial import check_memory, try_out

if TYPE_CHECKING:
    from napari_medssl.project import Project


def expectation(events: list[Event]) -> list[str]:
    return [e.text for e in events if isinstance(e, Note) and e.text.startswith("About ")]


def test_everything_is_put_back(project: Project) -> None:
    spec = ModelSpec(
        network=NetworkConfig(encoder_depth=3),
        channels=project.settings.channels,
        classes=MedSASS.output_classes(project),
        normalisation=project.settings.normalisation,
    )
    config = PretrainingConfig(steps=1000, batch_size=2, patch_size=32)
    task = MedSASS(
        config=MedSASS.config_type(),
        model=SegmentationModel(spec),
        project=project,
        training=config,
        seed=0,
    )
    task.model.eval()
    before = {name: (t.clone(), t.stride()) for name, t in task.state_dict().items()}
    random = torch.get_rng_state()
    check_memory(task, seed=0, device=torch.device("cpu"))
    for _ in try_out(
        task,
        config=config,
        accelerator=Accelerator(cpu=True),
        control=Control(),
        seed=0,
        threads=None,
    ):
        pass
    for name, tensor in task.state_dict().items():
        assert torch.equal(tensor, before[name][0]), name
        assert tensor.stride() == before[name][1], name
    assert all(parameter.grad is None for parameter in task.parameters())
    assert not task.model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert task.training_config == config


def test_the_choice_is_kept_so_that_a_resumed_run_computes_alike(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    job = {
        "kind": "pretrain",
        "project": str(project.path),
        "network": tiny_network,
        "training": tiny_training | {"steps": 24, "validate_every": 24},
    }
    control = Control()
    seen: list[Event] = []
    for event in execute(job, control=control):
        seen.append(event)
        if isinstance(event, Progress) and event.step > 0:
            control.stop()
    run = project.run("latest")
    settled = run.job
    (text,) = expectation(seen)
    figures = re.match(
        r"About \d+ seconds: [\d.e+]+ m?s a step, .* [MG]iB of memory; (\d+) threads?, channels (last|first)\.",
        text,
    )
    assert figures
    chosen = {"threads": int(figures[1]), "channels_last": figures[2] == "last"}
    assert settled["threads"] == chosen["threads"]
    assert settled["training"]["channels_last"] == chosen["channels_last"]
    progress = [event for event in seen if isinstance(event, Progress)]
    assert progress[0].step == 0  # seconds left are known before the first step
    assert progress[0].eta > 0

    events: list[Event] = []
    resume(project, run.name, on_event=events.append)
    assert not expectation(events)
    job |= {"threads": chosen["threads"]}
    job["training"] |= {"channels_last": chosen["channels_last"]}
    seen = list(execute(job))
    (text,) = expectation(seen)
    assert "Slower" not in text  # what was asked for is not compared with anything
    one, other = load_file(run.last_path), load_file(project.run("latest").last_path)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_that_ended_before_its_first_checkpoint_starts_again(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    job = {
        "kind": "pretrain",
        "project": str(project.path),
        "network": tiny_network,
        "training": tiny_training,
        "threads": 1,
    }
    seen = list(execute(job))
    assert not expectation(seen)  # six steps are over before a trial would be
    reference = project.run("latest")
    events = execute(job)
    assert isinstance(next(events), Started)
    events.close()  # type: ignore[attr-defined]
    run = project.run("latest")
    assert not run.state_path.exists()
    assert run.status == "stopped"
    assert resume(project, run.name).status == "done"
    one, other = load_file(run.last_path), load_file(reference.last_path)
    assert all(torch.equal(one[name], other[name]) for name in one)
