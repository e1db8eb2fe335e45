"""A small button that opens a menu and looks like one."""

from __future__ import annotations

from qtpy.QtWidgets import QMenu, QPushButton, QWidget

__all__ = ["MenuButton"]


class MenuButton(QPushButton):
    """Opens `popup`; its arrow is a sign in its text, for napari's own covers the words.

    Parameters
    ----------
    text : str
        What is on it, without the arrow.
    tip : str
        Its tooltip.
    """

    def __init__(self, text: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(f"{text} ▾", parent)
        self.setAccessibleName(text)
        self.setToolTip(tip)
        self.setStyleSheet("QPushButton::menu-indicator { image: none; width: 0px; }")
        self.popup = QMenu(self)
        self.popup.setToolTipsVisible(True)
        self.setMenu(self.popup)
