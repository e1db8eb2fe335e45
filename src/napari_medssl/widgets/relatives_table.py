"""Images beside the most and the least similar one of the folder; a click opens one."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QWidget

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from napari_medssl.evaluate.assessment import Relatives
    from napari_medssl.widgets.thumbnails import Thumbnails

__all__ = ["RelativesTable"]

_HEADINGS = ("Image", "Most alike", "Least alike")
_NAME = Qt.ItemDataRole.UserRole
_ICON = 36
_ROW = 44
_ROWS = 3
"""In sight; for more, the table scrolls."""


class RelativesTable(QTableWidget):
    """A row an image, each cell with picture, name and class.

    Parameters
    ----------
    thumbnails : Thumbnails
        The session's.
    """

    chosen = Signal(str)
    """The image that was clicked, or on which Enter was pressed."""

    def __init__(self, thumbnails: Thumbnails, parent: QWidget | None = None) -> None:
        super().__init__(0, len(_HEADINGS), parent)
        self._thumbnails = thumbnails
        self.setAccessibleName("Images, each with the most and the least alike one")
        self.setHorizontalHeaderLabels(_HEADINGS)
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setIconSize(QSize(_ICON, _ICON))
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        if rows is not None and columns is not None:
            rows.setVisible(False)
            rows.setDefaultSectionSize(_ROW)
            columns.setHighlightSections(False)
            columns.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.itemClicked.connect(self._on_item)
        self.itemActivated.connect(self._on_item)
        thumbnails.arrived.connect(self._on_arrived)

    def show_relatives(self, found: Sequence[Relatives], images: Collection[str]) -> None:
        """Show these; cells of what is not among the images any more cannot be clicked."""
        self.setRowCount(len(found))
        header = self.horizontalHeader()
        self.setFixedHeight(
            min(len(found), _ROWS) * _ROW + (header.sizeHint().height() if header else 0) + 4
        )
        for row, own in enumerate(found):
            for column, (name, label) in enumerate(
                (
                    (own.image, own.label),
                    (own.nearest, own.nearest_label),
                    (own.farthest, own.farthest_label),
                )
            ):
                short = name.removesuffix(PurePosixPath(name).suffix)  # room is scarce
                item = QTableWidgetItem(f"{short}\n{label}" if label else short)
                item.setData(_NAME, name)
                there = name in images
                told = f"{name}, class {label}" if label else name
                item.setToolTip(told if there else f"{told}: no longer in the project")
                item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{_HEADINGS[column]}: {told}")
                if not there:
                    item.setFlags(Qt.ItemFlag.NoItemFlags)
                self.setItem(row, column, item)
                self._dress(item)

    def _items(self) -> Iterator[QTableWidgetItem]:
        for row in range(self.rowCount()):
            for column in range(self.columnCount()):
                if (item := self.item(row, column)) is not None:
                    yield item

    def _dress(self, item: QTableWidgetItem) -> None:
        picture = self._thumbnails.get(item.data(_NAME)) if item.flags() else None
        if picture is not None:
            item.setIcon(QIcon(picture))

    def _on_arrived(self, name: str) -> None:
        for item in self._items():
            if item.data(_NAME) == name:
                self._dress(item)

    def _on_item(self, item: QTableWidgetItem) -> None:
        self.chosen.emit(item.data(_NAME))
