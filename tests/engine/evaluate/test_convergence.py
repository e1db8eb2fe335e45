from __future__ import annotations

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.convergence import convergence_time, rqc


def test_first_time_within_a_share_of_the_range() -> None:
    times, losses = [10.0, 20.0, 30.0, 40.0, 50.0], [5.0, 1.0, 0.039, 0.0, 2.0]
    assert convergence_time(times, losses, window=1) == 30  # .039 is below 1% of 5
    assert convergence_time(times, losses, window=1, share=0) == 40
    # the queue was full at 20 s: the range is 1, and .039 is above 1% of it
    assert convergence_time(times, losses, window=1, begin=20) == 40


def test_smoothing_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(1, 41, dtype=float)
    losses = np.exp(-times / 6) + 0.02 * rng.random(40)
    smooth = [np.mean([losses[j] for j in range(40) if abs(i - j) <= 2]) for i in range(40)]
    limit = min(smooth) + 0.01 * (smooth[0] - min(smooth))
    expected = next(t for t, value in zip(times, smooth, strict=True) if value <= limit)
    assert convergence_time(times.tolist(), losses.tolist()) == expected


def test_edges() -> None:
    assert convergence_time([3.0, 4.0], [1.0, 1.0]) == 3
    assert convergence_time([3.0], [1.0]) == 3
    assert convergence_time([3.0, 4.0, 5.0], [1.0, 2.0, 3.0], window=1) == 3
    for times, losses in (([1.0, 1.0], [2.0, 1.0]), ([1.0, 2.0], [2.0, float("nan")]), ([1.0], [])):
        with pytest.raises(MedsslError, match="loss curve"):
            convergence_time(times, losses)
    with pytest.raises(MedsslError, match="no loss from 9"):
        convergence_time([1.0], [1.0], begin=9)
    with pytest.raises(MedsslError, match="window is 4"):
        convergence_time([1.0], [1.0], window=4)


def test_rqc() -> None:
    assert rqc({"a": 30.0, "b": 20.0}) == {"a": 1.5, "b": 1.0}
    for times in ({}, {"a": 0.0}, {"a": float("inf")}):
        with pytest.raises(MedsslError, match="above 0 and finite"):
            rqc(times)
