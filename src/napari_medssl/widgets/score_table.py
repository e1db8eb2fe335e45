"""The scored images in a table, the worst first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QItemSelectionModel, QModelIndex, QPersistentModelIndex, QSize, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QWidget

from napari_medssl.widgets.row_table import RowModel, RowTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medssl.evaluate import Evaluation, ImageScore

__all__ = ["ScoreModel", "ScoreTable"]

_DISPLAY = Qt.ItemDataRole.DisplayRole
_RIGHT = (Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter).value
_PADDING = 18
"""Of a column of numbers, pixels: the margins, and the arrow of the one that is sorted by."""
_HEIGHT = 116
"""Of the headings and four rows, pixels."""
_NARROWEST = 96
"""Column of names, pixels; then the table scrolls."""
_SELECT = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows


@dataclass(frozen=True)
class _Measure:
    """A column of numbers; NaN where an image has none."""

    title: str
    tip: str
    of: Callable[[str], float]
    digits: int = 3


class ScoreModel(RowModel):
    """A row an image; sorted by any column, the images without a number last."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.rows: list[str] = []
        """Names of the images, in the order shown."""
        self.measures: tuple[_Measure, ...] = ()
        self._column, self._descending = 1, False

    def show(self, evaluation: Evaluation | None, label: str | None) -> None:
        """Show these scores, of a class or (None) the means over all classes."""
        self.beginResetModel()
        self.rows = [] if evaluation is None else [row.image for row in evaluation.images]
        self.measures = () if evaluation is None else tuple(_measures(evaluation, label))
        self.headings = ("Image", *(measure.title for measure in self.measures))
        self._arrange()
        self.endResetModel()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        self._column, self._descending = column, order == Qt.SortOrder.DescendingOrder
        self.beginResetModel()
        self._arrange()
        self.endResetModel()

    def place_of(self, image: str | None) -> int | None:
        """Give the row of an image; None where it is not shown."""
        return self.rows.index(image) if image in self.rows else None

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = _DISPLAY) -> Any:
        """Return what a cell shows."""
        if not index.isValid():
            return None
        name, column = self.rows[index.row()], index.column()
        if column == 0:
            return name if role in (_DISPLAY, Qt.ItemDataRole.ToolTipRole) else None
        measure = self.measures[column - 1]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT
        if role != _DISPLAY:
            return None
        value = measure.of(name)
        return "" if math.isnan(value) else f"{value:.{measure.digits}f}"

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = _DISPLAY) -> Any:  # noqa: N802
        """Return the headings, and what they mean."""
        if role == Qt.ItemDataRole.ToolTipRole and orientation == Qt.Orientation.Horizontal:
            return self.measures[section - 1].tip if section else None
        return super().headerData(section, orientation, role)

    def _arrange(self) -> None:
        if self._column == 0 or self._column > len(self.measures):
            self.rows.sort(reverse=self._descending)
            return
        values = {name: self.measures[self._column - 1].of(name) for name in self.rows}
        sign = -1 if self._descending else 1
        self.rows.sort(key=lambda name: (math.isnan(values[name]), sign * values[name], name))


def _measures(evaluation: Evaluation, label: str | None) -> Sequence[_Measure]:
    """Give the columns for which there are scores."""
    rows = {row.image: row for row in evaluation.images}
    labels = list(evaluation.mean) if label is None else [label]
    of = "mean over classes" if len(labels) > 1 else labels[0]

    def score(row: ImageScore, key: str) -> float:
        return math.fsum(getattr(row.classes[name], key) for name in labels) / len(labels)

    found = [
        _Measure("Dice", f"Dice, {of}: 2 TP / (2 TP + FP + FN)", lambda n: score(rows[n], "dice")),
        _Measure(
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
            _Measure(
                "Edge",
                f"Surface Dice, {of}: share of both outlines within {outlines.tolerance:g} pixels of the other one",
                near,
            ),
            _Measure(
                "HD95",
                "Hausdorff distance (95%), pixels, of the worst class; empty where undefined",
                far,
                1,
            ),
        ]
    if (objects := evaluation.objects) is not None:
        counted = {row.image: row for row in objects.images}
        found += [
            _Measure(
                "AJI+", "Aggregated Jaccard index of the objects", lambda n: counted[n].aji_plus
            ),
            _Measure("F1", "F1 of objects found at an overlap of .5", lambda n: counted[n].f1),
        ]
    return found


class ScoreTable(RowTable):
    """Shows a `ScoreModel`; a click or the arrow keys choose an image."""

    chosen = Signal(str)
    """The image of the row that the user went to."""

    def __init__(self, parent: QWidget | None = None) -> None:
        scores = ScoreModel()
        super().__init__(scores, "Scored images", parent)
        self.scores = scores
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        self.setMinimumHeight(_HEIGHT)
        self.setMaximumHeight(3 * _HEIGHT)
        self.height_of_rows.setDefaultSectionSize(22)
        self.columns.setMinimumSectionSize(44)
        self.setSortingEnabled(True)
        self.sortByColumn(1, Qt.SortOrder.AscendingOrder)
        self._open: str | None = None
        self._marking = False
        picked = self.selectionModel()
        if picked is not None:
            picked.currentRowChanged.connect(self._on_row)
        self.scores.modelReset.connect(lambda: self.mark(self._open))

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for no more than four rows: the notes above may be long. It grows where there is room."""
        return QSize(super().sizeHint().width(), _HEIGHT)

    def show_scores(self, evaluation: Evaluation | None, label: str | None) -> None:
        """Show these scores, of a class or (None) the means over all classes."""
        self.scores.show(evaluation, label)
        self._fit()

    def mark(self, image: str | None) -> None:
        """Select the row of the open image, without saying so."""
        self._open = image
        place, picked = self.scores.place_of(image), self.selectionModel()
        if picked is None:
            return
        self._marking = True
        if place is None:
            picked.clear()
        else:
            index = self.scores.index(place, 0)
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
        for column, measure in enumerate(self.scores.measures, start=1):
            widest = max(letters.horizontalAdvance(text) for text in (measure.title, "0.000"))
            self.setColumnWidth(column, widest + _PADDING)
            room -= widest + _PADDING
        self.setColumnWidth(0, max(_NARROWEST, room))

    def _on_row(self, current: QModelIndex) -> None:
        if current.isValid() and not self._marking:
            self.chosen.emit(self.scores.rows[current.row()])
