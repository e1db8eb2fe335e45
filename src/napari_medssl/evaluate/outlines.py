"""Scores of outlines, image by image: how far off they are, and how much of them is near enough."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.boundary import hausdorff, surface_dice
from napari_medssl.evaluate.intervals import Interval, bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_medssl.evaluate.class_scores import Labels

__all__ = ["OutlineEvaluation", "OutlineScore"]


class OutlineScore(Config):
    """The outline of one class in one image, scored. What is not annotated counts as not being of the class."""

    hd95: float | None
    """95th percentile of the distances, pixels; see `boundary.hausdorff`. Unset where one of the two has the class and
    the other one has not: there is nothing to measure to."""
    surface_dice: float
    """Share of the outlines within the tolerance; see `boundary.surface_dice`."""

    @classmethod
    def of(cls, prediction: Labels, truth: Labels, value: int, *, tolerance: float) -> OutlineScore:
        """Compare labels (Y, X) of one class."""
        has, should = (prediction == value) & (truth != 0), truth == value
        distance = hausdorff(has, should)
        return cls(
            hd95=distance if math.isfinite(distance) else None,
            surface_dice=surface_dice(has, should, tolerance=tolerance),
        )


class OutlineEvaluation(Config):
    """The outlines of a set of images, scored."""

    tolerance: float
    """Of `OutlineScore.surface_dice`, pixels."""
    images: dict[str, dict[str, OutlineScore]]
    """Image -> class -> score."""
    median_hd95: dict[str, float | None]
    """Per class the median over the images where it is defined; unset where it is in none."""
    undefined: dict[str, int]
    """Per class the images where it is not."""
    surface_dice: dict[str, float]
    """Per class the mean over images."""
    intervals: dict[str, Interval]
    """Per class the 95% bootstrap interval of that; empty where there is one unit."""

    @classmethod
    def of(
        cls,
        pairs: Iterable[tuple[str, Labels, Labels]],
        *,
        classes: Mapping[int, str],
        tolerance: float,
        groups: Mapping[str, str] | None = None,
    ) -> OutlineEvaluation:
        """Score the outlines of predictions against truth.

        Parameters
        ----------
        pairs : iterable of (name, prediction, truth)
            Labels of shape (Y, X) each. Read one after the other, so a generator saves memory.
        classes : mapping of int to str
            The classes to score, value to name.
        tolerance : float
            What deviation is near enough, such as between two experts; pixels.
        groups : mapping of str to str, optional
            Image -> group (a patient), for intervals; an image without one is a group of its own.

        Raises
        ------
        MedsslError
            If there is no image, shapes differ, or the tolerance is negative.
        """
        images = {
            name: {
                label: OutlineScore.of(prediction, truth, value, tolerance=tolerance)
                for value, label in classes.items()
            }
            for name, prediction, truth in pairs
        }
        if not images:
            raise MedsslError("There are no images whose outlines could be scored.")
        units = [groups.get(name, name) for name in images] if groups else None
        medians: dict[str, float | None] = {}
        undefined, means, intervals = {}, {}, {}
        for label in classes.values():
            scores = [own[label] for own in images.values()]
            known = [score.hd95 for score in scores if score.hd95 is not None]
            medians[label] = statistics.median(known) if known else None
            undefined[label] = len(scores) - len(known)
            near = [score.surface_dice for score in scores]
            means[label] = math.fsum(near) / len(near)
            if (interval := bootstrap(near, units)) is not None:
                intervals[label] = interval
        return cls(
            tolerance=tolerance,
            images=images,
            median_hd95=medians,
            undefined=undefined,
            surface_dice=means,
            intervals=intervals,
        )

    def lines(self) -> list[str]:
        """Say in a line each what the outlines come to."""
        lines = [
            f"outlines: surface Dice within {self.tolerance:g} pixels, Hausdorff distance (95%)"
        ]
        for label, mean in self.surface_dice.items():
            median, missing = self.median_hd95[label], self.undefined[label]
            line = f"  {label}: mean {mean:.4f}"
            if label in self.intervals:
                interval = self.intervals[label]
                line += f" (95% interval from {interval.low:.4f} to {interval.high:.4f})"
            line += "" if median is None else f", median distance {median:.1f} pixels"
            lines.append(line + (f", not defined in {missing} images" if missing else ""))
        return lines
