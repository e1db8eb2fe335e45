"""Images scored twice: a table of both scores, and their differences as points; a click in either chooses one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QModelIndex, QPersistentModelIndex, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QWidget

from napari_medssl.widgets.plot import Plot
from napari_medssl.widgets.row_table import RowModel, RowTable

if TYPE_CHECKING:
    from napari_medssl.evaluate.paired import Pair, PairedDifference
    from napari_medssl.widgets.theme import Colors

__all__ = ["DifferencePlot", "PairTable"]

_DISPLAY = Qt.ItemDataRole.DisplayRole
_RIGHT = (Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter).value
_HEIGHT = 150
_FAINT = "40"  # opacity of the interval, in hexadecimal


class _PairModel(RowModel):
    """A row an image."""

    headings = ("Image", "Before", "After", "Difference")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.rows: list[Pair] = []
        self._column, self._descending = 3, False

    def show(self, pairs: tuple[Pair, ...]) -> None:
        """Show these."""
        self.beginResetModel()
        self.rows = list(pairs)
        self._arrange()
        self.endResetModel()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        self._column, self._descending = column, order == Qt.SortOrder.DescendingOrder
        self.beginResetModel()
        self._arrange()
        self.endResetModel()

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = _DISPLAY) -> Any:
        """Return what a cell shows."""
        if not index.isValid():
            return None
        pair, column = self.rows[index.row()], index.column()
        if column == 0:
            return pair.image if role in (_DISPLAY, Qt.ItemDataRole.ToolTipRole) else None
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT
        if role != _DISPLAY:
            return None
        return f"{_value(pair, column):{'+' if column == 3 else ''}.3f}"

    def _arrange(self) -> None:
        column = self._column
        self.rows.sort(key=lambda pair: pair.image)
        if column > 0:
            self.rows.sort(key=lambda pair: _value(pair, column), reverse=self._descending)
        elif self._descending:
            self.rows.reverse()


def _value(pair: Pair, column: int) -> float:
    return (pair.before, pair.after, pair.difference)[column - 1]


class PairTable(RowTable):
    """Both scores of each image, what gained least first."""

    chosen = Signal(str)
    """The image of a row that was clicked."""

    def __init__(self, parent: QWidget | None = None) -> None:
        pairs = _PairModel()
        super().__init__(pairs, "Images scored by both runs", parent)
        self.pairs = pairs
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        self.setFixedHeight(_HEIGHT)
        self.height_of_rows.setDefaultSectionSize(22)
        self.columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.columns.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.setSortingEnabled(True)
        self.sortByColumn(3, Qt.SortOrder.AscendingOrder)
        self.clicked.connect(self._on_row)
        self.activated.connect(self._on_row)

    def _on_row(self, index: QModelIndex) -> None:
        self.chosen.emit(self.pairs.rows[index.row()].image)


class DifferencePlot(Plot):
    """A point for each image, sorted by its difference; the mean with its interval across, and the line of none.

    Parameters
    ----------
    colors : Colors
        The theme's colours.
    """

    chosen = Signal(str)
    """The image of a point that was clicked."""

    def __init__(self, colors: Colors, parent: QWidget | None = None) -> None:
        super().__init__("Differences of the images", parent)
        self._found: PairedDifference | None = None
        self.setFixedHeight(_HEIGHT)
        self.points = pg.ScatterPlotItem(size=9, hoverable=True)
        self.points.setZValue(10)
        self.points.sigClicked.connect(self._on_clicked)
        self._band = pg.LinearRegionItem(orientation="horizontal", movable=False)
        self._mean = pg.InfiniteLine(angle=0)
        self._none = pg.InfiniteLine(0, angle=0)
        for item in (self._band, self._mean, self._none, self.points):
            self.addItem(item)
        self.hideAxis("bottom")
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.paint_axes(colors)
        self.setLabel("left", "difference", color=colors.text)
        self._band.setBrush(pg.mkBrush(f"{colors.validation}{_FAINT}"))
        for line in self._band.lines:
            line.setPen(pg.mkPen(None))
        self._mean.setPen(pg.mkPen(colors.validation, width=2))
        self._none.setPen(pg.mkPen(colors.text, width=1, style=Qt.PenStyle.DashLine))
        self.points.setBrush(pg.mkBrush(colors.train))
        self.points.setPen(pg.mkPen(colors.background))

    def show_difference(self, found: PairedDifference) -> None:
        """Show these differences."""
        self._found = found
        values = np.array([pair.difference for pair in found.images])
        names = [pair.image for pair in found.images]
        self.points.setData(x=np.arange(len(values)), y=values, data=names)
        self._band.setRegion((found.interval.low, found.interval.high))
        self._mean.setValue(found.interval.mean)
        reach = max(float(np.abs(values).max()), 0.01)
        self.setYRange(min(0, values.min()) - 0.1 * reach, max(0, values.max()) + 0.1 * reach)

    def _on_clicked(self, item: Any, points: Any, event: Any) -> None:
        if len(points):
            self.chosen.emit(str(points[0].data()))
