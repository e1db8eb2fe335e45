"""The files of a folder that cannot be used, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from qtpy.QtWidgets import QHeaderView, QTableView, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medssl.project import Skipped

__all__ = ["SkippedModel", "SkippedTable"]

_HEADINGS = ("File", "Why")


class SkippedModel(QAbstractTableModel):
    """Names and reasons; thousands of them cost nothing until they are seen."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.files: tuple[Skipped, ...] = ()

    def set_files(self, files: Sequence[Skipped]) -> None:
        """Show these files."""
        self.beginResetModel()
        self.files = tuple(files)
        self.endResetModel()

    def rowCount(  # noqa: N802
        self,
        parent: QModelIndex | QPersistentModelIndex = QModelIndex(),  # noqa: B008
    ) -> int:
        """Return the number of files."""
        return 0 if parent.isValid() else len(self.files)

    def columnCount(  # noqa: N802
        self,
        parent: QModelIndex | QPersistentModelIndex = QModelIndex(),  # noqa: B008
    ) -> int:
        """Return 2: name and reason."""
        return 0 if parent.isValid() else len(_HEADINGS)

    def data(
        self,
        index: QModelIndex | QPersistentModelIndex,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return the name or the reason."""
        if not index.isValid() or role not in (
            Qt.ItemDataRole.DisplayRole,
            Qt.ItemDataRole.ToolTipRole,
        ):
            return None
        file = self.files[index.row()]
        return file.name if index.column() == 0 else file.reason

    def headerData(  # noqa: N802
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return the headings of the columns."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _HEADINGS[section]
        return None


class SkippedTable(QTableView):
    """A table of two columns; the reason takes the room that there is."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.files = SkippedModel(self)
        self.setModel(self.files)
        self.setAccessibleName("Files that cannot be used")
        self.setEditTriggers(QTableView.EditTrigger.NoEditTriggers)
        self.setMinimumHeight(80)
        self.setWordWrap(True)
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        if rows is not None and columns is not None:
            rows.setVisible(False)
            columns.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
            columns.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
