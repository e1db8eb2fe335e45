"""Losses between vectors, against loops written from the papers' formulas, and in blocks as at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_medssl.learn.contrast import (
    barlow_twins,
    contrast,
    cross_correlation,
    info_nce_pairs,
    log_sum_of_negatives,
    similarity_of_pairs,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def pairs(count: int = 7, dimension: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    first, noise = rng.normal(size=(2, count, dimension))
    return torch.from_numpy(first + 0.3), torch.from_numpy(first + 0.5 * noise)


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(sum(a * b) / math.sqrt(sum(a * a) * sum(b * b)))


def gradients(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    first, second = (v.clone().requires_grad_() for v in pairs())
    value = loss(first, second)
    value.backward()
    return value.detach(), first.grad, second.grad


def test_pix2rep_equations_1_and_2() -> None:
    first, second = pairs()
    u = []
    for a, b in zip(first.numpy(), second.numpy(), strict=True):
        u += [a, b]  # consecutive members of a pair, as in the paper
    n, tau = len(u), 0.53
    total = 0.0
    for i in range(n):
        j = i + 1 if i % 2 == 0 else i - 1
        below = sum(math.exp(cosine(u[i], u[k]) / tau) for k in range(n) if k != i)
        total += -math.log(math.exp(cosine(u[i], u[j]) / tau) / below)
    loss = info_nce_pairs(first, second, temperature=tau)
    assert loss.item() == pytest.approx(total / n, rel=1e-9)


def test_similarities_are_means_over_all_pairs() -> None:
    first, second = pairs()
    u = [*first.numpy(), *second.numpy()]
    n = len(first)
    negative = [cosine(u[i], u[k]) for i in range(2 * n) for k in range(2 * n) if (i - k) % n != 0]
    unit = np.array([v / np.linalg.norm(v) for v in u])
    told = similarity_of_pairs(first, second)
    assert told["positive_similarity"].item() == pytest.approx(
        np.mean([cosine(u[i], u[i + n]) for i in range(n)])
    )
    assert told["negative_similarity"].item() == pytest.approx(np.mean(negative))
    assert told["feature_std"].item() == pytest.approx(np.std(unit, axis=0, ddof=1).mean())


@pytest.mark.parametrize("keep", [None, 2])
def test_dicoh_equations_2_and_4(keep: int | None) -> None:
    rng = np.random.default_rng(1)

    def unit(shape: tuple[int, int]) -> NDArray[np.float64]:
        drawn = rng.normal(size=shape)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    queries, positives, keys = unit((6, 4)), unit((6, 4)), unit((9, 4))
    allowed, tau = rng.random((6, 9)) < 0.6, 0.2
    allowed[:, :2] = True
    expected = []
    for i in range(6):
        others = sorted((queries[i] @ keys[k] for k in range(9) if allowed[i, k]), reverse=True)
        negatives = others[: keep or 9]
        p = math.exp(queries[i] @ positives[i] / tau)
        expected.append(-math.log(p / (p + sum(math.exp(s / tau) for s in negatives))))
    q, z, k = (torch.from_numpy(v) for v in (queries, positives, keys))
    mask = torch.from_numpy(allowed)
    below = log_sum_of_negatives(
        q, k, lambda start, stop: mask[start:stop], temperature=tau, keep=keep
    )
    loss = contrast((q * z).sum(1), below, temperature=tau)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-9)


def test_barlow_twins_equation_1() -> None:
    first, second = pairs(40)
    a, b = first.numpy(), second.numpy()
    count, width = a.shape
    expected = 0.0
    for i in range(width):
        for j in range(width):
            x = [(v - a[:, i].mean()) / a[:, i].std() for v in a[:, i]]
            y = [(v - b[:, j].mean()) / b[:, j].std() for v in b[:, j]]
            c = sum(p * q for p, q in zip(x, y, strict=True)) / count
            expected += (1 - c) ** 2 if i == j else 0.005 * c**2
    loss = barlow_twins(cross_correlation(first, second), off_diagonal=0.005)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_last_layer_may_be_applied_to_the_covariances_instead_of_the_rows() -> None:
    first, second = pairs(40)
    layer = torch.nn.Linear(5, 8).double()
    direct = cross_correlation(layer(first), layer(second))
    folded = cross_correlation(first, second, weight=layer.weight)
    torch.testing.assert_close(folded, direct)


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b, block: info_nce_pairs(a, b, temperature=0.3, block=block),
        lambda a, b, block: (
            cross_correlation(
                a, b, head=lambda rows, branch: torch.tanh(rows * (branch + 1)), block=block
            )
            .square()
            .sum()
        ),
        lambda a, b, block: log_sum_of_negatives(
            a,
            b,
            lambda start, stop: torch.eye(7, dtype=torch.bool).logical_not()[start:stop],
            temperature=0.2,
            keep=3,
            block=block,
        ).sum(),
    ],
    ids=["info_nce_pairs", "cross_correlation", "log_sum_of_negatives"],
)
def test_in_blocks_as_at_once(
    loss: Callable[[torch.Tensor, torch.Tensor, int | None], torch.Tensor],
) -> None:
    whole = gradients(lambda a, b: loss(a, b, None))
    parts = gradients(lambda a, b: loss(a, b, 3))
    for expected, value in zip(whole, parts, strict=True):
        np.testing.assert_allclose(value.numpy(), expected.numpy(), rtol=1e-9, atol=1e-12)


def test_half_precision_networks_do_not_spoil_a_loss() -> None:
    first, second = (v.float() for v in pairs())
    full = info_nce_pairs(first, second, temperature=0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert info_nce_pairs(first, second, temperature=0.1).item() == full.item()
