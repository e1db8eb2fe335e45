"""Where a prediction is right and where it errs, pixel by pixel."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.evaluate.class_scores import BACKGROUND, Labels, check_sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Outcome", "error_map"]


class Outcome(IntEnum):
    """What a pixel of a prediction is, compared with the truth."""

    NONE = 0
    """Background in both (a true negative), or not annotated."""
    RIGHT = 1
    """The class in both: a true positive."""
    TOO_MUCH = 2
    """The class in the prediction alone: a false positive."""
    MISSED = 3
    """The class in the truth alone: a false negative."""
    CONFUSED = 4
    """One class in place of another one; told where all classes are compared at once."""


def error_map(prediction: Labels, truth: Labels, value: int | None = None) -> NDArray[np.uint8]:
    """Tell of every pixel whether it is right, too much, missed, or takes one class for another.

    Parameters
    ----------
    prediction, truth : ndarray of int, (Y, X)
        Labels: 0 is not annotated, 1 background, 2 and up classes.
    value : int, optional
        The class; all but background by default.

    Returns
    -------
    ndarray of uint8, (Y, X)
        Values of `Outcome`. Of one class, right, too much and missed are the counts of `ClassScore`.

    Raises
    ------
    MedsslError
        If the shapes differ.
    """
    check_sizes(prediction, truth)
    known = truth != 0
    if value is None:
        has, should = (prediction > BACKGROUND) & known, truth > BACKGROUND
    else:
        has, should = (prediction == value) & known, truth == value
    found = np.zeros(truth.shape, np.uint8)
    found[has & should] = Outcome.RIGHT
    found[has & ~should] = Outcome.TOO_MUCH
    found[should & ~has] = Outcome.MISSED
    found[has & should & (prediction != truth)] = Outcome.CONFUSED
    return found
