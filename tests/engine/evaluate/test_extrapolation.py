"""Learning curves extended: does the interval hold what it says, and is too little refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.extrapolation import Score, forecast, points


def scores_of(
    rng: np.random.Generator,
    *,
    images: int = 12,
    counts: tuple[int, ...] = (1, 2, 3, 5, 9),
    curve: tuple[float, float, float] = (0.9, 0.5, 0.7),
    noise: float = 1.0,
) -> list[Score]:
    """Draw scores around a known curve: images are hard or easy, draws lucky or not."""
    ceiling, amplitude, exponent = curve
    hard = rng.normal(0, 0.08 * noise, images)
    scores = []
    for count in counts:
        for draw in range(8):
            mean = ceiling - amplitude * count**-exponent + rng.normal(0, 0.06 * noise / count**0.5)
            for image in rng.permutation(images)[count:]:
                value = float(np.clip(mean + hard[image] + rng.normal(0, 0.03 * noise), 0, 1))
                scores.append(Score(count, draw, f"{image}.png", value))
    return scores


def test_a_curve_without_noise_is_found_and_extended() -> None:
    found = forecast(scores_of(np.random.default_rng(0), noise=0), annotated=12)
    assert found.now.value == pytest.approx(0.9 - 0.5 * 12**-0.7, abs=0.003)
    assert found.then.value == pytest.approx(0.9 - 0.5 * 17**-0.7, abs=0.003)
    assert found.curve.exponent == pytest.approx(0.7, abs=0.03)
    assert found.band[-1].annotated == 17
    assert found.sentence().startswith("5 more annotated images: Dice 0.81 -> about 0.83 [")


def test_the_bounded_fit_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    for curve in ((0.9, 0.5, 0.7), (1.0, 0.6, 0.4), (0.6, 0.0, 1.0)):
        scores = scores_of(rng, curve=curve)
        measured = points(scores)
        counts = np.array([point.annotated for point in measured])
        means = np.array([point.mean for point in measured])

        def residuals(p, counts=counts, means=means):
            return np.sqrt(counts) * (p[0] - p[1] * counts ** -p[2] - means)

        bounds = ([0, 0, 0.1], [1, np.inf, 3])
        starts = [(0.8, 0.3, exponent) for exponent in (0.2, 0.7, 2)]
        best = min(least_squares(residuals, start, bounds=bounds).cost for start in starts)
        own = forecast(scores, annotated=12).curve
        cost = 0.5 * float((residuals((own.ceiling, own.amplitude, own.exponent)) ** 2).sum())
        assert cost == pytest.approx(best, rel=0.02, abs=1e-7)


def test_the_interval_holds_the_true_value_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth, gain = 0.9 - 0.5 * 17**-0.7, 0.5 * (12**-0.7 - 17**-0.7)
    held = held_gain = 0
    for _ in range(40):
        found = forecast(scores_of(rng), annotated=12, resamples=250)
        held += found.then.low <= truth <= found.then.high
        held_gain += found.gain.low <= gain <= found.gain.high
    assert 34 <= held <= 40
    assert 34 <= held_gain <= 40
    assert found.gain.high - found.gain.low < found.then.high - found.then.low


def test_images_of_one_patient_are_drawn_together() -> None:
    scores = scores_of(np.random.default_rng(2))
    groups = {f"{n}.png": str(n // 3) for n in range(12)}
    alone, together = forecast(scores, annotated=12), forecast(scores, annotated=12, groups=groups)
    assert (alone.images, together.images) == (12, 4)
    assert together.then.value == alone.then.value
    assert "so few scored groups of images (4)" in together.remarks()[0]


def test_too_little_to_tell_is_refused() -> None:
    with pytest.raises(MedsslError, match=r"3 different numbers .* there are 2 \(1, 2\)"):
        forecast(scores_of(np.random.default_rng(3), counts=(1, 2)), annotated=4)
    with pytest.raises(MedsslError, match="3 images at least; there are 2"):
        forecast([Score(k, 0, name, 0.5) for k in (1, 2, 3) for name in "ab"], annotated=5)
    with pytest.raises(MedsslError, match="anywhere from"):
        forecast(
            [Score(k, 0, str(value), value) for k in (1, 2, 3) for value in (0.1, 0.2, 0.6, 0.9)],
            annotated=4,
        )
    with pytest.raises(MedsslError, match=r"1\.2"):
        forecast([Score(1, 0, "a", 1.2)], annotated=4)
