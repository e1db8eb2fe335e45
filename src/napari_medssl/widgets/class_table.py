"""The table of classes: what is painted, in which colour, and how much of it there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qtpy.QtWidgets import QWidget

    from napari_medssl.project import ClassInfo

__all__ = ["ClassTable", "swatch"]

_T = TypeVar("_T")

_ERASER = 0
_BACKGROUND = 1
_NAME, _VALUE, _PIXELS = range(3)
_MOST_ROWS = 5  # more than these scroll
_VALUE_ROLE = Qt.ItemDataRole.UserRole
_SHOWN_ROLE = Qt.ItemDataRole.UserRole + 1


class ClassTable(QTableWidget):
    """One row per class and one for the eraser; the selected row is what the brush paints.

    Double-click a name to change it, a colour or value to change the colour.
    """

    chosen = Signal(int)
    """Label value of the row the user selected."""
    renamed = Signal(int, str)
    """Label value and new name."""
    colour_wanted = Signal(int)
    """Label value of the class whose colour is to change."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 3, parent)
        self.setAccessibleName("Classes")
        self.setHorizontalHeaderLabels(["Class", "Value", "Pixels"])
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        _there(self.verticalHeader()).hide()
        _there(self.verticalHeader()).setDefaultSectionSize(24)
        header = _there(self.horizontalHeader())
        header.setHighlightSections(False)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(_VALUE, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_PIXELS, QHeaderView.ResizeMode.ResizeToContents)
        for column, text in (
            (_VALUE, "The number that stands for the class in the label files"),
            (_PIXELS, "Pixels of this image that are annotated as the class"),
        ):
            item = _there(self.horizontalHeaderItem(column))
            item.setToolTip(text)
            item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        _there(self.horizontalHeaderItem(_NAME)).setTextAlignment(
            Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        )
        self._filling = False
        self.itemSelectionChanged.connect(self._on_selection)
        self.itemChanged.connect(self._on_edited)
        self.cellDoubleClicked.connect(self._on_double_click)

    @property
    def value(self) -> int | None:
        """Label value of the selected row."""
        rows = _there(self.selectionModel()).selectedRows()
        return int(_there(self.item(rows[0].row(), _NAME)).data(_VALUE_ROLE)) if rows else None

    def show_classes(self, classes: Sequence[ClassInfo], counts: Mapping[int, int]) -> None:
        """Fill the rows."""
        self._filling = True
        rows = [(_ERASER, "not annotated (eraser)", "")]
        rows += [(item.value, item.name, item.color) for item in classes]
        self.setRowCount(len(rows))
        for row, (value, name, colour) in enumerate(rows):
            self._fill(row, value, name, colour, counts.get(value, 0))
        shown = min(len(rows), _MOST_ROWS)
        self.setFixedHeight(
            _there(self.horizontalHeader()).sizeHint().height()
            + shown * _there(self.verticalHeader()).defaultSectionSize()
            + 2 * self.frameWidth()
        )
        self._filling = False

    def select(self, value: int | None) -> None:
        """Mark the row with this label value, without saying so."""
        if value == self.value:
            return
        self._filling = True
        self.clearSelection()
        for row in range(self.rowCount()):
            if _there(self.item(row, _NAME)).data(_VALUE_ROLE) == value:
                self.setCurrentCell(row, _NAME)
        self._filling = False

    def edit_name(self, value: int) -> None:
        """Let the user type another name for a class."""
        for row in range(self.rowCount()):
            item = _there(self.item(row, _NAME))
            if item.data(_VALUE_ROLE) == value:
                self.editItem(item)

    def _fill(self, row: int, value: int, name: str, colour: str, count: int) -> None:
        texts = (name, str(value), f"{count:,}")
        for column, text in enumerate(texts):
            item = self.item(row, column)
            if item is None:
                item = QTableWidgetItem()
                self.setItem(row, column, item)
            # a cell that is set while its name is being edited would throw away what was typed
            shown = [value, text, colour]
            if item.text() == text and item.data(_SHOWN_ROLE) == shown:
                continue
            flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
            if column == _NAME:
                item.setIcon(swatch(colour))
                item.setData(_VALUE_ROLE, value)
                if value > _BACKGROUND:
                    flags |= Qt.ItemFlag.ItemIsEditable
                item.setToolTip(_tip(value, name, colour))
            else:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            item.setText(text)
            item.setFlags(flags)
            item.setData(_SHOWN_ROLE, shown)

    def _on_selection(self) -> None:
        if not self._filling and self.value is not None:
            self.chosen.emit(self.value)

    def _on_edited(self, item: QTableWidgetItem) -> None:
        if not self._filling and item.column() == _NAME:
            self.renamed.emit(int(item.data(_VALUE_ROLE)), item.text())

    def _on_double_click(self, row: int, column: int) -> None:
        value = int(_there(self.item(row, _NAME)).data(_VALUE_ROLE))
        if column != _NAME and value != _ERASER:
            self.colour_wanted.emit(value)


def _there(found: _T | None) -> _T:
    # Qt's types say that a table may have no header, no model and no item; this table has them
    if found is None:
        raise RuntimeError("A part of the table of classes is missing.")
    return found


def _tip(value: int, name: str, colour: str) -> str:
    if value == _ERASER:
        return "Pixels that nothing is said about: they are not used for training."
    if value == _BACKGROUND:
        return f"Everything that belongs to no class. Fixed; its colour is {colour}."
    return f"{name}, {colour}. Double-click the name to change it, the value to change the colour."


def swatch(colour: str) -> QIcon:
    """Draw the colour of a class; crossed out for an empty one, which means no colour."""
    pixmap = QPixmap(14, 14)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setPen(QPen(QColor("#808080")))
    if colour:
        painter.setBrush(QColor(colour))
        painter.drawRect(0, 0, 13, 13)
    else:  # crossed out: no colour at all
        painter.drawRect(0, 0, 13, 13)
        painter.drawLine(0, 13, 13, 0)
    painter.end()
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Selected)  # Qt would tint it, and the colour is what it tells
    return icon
