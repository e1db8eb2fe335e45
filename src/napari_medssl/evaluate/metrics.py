"""Dice, intersection over union, precision and recall, per image and over a whole folder.

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
from napari_medssl.evaluate.intervals import Interval, bootstrap
from napari_medssl.project.checkpoint import atomic, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["BACKGROUND", "ClassScore", "Evaluation", "ImageScore", "dice", "iou"]

Labels = NDArray[np.integer[Any]]

BACKGROUND = 1
_FIRST_CLASS = 2
_NAMED = 5  # images in one line
_FEW = 10  # units, of which percentile intervals hold clearly less than they say
_SCORES = ("dice", "iou", "precision", "recall")


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
    """Per class the mean over images of ``dice``, ``iou``, ``precision``, ``recall``: every image counts the same."""
    intervals: dict[str, dict[str, Interval]] = Field(default_factory=dict)
    """Per class the 95% bootstrap intervals of the means of ``dice`` and ``iou``; empty where there is one unit."""
    grouped: bool = False
    """Whether groups of images were drawn for the intervals; else images."""
    iou_with_background: float | None = None
    """Mean over images and classes of IoU, background being one more class (with one class the "two-class mean IoU");
    unset where background was among the classes."""
    pooled: dict[str, ClassScore]
    """Per class the score over all pixels of all images: every pixel counts the same."""
    skipped: dict[str, str] = Field(default_factory=dict)
    """Images without a score, with the reason."""
    notes: tuple[str, ...] = ()
    """What to keep in mind when reading the scores, in sentences."""

    @classmethod
    def of(
        cls,
        pairs: Iterable[tuple[str, Labels, Labels]],
        *,
        classes: Mapping[int, str] | None = None,
        groups: Mapping[str, str] | None = None,
        run: str = "",
        skipped: Mapping[str, str] | None = None,
        notes: Iterable[str] = (),
    ) -> Evaluation:
        """Score predictions against truth.

        Parameters
        ----------
        pairs : iterable of (name, prediction, truth)
            Labels of shape (Y, X) each. Read one after the other, so a generator saves memory.
        classes : mapping of int to str, optional
            The classes to score, value to name; foreground (2) alone by default. Background, easy
            and large, is best left out.
        groups : mapping of str to str, optional
            Image -> group (a patient), for intervals; an image without one is a group of its own.
        run : str
            The run that predicted, for the record.
        skipped : mapping of str to str, optional
            Images left out beforehand, with the reason.
        notes : iterable of str
            What to keep in mind, for the record.

        Raises
        ------
        MedsslError
            If no image is left, or shapes differ.
        """
        classes = dict(classes) if classes is not None else {_FIRST_CLASS: "foreground"}
        left_out = dict(skipped or {})
        scores, backgrounds = [], []
        for name, prediction, truth in pairs:
            if not truth.any():
                left_out[name] = "its truth has no annotated pixel"
                continue
            try:
                counted = {
                    label: ClassScore.count(prediction, truth, value)
                    for value, label in classes.items()
                }
                backgrounds.append(ClassScore.count(prediction, truth, BACKGROUND).iou)
            except MedsslError as error:
                raise MedsslError(f"{name}: {error.message}", advice=error.advice) from error
            scores.append(ImageScore(image=name, classes=counted))
        if not scores or not classes:
            reasons = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
            raise MedsslError(
                "There is nothing to score." + (f" ({reasons})" if reasons else ""),
                advice="Truth needs at least one image with annotated pixels of a class.",
            )
        labels, grouped = list(classes.values()), bool(groups)
        units = [groups.get(row.image, row.image) for row in scores] if groups else None
        mean = {label: _mean(scores, label) for label in labels}
        ious = [entry["iou"] for entry in mean.values()] + [math.fsum(backgrounds) / len(scores)]
        return cls(
            run=run,
            images=tuple(scores),
            mean=mean,
            intervals=_intervals(scores, labels, units),
            grouped=grouped,
            iou_with_background=None if BACKGROUND in classes else math.fsum(ious) / len(ious),
            pooled={
                label: ClassScore.pooled(row.classes[label] for row in scores) for label in labels
            },
            skipped=left_out,
            notes=tuple(notes),
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
        """Lay the scores out for reading: a line per image, then what they come to."""
        labels = list(self.mean)
        rows = [[row.image, *_cells(row.classes, labels)] for row in self.images]
        plural = "image" if len(rows) == 1 else "images"
        shown = [(label, score) for label in labels for score in _SCORES[:2]]
        totals = [
            [f"mean over {len(rows)} {plural}", *(f"{self.mean[a][b]:.4f}" for a, b in shown)]
        ]
        if self.intervals:
            found = [self.intervals[label][score] for label, score in shown]
            totals += [
                ["  95% interval from", *(f"{interval.low:.4f}" for interval in found)],
                ["  to", *(f"{interval.high:.4f}" for interval in found)],
            ]
        totals.append(["all pixels pooled", *_cells(self.pooled, labels)])
        head = ["image", *(f"{label} {score}" for label in labels for score in ("Dice", "IoU"))]
        lines = [*_aligned(head, rows, totals), ""]
        body = [
            [
                label,
                *(
                    f"{part:.4f}"
                    for part in (own["precision"], own["recall"], all_.precision, all_.recall)
                ),
            ]
            for label, own, all_ in ((x, self.mean[x], self.pooled[x]) for x in labels)
        ]
        lines += _aligned(
            ["class", "precision", "recall", "pooled precision", "pooled recall"], body
        )
        lines += ["", *self._remarks()]
        return "\n".join(lines).rstrip("\n")

    def _remarks(self) -> Iterator[str]:
        if self.iou_with_background is not None:
            yield f"mean IoU with background as one more class: {self.iou_with_background:.4f}"
        for interval in (own["dice"] for own in list(self.intervals.values())[:1]):
            what = "groups of images" if self.grouped else "images"
            few = "; of so few they are too narrow" if interval.units < _FEW else ""
            yield f"intervals: bootstrap over {interval.units} {what}{few}"
        reasons: dict[str, list[str]] = {}
        for name, why in self.skipped.items():
            reasons.setdefault(why, []).append(name)
        for why, names in reasons.items():
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            yield f"not scored: {', '.join(names[:_NAMED])}{more} ({why})"
        for text in self.notes:
            yield f"note: {text}"

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
    return {name: math.fsum(getattr(score, name) for score in own) / len(own) for name in _SCORES}


def _intervals(
    scores: list[ImageScore], labels: list[str], units: list[str] | None
) -> dict[str, dict[str, Interval]]:
    found: dict[str, dict[str, Interval]] = {}
    for label in labels:
        for name in _SCORES[:2]:
            values = [getattr(row.classes[label], name) for row in scores]
            interval = bootstrap(values, units)
            if interval is not None:
                found.setdefault(label, {})[name] = interval
    return found


def _cells(classes: Mapping[str, ClassScore], labels: list[str]) -> list[str]:
    return [f"{part:.4f}" for label in labels for part in (classes[label].dice, classes[label].iou)]


def _aligned(
    head: list[str], rows: list[list[str]], totals: list[list[str]] | None = None
) -> list[str]:
    every = [head, *rows, *(totals or [])]
    widths = [max(len(row[k]) for row in every) for k in range(len(head))]
    rule = ["-" * width for width in widths]
    return [
        "  ".join(
            [row[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in [head, rule, *rows, *([rule, *totals] if totals else [])]
    ]


def _size(labels: Labels) -> str:
    return " x ".join(map(str, labels.shape))
