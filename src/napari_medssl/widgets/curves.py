"""The live plot of a run: training and validation values over steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.widgets.plot import Plot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_medssl.widgets.theme import Colors

    Series = Mapping[str, Sequence[tuple[int, float]]]

__all__ = ["Curves", "group"]

_VALIDATION = "validation/"


def group(names: list[str]) -> dict[str, list[str]]:
    """Group metric names by what they measure, losses first: ``loss`` holds ``validation/loss`` too."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(name.removeprefix(_VALIDATION), []).append(name)
    return dict(sorted(groups.items(), key=lambda item: ("loss" not in item[0], item[0])))


class Curves(QWidget):
    """A plot with a choice of what to plot and a logarithmic switch.

    Parameters
    ----------
    colors : Colors
        The theme's colours.
    """

    def __init__(self, colors: Colors, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._series: Series = {}
        self._colors = colors
        self.choice = QComboBox()
        self.choice.setAccessibleName("What to plot")
        self.choice.setToolTip("What to plot over the steps")
        self.log = QCheckBox("log")
        self.log.setToolTip("Logarithmic vertical axis")
        self.legend = QLabel()
        self.legend.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.plot = Plot("Curve of the run")
        self.plot.setMinimumHeight(130)
        self.plot.setMaximumHeight(230)
        self.plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Expanding)
        self._train = self.plot.plot()
        self._validation = self.plot.plot(symbol="o", symbolSize=5)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.choice, 1)
        row.addWidget(self.log)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(row)
        column.addWidget(self.legend)
        column.addWidget(self.plot, 1)
        self.choice.currentTextChanged.connect(self._draw)
        self.log.toggled.connect(self._draw)
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._colors = colors
        self.plot.paint_axes(colors)
        self.plot.setLabel("bottom", "step", color=colors.text)
        self._train.setPen(pg.mkPen(colors.train, width=2))
        self._validation.setPen(pg.mkPen(colors.validation, width=2))
        self._validation.setSymbolBrush(colors.validation)
        self._validation.setSymbolPen(colors.validation)
        self._draw()

    def show_series(self, series: Series) -> None:
        """Show these values: by name, ``(step, value)`` in order."""
        self._series = series
        groups = list(group(list(series)))
        known = [self.choice.itemText(i) for i in range(self.choice.count())]
        if groups != known:
            chosen = self.choice.currentText()
            self.choice.blockSignals(True)
            self.choice.clear()
            self.choice.addItems(groups)
            if chosen in groups:
                self.choice.setCurrentText(chosen)
            self.choice.blockSignals(False)
        self._draw()

    def _draw(self) -> None:
        names = group(list(self._series)).get(self.choice.currentText(), [])
        logarithmic = self.log.isChecked()
        self.plot.setLogMode(y=logarithmic)
        legend = []
        for curve, is_validation in ((self._train, False), (self._validation, True)):
            name = next((n for n in names if n.startswith(_VALIDATION) == is_validation), None)
            points = [] if name is None else [p for p in self._series[name] if math.isfinite(p[1])]
            if logarithmic:
                points = [point for point in points if point[1] > 0]
            curve.setData(*np.array(points, dtype=float).reshape(-1, 2).T)
            if name is not None and points:
                color = self._colors.validation if is_validation else self._colors.train
                mark, what = ("●", "validation") if is_validation else ("—", "training")
                legend.append(
                    f'<span style="color:{color}">{mark} {what} {points[-1][1]:.4g}</span>'
                )
        self.legend.setText("&nbsp; ".join(legend))
