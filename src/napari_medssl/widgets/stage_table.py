"""How alike every stage of one encoder and every stage of another one see images (CKA)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QWidget

if TYPE_CHECKING:
    from napari_medssl.evaluate.assessment import CkaResult

__all__ = ["StageTable"]

_ROW = 22
_TINT = QColor(61, 155, 233)
_OPAQUE = 130
"""Of the tint where two stages are alike, of 255: text stays readable on it in dark and light themes."""


class StageTable(QTableWidget):
    """Rows are the stages of this run and columns those of the other one; alike ones are tinted."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAccessibleName("CKA, stages of this run by stages of the other one")
        self.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        if rows is not None and columns is not None:
            rows.setDefaultSectionSize(_ROW)
            columns.setHighlightSections(False)
            columns.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)

    def show_stages(self, cka: CkaResult) -> None:
        """Show every stage with every stage."""
        self.setRowCount(len(cka.table))
        self.setColumnCount(len(cka.table[0]) if cka.table else 0)
        self.setHorizontalHeaderLabels([str(n + 1) for n in range(self.columnCount())])
        self.setVerticalHeaderLabels([str(n + 1) for n in range(self.rowCount())])
        self.setFixedHeight((1 + self.rowCount()) * _ROW + 6)
        for row, line in enumerate(cka.table):
            for column, value in enumerate(line):
                item = QTableWidgetItem(f"{value:.2f}")
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                item.setToolTip(
                    f"Stage {row + 1} of this run, stage {column + 1} of {cka.against}: {value:.3f}"
                )
                tint = QColor(_TINT)
                tint.setAlpha(round(_OPAQUE * min(1.0, max(0.0, value))))
                item.setBackground(tint)
                self.setItem(row, column, item)
