from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate import intervals
from napari_medssl.evaluate.intervals import bootstrap


def test_against_scipy() -> None:
    values = np.random.default_rng(1).beta(5, 2, 40)
    other = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(5)
    ).confidence_interval
    own = bootstrap(values.tolist(), draws=20_000)
    assert own is not None
    assert own.mean == pytest.approx(values.mean())
    assert (own.low, own.high) == pytest.approx((other.low, other.high), abs=2e-3)
    assert own.units == 40


def test_equal_images_of_one_patient_tell_no_more_than_one() -> None:
    patients = np.random.default_rng(2).random(8)
    few = bootstrap(patients.tolist())
    many = bootstrap(np.repeat(patients, 10).tolist(), [f"p{n // 10}" for n in range(80)])
    alone = bootstrap(np.repeat(patients, 10).tolist())
    assert few is not None
    assert many is not None
    assert alone is not None
    assert (many.low, many.high, many.units) == pytest.approx((few.low, few.high, 8))
    assert alone.high - alone.low < (few.high - few.low) / 2


def test_groups_of_different_sizes_against_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    values, groups = [0.1, 0.2, 0.3, 0.9, 0.5, 0.6], ["a", "a", "a", "b", "c", "c"]
    rng, means = np.random.default_rng(0), []
    for _ in range(500):
        counts = np.bincount(rng.integers(3, size=3), minlength=3)
        drawn = [
            v for v, g in zip(values, groups, strict=True) for _ in range(counts["abc".index(g)])
        ]
        means.append(np.mean(drawn))
    low, high = np.quantile(means, [0.05, 0.95])
    monkeypatch.setattr(intervals, "CHUNK", 21)  # the result does not depend on it
    own = bootstrap(values, groups, level=0.9, draws=500)
    assert own is not None
    assert (own.low, own.high) == pytest.approx((low, high), abs=1e-6)


def test_edges() -> None:
    assert bootstrap([0.5]) is None
    assert bootstrap([0.5, 0.7], ["p", "p"]) is None
    constant = bootstrap([0.5, 0.5, 0.5])
    assert constant is not None
    assert (constant.low, constant.high) == (0.5, 0.5)
    for values in ([], [0.5, float("nan")]):
        with pytest.raises(MedsslError, match="finite scores"):
            bootstrap(values)
    with pytest.raises(MedsslError, match="2 scores, but 1 groups"):
        bootstrap([0.5, 0.6], ["a"])
    with pytest.raises(MedsslError, match="level is 1"):
        bootstrap([0.5, 0.6], level=1)
