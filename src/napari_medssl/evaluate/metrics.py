"""Dice and intersection over union, per image and over a whole folder.

Labels follow the project's convention: 0 is not annotated, 1 is background, 2 and up are classes.
Pixels whose truth is 0 take no part. A class that is in neither the prediction nor the truth of an
image scores 1 there: the prediction is right about it.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import atomic, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ClassScore", "Evaluation", "ImageScore", "dice", "iou"]

Labels = NDArray[np.integer[Any]]

_FIRST_CLASS = 2  # 0 is not annotated, 1 is background


def dice(prediction: Labels, truth: Labels, value: int = _FIRST_CLASS) -> float:
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


def iou(prediction: Labels, truth: Labels, value: int = _FIRST_CLASS) -> float:
    """Score one class of one image: the overlap over the union.

    Takes, returns and raises what `dice` does.
    """
    return ClassScore.count(prediction, truth, value).iou


class ClassScore(Config):
    """Pixels of one class, counted, with the two scores that follow."""

    dice: float
    """2 TP / (2 TP + FP + FN)."""
    iou: float
    """TP / (TP + FP + FN)."""
    true_positives: int
    """Pixels that have the class in both."""
    false_positives: int
    """Pixels that have the class in the prediction alone."""
    false_negatives: int
    """Pixels that have the class in the truth alone."""

    @classmethod
    def of(cls, true_positives: int, false_positives: int, false_negatives: int) -> ClassScore:
        """Score these counts."""
        wrong = false_positives + false_negatives
        nothing = true_positives + wrong == 0
        return cls(
            dice=1.0 if nothing else 2 * true_positives / (2 * true_positives + wrong),
            iou=1.0 if nothing else true_positives / (true_positives + wrong),
            true_positives=true_positives,
            false_positives=false_positives,
            false_negatives=false_negatives,
        )

    @classmethod
    def count(cls, prediction: Labels, truth: Labels, value: int) -> ClassScore:
        """Count one class in one image and score it; see `dice` for the parameters."""
        if prediction.shape != truth.shape:
            raise MedsslError(
                f"The prediction is {_size(prediction)} pixels and the truth {_size(truth)}.",
                advice="Compare each prediction with the truth of the same image.",
            )
        known = truth != 0
        has, should = (prediction == value) & known, truth == value
        return cls.of(
            int(np.count_nonzero(has & should)),
            int(np.count_nonzero(has & ~should)),
            int(np.count_nonzero(should & ~has)),
        )


class ImageScore(Config):
    """The scores of one image, by class name."""

    image: str
    classes: dict[str, ClassScore]


class Evaluation(Config):
    """The scores of a set of images."""

    run: str = ""
    """The run that predicted them; empty for another source."""
    images: tuple[ImageScore, ...]
    """One entry per image, in the order given."""
    mean: dict[str, dict[str, float]]
    """Per class the mean over images of ``dice`` and ``iou``: every image counts the same."""
    pooled: dict[str, ClassScore]
    """Per class the score over all pixels of all images: every pixel counts the same."""
    skipped: dict[str, str] = Field(default_factory=dict)
    """Images without a score, with the reason."""

    @classmethod
    def of(
        cls,
        pairs: Iterable[tuple[str, Labels, Labels]],
        *,
        classes: Mapping[int, str] | None = None,
        run: str = "",
        skipped: Mapping[str, str] | None = None,
    ) -> Evaluation:
        """Score predictions against truth.

        Parameters
        ----------
        pairs : iterable of (name, prediction, truth)
            Labels of shape (Y, X) each. Read one after the other, so a generator saves memory.
        classes : mapping of int to str, optional
            The classes to score, value to name; foreground (2) alone by default. Background, easy
            and large, is best left out.
        run : str
            The run that predicted, for the record.
        skipped : mapping of str to str, optional
            Images left out beforehand, with the reason.

        Raises
        ------
        MedsslError
            If no image is left, or shapes differ.
        """
        classes = dict(classes) if classes is not None else {_FIRST_CLASS: "foreground"}
        left_out = dict(skipped or {})
        scores = []
        for name, prediction, truth in pairs:
            if not truth.any():
                left_out[name] = "its truth has no annotated pixel"
                continue
            try:
                counted = {
                    label: ClassScore.count(prediction, truth, value)
                    for value, label in classes.items()
                }
            except MedsslError as error:
                raise MedsslError(f"{name}: {error.message}", advice=error.advice) from error
            scores.append(ImageScore(image=name, classes=counted))
        if not scores or not classes:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
            raise MedsslError(
                "There is nothing to score." + (f" ({reasons})" if reasons else ""),
                advice="Truth needs at least one image with annotated pixels of a class.",
            )
        return cls(
            run=run,
            images=tuple(scores),
            mean={label: _mean(scores, label) for label in classes.values()},
            pooled={label: _pool(scores, label) for label in classes.values()},
            skipped=left_out,
        )

    @property
    def mean_dice(self) -> float:
        """The mean over classes of the mean over images."""
        return math.fsum(entry["dice"] for entry in self.mean.values()) / len(self.mean)

    @property
    def mean_iou(self) -> float:
        """The mean over classes (background not among them by default) of the mean over images."""
        return math.fsum(entry["iou"] for entry in self.mean.values()) / len(self.mean)

    def table(self) -> str:
        """Lay the scores out for reading: a line per image, then mean and pooled."""
        labels = list(self.mean)
        rows = [[row.image, *_cells(row.classes, labels)] for row in self.images]
        plural = "image" if len(rows) == 1 else "images"
        mean = [f"{self.mean[label][score]:.4f}" for label in labels for score in ("dice", "iou")]
        totals = [
            [f"mean over {len(rows)} {plural}", *mean],
            ["all pixels pooled", *_cells(self.pooled, labels)],
        ]
        head = ["image", *(f"{label} {score}" for label in labels for score in ("Dice", "IoU"))]
        widths = [max(len(row[k]) for row in [head, *rows, *totals]) for k in range(len(head))]
        rule = ["-" * width for width in widths]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0])]
                + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            ).rstrip()
            for row in [head, rule, *rows, rule, *totals]
        ]
        lines += [f"not scored: {name} ({why})" for name, why in self.skipped.items()]
        return "\n".join(lines)

    def to_json(self, path: str | Path) -> None:
        """Write everything as JSON, atomically."""
        write_json(Path(path), self.model_dump(mode="json"))

    def to_csv(self, path: str | Path) -> None:
        """Write one line per image and class, atomically."""
        with atomic(Path(path)) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "class", *ClassScore.model_fields])
            for row in self.images:
                for label, score in row.classes.items():
                    writer.writerow([row.image, label, *score.model_dump().values()])


def _mean(scores: list[ImageScore], label: str) -> dict[str, float]:
    own = [row.classes[label] for row in scores]
    return {
        "dice": math.fsum(score.dice for score in own) / len(own),
        "iou": math.fsum(score.iou for score in own) / len(own),
    }


def _pool(scores: list[ImageScore], label: str) -> ClassScore:
    own = [row.classes[label] for row in scores]
    return ClassScore.of(
        sum(score.true_positives for score in own),
        sum(score.false_positives for score in own),
        sum(score.false_negatives for score in own),
    )


def _cells(classes: Mapping[str, ClassScore], labels: list[str]) -> list[str]:
    return [f"{part:.4f}" for label in labels for part in (classes[label].dice, classes[label].iou)]


def _size(labels: Labels) -> str:
    return " x ".join(map(str, labels.shape))
