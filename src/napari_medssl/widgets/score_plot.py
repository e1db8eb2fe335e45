"""How the scores of the images are spread, and how F1 falls with the overlap that is asked for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

from napari_medssl.widgets.plot import Plot
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medssl.evaluate.objects import ObjectEvaluation
    from napari_medssl.widgets.theme import Colors

__all__ = ["ScorePlot"]

_BINS = 20
_HEIGHT = 110


class ScorePlot(QWidget):
    """A histogram of Dice, or the curve of F1 where objects were scored.

    Parameters
    ----------
    colors : Colors
        The theme's colours.
    """

    def __init__(self, colors: Colors, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._colors = colors
        self._dice: Sequence[float] = ()
        self._objects: ObjectEvaluation | None = None
        self.choice = QComboBox()
        self.choice.setAccessibleName("What to plot")
        self.choice.addItems(
            ["Dice of the images", "F1 of the objects, over the overlap asked for"]
        )
        self.plot = Plot("Spread of the scores")
        self.plot.setFixedHeight(_HEIGHT)
        self._bars = pg.BarGraphItem(x=[], height=[], width=1 / _BINS)
        self._mean = pg.InfiniteLine(angle=90)
        self._curve = self.plot.plot(symbol="o", symbolSize=6)
        self.plot.addItem(self._bars)
        self.plot.addItem(self._mean)
        self.text = QLabel()
        self.text.setWordWrap(True)
        set_role(self.text, "hint")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for part in (self.choice, self.plot, self.text):
            column.addWidget(part)
        self.choice.activated.connect(self._draw)
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._colors = colors
        self.plot.paint_axes(colors)
        self._bars.setOpts(brush=colors.train, pen=colors.background)
        self._mean.setPen(pg.mkPen(colors.validation, width=2, style=Qt.PenStyle.DashLine))
        self._curve.setPen(pg.mkPen(colors.train, width=2))
        self._curve.setSymbolBrush(colors.train)
        self._curve.setSymbolPen(colors.train)
        self._draw()

    def show_scores(self, dice: Sequence[float], objects: ObjectEvaluation | None) -> None:
        """Show the Dice of each image, and what F1 is over the overlap where objects were scored."""
        self._dice, self._objects = dice, objects
        if objects is None:
            self.choice.setCurrentIndex(0)
        self.choice.setVisible(objects is not None)
        self._draw()

    def _draw(self) -> None:
        objects = self._objects if self.choice.currentIndex() == 1 else None
        spread = objects is None
        self._bars.setVisible(spread)
        self._mean.setVisible(spread and bool(self._dice))
        self._curve.setVisible(not spread)
        if objects is not None:
            self._curve.setData(list(objects.f1_over), list(objects.f1_over.values()))
            self.plot.setXRange(min(objects.f1_over), max(objects.f1_over))
            self.plot.setYRange(0, 1)
            average = math.fsum(objects.f1_over.values()) / len(objects.f1_over)
            self.text.setText(
                f"F1 of objects that overlap a true one by this much (IoU); {average:.3f} on average."
            )
            return
        counts, edges = np.histogram(self._dice, bins=_BINS, range=(0, 1))
        self._bars.setOpts(x=(edges[:-1] + edges[1:]) / 2, height=counts)
        self.plot.setXRange(0, 1)
        self.plot.setYRange(0, max(1, int(counts.max())))
        if not self._dice:
            self.text.setText("")
            return
        mean = math.fsum(self._dice) / len(self._dice)
        self._mean.setValue(mean)
        below = sum(value < 0.5 for value in self._dice)
        self.text.setText(
            f"How many images have which Dice; the dashed line is the mean, {mean:.3f}. Below .5: {below}."
        )
