"""How the map of Explore is shown: range, colours, opacity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QGridLayout, QLabel, QSlider, QWidget
from superqt import QDoubleRangeSlider

from napari_medssl.widgets.heat_view import COLORMAPS

if TYPE_CHECKING:
    from napari_medssl.widgets.heat_view import HeatView

__all__ = ["MapSettings"]


class MapSettings(QWidget):
    """The controls of a `HeatView`.

    Parameters
    ----------
    view : HeatView
        What is set.
    """

    def __init__(self, view: HeatView, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._view = view
        self._showing = False
        self.range = QDoubleRangeSlider(Qt.Orientation.Horizontal)  # type: ignore[no-untyped-call]
        self.range.setRange(-1.0, 1.0)
        self.range.setSingleStep(0.01)
        self.range.setAccessibleName("Similarities shown")
        self.range.setToolTip(
            "Pixels at or below the lower similarity stay dark; those at the upper one are brightest."
        )
        self.low, self.high = QLabel(), QLabel()
        for label in (self.low, self.high):
            label.setMinimumWidth(label.fontMetrics().horizontalAdvance("-0.000"))
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.automatic = QCheckBox("automatic")
        self.automatic.setToolTip(
            "For each map anew: from its median to 1; with counter-examples, from 0 to its highest value."
        )
        self.colormap = QComboBox()
        self.colormap.setAccessibleName("Colours of the map")
        self.colormap.addItems(COLORMAPS)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setAccessibleName("Opacity")
        self.opacity.setToolTip("How strongly the map shows over the image.")
        self._lay_out()
        self.automatic.clicked.connect(view.set_automatic)
        self.range.valueChanged.connect(self._on_range)
        self.opacity.valueChanged.connect(self._on_opacity)
        self.colormap.textActivated.connect(view.set_colormap)
        view.changed.connect(self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.addWidget(QLabel("Similarity"), 0, 0)
        grid.addWidget(self.automatic, 0, 1, 1, 2, Qt.AlignmentFlag.AlignRight)
        grid.addWidget(self.low, 1, 0)
        grid.addWidget(self.range, 1, 1)
        grid.addWidget(self.high, 1, 2)
        grid.addWidget(QLabel("Colours"), 2, 0)
        grid.addWidget(self.colormap, 2, 1, 1, 2)
        grid.addWidget(QLabel("Opacity"), 3, 0)
        grid.addWidget(self.opacity, 3, 1, 1, 2)

    def refresh(self) -> None:
        """Show what is true now."""
        view = self._view
        self._showing = True
        low, high = view.limits
        self.range.setValue((low, high))
        self.low.setText(f"{low:.2f}")
        self.high.setText(f"{high:.2f}")
        self.automatic.setChecked(view.automatic)
        self.opacity.setValue(round(100 * view.opacity))
        if self.colormap.findText(view.colormap) < 0:  # chosen in napari's own controls
            self.colormap.addItem(view.colormap)
        self.colormap.setCurrentText(view.colormap)
        self._showing = False

    def _on_range(self, limits: tuple[float, float]) -> None:
        if not self._showing:
            self._view.set_limits(*limits)

    def _on_opacity(self, percent: int) -> None:
        if not self._showing:
            self._view.set_opacity(percent / 100)
