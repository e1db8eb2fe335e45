"""Each option of fine-tuning does what its paper says, compared with a naive recomputation."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from napari_medssl.learn.finetune.batch_norm import decoder_norms, encoder_norms, reestimate
from napari_medssl.learn.finetune.mean_teacher import MeanTeacher, ramp_up
from napari_medssl.learn.finetune.rates import blocks_of
from torch import nn

from napari_medssl import finetune, pretrain
from napari_medssl.errors import MedsslError
from napari_medssl.learn.features import calibrate
from napari_medssl.learn.finetune import FinetuneConfig, FinetuneTask
from napari_medssl.learn.finetune.linear import LinearProbe, embedded_pixels
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.patches import step_rng
from napari_medssl.learn.training import to_device

if TYPE_CHECKING:
    from napari_medssl.project import Project


def network(project: Project, **settings: Any) -> SegmentationModel:
    spec = ModelSpec(
        network=NetworkConfig(**settings),
        channels=project.settings.channels,
        classes=project.settings.classes,
        normalisation=project.settings.normalisation,
    )
    torch.manual_seed(0)
    return SegmentationModel(spec)


def task_of(
    project: Project,
    *,
    pretrained: tuple[str, ...] = ("encoder", "decoder"),
    model: SegmentationModel | None = None,
    **settings: Any,
) -> FinetuneTask:
    config = FinetuneConfig(batch_size=2, patch_size=32, **settings)
    return FinetuneTask(
        mode="full",
        pretrained=pretrained,
        model=model or network(project, encoder="mobilenet_v2", encoder_depth=3),
        project=project,
        images=project.annotations.annotated(),
        config=config,
        seed=0,
    )


def batch_of(task: FinetuneTask) -> dict[str, torch.Tensor]:
    return to_device(task.batch(step_rng(0, 0)), torch.device("cpu"), torch.contiguous_format)


EXPECTED_DISTANCES = [
    (
        {"encoder": "resnet18", "encoder_depth": 4},
        {"head": 0, "decoder.blocks.3": 1, "decoder.blocks.0": 4}
        | {"encoder.layer3": 5, "encoder.layer2": 6, "encoder.layer1": 7, "encoder.conv1": 8},
    ),
    (
        {"encoder": "vit_small", "encoder_depth": 3},
        {"head": 0, "decoder.blocks.2": 1, "decoder.blocks.0": 3}
        | {"encoder.levels.2": 4, "encoder.vit": 4, "encoder.levels.1": 5, "encoder.levels.0": 6},
    ),
    (
        {"encoder": "resnet18", "architecture": "deeplabv3"},
        {"head": 0, "decoder": 1, "encoder.layer4": 2, "encoder.layer1": 5, "encoder.conv1": 6},
    ),
]


@pytest.mark.parametrize(("settings", "expected"), EXPECTED_DISTANCES)
def test_blocks_are_counted_from_the_head(
    project: Project, settings: dict[str, Any], expected: dict[str, int]
) -> None:
    model = network(project, **settings)
    distances = {p: block.distance for block in blocks_of(model) for p in block.parameters}
    distances |= dict.fromkeys(model.head_parameters(), 0)
    named = dict(model.net.named_parameters())
    for prefix, distance in expected.items():
        start = "segmentation_head" if prefix == "head" else prefix
        found = {distances[p] for name, p in named.items() if name.startswith(start + ".")}
        assert found == {distance}, prefix
    unused = {name for name, p in named.items() if p not in distances}
    assert all(name.startswith("encoder.layer4") for name in unused)  # beyond a depth of 4
    assert model.training


def test_the_rate_falls_with_the_distance_in_pretrained_parts_alone(
    annotated_project: Project,
) -> None:
    options = {"layer_decay": 0.5, "pretrained_rate": 0.1, "l2_start": 1.0}
    task = task_of(annotated_project, pretrained=("encoder",), **options)
    groups = task.parameter_groups(1.0)
    rates = {p: group["lr"] for group in groups for p in group["params"]}
    decays = {p: group.get("weight_decay") for group in groups for p in group["params"]}
    net = task.model.net
    assert {rates[p] for p in net.decoder.parameters()} == {1.0}
    assert {rates[p] for p in net.segmentation_head.parameters()} == {1.0}
    first = next(net.encoder.parameters())
    assert rates[first] == pytest.approx(0.1 * 0.5**6)  # three blocks, then three stages
    assert decays[first] == 0  # pulled to its start instead
    assert decays[next(net.decoder.parameters())] is None


def test_l2_start_adds_half_the_squared_way_from_the_start(annotated_project: Project) -> None:
    task = task_of(annotated_project, l2_start=0.3)
    start = {name: p.detach().clone() for name, p in task.model.named_parameters()}
    assert task(batch_of(task))["l2_start"] == 0
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    terms = task(batch_of(task))
    used = {p for block in blocks_of(task.model) for p in block.parameters}
    way = 0.0
    for name, parameter in task.model.named_parameters():
        if parameter in used:
            way += float(((parameter.detach() - start[name]).double() ** 2).sum())
    assert terms["l2_start"].item() == pytest.approx(0.5 * 0.3 * way, rel=1e-5)
    assert terms["loss"].item() == pytest.approx(
        terms["supervised"].item() + terms["l2_start"].item(), rel=1e-6
    )


def test_what_is_kept_is_the_average_with_the_start(annotated_project: Project) -> None:
    task = task_of(annotated_project, start_share=0.25)
    start = {name: p.detach().clone() for name, p in task.model.named_parameters()}
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.manual_seed(1))
    learned = dict(task.model.named_parameters())
    kept = task.kept()
    for name, parameter in kept.named_parameters():
        wanted = 0.25 * start[name] + 0.75 * learned[name]
        torch.testing.assert_close(parameter, wanted, rtol=1e-5, atol=1e-6)
    task.eval()
    score = task.validate()["dice"]  # that of what is kept, not of what learns
    task.model.load_state_dict(kept.state_dict())
    for name, parameter in task.model.named_parameters():
        start_of = task.get_buffer(task._start_of[parameter])
        start_of.copy_(parameter)  # nothing is left to average
        assert start_of.shape == start[name].shape
    assert task.validate()["dice"] == pytest.approx(score)


def test_the_start_is_kept_in_part_only_where_all_of_it_is_taken_over(
    annotated_project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    count = len(annotated_project.annotations.annotated())
    source = pretrain(annotated_project, network=tiny_network, training=tiny_training).name
    for take, share in (("everything", 1 / (1 + count)), ("encoder", 0.0)):
        run = finetune(
            annotated_project, from_run=source, mode="full", take=take, training=tiny_training
        )
        assert run.job["training"]["start_share"] == pytest.approx(share)
    wanted = tiny_training | {"start_share": 0.5}
    with pytest.raises(MedsslError, match="does not predict these classes"):
        finetune(annotated_project, from_run=source, mode="full", take="encoder", training=wanted)


@pytest.mark.parametrize(("statistics", "change"), [("frozen", False), ("trained", True)])
def test_pretrained_statistics_change_only_where_they_are_trained(
    annotated_project: Project, statistics: str, change: bool
) -> None:
    model = network(annotated_project, encoder="mobilenet_v2", encoder_depth=3)
    model.train()(torch.rand(2, 1, 32, 32))  # all its statistics have been measured
    task = task_of(annotated_project, model=model, batch_norm=statistics)
    task.prepare()
    for norms in (encoder_norms, decoder_norms):
        before = [norm.running_mean.clone() for norm in norms(task.model)]
        task.set_training()
        task(batch_of(task))
        after = [norm.running_mean for norm in norms(task.model)]
        changed = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert any(changed) == change  # a stage beyond the depth is never used


def test_decoder_stages_that_pretraining_left_out_learn_their_statistics(
    annotated_project: Project,
) -> None:
    model = network(annotated_project, encoder="mobilenet_v2", encoder_depth=3)
    model.train().stages(torch.rand(2, 1, 32, 32), count=1)  # as DiCoH does

    def changed(task: FinetuneTask) -> list[bool]:
        before = [norm.running_mean.clone() for norm in decoder_norms(task.model)]
        task.set_training()
        task(batch_of(task))
        after = [norm.running_mean for norm in decoder_norms(task.model)]
        return [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]

    task = task_of(annotated_project, model=model)
    expected = [False, False, True, True, True, True]
    assert changed(task) == expected
    assert changed(task) == expected  # though the last ones have seen a batch by now
    state = task.state_dict()
    resumed = task_of(annotated_project, model=task.model)
    resumed.load_state_dict(state)
    assert changed(resumed) == expected
    del state["decoder_measured"]  # written by an older version
    resumed.load_state_dict(state)
    assert not any(changed(resumed))


def test_reestimated_statistics_are_those_of_the_folder(annotated_project: Project) -> None:
    model = network(annotated_project, encoder="resnet18", encoder_depth=3)
    batches = [torch.rand(3, 1, 32, 32, generator=torch.manual_seed(i)) for i in range(4)]
    reestimate(model, batches)
    norm = model.net.encoder.bn1
    maps = [
        model.net.encoder.conv1((batch - model.input_mean) / model.input_std) for batch in batches
    ]
    mean = sum(m.mean((0, 2, 3)) for m in maps) / len(maps)
    variance = sum(m.var((0, 2, 3), unbiased=True) for m in maps) / len(maps)
    torch.testing.assert_close(norm.running_mean, mean.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, variance.detach(), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1

    task = task_of(annotated_project, batch_norm="reestimated")
    fresh = [n.running_mean.clone() for n in encoder_norms(task.model)]
    task.prepare()
    measured = [n.running_mean.clone() for n in encoder_norms(task.model)]
    assert not torch.equal(fresh[0], measured[0])
    task.set_training()
    task(batch_of(task))
    kept = [n.running_mean for n in encoder_norms(task.model)]
    assert all(torch.equal(a, b) for a, b in zip(measured, kept, strict=True))


def test_a_single_pixel_is_learned_from_and_validates(project: Project) -> None:
    labels = np.zeros((64, 64), np.uint16)
    labels[10, 5:45] = 1
    labels[40, 20] = 2
    project.annotations.write(project.images[0], labels)
    task = task_of(project)
    assert (task.batch(step_rng(0, 0))["target"] == 1).any()
    task.eval()
    name = project.settings.classes[1].name
    assert f"dice/{name}" in task.validate()
    assert "(squares of the annotated images)" in task.notes[0]
    assert f"The only pixel of {name} is learned from as well." in task.notes[0]


def test_pixels_that_validate_are_embedded_on_request_alone(annotated_project: Project) -> None:
    task = task_of(annotated_project)
    model = task.model.eval()
    calibrate(model, annotated_project, device=torch.device("cpu"))
    both, one = (
        [
            embedded_pixels(
                model,
                task._load(name),
                images=1,
                rng=np.random.default_rng(0),
                device=torch.device("cpu"),
                tiles=task._tiles,
                validation=validation,
            )
            for name in task.annotated
        ]
        for validation in (True, False)
    )
    assert sum(len(item.validation) for item in both) == sum(len(item.truth) for item in both) > 0
    assert not any(len(item.validation) or len(item.truth) for item in one)
    assert all(np.array_equal(a.train, b.train) for a, b in zip(both, one, strict=True))


def test_a_new_encoder_has_no_statistics_to_keep(annotated_project: Project) -> None:
    with pytest.raises(MedsslError, match=r"this one is new.*reestimated"):
        task_of(annotated_project, pretrained=(), batch_norm="frozen")


def test_the_teacher_is_the_moving_average_of_the_student() -> None:
    student = nn.Sequential(nn.Conv2d(1, 2, 1))
    teacher = MeanTeacher(student)  # type: ignore[arg-type]  # any module that maps images to logits
    average = {name: p.detach().double().numpy() for name, p in student.named_parameters()}
    for step in range(150):
        with torch.no_grad():
            for parameter in student.parameters():
                parameter.add_(torch.randn_like(parameter))
        teacher.follow(student, step, 150)  # type: ignore[arg-type]
        momentum = min(1 - 1 / (step + 1), 0.99)
        for name, parameter in student.named_parameters():
            new = parameter.detach().double().numpy()
            average[name] = momentum * average[name] + (1 - momentum) * new
    for name, parameter in teacher.model.named_parameters():
        np.testing.assert_allclose(parameter.numpy(), average[name], rtol=1e-4, atol=1e-5)
    assert float(teacher.share) == 1


def test_consistency_is_the_mean_square_between_softmaxes() -> None:
    assert ramp_up(0, 10) == pytest.approx(math.exp(-5))
    assert ramp_up(5, 10) == pytest.approx(math.exp(-5 * 0.25))
    student = nn.Sequential(nn.Conv2d(1, 3, 1))
    teacher = MeanTeacher(student)  # type: ignore[arg-type]
    images = torch.rand(2, 1, 4, 4)
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    torch.manual_seed(5)
    term = teacher.consistency(logits, images)
    torch.manual_seed(5)
    noise = np.clip(0.1 * torch.randn(2, 1, 4, 4).numpy(), -0.2, 0.2)
    wanted = copy.deepcopy(student)(images + torch.from_numpy(noise)).softmax(1).detach().numpy()
    total, chance = 0.0, logits.softmax(1).detach().numpy()
    for index in np.ndindex(chance.shape):
        total += (chance[index] - wanted[index]) ** 2
    assert term.item() == pytest.approx(0.1 * math.exp(-5) * total / chance.size, rel=1e-5)
    term.backward()
    assert logits.grad is not None
    assert all(p.grad is None for p in teacher.parameters())


def test_a_mean_teacher_needs_images_without_annotation(
    annotated_project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    training = tiny_training | {"mean_teacher": True}
    with pytest.raises(MedsslError, match="all 6 images of the project are used"):
        finetune(annotated_project, mode="full", network=tiny_network, training=training)


def test_the_fit_of_a_probe_is_the_optimum() -> None:
    """The slope of the penalised cross-entropy, written out, is zero there."""
    rng = np.random.default_rng(3)
    pixels = rng.normal(2.0, [5.0, 1.0, 0.1], (400, 3)).astype(np.float32)
    target = (pixels[:, 0] + rng.normal(0, 4, 400) > 2).astype(np.int64) + (pixels[:, 1] > 3)
    probe = LinearProbe(pixels, classes=3, l2=0.05 * 400)
    probe.converge(pixels, target)
    weight, bias = probe.weight.detach().numpy(), probe.bias.detach().numpy()
    x = (pixels - pixels.mean(0)).astype(np.float64) / pixels.std(0).max()
    chance = np.exp(x @ weight.T + bias)
    chance /= chance.sum(1, keepdims=True)
    wrong = (chance - np.eye(3)[target]) / len(x)
    np.testing.assert_allclose(wrong.T @ x + 0.05 * weight, 0, atol=1e-5)
    np.testing.assert_allclose(wrong.sum(0), 0, atol=1e-5)
    layer = nn.Linear(3, 3)
    probe.fold_into(layer)
    logits = layer(torch.from_numpy(pixels)).detach().numpy()
    np.testing.assert_allclose(logits, x @ weight.T + bias, atol=1e-3)
