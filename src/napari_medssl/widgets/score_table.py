"""The scored images in a table, the worst first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QItemSelectionModel, QModelIndex, QSize, Signal

from napari_medssl.widgets.number_table import Measure, NumberTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_medssl.evaluate import Evaluation, ImageScore

__all__ = ["ScoreTable"]

_PADDING = 18
"""Of a column of numbers, pixels: the margins, and the arrow of the one that is sorted by."""
_HEIGHT = 116
"""Of the headings and four rows, pixels."""
_NARROWEST = 96
"""Column of names, pixels; then the table scrolls."""
_SELECT = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows


def _measures(evaluation: Evaluation, label: str | None) -> Sequence[Measure]:
    """Give the columns for which there are scores."""
    rows = {row.image: row for row in evaluation.images}
    labels = list(evaluation.mean) if label is None else [label]
    of = "mean over classes" if len(labels) > 1 else labels[0]

    def score(row: ImageScore, key: str) -> float:
        return math.fsum(getattr(row.classes[name], key) for name in labels) / len(labels)

    found = [
        Measure("Dice", f"Dice, {of}: 2 TP / (2 TP + FP + FN)", lambda n: score(rows[n], "dice")),
        Measure(
            "IoU",
            f"Intersection over union, {of}: TP / (TP + FP + FN)",
            lambda n: score(rows[n], "iou"),
        ),
    ]
    if (outlines := evaluation.outlines) is not None:

        def near(name: str) -> float:
            own = outlines.images.get(name)
            if own is None:  # nothing is annotated there
                return math.nan
            return math.fsum(own[key].surface_dice for key in labels) / len(labels)

        def far(name: str) -> float:
            own = outlines.images.get(name)
            values = [] if own is None else [own[key].hd95 for key in labels]
            known = [value for value in values if value is not None]
            return max(known) if known else math.nan

        found += [
            Measure(
                "Edge",
                f"Surface Dice, {of}: share of both outlines within {outlines.tolerance:g} pixels of the other one",
                near,
            ),
            Measure(
                "HD95",
                "Hausdorff distance (95%), pixels, of the worst class; empty where undefined",
                far,
                ".1f",
            ),
        ]
    if (objects := evaluation.objects) is not None:
        counted = {row.image: row for row in objects.images}
        found += [
            Measure(
                "AJI+", "Aggregated Jaccard index of the objects", lambda n: counted[n].aji_plus
            ),
            Measure("F1", "F1 of objects found at an overlap of .5", lambda n: counted[n].f1),
        ]
    return found


class ScoreTable(NumberTable):
    """The worst score first; a click or the arrow keys choose an image."""

    chosen = Signal(str)
    """The image of the row that the user went to."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Scored images", column=1, parent=parent)
        self.setMinimumHeight(_HEIGHT)
        self.setMaximumHeight(3 * _HEIGHT)
        self.columns.setMinimumSectionSize(44)
        self._open: str | None = None
        self._marking = False
        picked = self.selectionModel()
        if picked is not None:
            picked.currentRowChanged.connect(self._on_row)
        self.numbers.modelReset.connect(lambda: self.mark(self._open))

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for no more than four rows: the notes above may be long. It grows where there is room."""
        return QSize(super().sizeHint().width(), _HEIGHT)

    def show_scores(self, evaluation: Evaluation | None, label: str | None) -> None:
        """Show these scores, of a class or (None) the means over all classes."""
        images = () if evaluation is None else (row.image for row in evaluation.images)
        self.numbers.show(images, () if evaluation is None else _measures(evaluation, label))
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
