"""Scores of outlines, image by image: how far off they are, and how much of them is near enough."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from pydantic import Field

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.boundary import hausdorff, surface_dice
from napari_medssl.evaluate.intervals import Interval, bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from napari_medssl.evaluate.class_scores import Labels

__all__ = ["OutlineEvaluation", "OutlineScore"]

_PARTLY = "it is only partly annotated, so its outlines would be those of the strokes"


class OutlineScore(Config):
    """The outline of one class in one image, scored."""

    hd95: float | None
    """95th percentile of the distances, pixels; see `boundary.hausdorff`. Unset where prediction or truth (or both)
    lack the class: there is nothing to measure from or to."""
    surface_dice: float
    """Share of the outlines within the tolerance; see `boundary.surface_dice`."""

    @classmethod
    def of(cls, prediction: Labels, truth: Labels, value: int, *, tolerance: float) -> OutlineScore:
        """Compare labels (Y, X) of one class; every pixel of the truth has one."""
        has, should = prediction == value, truth == value
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
    """Per class the images where it is not, as one of prediction and truth alone has the class."""
    absent: dict[str, int] = Field(default_factory=dict)
    """Per class the images where it is not, as neither has it."""
    surface_dice: dict[str, float]
    """Per class the mean over images."""
    intervals: dict[str, Interval]
    """Per class the 95% bootstrap interval of that; empty where there is one unit."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Images whose outlines were not scored, with the reason."""

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

        Images that are only partly annotated are left out: their outlines would be those of the strokes.

        Parameters
        ----------
        pairs : iterable of (name, prediction, truth)
            Labels of shape (Y, X) each. Read one after the other, so a generator saves memory.
        classes : mapping of int to str
            The classes to score, value to name.
        tolerance : float
            What deviation is near enough, such as between two experts; pixels.
        groups : mapping of str to str, optional
            Image -> group (a patient, a file of planes), for intervals; an image without one is a group of its own.

        Raises
        ------
        MedsslError
            If no image is annotated as a whole, shapes differ, or the tolerance is negative.
        """
        images: dict[str, dict[str, OutlineScore]] = {}
        left_out = {}
        for name, prediction, truth in pairs:
            if not truth.all():
                left_out[name] = _PARTLY
                continue
            images[name] = {
                label: OutlineScore.of(prediction, truth, value, tolerance=tolerance)
                for value, label in classes.items()
            }
        if not images:
            raise MedsslError(
                "There are no images whose outlines could be scored.",
                advice="That takes truth with a label for every pixel.",
            )
        units = [groups.get(name, name) for name in images] if groups else None
        medians: dict[str, float | None] = {}
        undefined, absent, means, intervals = {}, {}, {}, {}
        for label in classes.values():
            scores = [own[label] for own in images.values()]
            known = [score.hd95 for score in scores if score.hd95 is not None]
            medians[label] = statistics.median(known) if known else None
            # Where there is no outline at all, all of it is near enough.
            absent[label] = sum(x.hd95 is None and x.surface_dice == 1 for x in scores)
            undefined[label] = len(scores) - len(known) - absent[label]
            near = [score.surface_dice for score in scores]
            means[label] = math.fsum(near) / len(near)
            if (interval := bootstrap(near, units)) is not None:
                intervals[label] = interval
        return cls(
            tolerance=tolerance,
            images=images,
            median_hd95=medians,
            undefined=undefined,
            absent=absent,
            surface_dice=means,
            intervals=intervals,
            left_out=left_out,
        )

    def without(self, label: str) -> Iterator[str]:
        """Say of how many images a class has no distance, and why."""
        if count := self.undefined[label]:
            yield f"no distance in {count} where prediction or truth alone has the class"
        if count := self.absent.get(label, 0):
            yield f"no distance in {count} where neither has it"

    def lines(self) -> list[str]:
        """Say in a line each what the outlines come to."""
        lines = [
            f"outlines: surface Dice within {self.tolerance:g} pixels, Hausdorff distance (95%)"
        ]
        for label, mean in self.surface_dice.items():
            median = self.median_hd95[label]
            line = f"  {label}: mean {mean:.4f}"
            if label in self.intervals:
                interval = self.intervals[label]
                line += f" (95% interval from {interval.low:.4f} to {interval.high:.4f})"
            line += "" if median is None else f", median distance {median:.1f} pixels"
            lines.append(f"{line}{''.join(f', {why}' for why in self.without(label))}")
        return lines
