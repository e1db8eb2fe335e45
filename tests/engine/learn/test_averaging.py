"""The moving average of a network: its weights, its batch statistics, and what a student is to agree with."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_medssl.learn.finetune.averaging import AveragedModel, ramp_up


def norms(part: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in part.modules() if isinstance(module, nn.BatchNorm2d)]


def small() -> Any:
    """Any module that maps images to logits stands for a network."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)
    )


def test_the_average_follows_the_weights_and_is_warmed_up() -> None:
    network = small()
    averaged = AveragedModel(network, momentum=0.9)
    expected = {name: p.detach().double().numpy() for name, p in network.named_parameters()}
    for step in range(150):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter))
        averaged.follow(network, step, 150)
        momentum = min((1 + step) / (10 + step), 0.9)
        for name, parameter in network.named_parameters():
            new = parameter.detach().double().numpy()
            expected[name] = momentum * expected[name] + (1 - momentum) * new
    for name, parameter in averaged.model.named_parameters():
        np.testing.assert_allclose(parameter.numpy(), expected[name], rtol=1e-4, atol=1e-5)
        assert not parameter.requires_grad
    assert float(averaged.share) == 1


def test_batch_statistics_are_measured_with_the_averaged_weights() -> None:
    averaged = AveragedModel(small(), momentum=0.9)
    batches = [3 * torch.rand(4, 1, 8, 8, generator=torch.manual_seed(i)) for i in range(5)]
    first, norm, second, last = copy.deepcopy(averaged.model)
    measured = averaged.measured(batches, frozen=[])
    maps = [first(batch) for batch in batches]
    means = torch.stack([m.mean((0, 2, 3)) for m in maps]).mean(0)
    variances = torch.stack([m.var((0, 2, 3), unbiased=True) for m in maps]).mean(0)
    found = norms(measured)
    torch.testing.assert_close(found[0].running_mean, means.detach())
    torch.testing.assert_close(found[0].running_var, variances.detach())
    inner = torch.stack([second(norm.train()(m)).mean((0, 2, 3)) for m in maps]).mean(0)
    torch.testing.assert_close(found[1].running_mean, inner.detach())
    assert not any(module.training for module in measured.modules())
    assert [n.momentum for n in found] == [last.momentum] * 2
    for mine, its in zip(measured.parameters(), averaged.model.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_frozen_parts_keep_their_batch_statistics() -> None:
    averaged = AveragedModel(small(), momentum=0.9)
    kept = norms(averaged.model)[0]
    kept.running_mean.fill_(0.25)
    measured = averaged.measured([torch.rand(4, 1, 8, 8)], frozen=[averaged.model[:2]])
    first, second = norms(measured)
    assert (first.running_mean == 0.25).all()
    assert (second.running_mean != 0).all()


def test_consistency_is_the_mean_square_between_softmaxes() -> None:
    assert ramp_up(0, 10) == pytest.approx(math.exp(-5))
    assert ramp_up(5, 10) == pytest.approx(math.exp(-5 * 0.25))
    student: Any = nn.Sequential(nn.Conv2d(1, 3, 1))
    teacher = AveragedModel(student, momentum=0.99)
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
