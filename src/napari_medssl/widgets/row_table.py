"""Tables of many rows: a row costs nothing until it is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

__all__ = ["RowModel", "RowTable"]


class RowModel(QAbstractTableModel):
    """Rows of any kind; a class of them says in `data` what a cell shows."""

    headings: Sequence[str] = ()
    """Of the columns."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.rows: Sequence[Any] = ()
        """Those that are shown, in this order."""

    def rowCount(  # noqa: N802
        self,
        parent: QModelIndex | QPersistentModelIndex = QModelIndex(),  # noqa: B008
    ) -> int:
        """Return the number of rows."""
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(  # noqa: N802
        self,
        parent: QModelIndex | QPersistentModelIndex = QModelIndex(),  # noqa: B008
    ) -> int:
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self.headings)

    def headerData(  # noqa: N802
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return the heading of a column."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return self.headings[section]
        return None


class RowTable(QTableView):
    """Shows a `RowModel`: whole rows are selected, nothing is edited, and Tab leaves it.

    Parameters
    ----------
    model : RowModel
        Its rows.
    name : str
        What it holds, for those who cannot see it.
    """

    def __init__(self, model: RowModel, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        model.setParent(self)
        self.setModel(model)
        self.setAccessibleName(name)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.height_of_rows.setVisible(False)
        self.columns.setHighlightSections(False)

    @property
    def columns(self) -> QHeaderView:
        """The headings."""
        return _there(self.horizontalHeader())

    @property
    def height_of_rows(self) -> QHeaderView:
        """What is left of the rows: not shown, and sets how high they are."""
        return _there(self.verticalHeader())


def _there(header: QHeaderView | None) -> QHeaderView:
    if header is None:  # as Qt's types have it
        raise RuntimeError("A table has headers.")
    return header
