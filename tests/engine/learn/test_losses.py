"""Losses against loops written from the papers' formulas, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from napari_medssl.learn.losses import (
    dice,
    dice_cross_entropy,
    focal,
    focal_tversky,
    focal_tversky_of_classes,
)

ALL = [dice, dice_cross_entropy, focal_tversky_of_classes]


def some(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and shares of the classes in 2 x 4 x 5 pixels: pure, mixed, and some that are not annotated."""
    rng = np.random.default_rng(classes)
    shares = rng.dirichlet(np.ones(classes), (2, 4, 5))
    pure = np.eye(classes)[rng.integers(0, classes, (2, 4, 5))]
    shares = np.where(rng.random((2, 4, 5, 1)) < 0.5, shares, pure)
    shares[rng.random((2, 4, 5)) < 0.3] = 0
    return rng.normal(size=(2, classes, 4, 5)), shares.transpose(0, 3, 1, 2)


def chances(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize(("alpha", "beta", "gamma"), [(0.7, 0.3, 0.75), (0.5, 0.5, 1.0)])
def test_focal_tversky_is_the_formula(alpha: float, beta: float, gamma: float) -> None:
    rng = np.random.default_rng(0)
    p, g = rng.random((2, 5, 6)), rng.integers(0, 2, (2, 5, 6))
    tp = fn = fp = 0.0
    for pi, gi in zip(p.ravel(), g.ravel(), strict=True):
        tp += pi * gi
        fn += (1 - pi) * gi
        fp += pi * (1 - gi)
    expected = (1 - (tp + 1) / (tp + alpha * fn + beta * fp + 1)) ** gamma
    loss = focal_tversky(
        torch.from_numpy(p), torch.from_numpy(g), alpha=alpha, beta=beta, gamma=gamma
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_missed_foreground_costs_more_than_false_foreground() -> None:
    truth = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    missed = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    false = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    assert focal_tversky(missed, truth) > focal_tversky(false, truth)


def test_focal_tversky_has_finite_gradients_without_foreground() -> None:
    for start in (0.0, 1e-9, 0.5):
        probability = torch.full((2, 4, 4), start, requires_grad=True)
        focal_tversky(probability, torch.zeros(2, 4, 4)).backward()
        assert torch.isfinite(probability.grad).all()


@pytest.mark.parametrize(("gamma", "classes"), [(2.0, 2), (0.0, 3), (0.5, 3)])
def test_focal_is_the_formula(gamma: float, classes: int) -> None:
    rng = np.random.default_rng(2)
    logits, target = rng.normal(size=(2, classes, 3, 4)), rng.integers(0, classes, (2, 3, 4))
    total = 0.0
    for b, y, x in np.ndindex(target.shape):
        chance = math.exp(logits[b, target[b, y, x], y, x]) / sum(np.exp(logits[b, :, y, x]))
        total += -((1 - chance) ** gamma) * math.log(chance)
    loss = focal(torch.from_numpy(logits), torch.from_numpy(target), gamma=gamma)
    assert loss.item() == pytest.approx(total / target.size, rel=1e-5)


def test_focal_has_finite_gradients_where_the_network_is_sure() -> None:
    logits = torch.tensor([60.0, -60.0]).view(1, 2, 1, 1).repeat(1, 1, 2, 2).requires_grad_()
    for truth in (0, 1):
        focal(logits, torch.full((1, 2, 2), truth), gamma=0.5).backward()
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("classes", [2, 3])
def test_focal_tversky_of_classes_is_the_mean_over_them_of_annotated_pixels(classes: int) -> None:
    logits, targets = some(classes)
    chance, losses = chances(logits), []
    for c in range(1 if classes == 2 else 0, classes):
        tp = fn = fp = 0.0
        for b, y, x in np.ndindex(2, 4, 5):
            if targets[b, :, y, x].sum() == 0:
                continue
            p, g = chance[b, c, y, x], targets[b, c, y, x]
            tp, fn, fp = tp + p * g, fn + (1 - p) * g, fp + p * (1 - g)
        losses.append((1 - (tp + 1) / (tp + 0.7 * fn + 0.3 * fp + 1)) ** 0.75)
    loss = focal_tversky_of_classes(torch.from_numpy(logits), torch.from_numpy(targets))
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
def test_dice_and_cross_entropy_are_the_formulas_over_annotated_pixels(classes: int) -> None:
    logits, targets = some(classes)
    chance = chances(logits)
    seen = [at for at in np.ndindex(2, 4, 5) if targets[at[0], :, at[1], at[2]].sum() > 0]
    assert 0 < len(seen) < 40
    entropy, losses = 0.0, []
    for c in range(classes):
        overlap = total = 0.0
        for b, y, x in seen:
            p, t = chance[b, c, y, x], targets[b, c, y, x]
            overlap, total = overlap + p * t, total + p + t
            entropy -= t * math.log(p) / len(seen)
        losses.append(1 - 2 * overlap / total)
    tensors = torch.from_numpy(logits), torch.from_numpy(targets)
    assert dice(*tensors).item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert dice_cross_entropy(*tensors).item() == pytest.approx(entropy + np.mean(losses), rel=1e-5)


def test_a_class_that_a_batch_does_not_show_has_no_dice() -> None:
    logits, targets = (torch.from_numpy(array) for array in some(3))
    targets[:, 2] = 0
    targets /= targets.sum(1, keepdim=True).clamp_min(1e-9)
    chance = logits.softmax(1)
    weight = targets.sum(1)
    losses = [
        1
        - 2
        * (chance[:, c] * targets[:, c]).sum()
        / ((chance[:, c] * weight).sum() + targets[:, c].sum())
        for c in (0, 1)
    ]
    assert dice(logits, targets).item() == pytest.approx(float(sum(losses)) / 2, rel=1e-5)


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("classes", [2, 3])
def test_pixels_without_annotation_have_no_gradient(loss: Any, classes: int) -> None:
    logits, targets = (torch.from_numpy(array) for array in some(classes))
    logits.requires_grad_()
    loss(logits, targets).backward()
    assert logits.grad is not None
    sizes = logits.grad.abs().sum(1)
    annotated = targets.sum(1) > 0
    assert (sizes[annotated] > 0).all()
    assert (sizes[~annotated] == 0).all()


@pytest.mark.parametrize("loss", ALL)
def test_a_batch_without_any_annotation_teaches_nothing(loss: Any) -> None:
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    found = loss(logits, torch.zeros(1, 2, 3, 3))
    found.backward()
    assert found.item() == pytest.approx(0, abs=1e-5)
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0
