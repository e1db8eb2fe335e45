"""Scores of objects, image by image: AJI+, panoptic quality and F1.

Objects are matched whatever their class: a nucleus that was found but taken for one of another class counts as found
here, and as wrong in the Dice of both classes. So panoptic quality is that of all objects as one class, where Kirillov
et al. report the mean over classes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.instances import (
    THRESHOLDS,
    aji_plus,
    detection,
    overlaps,
    panoptic_quality,
)
from napari_medssl.evaluate.intervals import Interval, bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_medssl.evaluate.instances import Instances

__all__ = ["MEASURES", "ObjectEvaluation", "ObjectScore"]

FOUND = 0.5
"""Overlap (IoU) from which on an object counts as found."""

MEASURES = {"aji_plus": "AJI+", "panoptic_quality": "PQ", "f1": "F1"}
"""What is averaged over images -> how it is called."""


class ObjectScore(Config):
    """The objects of one image, scored; each score is 1 where there is no object at all."""

    image: str
    true: int
    """Objects in the truth."""
    predicted: int
    aji_plus: float
    """See `instances.aji_plus`."""
    panoptic_quality: float
    """Of all objects as one class; see `instances.panoptic_quality`."""
    f1: float
    """Of objects found at an overlap of .5; see `instances.detection`."""
    f1_over: tuple[float, ...]
    """The same at overlaps of .5, .55 to .95 (`instances.THRESHOLDS`)."""

    @classmethod
    def of(cls, image: str, prediction: Instances, truth: Instances) -> ObjectScore:
        """Compare numbered objects, (Y, X) each.

        Raises
        ------
        MedsslError
            If the shapes differ.
        """
        try:
            shared = overlaps(prediction, truth)
        except MedsslError as error:
            raise MedsslError(f"{image}: {error.message}", advice=error.advice) from error
        (found,) = detection(shared, [FOUND])
        every = detection(shared)
        return cls(
            image=image,
            true=len(shared.truth_areas),
            predicted=len(shared.prediction_areas),
            aji_plus=aji_plus(shared),
            panoptic_quality=panoptic_quality(shared).quality,
            f1=found.f1,
            f1_over=tuple(at.f1 for at in every),
        )


class ObjectEvaluation(Config):
    """The objects of a set of images, scored."""

    images: tuple[ObjectScore, ...]
    """One entry per image, in the order given."""
    mean: dict[str, float]
    """The mean over images of ``aji_plus``, ``panoptic_quality`` and ``f1``: every image counts the same."""
    f1_over: dict[float, float]
    """Overlap from which on an object counts as found, .5 to .95 -> the mean over images of F1."""
    intervals: dict[str, Interval]
    """The 95% bootstrap intervals of these means; empty where there is one unit."""

    @classmethod
    def of(
        cls,
        pairs: Iterable[tuple[str, Instances, Instances]],
        *,
        groups: Mapping[str, str] | None = None,
    ) -> ObjectEvaluation:
        """Score predicted objects against true ones.

        Parameters
        ----------
        pairs : iterable of (name, prediction, truth)
            Numbered objects of shape (Y, X) each, 0 is none. Read one after the other, so a generator saves memory.
        groups : mapping of str to str, optional
            Image -> group (a patient, a file of planes), for intervals; an image without one is a group of its own.

        Raises
        ------
        MedsslError
            If there is no image, or shapes differ.
        """
        scores = tuple(ObjectScore.of(*pair) for pair in pairs)
        if not scores:
            raise MedsslError("There are no images whose objects could be scored.")
        units = [groups.get(row.image, row.image) for row in scores] if groups else None
        values = {name: [float(getattr(row, name)) for row in scores] for name in MEASURES}
        found = {name: bootstrap(own, units) for name, own in values.items()}
        return cls(
            images=scores,
            mean={name: math.fsum(own) / len(own) for name, own in values.items()},
            f1_over={
                at: math.fsum(row.f1_over[i] for row in scores) / len(scores)
                for i, at in enumerate(THRESHOLDS)
            },
            intervals={name: interval for name, interval in found.items() if interval is not None},
        )

    def lines(self) -> list[str]:
        """Say in a line each what the objects come to."""
        true, predicted = (
            sum(getattr(row, n) for row in self.images) for n in ("true", "predicted")
        )
        lines = [
            f"objects: {true} in the truth, {predicted} predicted, matched whatever their class"
        ]
        for name, told in MEASURES.items():
            plural = "image" if len(self.images) == 1 else "images"
            line = f"  mean {told} over {len(self.images)} {plural}: {self.mean[name]:.4f}"
            if name in self.intervals:
                interval = self.intervals[name]
                line += f" (95% interval from {interval.low:.4f} to {interval.high:.4f})"
            lines.append(line)
        average = math.fsum(self.f1_over.values()) / len(self.f1_over)
        lines.append(f"  mean F1 over overlaps of .5 to .95: {average:.4f}")
        return lines
