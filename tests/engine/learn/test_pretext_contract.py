"""What every registered pretext method must do; a new method is tested by being there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_medssl import pretrain, resume
from napari_medssl.config import ConfigError
from napari_medssl.engine.job import execute
from napari_medssl.errors import MedsslError
from napari_medssl.events import Progress
from napari_medssl.learn.control import Control
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.patches import step_rng
from napari_medssl.learn.pretext import PretextMethod, method, methods
from napari_medssl.learn.task import PretrainingConfig, to_device

if TYPE_CHECKING:
    from napari_medssl.project import Project

ALL = sorted(methods())
CPU = torch.device("cpu")


def make(key: str, project: Project) -> PretextMethod:
    torch.manual_seed(0)
    kind = method(key)
    spec = ModelSpec(
        network=NetworkConfig(encoder_depth=3),
        channels=project.settings.channels,
        classes=kind.output_classes(project),
        normalisation=project.settings.normalisation,
    )
    training = PretrainingConfig(steps=4, batch_size=4, patch_size=32)
    return kind(
        config=kind.config_type(),
        model=SegmentationModel(spec),
        project=project,
        training=training,
        seed=0,
    )


def losses(task: PretextMethod, step: int) -> dict[str, torch.Tensor]:
    return task(to_device(task.batch(step_rng(0, step)), CPU, torch.contiguous_format))


@pytest.mark.parametrize("key", ALL)
def test_loss_is_finite_and_reaches_the_encoder(key: str, project: Project) -> None:
    task = make(key, project)
    values = losses(task, 0)
    assert all(torch.isfinite(value) and value.ndim == 0 for value in values.values())
    values["loss"].backward()
    # An encoder cut at a depth keeps layers below it that nothing passes through: no gradient at all.
    gradients = [p.grad for p in task.model.encoder_parameters() if p.grad is not None]
    assert len(gradients) > 10
    assert all(torch.isfinite(g).all() for g in gradients)
    assert gradients[0].abs().sum() > 0
    blocks = task.model.net.decoder.blocks
    reached = [any(p.grad is not None for p in block.parameters()) for block in blocks]
    stages = task.trained_stages(task.config, task.model.spec.network)
    assert reached == [stages is None or number < stages for number in range(len(blocks))]


@pytest.mark.parametrize("key", ALL)
def test_following_the_gradient_lowers_the_loss(key: str, project: Project) -> None:
    """On one batch, and with queues and moving averages as they are: with them, a loss may rightly rise."""
    task = make(key, project)
    optimizer = torch.optim.AdamW(task.parameter_groups(1e-3))
    batch = to_device(task.batch(step_rng(0, 0)), CPU, torch.contiguous_format)
    history = []
    for _ in range(15):
        loss = task(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.9 * history[0]


@pytest.mark.parametrize("key", ALL)
def test_batches_come_from_the_generator_alone(key: str, project: Project) -> None:
    first, second = (make(key, project).batch(step_rng(5, 9)) for _ in range(2))
    other = make(key, project).batch(step_rng(5, 10))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert any(not np.array_equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("key", ALL)
def test_same_seed_same_weights_other_seed_other_weights(
    key: str, project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    runs = [
        pretrain(project, key, network=tiny_network, training=tiny_training, seed=seed)
        for seed in (1, 1, 2)
    ]
    same, again, other = (run.last_path.read_bytes() for run in runs)
    spec_free = [content[-100_000:] for content in (same, again, other)]
    assert spec_free[0] == spec_free[1]
    assert spec_free[0] != spec_free[2]


@pytest.mark.parametrize("key", ALL)
def test_only_a_run_whose_last_layer_learned_classes_predicts(
    key: str, project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    run = pretrain(project, key, network=tiny_network, training={**tiny_training, "steps": 2})
    job = {"kind": "predict", "project": str(project.path), "run": run.name, "device": "cpu"}
    if method(key).segments(method(key).config_type()):
        assert list(execute(job))[-1].event == "done"
        return
    with pytest.raises(MedsslError, match=r"features, not classes.*Fine-tune it"):
        list(execute(job))


@pytest.mark.parametrize("key", ALL)
def test_stopped_and_resumed_equals_uninterrupted(
    key: str, project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    job = {
        "kind": "pretrain",
        "project": str(project.path),
        "method": key,
        "network": tiny_network,
        "training": tiny_training | {"steps": 16},
        "threads": 1,
    }
    for _ in execute(job):
        pass
    whole = project.run("latest")
    control = Control()
    for event in execute(job, control=control):
        if isinstance(event, Progress) and event.step > 0:
            control.stop()
    stopped = project.run("latest")
    assert stopped.status == "stopped"
    resume(project, stopped.name)
    first, second = (load_file(run.last_path) for run in (whole, stopped))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("key", ALL)
def test_it_describes_itself(key: str) -> None:
    kind = method(key)
    assert kind.summary().endswith(".")
    assert kind.paper
    fields = kind.config_type.model_json_schema()["properties"]
    undescribed = [name for name, field in fields.items() if not field.get("description")]
    assert not undescribed


def test_an_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no pretext method 'simclr9'; known: .*medsass"):
        method("simclr9")


def test_two_methods_of_one_key_are_refused() -> None:
    with pytest.raises(TypeError, match="'medsass' is defined by both"):

        class Impostor(PretextMethod, key="medsass", title="Impostor"):
            def sample(self, name: str, rng: np.random.Generator) -> dict[str, Any]:
                return {}

            def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
                return {}
