"""The files of a folder that cannot be used, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QModelIndex, QPersistentModelIndex, Qt
from qtpy.QtWidgets import QHeaderView, QWidget

from napari_medssl.widgets.row_table import RowModel, RowTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medssl.project import Skipped

__all__ = ["SkippedModel", "SkippedTable"]


class SkippedModel(RowModel):
    """Names and reasons."""

    headings = ("File", "Why")

    def set_files(self, files: Sequence[Skipped]) -> None:
        """Show these files."""
        self.beginResetModel()
        self.rows = tuple(files)
        self.endResetModel()

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
        file = self.rows[index.row()]
        return file.name if index.column() == 0 else file.reason


class SkippedTable(RowTable):
    """A table of two columns; the reason takes the room that there is."""

    def __init__(self, parent: QWidget | None = None) -> None:
        files = SkippedModel()
        super().__init__(files, "Files that cannot be used", parent)
        self.files = files
        self.setMinimumHeight(80)
        self.setWordWrap(True)
        self.columns.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.columns.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
