"""Scores over the number of annotations: IQC, its test against random initialisation, ranks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import stats

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["PAPER_RATES", "Rate", "average_ranks", "better", "iqc", "realised_rates"]

PAPER_RATES = tuple(2**s / 100 for s in range(7))
"""The evaluation paper's: .01 to .64."""
ROUNDING = 1e-12


class Rate(NamedTuple):
    """How much is annotated."""

    units: int
    rate: float
    """``units`` over all there are."""


def realised_rates(total: int, rates: Iterable[float] = PAPER_RATES) -> tuple[Rate, ...]:
    """Give the numbers of units that annotation rates come to in a folder.

    The nearest whole number, but at least one unit; rates that come to the same number are one.

    Parameters
    ----------
    total : int
        Units (images, or patients) that could be annotated.
    rates : iterable of float
        In (0, 1].

    Returns
    -------
    tuple of Rate
        Rising.

    Raises
    ------
    MedsslError
        If there is no unit, or a rate is outside (0, 1].
    """
    wanted = list(rates)
    wrong = [rate for rate in wanted if not 0 < rate <= 1]
    if wrong or total < 1:
        raise MedsslError(
            f"There are {total} units and the rates {wrong or wanted}; allowed are 1 or more and (0, 1]."
        )
    units = sorted({max(1, math.floor(rate * total + 0.5)) for rate in wanted})
    return tuple(Rate(count, count / total) for count in units)


def iqc(scores: Mapping[float, float], full: float) -> float:
    """Give the integrated quality criterion: the mean score over annotation rates, over the score of all annotations.

    ``1 / (full (a - b))`` times the integral from the lowest rate b to the highest rate a of the
    scores, joined by straight lines (trapezoids).

    Parameters
    ----------
    scores : mapping of float to float
        Annotation rate in (0, 1] -> score (such as Dice or AJI+), at least 0. Give the rates that were
        realised, not those that were wished for.
    full : float
        Score of the same method with everything annotated, above 0.

    Returns
    -------
    float
        About 1 where few annotations do as well as all, 0 where they do nothing. Above 1 where fewer
        do better than all.

    Raises
    ------
    MedsslError
        If there are fewer than two rates, or a value is out of range.

    References
    ----------
    The evaluation paper on self-supervised learning (Rettenberger, Schilling et al.), section III-C.
    """
    rates = np.array(sorted(scores), np.float64)
    values = np.array([scores[rate] for rate in sorted(scores)], np.float64)
    if len(rates) < 2 or not ((rates > 0) & (rates <= 1)).all():
        raise MedsslError(
            f"An integral needs at least two annotation rates in (0, 1]; these are {rates.tolist()}."
        )
    if not (np.isfinite(values) & (values >= 0)).all() or not 0 < full < float("inf"):
        raise MedsslError(
            f"Scores are 0 or more, that of all annotations above 0; these are {values.tolist()} and {full}."
        )
    return float(np.trapezoid(values, rates) / (full * (rates[-1] - rates[0])))


def better(scores: Sequence[float], reference: Sequence[float], *, paired: bool = False) -> float:
    """Test whether a method scores above a reference, such as random initialisation.

    A one-tailed t-test; its null hypothesis is that the method is equal or worse. Welch's form, which
    lets the two spread differently, or the paired one.

    Parameters
    ----------
    scores, reference : sequence of float
        One score per seed, such as `iqc`; at least two each.
    paired : bool
        Entries i of both are of the same seed (the same annotated images); both are as long.

    Returns
    -------
    float
        The p-value. Where nothing spreads there is no doubt: 0 if the mean is higher, else 1.

    Raises
    ------
    MedsslError
        If there are too few scores, one is not finite, or paired ones are not as many.

    References
    ----------
    The evaluation paper on self-supervised learning (Rettenberger, Schilling et al.), section III-C.
    """
    a, b = np.asarray(scores, np.float64), np.asarray(reference, np.float64)
    if min(len(a), len(b)) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise MedsslError(
            f"A t-test needs at least two finite scores each; these are {a.tolist()} and {b.tolist()}.",
            advice="Repeat the experiment with another seed.",
        )
    if paired and len(a) != len(b):
        raise MedsslError(f"{len(a)} and {len(b)} scores are no pairs.")
    if _same(a - b, a) if paired else _same(a, a) and _same(b, b):
        return 0.0 if a.mean() > b.mean() else 1.0
    if paired:
        return float(stats.ttest_rel(a, b, alternative="greater").pvalue)
    return float(stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue)


def _same(values: NDArray[np.float64], scale: NDArray[np.float64]) -> bool:
    """Whether values differ by no more than rounding, which a t-test would take for a spread."""
    return bool(np.ptp(values) <= ROUNDING * np.abs(scale).max())


def average_ranks(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Give each method's mean rank over projects.

    Parameters
    ----------
    scores : mapping
        Project -> method -> score; higher is better. Every project has every method.

    Returns
    -------
    dict of str to float
        Method -> mean rank, from 1 (the best everywhere) to the number of methods. Equal scores share
        the mean of their ranks.

    Raises
    ------
    MedsslError
        If there is no project, or methods are not the same in all of them, or a score is not finite.
    """
    methods = list(next(iter(scores.values()), {}))
    odd = [project for project, own in scores.items() if own.keys() != set(methods)]
    if odd or not methods:
        raise MedsslError(
            f"Ranks are over projects with the same methods; other ones: {', '.join(odd) or 'none has any'}."
        )
    table = np.array([[own[method] for method in methods] for own in scores.values()])
    if not np.isfinite(table).all():
        raise MedsslError("A score is not a finite number, so methods cannot be ranked.")
    ranks = stats.rankdata(-table, axis=1).mean(0)
    return {method: float(rank) for method, rank in zip(methods, ranks, strict=True)}
