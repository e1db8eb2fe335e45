"""A slider with its number beside it."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QWidget
from superqt import QDoubleSlider

__all__ = ["SliderRow"]

_NAME_WIDTH = 104  # so that the sliders of several rows begin at the same place


class SliderRow(QWidget):
    """A name, a slider and a spin box of the same value.

    Parameters
    ----------
    name : str
        Before the slider.
    low, high, step : float
        Limits, and how far an arrow key goes.
    tip : str
        Tooltip.
    decimals : int
        Of the number; 0 for whole numbers.
    suffix : str
        After the number: the unit.
    """

    changed = Signal(float)
    """The user chose another value."""

    def __init__(
        self,
        name: str,
        *,
        low: float,
        high: float,
        step: float,
        tip: str,
        decimals: int = 2,
        suffix: str = "",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setToolTip(tip)
        label = QLabel(name)
        label.setFixedWidth(_NAME_WIDTH)
        self.slider = QDoubleSlider(Qt.Orientation.Horizontal)  # type: ignore[no-untyped-call]
        self.slider.setAccessibleName(name)
        self.number = QDoubleSpinBox()
        self.number.setAccessibleName(f"{name}, as a number")
        self.number.setDecimals(decimals)
        self.number.setSuffix(suffix)
        self.number.setKeyboardTracking(False)
        self.number.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)  # the slider is there
        self.number.setFixedWidth(72)
        label.setBuddy(self.number)
        for part in (self.slider, self.number):
            part.setSingleStep(step)
        self.set_range(low, high)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(label)
        row.addWidget(self.slider, 1)
        row.addWidget(self.number)
        self.slider.valueChanged.connect(self._on_moved)
        self.number.valueChanged.connect(self._on_moved)

    @property
    def value(self) -> float:
        """What is chosen."""
        return float(self.number.value())

    def set_range(self, low: float, high: float) -> None:
        """Allow values between these; the value is moved into them without saying so."""
        for part in (self.slider, self.number):
            part.blockSignals(True)
            part.setRange(low, high)
            part.blockSignals(False)

    def set_value(self, value: float) -> None:
        """Show this value without saying so."""
        for part in (self.slider, self.number):
            part.blockSignals(True)
            part.setValue(value)
            part.blockSignals(False)

    def _on_moved(self, value: float) -> None:
        self.set_value(value)
        self.changed.emit(self.value)
