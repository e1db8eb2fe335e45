from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.cka import PAPER_BATCH, Alignment, cka, hsic, kernel


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def naive_unbiased(k: np.ndarray, m: np.ndarray) -> float:
    """The U-statistic itself: a mean over all ordered samples of four different images."""
    terms = [
        k[a, b] * (m[a, b] + m[c, d] - 2 * m[a, c]) for a, b, c, d in permutations(range(len(k)), 4)
    ]
    return float(np.mean(terms))


def test_hsic_against_sums_over_samples() -> None:
    x, y = noise(0, 7, 5), noise(1, 7, 3)
    y[:, 0] += x[:, 0]
    k, m = x @ x.T, y @ y.T
    assert hsic(k, m) == pytest.approx(naive_unbiased(k, m), abs=1e-6)
    centring = np.eye(7) - 1 / 7
    expected = np.trace(k @ centring @ m @ centring) / 36
    assert hsic(k, m, biased=True) == pytest.approx(expected, abs=1e-6)


def test_biased_against_kornblith() -> None:
    """||Y'X||^2 / (||X'X|| ||Y'Y||) of centred features."""
    x, y = noise(2, 30, 6), noise(3, 30, 9)
    y[:, :6] += x
    a, b = x - x.mean(0), y - y.mean(0)
    expected = np.linalg.norm(b.T @ a) ** 2 / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)
    assert cka(x, y, biased=True) == pytest.approx(expected, abs=1e-6)


def test_independent_noise() -> None:
    """Twelve samples: the biased measure calls noise alike, the unbiased one does not."""
    x, y = noise(4, 50 * PAPER_BATCH, 2048), noise(5, 50 * PAPER_BATCH, 2048)
    assert cka(x[:PAPER_BATCH], y[:PAPER_BATCH], biased=True) > 0.99
    assert cka(x, y, biased=True, batch=PAPER_BATCH) > 0.99
    assert abs(cka(x, y, batch=PAPER_BATCH)) < 0.05
    assert abs(cka(x, y)) < 0.05


@pytest.mark.parametrize("biased", [False, True])
def test_rotation_scale_and_batches(biased: bool) -> None:
    x = noise(6, 24, 8)
    rotation, _ = np.linalg.qr(noise(7, 8, 8))
    assert cka(x, 3 * x @ rotation + 5, biased=biased) == pytest.approx(1)
    y = x + noise(8, 24, 8)
    sums = np.zeros(3)
    for part in (slice(0, 10), slice(10, 20)):  # the last four are no full batch
        a, b = x[part] - x[part].mean(0), y[part] - y[part].mean(0)
        k, m = a @ a.T, b @ b.T
        sums += [hsic(*pair, biased=biased) for pair in ((k, m), (k, k), (m, m))]
    expected = sums[0] / np.sqrt(sums[1] * sums[2])
    assert cka(x, y, batch=10, biased=biased) == pytest.approx(expected, abs=1e-6)
    maps = noise(9, 24, 2, 3, 4)
    assert cka(maps, y, biased=biased) == cka(maps.reshape(24, -1), y, biased=biased)


@pytest.mark.parametrize("biased", [False, True])
def test_the_table_of_all_pairs(biased: bool) -> None:
    first, second = [noise(11, 20, 6), noise(12, 20, 4)], [noise(13, 20, 5), noise(14, 20, 3)]
    second[1] += first[0][:, :3]
    sums = Alignment(biased=biased)
    for part in (slice(0, 10), slice(10, 20)):
        sums.add([kernel(x[part]) for x in first], [kernel(y[part]) for y in second])
    expected = [[cka(x, y, batch=10, biased=biased) for y in second] for x in first]
    np.testing.assert_allclose(sums.table(), expected, atol=1e-9)
    with pytest.raises(MedsslError, match=r"1 and 2 representations follow on \(2, 2\)"):
        sums.add([kernel(first[0])], [kernel(y) for y in second])


def test_edges() -> None:
    x = noise(10, 12, 4)
    constant = np.full((12, 4), 0.1)
    assert cka(x, constant) == cka(constant, x, biased=True) == 0
    with pytest.raises(MedsslError, match="12 and 11 images"):
        cka(x, x[:11])
    with pytest.raises(MedsslError, match="3 images in batches of 3; a batch has at least 4"):
        cka(x[:3], x[:3])
    with pytest.raises(MedsslError, match="in batches of 13"):
        cka(x, x, batch=13)
    with pytest.raises(MedsslError, match="square"):
        hsic(x, x)
