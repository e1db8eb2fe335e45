"""The plot of a learning curve: what was measured, the curve through it, and where it leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt

from napari_medssl.widgets.plot import Plot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_medssl.evaluate.extrapolation import Forecast, Point
    from napari_medssl.evaluate.learning_curve import EvaluatedRun
    from napari_medssl.widgets.theme import Colors

__all__ = ["LearningPlot"]

_HEIGHT = 190
_FAINT = "40"  # opacity of the band, in hexadecimal


class LearningPlot(Plot):
    """Score over the number of annotated images.

    Parameters
    ----------
    colors : Colors
        The theme's colours.
    """

    def __init__(self, colors: Colors, parent: QWidget | None = None) -> None:
        super().__init__("Learning curve", parent)
        self._points: Sequence[Point] = ()
        self._forecast: Forecast | None = None
        self._runs: Sequence[EvaluatedRun] = ()
        self.setFixedHeight(_HEIGHT)
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._colors = colors
        self.paint_axes(colors)
        self.setLabel("bottom", "annotated images", color=colors.text)
        self.setLabel("left", "Dice", color=colors.text)
        self._draw()

    def show_curve(
        self, points: Sequence[Point], forecast: Forecast | None, runs: Sequence[EvaluatedRun]
    ) -> None:
        """Show what was measured, the forecast if there is one, and fine-tuned runs beside."""
        self._points, self._forecast, self._runs = points, forecast, runs
        self._draw()

    def _draw(self) -> None:
        colors, item = self._colors, self.getPlotItem()
        item.clear()
        if self._forecast is not None:
            self._draw_forecast(self._forecast)
        if self._points:
            counts = np.array([point.annotated for point in self._points], float)
            means = np.array([point.mean for point in self._points])
            below = means - [point.lowest for point in self._points]
            above = [point.highest for point in self._points] - means
            pen = pg.mkPen(colors.train, width=1)
            item.addItem(
                pg.ErrorBarItem(
                    x=counts,
                    y=means,
                    bottom=np.maximum(0, below),
                    top=np.maximum(0, above),
                    pen=pen,
                )
            )
            brush = pg.mkBrush(colors.train)
            item.addItem(pg.ScatterPlotItem(x=counts, y=means, size=7, brush=brush, pen=None))
        if self._runs:
            item.addItem(
                pg.ScatterPlotItem(
                    x=[run.annotated for run in self._runs],
                    y=[run.dice for run in self._runs],
                    symbol="d",
                    size=10,
                    brush=None,
                    pen=pg.mkPen(colors.text, width=1.5),
                )
            )

    def _draw_forecast(self, forecast: Forecast) -> None:
        colors, item = self._colors, self.getPlotItem()
        counts = np.array([band.annotated for band in forecast.band], float)
        values, low, high = (
            np.array([getattr(band.score, name) for band in forecast.band])
            for name in ("value", "low", "high")
        )
        edges = [pg.PlotCurveItem(counts, edge, pen=None) for edge in (low, high)]
        for edge in edges:
            item.addItem(edge)
        item.addItem(pg.FillBetweenItem(*edges, brush=pg.mkBrush(f"{colors.validation}{_FAINT}")))
        measured = counts <= forecast.annotated
        solid = pg.mkPen(colors.validation, width=2)
        dashed = pg.mkPen(colors.validation, width=2, style=Qt.PenStyle.DashLine)
        item.addItem(pg.PlotCurveItem(counts[measured], values[measured], pen=solid))
        begins = max(0, int(measured.sum()) - 1)
        item.addItem(pg.PlotCurveItem(counts[begins:], values[begins:], pen=dashed))
        then = forecast.then
        item.addItem(
            pg.ErrorBarItem(
                x=counts[-1:],
                y=values[-1:],
                bottom=values[-1:] - then.low,
                top=then.high - values[-1:],
                beam=0.3,
                pen=pg.mkPen(colors.text, width=1.5),
            )
        )
        item.addItem(
            pg.ScatterPlotItem(
                x=counts[-1:],
                y=values[-1:],
                symbol="star",
                size=15,
                brush=pg.mkBrush(colors.validation),
                pen=pg.mkPen(colors.text),
            )
        )
