"""Pixels of one class, counted and scored: Dice, intersection over union, precision and recall.

Labels follow the project's convention: 0 is not annotated, 1 is background, 2 and up are classes.
Pixels whose truth is 0 take no part. A class that is in neither the prediction nor the truth of an
image scores 1 there: the prediction is right about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BACKGROUND", "FIRST_CLASS", "ClassScore", "Labels", "check_sizes", "dice", "iou"]

Labels = NDArray[np.integer[Any]]

BACKGROUND = 1
FIRST_CLASS = 2


def dice(prediction: Labels, truth: Labels, value: int = FIRST_CLASS) -> float:
    """Score one class of one image: twice the overlap over the sum of the areas.

    Parameters
    ----------
    prediction, truth : ndarray of int, (Y, X)
        Labels; pixels where `truth` is 0 are left out.
    value : int
        The class.

    Returns
    -------
    float
        In [0, 1]; 1 where neither has the class.

    Raises
    ------
    MedsslError
        If the shapes differ.
    """
    return ClassScore.count(prediction, truth, value).dice


def iou(prediction: Labels, truth: Labels, value: int = FIRST_CLASS) -> float:
    """Score one class of one image: the overlap over the union.

    Takes, returns and raises what `dice` does.
    """
    return ClassScore.count(prediction, truth, value).iou


class ClassScore(Config):
    """Pixels of one class, counted, with the scores that follow; each is 1 where nothing is to be found or was."""

    dice: float
    """2 TP / (2 TP + FP + FN)."""
    iou: float
    """TP / (TP + FP + FN)."""
    precision: float
    """TP / (TP + FP); 0 where the class was predicted nowhere although it is there."""
    recall: float
    """TP / (TP + FN); 0 where the class is nowhere although it was predicted."""
    true_positives: int
    """Pixels that have the class in both."""
    false_positives: int
    """Pixels that have the class in the prediction alone."""
    false_negatives: int
    """Pixels that have the class in the truth alone."""

    @classmethod
    def of(cls, true_positives: int, false_positives: int, false_negatives: int) -> ClassScore:
        """Score these counts."""

        def ratio(part: int, whole: int) -> float:
            return part / whole if whole else float(not false_positives + false_negatives)

        hits, wrong = true_positives, false_positives + false_negatives
        return cls(
            dice=ratio(2 * hits, 2 * hits + wrong),
            iou=ratio(hits, hits + wrong),
            precision=ratio(hits, hits + false_positives),
            recall=ratio(hits, hits + false_negatives),
            true_positives=true_positives,
            false_positives=false_positives,
            false_negatives=false_negatives,
        )

    @classmethod
    def pooled(cls, scores: Iterable[ClassScore]) -> ClassScore:
        """Score the pixels of several images as if they were one."""
        parts = list(scores)
        return cls.of(
            sum(score.true_positives for score in parts),
            sum(score.false_positives for score in parts),
            sum(score.false_negatives for score in parts),
        )

    @classmethod
    def count(cls, prediction: Labels, truth: Labels, value: int) -> ClassScore:
        """Count one class in one image and score it; see `dice` for the parameters."""
        check_sizes(prediction, truth)
        known = truth != 0
        has, should = (prediction == value) & known, truth == value
        return cls.of(
            int(np.count_nonzero(has & should)),
            int(np.count_nonzero(has & ~should)),
            int(np.count_nonzero(should & ~has)),
        )


def check_sizes(prediction: Labels, truth: Labels) -> None:
    """Refuse a prediction of another size than its truth.

    Raises
    ------
    MedsslError
        If the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise MedsslError(
            f"The prediction is {_size(prediction)} pixels and the truth {_size(truth)}.",
            advice="Compare each prediction with the truth of the same image.",
        )


def _size(labels: Labels) -> str:
    return " x ".join(map(str, labels.shape))
