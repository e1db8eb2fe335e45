"""The linear probe's fit."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from napari_medssl.learn.finetune.linear import LinearProbe


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
