"""The score of one cell of an experiment."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from napari_medssl.evaluate.class_scores import ClassScore

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_medssl.evaluate.class_scores import Labels

__all__ = ["Scorer"]


class Scorer:
    """Collects predictions of one cell, image by image.

    Parameters
    ----------
    units : mapping of str to str
        Image -> unit, of the images that score.
    classes : iterable of int
        Label values that count; scores are means over them.
    examples : iterable of str
        Images whose prediction is kept.
    """

    def __init__(
        self, units: Mapping[str, str], classes: Iterable[int], *, examples: Iterable[str] = ()
    ) -> None:
        self._units, self._classes = units, tuple(classes)
        self._images: dict[str, list[ClassScore]] = {}
        self._kept = frozenset(examples)
        self.examples: dict[str, Labels] = {}
        """Image -> its prediction, of those to be kept."""

    def add(self, name: str, prediction: Labels, truth: Labels) -> None:
        """Score the labels (Y, X) of an image; pixels whose truth is 0 take no part."""
        if name in self._kept:
            self.examples[name] = prediction
        self._images[name] = [ClassScore.count(prediction, truth, value) for value in self._classes]

    def scores(self) -> dict[str, float]:
        """Give ``dice`` (mean over units, each with all its pixels), ``dice_images``, ``iou_images``, ``dice_pooled``.

        Where every image is a unit of its own, ``dice`` and ``dice_images`` are the same; where units are
        patients, ``dice`` is the Dice of each patient's stacked slices (as in Pix2Rep).
        """
        every = list(self._images.values())
        by_unit: dict[str, list[list[ClassScore]]] = {}
        for name, scores in self._images.items():
            by_unit.setdefault(self._units[name], []).append(scores)
        return {
            "dice": statistics.fmean(_pooled_dice(scores) for scores in by_unit.values()),
            "dice_images": statistics.fmean(score.dice for row in every for score in row),
            "iou_images": statistics.fmean(score.iou for row in every for score in row),
            "dice_pooled": _pooled_dice(every),
        }


def _pooled_dice(rows: list[list[ClassScore]]) -> float:
    """Give the mean over classes of the Dice over all pixels of some images."""
    return statistics.fmean(ClassScore.pooled(column).dice for column in zip(*rows, strict=True))
