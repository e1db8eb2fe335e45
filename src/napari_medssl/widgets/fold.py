"""A heading that folds what is under it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QSizePolicy, QToolButton, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from qtpy.QtWidgets import QLayout

__all__ = ["Fold"]


class Fold(QWidget):
    """A flat button with an arrow, and content that is there or not.

    (superqt's `QCollapsible` paints its arrow once, in the colours of the theme of that moment, and cuts
    off content that grows after it was opened.)

    Parameters
    ----------
    title : str
        The heading.
    """

    toggled = Signal(bool)

    def __init__(self, title: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.button = QToolButton()
        self.button.setText(title)
        self.button.setAccessibleName(title)
        self.button.setCheckable(True)
        self.button.setArrowType(Qt.ArrowType.RightArrow)
        self.button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.button.setStyleSheet("QToolButton { border: none; background: transparent; }")
        self.content = QWidget()
        self.content.setVisible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.button)
        column.addWidget(self.content)
        self.button.toggled.connect(self._toggle)

    def set_content_layout(self, layout: QLayout) -> None:
        """Put this under the heading."""
        layout.setContentsMargins(12, 2, 0, 4)
        self.content.setLayout(layout)

    def set_open(self, on: bool) -> None:
        """Fold or unfold."""
        self.button.setChecked(on)

    def is_open(self) -> bool:
        """Whether the content is shown."""
        return bool(self.button.isChecked())

    def _toggle(self, on: bool) -> None:
        self.button.setArrowType(Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow)
        self.content.setVisible(on)
        self.toggled.emit(on)
