"""Buttons and rows of them, as the steps lay them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QPushButton

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

__all__ = ["button", "equal_row", "row"]


def button(text: str, tip: str) -> QPushButton:
    """Make a button with a tooltip."""
    made = QPushButton(text)
    made.setToolTip(tip)
    return made


def row(*widgets: QWidget, stretch: QWidget | None = None) -> QHBoxLayout:
    """Put widgets side by side; one of them takes the room that is left."""
    layout = QHBoxLayout()
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget, 1 if widget is stretch else 0)
    return layout


def equal_row(*widgets: QWidget) -> QHBoxLayout:
    """Put widgets side by side in equal widths, whatever the words."""
    layout = QHBoxLayout()
    layout.setSpacing(4)
    for widget in widgets:
        layout.addWidget(widget, 1)
    return layout
