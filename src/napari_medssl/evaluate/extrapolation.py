"""What a few more annotated images would buy: a learning curve, extended with its uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Band", "Curve", "Estimate", "Forecast", "Point", "Score", "forecast", "points"]

FEWEST_COUNTS = 3
"""Different numbers of annotated images: a curve has three unknowns."""
FEWEST_IMAGES = 3
"""Scored ones: of fewer there is no telling how others would differ."""
FEW_IMAGES = 10
"""Of fewer, percentile intervals hold clearly less than they say."""
WIDEST = 0.4
"""Of an interval that still tells something, on the scale of the score (0 to 1)."""
STEEPEST, FLATTEST = 3.0, 0.1
"""Exponents between which the curve is looked for; by 0 it would be a logarithm, which has no ceiling."""
_EXPONENTS = np.geomspace(FLATTEST, STEEPEST, 100)


class Score(NamedTuple):
    """One image, scored by something that had learned from other ones."""

    annotated: int
    """Images that it had learned from."""
    draw: int
    """Which of the sets of so many images."""
    image: str
    value: float
    """0 to 1."""


class Estimate(Config):
    """A value, and where it would lie for other images of the same kind."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Point(Config):
    """The scores at one number of annotated images."""

    annotated: int
    draws: int
    mean: float
    """Over images, of each image's mean over draws."""
    lowest: float
    highest: float
    """Of the draws' own means: the luck of the choice of images."""


class Curve(Config):
    """Score of k annotated images: ``ceiling - amplitude * k ** -exponent``."""

    ceiling: float
    amplitude: float
    exponent: float

    def at(self, annotated: float) -> float:
        """Give the score that so many annotated images are worth."""
        return float(self.ceiling - self.amplitude * annotated**-self.exponent)


class Band(Config):
    """The curve at one number of annotated images, with its interval."""

    annotated: int
    score: Estimate


class Forecast(Config):
    """Where the score would be with more annotated images."""

    annotated: int
    """Images that are annotated now."""
    more: int
    now: Estimate
    """What the curve says of now."""
    then: Estimate
    """What it says of `more` annotated images."""
    gain: Estimate
    """The difference; surer than either, as both would be scored on the same images."""
    curve: Curve
    points: tuple[Point, ...]
    """What it was fitted to."""
    band: tuple[Band, ...]
    """The curve from one annotated image to those of `then`."""
    images: int
    """Images, or groups of them, that were scored."""
    grouped: bool
    """Whether they are groups."""
    level: float
    """Share of the resampled curves that the intervals hold."""

    def sentence(self, measure: str = "Dice") -> str:
        """Say it."""
        plural = "image" if self.more == 1 else "images"
        return (
            f"{self.more} more annotated {plural}: {measure} {self.now.value:.2f} -> about {self.then},"
            f" a gain of {self.gain}."
        )

    def remarks(self) -> tuple[str, ...]:
        """Say what to keep in mind, in sentences."""
        if self.images >= FEW_IMAGES:
            return ()
        units = "groups of images" if self.grouped else "images"
        return (f"Of so few scored {units} ({self.images}) the intervals are too narrow.",)


def points(scores: Sequence[Score]) -> tuple[Point, ...]:
    """Sum scores up by the number of annotated images.

    Parameters
    ----------
    scores : sequence of Score
        In any order; one for each draw and image at most.

    Returns
    -------
    tuple of Point
        The fewest annotated images first.

    Raises
    ------
    MedsslError
        If a score is no number from 0 to 1.
    """
    found = []
    for count, values in _by_count(scores, _images(scores)).items():
        with_any = np.isfinite(values)
        of_images = np.nanmean(values[:, with_any.any(0)], axis=0)
        of_draws = np.nanmean(values[with_any.any(1)], axis=1)
        found.append(
            Point(
                annotated=count,
                draws=len(of_draws),
                mean=float(of_images.mean()),
                lowest=float(of_draws.min()),
                highest=float(of_draws.max()),
            )
        )
    return tuple(found)


