"""The objects of the open image in a table: click one to see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QWidget

from napari_medssl.widgets.row_table import RowModel, RowTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qtpy.QtGui import QKeyEvent

    from napari_medssl.widgets.object_listing import ObjectEntry

__all__ = ["ObjectModel", "ObjectTable"]

_NUMBER, _CLASS, _AREA = range(3)
_DISPLAY = Qt.ItemDataRole.DisplayRole
_SELECT = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows


class ObjectModel(RowModel):
    """Ids, classes and areas, sorted."""

    headings = ("Object", "Class", "Pixels")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.rows: list[ObjectEntry] = []
        self._names: Mapping[int, str] = {}
        self._column = _NUMBER
        self._descending = False

    def set_rows(self, rows: Sequence[ObjectEntry], names: Mapping[int, str]) -> None:
        """Show these objects.

        Parameters
        ----------
        rows : sequence of ObjectEntry
            In any order.
        names : mapping of int to str
            Value of a class -> its name.
        """
        self.beginResetModel()
        self._names = names
        self.rows = sorted(rows, key=self._key, reverse=self._descending)
        self.endResetModel()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        self._column, self._descending = column, order == Qt.SortOrder.DescendingOrder
        self.set_rows(self.rows, self._names)

    def _key(self, row: ObjectEntry) -> tuple[Any, int]:
        keys = {_NUMBER: row.number, _CLASS: self.class_name(row), _AREA: row.area}
        return keys[self._column], row.number

    def class_name(self, row: ObjectEntry) -> str:
        """Name the class of an object."""
        return self._names.get(row.value, "none")

    def data(self, index: QModelIndex | QPersistentModelIndex, role: int = _DISPLAY) -> Any:
        """Return what a cell shows."""
        if not index.isValid():
            return None
        row = self.rows[index.row()]
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() != _CLASS:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ToolTipRole and index.column() == _CLASS and not row.value:
            return "None of its pixels has a class: it means nothing until they have one."
        if role != _DISPLAY:
            return None
        return (str(row.number), self.class_name(row), f"{row.area:,}")[index.column()]


class ObjectTable(RowTable):
    """One row per object; several can be selected, with Ctrl or Shift."""

    chosen = Signal(list)
    """Ids of the rows that the user selected, the one clicked last at the end."""
    delete_wanted = Signal()
    """The Delete key was pressed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        objects = ObjectModel()
        super().__init__(objects, "Objects of this image", parent)
        self.objects = objects
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setFixedHeight(118)  # four rows
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.height_of_rows.setDefaultSectionSize(22)
        for column in (_NUMBER, _AREA):
            self.columns.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.columns.setSectionResizeMode(_CLASS, QHeaderView.ResizeMode.Stretch)
        self.setSortingEnabled(True)
        self.sortByColumn(_NUMBER, Qt.SortOrder.AscendingOrder)
        self._filling = False
        picked = self.selectionModel()
        if picked is not None:
            picked.selectionChanged.connect(self._on_selection)
        self.objects.modelAboutToBeReset.connect(self._begin)
        self.objects.modelReset.connect(self._end)
        self._numbers: tuple[int, ...] = ()

    def show_objects(self, rows: Sequence[ObjectEntry], names: Mapping[int, str]) -> None:
        """Fill the rows; what is selected stays selected."""
        self.objects.set_rows(rows, names)

    def select(self, numbers: Sequence[int]) -> None:
        """Mark the rows of these objects, without saying so."""
        self._numbers = tuple(numbers)
        wanted = set(numbers)
        selection = QItemSelection()
        last = None
        for at, row in enumerate(self.objects.rows):
            if row.number in wanted:
                index = self.objects.index(at, 0)
                selection.select(index, index)
                last = index if numbers and row.number == numbers[-1] else last
        picked = self.selectionModel()
        if picked is None:
            return
        self._filling = True
        picked.select(selection, _SELECT)
        if last is not None:
            picked.setCurrentIndex(last, QItemSelectionModel.SelectionFlag.NoUpdate)
            self.scrollTo(last)
        self._filling = False

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """See the Delete key."""
        if event is not None and event.key() in (Qt.Key.Key_Delete, Qt.Key.Key_Backspace):
            self.delete_wanted.emit()
            return
        super().keyPressEvent(event)

    def _begin(self) -> None:
        self._filling = True

    def _end(self) -> None:
        self._filling = False
        self.select(self._numbers)

    def _on_selection(self) -> None:
        picked = self.selectionModel()
        if self._filling or picked is None:
            return
        numbers = [self.objects.rows[index.row()].number for index in picked.selectedRows()]
        current = picked.currentIndex()
        if current.isValid():
            last = self.objects.rows[current.row()].number
            numbers.sort(key=lambda number: number == last)
        self._numbers = tuple(numbers)
        self.chosen.emit(numbers)
