"""The scored images in a table, the worst first."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QItemSelectionModel, QModelIndex, QSize, Qt, Signal

from napari_medssl.widgets.number_table import Measure, NumberTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qtpy.QtWidgets import QWidget

    from napari_medssl.evaluate import Evaluation
    from napari_medssl.evaluate.objects import ObjectScore

__all__ = ["Family", "ScoreTable", "families"]

Family = Literal["pixels", "objects", "outlines"]
"""Measures that are listed together; all of them at once would not fit."""

_PADDING = 18
"""Of a column of numbers, pixels: the margins, and the arrow of the one that is sorted by."""
_HEIGHT = 116
"""Of the headings and four rows, pixels."""
_FIRST = 1
"""Column of the first measure, which is sorted by at first."""
_NARROWEST = 96
"""Column of names, pixels; then the table scrolls."""
_SELECT = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows


_PIXELS = {
    "dice": ("Dice", "2 TP / (2 TP + FP + FN)"),
    "iou": ("IoU", "intersection over union, TP / (TP + FP + FN)"),
    "precision": ("Precision", "how much of what was marked is right, TP / (TP + FP)"),
    "recall": ("Recall", "how much of what is there was marked, TP / (TP + FN)"),
}
_OBJECTS = {
    "aji_plus": ("AJI+", "aggregated Jaccard index of the objects, matched one to one"),
    "panoptic_quality": (
        "PQ",
        "panoptic quality: F1 of the objects, times how well those found fit",
    ),
    "f1": ("F1", "F1 of the objects found at an overlap of .5"),
}


def families(evaluation: Evaluation | None) -> Iterator[Family]:
    """Say what there are scores of."""
    if evaluation is not None:
        yield "pixels"
        if evaluation.objects is not None:
            yield "objects"
        if evaluation.outlines is not None:
            yield "outlines"


def _measures(evaluation: Evaluation, label: str | None, family: Family) -> Iterator[Measure]:
    """Give the columns of a family; none where it was not scored."""
    labels = list(evaluation.mean) if label is None else [label]
    of = "mean over classes" if len(labels) > 1 else labels[0]
    if family == "pixels":
        rows = {row.image: row.classes for row in evaluation.images}
        for key, (title, meaning) in _PIXELS.items():
            score = partial(_mean, rows, labels, key)
            yield Measure(title, f"{title}, {of}: {meaning}", score)
    elif family == "objects" and (objects := evaluation.objects) is not None:
        counted = {row.image: row for row in objects.images}
        for key, (title, meaning) in _OBJECTS.items():
            yield Measure(title, f"{title}: {meaning}", partial(_score, counted, key))
    elif family == "outlines" and (outlines := evaluation.outlines) is not None:

        def far(image: str) -> float:
            own = outlines.images.get(image)
            values = [] if own is None else [own[name].hd95 for name in labels]
            return max((value for value in values if value is not None), default=math.nan)

        yield Measure(
            "Surface Dice",
            f"Surface Dice, {of}: share of both outlines within {outlines.tolerance:g} pixels of the other one",
            partial(_mean, outlines.images, labels, "surface_dice"),
        )
        yield Measure(
            "HD95",
            "Hausdorff distance (95%), pixels, of the worst class; empty where prediction or truth lack it",
            far,
            ".1f",
        )


def _mean(
    rows: Mapping[str, Mapping[str, Any]], labels: Sequence[str], key: str, image: str
) -> float:
    """Give the mean over classes; NaN for an image that was left out."""
    own = rows.get(image)
    if own is None:
        return math.nan
    return math.fsum(getattr(own[name], key) for name in labels) / len(labels)


def _score(rows: Mapping[str, ObjectScore], key: str, image: str) -> float:
    return float(getattr(rows[image], key)) if image in rows else math.nan


class ScoreTable(NumberTable):
    """The worst score first; a click or the arrow keys choose an image."""

    chosen = Signal(str)
    """The image of the row that the user went to."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Scored images", column=_FIRST, parent=parent)
        self.setMinimumHeight(_HEIGHT)
        self.setMaximumHeight(3 * _HEIGHT)
        self.columns.setMinimumSectionSize(44)
        self._family: Family = "pixels"
        self._open: str | None = None
        self._marking = False
        picked = self.selectionModel()
        if picked is not None:
            picked.currentRowChanged.connect(self._on_row)
        self.numbers.modelReset.connect(lambda: self.mark(self._open))

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for no more than four rows: the notes above may be long. It grows where there is room."""
        return QSize(super().sizeHint().width(), _HEIGHT)

    def show_scores(
        self, evaluation: Evaluation | None, label: str | None, family: Family = "pixels"
    ) -> None:
        """Show these scores, of a class or (None) the means over all classes."""
        images = () if evaluation is None else (row.image for row in evaluation.images)
        found = () if evaluation is None else tuple(_measures(evaluation, label, family))
        self.numbers.show(images, found)
        if family != self._family:  # what was sorted by has gone
            self._family = family
            self.sortByColumn(_FIRST, Qt.SortOrder.AscendingOrder)
        self._fit()

    def mark(self, image: str | None) -> None:
        """Select the row of the open image, without saying so."""
        self._open = image
        place, picked = self.numbers.place_of(image), self.selectionModel()
        if picked is None:
            return
        self._marking = True
        if place is None:
            picked.clear()
        else:
            index = self.numbers.index(place, 0)
            picked.setCurrentIndex(index, _SELECT)
            self.scrollTo(index)
        self._marking = False

    def resizeEvent(self, event: Any) -> None:  # noqa: N802
        """Fit the columns into the new width."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """Give the numbers the room they need, and the names what is left, but so much that they can be told apart."""
        inside = self.viewport()
        if inside is None:  # as Qt's types have it
            return
        letters, room = self.fontMetrics(), inside.width()
        for column, measure in enumerate(self.numbers.measures, start=1):
            widest = max(letters.horizontalAdvance(text) for text in (measure.title, "0.000"))
            self.setColumnWidth(column, widest + _PADDING)
            room -= widest + _PADDING
        self.setColumnWidth(0, max(_NARROWEST, room))

    def _on_row(self, current: QModelIndex) -> None:
        if current.isValid() and not self._marking:
            self.chosen.emit(self.numbers.rows[current.row()])
