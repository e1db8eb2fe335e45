"""Images scored twice: a table of both scores, and their differences as points; a click in either chooses one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtWidgets import QHeaderView, QWidget

from napari_medssl.widgets.number_table import Measure, NumberTable
from napari_medssl.widgets.plot import Plot

if TYPE_CHECKING:
    from napari_medssl.evaluate.paired import Pair, PairedDifference
    from napari_medssl.widgets.theme import Colors

__all__ = ["DifferencePlot", "PairTable"]

_HEIGHT = 150
_FAINT = "40"  # opacity of the interval, in hexadecimal


class PairTable(NumberTable):
    """Both scores of each image, what gained least first."""

    chosen = Signal(str)
    """The image of a row that was clicked."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Images scored by both runs", column=3, parent=parent)
        self.setFixedHeight(_HEIGHT)
        self.columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.clicked.connect(self._on_row)
        self.activated.connect(self._on_row)
        self.show_pairs(())

    def show_pairs(self, pairs: tuple[Pair, ...]) -> None:
        """Show these."""
        own = {pair.image: pair for pair in pairs}
        self.numbers.show(
            own,
            (
                Measure(
                    "Before", "Score of the run that is compared with", lambda n: own[n].before
                ),
                Measure("After", "Score of this run", lambda n: own[n].after),
                Measure("Difference", "After less before", lambda n: own[n].difference, "+.3f"),
            ),
        )
        self.columns.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)

    def _on_row(self, index: QModelIndex) -> None:
        self.chosen.emit(self.numbers.rows[index.row()])


class DifferencePlot(Plot):
    """A point for each image, sorted by its difference; the mean with its interval across, and the line of none.

    Parameters
    ----------
    colors : Colors
        The theme's colours.
    """

    chosen = Signal(str)
    """The image of a point that was clicked."""

    def __init__(self, colors: Colors, parent: QWidget | None = None) -> None:
        super().__init__("Differences of the images", parent)
        self._found: PairedDifference | None = None
        self.setFixedHeight(_HEIGHT)
        self.points = pg.ScatterPlotItem(size=9, hoverable=True)
        self.points.setZValue(10)
        self.points.sigClicked.connect(self._on_clicked)
        self._band = pg.LinearRegionItem(orientation="horizontal", movable=False)
        self._mean = pg.InfiniteLine(angle=0)
        self._none = pg.InfiniteLine(0, angle=0)
        for item in (self._band, self._mean, self._none, self.points):
            self.addItem(item)
        self.hideAxis("bottom")
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.paint_axes(colors)
        self.setLabel("left", "difference", color=colors.text)
        self._band.setBrush(pg.mkBrush(f"{colors.validation}{_FAINT}"))
        for line in self._band.lines:
            line.setPen(pg.mkPen(None))
        self._mean.setPen(pg.mkPen(colors.validation, width=2))
        self._none.setPen(pg.mkPen(colors.text, width=1, style=Qt.PenStyle.DashLine))
        self.points.setBrush(pg.mkBrush(colors.train))
        self.points.setPen(pg.mkPen(colors.background))

    def show_difference(self, found: PairedDifference) -> None:
        """Show these differences."""
        self._found = found
        values = np.array([pair.difference for pair in found.images])
        names = [pair.image for pair in found.images]
        self.points.setData(x=np.arange(len(values)), y=values, data=names)
        self._band.setRegion((found.interval.low, found.interval.high))
        self._mean.setValue(found.interval.mean)
        reach = max(float(np.abs(values).max()), 0.01)
        self.setYRange(min(0, values.min()) - 0.1 * reach, max(0, values.max()) + 0.1 * reach)

    def _on_clicked(self, item: Any, points: Any, event: Any) -> None:
        if len(points):
            self.chosen.emit(str(points[0].data()))
