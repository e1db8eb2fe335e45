"""A plot to look at: it follows the theme, and neither drags, zooms nor takes the keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyqtgraph as pg
from qtpy.QtCore import QSize, Qt

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_medssl.widgets.theme import Colors

__all__ = ["Plot"]

_AXES = ("left", "bottom")


class Plot(pg.PlotWidget):  # type: ignore[misc]
    """Axes and a background.

    Parameters
    ----------
    name : str
        For screen readers.
    """

    def __init__(self, name: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMouseEnabled(x=False, y=False)
        self.hideButtons()
        self.setMenuEnabled(False)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setAccessibleName(name)
        for axis in _AXES:
            self.getAxis(axis).enableAutoSIPrefix(False)

    def sizeHint(self) -> QSize:  # noqa: N802
        """Ask for no more height than is needed; where there is room, it grows."""
        return QSize(super().sizeHint().width(), self.minimumHeight())

    def paint_axes(self, colors: Colors) -> None:
        """Follow the theme."""
        self.setBackground(colors.background)
        for name in _AXES:
            axis = self.getAxis(name)
            axis.setPen(colors.faint)
            axis.setTextPen(colors.text)
