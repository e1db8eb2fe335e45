"""Losses against loops written from the papers' formulas, in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_medssl.learn.losses import (
    IGNORED,
    dice_cross_entropy,
    focal,
    focal_tversky,
    focal_tversky_of_classes,
)


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


@pytest.mark.parametrize("classes", [2, 3])
def test_focal_tversky_of_classes_is_the_mean_over_them_of_annotated_pixels(classes: int) -> None:
    rng = np.random.default_rng(4)
    logits, target = rng.normal(size=(2, classes, 4, 5)), rng.integers(-1, classes, (2, 4, 5))
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    losses = []
    for c in range(1 if classes == 2 else 0, classes):
        tp = fn = fp = 0.0
        for b, y, x in np.ndindex(target.shape):
            if target[b, y, x] == IGNORED:
                continue
            p, is_c = chance[b, c, y, x], target[b, y, x] == c
            tp, fn, fp = tp + p * is_c, fn + (1 - p) * is_c, fp + p * (1 - is_c)
        losses.append((1 - (tp + 1) / (tp + 0.7 * fn + 0.3 * fp + 1)) ** 0.75)
    tensor = torch.from_numpy(logits).requires_grad_()
    loss = focal_tversky_of_classes(tensor, torch.from_numpy(target))
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-5)
    loss.backward()
    assert tensor.grad is not None
    assert tensor.grad.permute(0, 2, 3, 1)[torch.from_numpy(target) == IGNORED].abs().sum() == 0


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


def test_dice_cross_entropy_is_the_formula_over_annotated_pixels() -> None:
    rng = np.random.default_rng(1)
    logits, target = rng.normal(size=(2, 3, 4, 4)), rng.integers(-1, 3, (2, 4, 4))
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    seen = [(b, y, x) for b, y, x in np.ndindex(target.shape) if target[b, y, x] != IGNORED]
    cross_entropy = np.mean([-math.log(chance[b, target[b, y, x], y, x]) for b, y, x in seen])
    dice = []
    for c in range(3):
        overlap = sum(chance[b, c, y, x] * (target[b, y, x] == c) for b, y, x in seen)
        total = sum(chance[b, c, y, x] + (target[b, y, x] == c) for b, y, x in seen)
        dice.append(1 - 2 * overlap / total)
    loss = dice_cross_entropy(torch.from_numpy(logits), torch.from_numpy(target))
    assert loss.item() == pytest.approx(cross_entropy + np.mean(dice), rel=1e-5)


def test_pixels_without_annotation_have_no_gradient() -> None:
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    target = torch.full((1, 3, 3), IGNORED)
    target[0, 0, 0] = 1
    dice_cross_entropy(logits, target).backward()
    assert logits.grad[0, :, 0, 0].abs().sum() > 0
    assert logits.grad[0, :, 1:, :].abs().sum() == 0


def test_a_batch_without_any_annotation_gives_zero() -> None:
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    loss = dice_cross_entropy(logits, torch.full((1, 3, 3), IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0
