"""How sure a mean is: intervals by drawing images, or whole groups of them, again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Interval", "bootstrap"]

CHUNK = 2**20
"""Drawn units held at once: 8 MB."""


class Interval(Config):
    """A mean over images and where it would lie for other images of the same kind."""

    mean: float
    low: float
    high: float
    units: int
    """How many images, or groups, were drawn from."""


def bootstrap(
    values: Sequence[float],
    groups: Sequence[str] | None = None,
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Give the percentile interval of the mean.

    As many units as there are are drawn with replacement; a unit is an image, or a group with all its
    images, since images of one patient are alike and tell less than as many patients. The mean is
    always that over the drawn images. Of fewer than about ten units the interval is too narrow.

    Parameters
    ----------
    values : sequence of float, (N,)
        One score per image.
    groups : sequence of str, (N,), optional
        The group of each.
    level : float
        Share of the drawn means that the interval holds, in (0, 1).
    draws : int
        How often.
    seed : int
        Same seed, same interval.

    Returns
    -------
    Interval or None
        None where there are fewer than two units: one alone says nothing of others.

    Raises
    ------
    MedsslError
        If there is no value, one is not finite, or an option is out of range.

    References
    ----------
    Efron and Tibshirani, "An introduction to the bootstrap", 1993, section 13.3 (percentile interval).
    """
    scores = np.asarray(values, np.float64)
    if not scores.size or not np.isfinite(scores).all():
        raise MedsslError(
            f"An interval needs finite scores; these are {scores.tolist()[:10]}.",
            advice="Leave out images without a score.",
        )
    if not 0 < level < 1 or draws < 1:
        raise MedsslError(f"level is {level} and draws {draws}; allowed are (0, 1) and 1 or more.")
    if groups is not None and len(groups) != len(scores):
        raise MedsslError(f"There are {len(scores)} scores, but {len(groups)} groups.")
    unit = np.arange(len(scores)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sums, counts = np.bincount(unit, scores), np.bincount(unit)
    if len(sums) < 2:
        return None
    means = _means(sums.astype(np.float64), counts, draws, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean=float(scores.mean()), low=float(low), high=float(high), units=len(sums))


def _means(
    sums: NDArray[np.float64], counts: NDArray[np.integer], draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    units = len(sums)
    step = max(1, CHUNK // units)
    parts = []
    for start in range(0, draws, step):
        drawn = rng.integers(units, size=(min(step, draws - start), units))
        parts.append(sums[drawn].sum(1) / counts[drawn].sum(1))
    return np.concatenate(parts)
