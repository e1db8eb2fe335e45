"""Images in a table with numbers of each, sorted by any of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QModelIndex, QPersistentModelIndex, Qt
from qtpy.QtWidgets import QAbstractItemView

from napari_medssl.widgets.row_table import RowModel, RowTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qtpy.QtWidgets import QWidget

__all__ = ["Measure", "NumberModel", "NumberTable"]

_DISPLAY = Qt.ItemDataRole.DisplayRole
_RIGHT = (Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter).value


@dataclass(frozen=True)
class Measure:
    """A column of numbers; NaN where an image has none."""

    title: str
    tip: str
    of: Callable[[str], float]
    """Image -> its number."""
    form: str = ".3f"
    """Format specification of the numbers."""


class NumberModel(RowModel):
    """A row an image; those without a number last.

    Parameters
    ----------
    column : int
        Which one they are sorted by at first, rising; 0 is the image's name.
    """

    headings: Sequence[str] = ("Image",)

    def __init__(self, column: int, parent: Any = None) -> None:
        super().__init__(parent)
        self.rows: list[str] = []
        """Names of the images, in the order shown."""
        self.measures: tuple[Measure, ...] = ()
        self._column, self._descending = column, False

    def show(self, images: Iterable[str], measures: Sequence[Measure]) -> None:
        """Show these images, with these numbers."""
        self.beginResetModel()
        self.rows, self.measures = list(images), tuple(measures)
        self.headings = ("Image", *(measure.title for measure in measures))
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
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT
        if role != _DISPLAY:
            return None
        measure = self.measures[column - 1]
        value = measure.of(name)
        return "" if math.isnan(value) else f"{value:{measure.form}}"

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


class NumberTable(RowTable):
    """Shows a `NumberModel`; one row can be chosen.

    Parameters
    ----------
    name : str
        What it holds, for those who cannot see it.
    column : int
        As of `NumberModel`.
    """

    def __init__(self, name: str, *, column: int, parent: QWidget | None = None) -> None:
        self.numbers = NumberModel(column)
        super().__init__(self.numbers, name, parent)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        self.height_of_rows.setDefaultSectionSize(22)
        self.setSortingEnabled(True)
        self.sortByColumn(column, Qt.SortOrder.AscendingOrder)
