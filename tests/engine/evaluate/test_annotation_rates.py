from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, interpolate, special

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.annotation_rates import (
    PAPER_RATES,
    average_ranks,
    better,
    iqc,
    realised_rates,
)


def test_iqc_against_a_numerical_integral() -> None:
    scores = dict(zip(PAPER_RATES, [0.2, 0.35, 0.3, 0.5, 0.62, 0.7, 0.74], strict=True))
    line = interpolate.interp1d(list(scores), list(scores.values()))
    area = sum(integrate.quad(line, low, high)[0] for low, high in pairwise(PAPER_RATES))
    expected = area / (0.8 * (0.64 - 0.01))
    assert iqc(scores, 0.8) == pytest.approx(expected, abs=1e-6)
    assert iqc(dict(reversed(scores.items())), 0.8) == iqc(scores, 0.8)


def test_iqc_edges() -> None:
    assert iqc({0.1: 0.7, 0.4: 0.7}, 0.7) == pytest.approx(1)
    assert iqc({0.1: 0.0, 0.4: 0.0}, 0.7) == 0
    with pytest.raises(MedsslError, match="at least two annotation rates"):
        iqc({0.1: 0.7}, 0.7)
    with pytest.raises(MedsslError, match="at least two annotation rates"):
        iqc({0.0: 0.7, 0.5: 0.7}, 0.7)
    with pytest.raises(MedsslError, match="above 0"):
        iqc({0.1: 0.7, 0.4: 0.7}, 0)


def test_realised_rates_of_a_small_folder() -> None:
    assert realised_rates(18) == ((1, 1 / 18), (3, 3 / 18), (6, 6 / 18), (12, 12 / 18))
    assert [rate.units for rate in realised_rates(1000)] == [10, 20, 40, 80, 160, 320, 640]
    assert realised_rates(1) == ((1, 1.0),)
    assert [rate.units for rate in realised_rates(50, [0.01, 0.03])] == [1, 2]  # 1.5 counts as 2
    with pytest.raises(MedsslError, match=r"rates \[1.2\]"):
        realised_rates(10, [0.5, 1.2])


def student(t: float, freedom: float) -> float:
    """The upper tail of Student's distribution, by the incomplete beta function."""
    tail = special.betainc(freedom / 2, 0.5, freedom / (freedom + t * t)) / 2
    return float(tail if t > 0 else 1 - tail)


@pytest.mark.parametrize(("up", "down"), [(0, 1), (1, 0)])
def test_t_test_by_its_formulas(up: int, down: int) -> None:
    pair = (np.array([0.71, 0.69, 0.75, 0.72]), np.array([0.62, 0.68, 0.55, 0.66]))
    a, b = pair[up], pair[down]
    va, vb = a.var(ddof=1) / 4, b.var(ddof=1) / 4
    freedom = (va + vb) ** 2 / (va**2 / 3 + vb**2 / 3)
    expected = student((a.mean() - b.mean()) / np.sqrt(va + vb), freedom)
    assert better(a, b) == pytest.approx(expected, abs=1e-6)
    d = a - b
    expected = student(d.mean() / (d.std(ddof=1) / 2), 3)
    assert better(a, b, paired=True) == pytest.approx(expected, abs=1e-6)


def test_t_test_edges() -> None:
    assert better([0.7, 0.7], [0.6, 0.6]) == 0
    assert better([0.6, 0.6], [0.6, 0.6]) == 1
    assert better([0.4, 0.5, 0.9], [0.3, 0.4, 0.8], paired=True) == 0  # but for rounding the same
    with pytest.raises(MedsslError, match="at least two finite scores"):
        better([0.7], [0.6, 0.5])
    with pytest.raises(MedsslError, match="no pairs"):
        better([0.7, 0.6, 0.5], [0.6, 0.5], paired=True)


def test_average_ranks() -> None:
    scores = {
        "heart": {"a": 0.9, "b": 0.8, "c": 0.7},
        "nuclei": {"c": 0.5, "b": 0.5, "a": 0.1},
    }
    assert average_ranks(scores) == {"a": 2.0, "b": 1.75, "c": 2.25}
    with pytest.raises(MedsslError, match="other ones: nuclei"):
        average_ranks(scores | {"nuclei": {"a": 1.0}})
    with pytest.raises(MedsslError, match="none has any"):
        average_ranks({})
