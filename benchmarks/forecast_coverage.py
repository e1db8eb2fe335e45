"""How often the intervals of a forecast hold the truth: learning curves are simulated, extended, and compared.

Scores scatter as in a project: images are hard or easy, a choice of annotated images is lucky or not, more so where
they are few, and each score has noise of its own.

    python benchmarks/forecast_coverage.py [--projects 100]

Prints a table: a line for each number of annotated images and known curve.
"""

from __future__ import annotations

import argparse

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.extrapolation import Forecast, Score, forecast

MORE = 5
CASES = (
    (12, (1, 2, 3, 5, 9), 0.7),
    (12, (1, 2, 3, 5, 9), 0.3),
    (12, (1, 2, 3, 5, 9), 1.5),
    (6, (1, 2, 3, 4), 0.7),
    (20, (1, 2, 3, 5, 9, 16), 0.7),
)
"""Annotated images, numbers of them that are learned from, and the exponent of the true curve."""
CEILING, AMPLITUDE = 0.9, 0.5
HARD, LUCKY, NOISE = 0.08, 0.06, 0.03
"""Standard deviations over images, over choices of one image, and of a score."""
DRAWS = 8


def height(count: int, exponent: float) -> float:
    """Give the true score."""
    return float(CEILING - AMPLITUDE * count**-exponent)


def simulated(
    rng: np.random.Generator, images: int, counts: tuple[int, ...], exponent: float
) -> list[Score]:
    """Draw the scores of a project."""
    hard = rng.normal(0, HARD, images)
    scores = []
    for count in counts:
        for draw in range(DRAWS):
            mean = height(count, exponent) + rng.normal(0, LUCKY / count**0.5)
            for image in rng.permutation(images)[count:]:
                value = float(np.clip(mean + hard[image] + rng.normal(0, NOISE), 0, 1))
                scores.append(Score(count, draw, str(image), value))
    return scores


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--projects", type=int, default=100)
    projects = parser.parse_args().projects
    print("images  exponent  refused  holds the score  holds the gain  true gain  estimate")
    for images, counts, exponent in CASES:
        rng = np.random.default_rng(0)
        found: list[Forecast] = []
        for _ in range(projects):
            scores = simulated(rng, images, counts, exponent)
            try:
                found.append(forecast(scores, annotated=images, more=MORE))
            except MedsslError:  # the interval was too wide: counted below
                continue
        then = height(images + MORE, exponent)
        gain = then - height(images, exponent)
        held = sum(item.then.low <= then <= item.then.high for item in found)
        held_gain = sum(item.gain.low <= gain <= item.gain.high for item in found)
        estimate = np.mean([item.gain.value for item in found])
        print(
            f"{images:6}  {exponent:8}  {projects - len(found):7}  {held:8} of {len(found):3}  "
            f"{held_gain:7} of {len(found):3}  {gain:9.3f}  {estimate:8.3f}"
        )


if __name__ == "__main__":
    main()
