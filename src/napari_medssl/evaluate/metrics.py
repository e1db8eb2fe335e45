"""The scores of a set of images: per image, their means with intervals, and all pixels pooled.

Labels follow the project's convention: 0 is not annotated, 1 is background, 2 and up are classes.
Pixels whose truth is 0 take no part. A class that is in neither the prediction nor the truth of an
image scores 1 there: the prediction is right about it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.class_scores import (
    BACKGROUND,
    FIRST_CLASS,
    ClassScore,
    Labels,
    dice,
    iou,
)
from napari_medssl.evaluate.intervals import Interval, bootstrap
from napari_medssl.evaluate.objects import ObjectEvaluation
from napari_medssl.evaluate.outlines import OutlineEvaluation
from napari_medssl.evaluate.score_tables import write_csv
from napari_medssl.evaluate.truth import TruthSource
from napari_medssl.evaluate.volumes import VolumeEvaluation
from napari_medssl.project.checkpoint import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["BACKGROUND", "ClassScore", "Evaluation", "ImageScore", "dice", "iou"]

_NAMED = 5  # images in one line
_FEW = 10  # units, of which percentile intervals hold clearly less than they say
_SCORES = ("dice", "iou", "precision", "recall")


class ImageScore(Config):
    """The scores of one image, by class name."""

    image: str
    classes: dict[str, ClassScore]


class Evaluation(Config):
    """The scores of a set of images."""

    run: str = ""
    """The run that predicted them; empty for another source."""
    truth: TruthSource | None = None
    """What they were compared with, where it was recorded."""
    images: tuple[ImageScore, ...]
    """One entry per image, in the order given."""
    mean: dict[str, dict[str, float]]
    """Per class the mean over images of ``dice``, ``iou``, ``precision``, ``recall``: every image counts the same."""
    intervals: dict[str, dict[str, Interval]] = Field(default_factory=dict)
    """Per class the 95% bootstrap intervals of the means of ``dice`` and ``iou``; empty where there is one unit."""
    grouped: bool = False
    """Whether groups of images (or files with their planes) were drawn for the intervals; else images."""
    iou_with_background: float | None = None
    """Mean over images and classes of IoU, background being one more class (with one class the "two-class mean IoU");
    unset where background was among the classes."""
    pooled: dict[str, ClassScore]
    """Per class the score over all pixels of all images: every pixel counts the same."""
    objects: ObjectEvaluation | None = None
    """The objects, where the truth numbers them and the run predicted some."""
    outlines: OutlineEvaluation | None = None
    """The outlines, where they were asked for."""
    volumes: VolumeEvaluation | None = None
    """Groups of images, each counted as one volume, where they were asked for."""
    skipped: dict[str, str] = Field(default_factory=dict)
    """Images without a score, with the reason."""
    partly: tuple[str, ...] = ()
    """Scored images of whose truth some pixels have no label; these took no part."""
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
        objects: ObjectEvaluation | None = None,
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
            Image -> group (a patient, a file of planes), for intervals; an image without one is a group of its own.
        run : str
            The run that predicted, for the record.
        objects : ObjectEvaluation, optional
            The scores of their objects.
        skipped : mapping of str to str, optional
            Images left out beforehand, with the reason.
        notes : iterable of str
            What to keep in mind, for the record.

        Raises
        ------
        MedsslError
            If no image is left, or shapes differ.
        """
        classes = dict(classes) if classes is not None else {FIRST_CLASS: "foreground"}
        left_out = dict(skipped or {})
        scores, backgrounds, partly = [], [], []
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
            if not truth.all():
                partly.append(name)
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
            objects=objects,
            skipped=left_out,
            partly=tuple(partly),
            notes=(*notes, *_told(partly, len(scores))),
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
        for further in (self.outlines, self.volumes, self.objects):
            if further is not None:
                lines += ["", *further.lines()]
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

    def to_csv(self, path: str | Path) -> tuple[Path, Path]:
        """Write tidy tables of images and of pooled pixels; see `score_tables.write_csv`."""
        return write_csv(self, Path(path))


def _told(partly: list[str], count: int) -> Iterator[str]:
    """Say that some of the scored images are not annotated as a whole."""
    if partly:
        of = f"{len(partly)} of {count} scored images are" if count > 1 else "The scored image is"
        yield f"{of} only partly annotated: pixels without a label do not count."


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