def forecast(
    scores: Sequence[Score],
    *,
    annotated: int,
    more: int = 5,
    groups: Mapping[str, str] | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Forecast:
    """Fit a learning curve and extend it.

    The curve is a power law with a ceiling, ``d(k) = c - a k^-b`` with ``0 <= c <= 1``, ``a >= 0`` and b from .1 to 3,
    fitted to the mean scores by least squares; a mean weighs as its k, since scores of few annotated images scatter
    most and the far end is what is extended. For a given b the bounded problem is solved in closed form, so b is
    searched for on a grid: no start, and no local minimum.

    The intervals are percentiles of curves fitted to resampled scores. Images (or groups) and, for each k, draws are
    drawn with replacement independently, which for such a crossed table is slightly conservative. They hold what
    other images and other choices would change; not that a curve may bend otherwise than a power law does.

    Parameters
    ----------
    scores : sequence of Score
        At three different numbers of annotated images or more, best with several draws each.
    annotated : int
        Images that are annotated now: what is forecast is `more` than that.
    more : int
        How many more.
    groups : mapping of str to str, optional
        Image -> group (a patient), drawn as a whole; an image without one is a group of its own.
    level : float
        Share of the resampled curves that the intervals hold, in (0, 1).
    resamples : int
        How many.
    seed : int
        Same seed, same intervals.

    Returns
    -------
    Forecast

    Raises
    ------
    MedsslError
        If there are too few scores, or what they allow is anything: the interval of the forecast is wider than .4.

    References
    ----------
    Figueroa et al., "Predicting sample size required for classification performance", BMC Medical Informatics and
    Decision Making 12:8, 2012 (the inverse power law). Owen, "The pigeonhole bootstrap", Annals of Applied Statistics
    1(2), 2007 (resampling a crossed table).
    """
    if not 0 < level < 1 or resamples < 1 or more < 1 or annotated < 1:
        raise MedsslError(
            f"annotated is {annotated}, more {more}, level {level} and resamples {resamples}; allowed are 1 or more,"
            " and a level in (0, 1).",
        )
    names = _images(scores)
    tables = _by_count(scores, names)
    if len(tables) < FEWEST_COUNTS:
        raise MedsslError(
            f"A learning curve needs scores at {FEWEST_COUNTS} different numbers of annotated images at least;"
            f" there are {len(tables)}{_listed(tables)}.",
            advice="Annotate more images.",
        )
    units, unit = np.unique([(groups or {}).get(name, name) for name in names], return_inverse=True)
    if len(units) < FEWEST_IMAGES:
        what = "groups of images" if groups else "images"
        raise MedsslError(
            f"A forecast needs scores of {FEWEST_IMAGES} {what} at least; there are {len(units)}.",
            advice="Annotate more images.",
        )
    counts = np.array(list(tables), np.float64)
    fit = _fitted(np.array([[point.mean for point in points(scores)]]), counts)
    drawn = _fitted(_resampled(list(tables.values()), unit, resamples, seed), counts)
    shown = np.arange(1, annotated + more + 1)
    tails = ((1 - level) / 2, (1 + level) / 2)

    def estimate(own: NDArray[np.float64], others: NDArray[np.float64]) -> Estimate:
        low, high = np.quantile(others, tails)
        return Estimate(value=float(own[0]), low=float(low), high=float(high))

    own, others = _heights(fit, shown), _heights(drawn, shown)  # (1, K), (resamples, K)
    band = [estimate(own[:, i], others[:, i]) for i in range(len(shown))]
    then = band[-1]
    if then.high - then.low > WIDEST:
        raise MedsslError(
            f"With {more} more annotated images the score could lie anywhere from {then.low:.2f} to {then.high:.2f}:"
            " these scores do not tell.",
            advice="Annotate a few more images, and ask again.",
        )
    last, now = len(shown) - 1, annotated - 1
    ceiling, amplitude, exponent = (float(part[0]) for part in fit)
    return Forecast(
        annotated=annotated,
        more=more,
        now=band[now],
        then=then,
        gain=estimate(own[:, last] - own[:, now], others[:, last] - others[:, now]),
        curve=Curve(ceiling=ceiling, amplitude=amplitude, exponent=exponent),
        points=points(scores),
        band=tuple(
            Band(annotated=int(count), score=score)
            for count, score in zip(shown, band, strict=True)
        ),
        images=len(units),
        grouped=bool(groups),
        level=level,
    )


def _images(scores: Sequence[Score]) -> list[str]:
    return sorted({score.image for score in scores})


def _by_count(scores: Sequence[Score], names: list[str]) -> dict[int, NDArray[np.float64]]:
    """Give number of annotated images -> scores (draws, images), NaN where there is none; the fewest first."""
    place = {name: number for number, name in enumerate(names)}
    found: dict[int, dict[int, NDArray[np.float64]]] = {}
    for count, draw, image, value in sorted(scores):
        if not 0 <= value <= 1 or count < 1:
            raise MedsslError(
                f"The score of {image} after {count} annotated images is {value}; scores are from 0 to 1, and of 1"
                " annotated image or more."
            )
        row = found.setdefault(count, {}).setdefault(draw, np.full(len(names), np.nan))
        row[place[image]] = value
    return {count: np.stack(list(rows.values())) for count, rows in found.items()}


def _resampled(
    tables: Sequence[NDArray[np.float64]], unit: NDArray[np.intp], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Give mean scores (resamples, K) of tables (draws, images) whose rows and units of columns are drawn anew."""
    rng = np.random.default_rng(seed)
    units = int(unit.max()) + 1
    of_images = rng.multinomial(units, np.full(units, 1 / units), resamples)[:, unit]
    means = np.empty((resamples, len(tables)))
    for column, values in enumerate(tables):
        draws = len(values)
        of_draws = rng.multinomial(draws, np.full(draws, 1 / draws), resamples)
        times = of_draws @ np.isfinite(values)  # (resamples, images): how often each is scored
        own = (of_draws @ np.nan_to_num(values)) / np.maximum(times, 1)
        weights = of_images * (times > 0)
        total = weights.sum(1)
        means[:, column] = np.where(
            total > 0, (weights * own).sum(1) / np.maximum(total, 1), np.nan
        )
    return means[
        np.isfinite(means).all(1)
    ]  # of few images, now and then none of those drawn is scored


_Curves = tuple["NDArray[np.float64]", "NDArray[np.float64]", "NDArray[np.float64]"]
"""Ceiling, amplitude, exponent, (N,) each."""


def _fitted(means: NDArray[np.float64], counts: NDArray[np.float64]) -> _Curves:
    """Fit a curve to each row of mean scores (N, K) at counts (K,)."""
    weights = counts / counts.sum()
    x = counts ** -_EXPONENTS[:, None]  # (exponents, K)
    x_mean, x_square = x @ weights, x**2 @ weights
    y_mean, y_square = (means @ weights)[:, None], (means**2 @ weights)[:, None]
    xy = means @ (weights * x).T  # (N, exponents)
    amplitude = np.maximum(0, (x_mean * y_mean - xy) / (x_square - x_mean**2))
    ceiling = y_mean + amplitude * x_mean
    above = ceiling > 1  # the best curve below 1 then ends at 1
    amplitude = np.where(above, (x_mean - xy) / x_square, amplitude)
    ceiling = np.where(above, 1, ceiling)
    error = (
        (y_square - 2 * ceiling * y_mean + ceiling**2)
        + 2 * amplitude * (xy - ceiling * x_mean)
        + amplitude**2 * x_square
    )
    best = error.argmin(1)
    rows = np.arange(len(means))
    return ceiling[rows, best], amplitude[rows, best], _EXPONENTS[best]


def _heights(curves: _Curves, counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Give the scores (N, K) of curves at counts (K,)."""
    ceiling, amplitude, exponent = (part[:, None] for part in curves)
    heights: NDArray[np.float64] = ceiling - amplitude * counts.astype(np.float64) ** -exponent
    return heights


def _listed(tables: Mapping[int, object]) -> str:
    return f" ({', '.join(map(str, tables))})" if tables else ""
