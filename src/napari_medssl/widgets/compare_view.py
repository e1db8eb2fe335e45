"""One picture for each run, side by side, with the same zoom and the same cursor."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyqtgraph as pg
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_medssl.widgets.theme import set_role, style_sheet
from napari_medssl.widgets.thumbnails import as_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image
    from numpy.typing import NDArray
    from qtpy.QtGui import QShowEvent

    from napari_medssl.widgets.theme import Colors

__all__ = ["CompareView", "Heat", "picture_of"]

_OPACITY = 0.62
_EXAMPLE, _COUNTER = ("+", "#00e5ff"), ("x", "#ff9f1c")  # as in the viewer's own layer


class Heat(NamedTuple):
    """What a run makes of the query."""

    map: NDArray[np.float32]
    """(Y, X)."""
    limits: tuple[float, float]
    """Similarities shown darkest and brightest."""
    positive: Sequence[tuple[int, int]]
    """(y, x) of the examples in this image."""
    negative: Sequence[tuple[int, int]]
    """(y, x) of the counter-examples in it."""


class CompareView(QWidget):
    """The pictures in a row.

    Parameters
    ----------
    colors : Colors
        The theme's colours.
    """

    clicked = Signal(int, int)
    """The pixel (y, x) that was clicked in one of the pictures."""
    shown = Signal()
    """It is seen again, after it was hidden."""

    def __init__(self, colors: Colors, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._colors = colors
        self.panels: list[_Panel] = []
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(4, 4, 4, 4)
        self._row.setSpacing(8)
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self._colors = colors
        self.setStyleSheet(style_sheet(colors))
        for panel in self.panels:
            panel.set_colors(colors)

    def show_runs(self, titles: Sequence[str], picture: NDArray[np.uint8]) -> None:
        """Begin anew: a picture of the image ``(Y, X, 3)`` for each run."""
        for panel in self.panels:
            self._row.removeWidget(panel)
            panel.hide()
            panel.deleteLater()
        self.panels = [_Panel(title, self._colors) for title in titles]
        for panel in self.panels:
            panel.show_picture(picture)
            panel.pointed.connect(self._point)
            panel.pressed.connect(self.clicked)
            panel.box.sigRangeChangedManually.connect(partial(self._zoom, panel))
            self._row.addWidget(panel, 1)

    def show_heat(self, number: int, heat: Heat, colormap: str) -> None:
        """Lay a run's map over its picture."""
        self.panels[number].show_heat(heat, colormap)

    def remove_heat(self, number: int, why: str) -> None:
        """Show a run's picture without a map, and say why."""
        self.panels[number].remove_heat(why)

    def say(self, number: int, text: str, more: str = "") -> None:
        """Say something beside a run, how well it separates the classes, and more in the tooltip."""
        self.panels[number].more.setText(text)
        self.panels[number].more.setToolTip(more)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Tell that it is seen."""
        super().showEvent(event)
        self.shown.emit()

    def _zoom(self, moved: _Panel, *_: object) -> None:
        for panel in self.panels:
            if panel is not moved:
                panel.box.setRange(rect=moved.box.viewRect(), padding=0)

    def _point(self, at: QPointF | None) -> None:
        for panel in self.panels:
            panel.point(at)


class _Panel(QWidget):
    """The picture of one run."""

    pointed = Signal(object)
    pressed = Signal(int, int)

    def __init__(self, title: str, colors: Colors) -> None:
        super().__init__()
        self._heat: Heat | None = None
        self._why = ""
        self._shape = (0, 0)
        self._title = title
        self.title = QLabel(title)
        self.title.setToolTip(title)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        set_role(self.title, "heading")
        self.box = pg.ViewBox(enableMenu=False, invertY=True, lockAspect=True, defaultPadding=0.01)
        self.view = pg.GraphicsView()
        self.view.setCentralItem(self.box)
        self.view.setAccessibleName(f"Similarity by {title}")
        self.view.setMinimumSize(180, 140)
        self._picture = pg.ImageItem(axisOrder="row-major")
        self._map = pg.ImageItem(axisOrder="row-major", opacity=_OPACITY)
        self._points = [pg.ScatterPlotItem(), pg.ScatterPlotItem()]
        self._lines = [pg.InfiniteLine(angle=angle) for angle in (0, 90)]
        for item in (self._picture, self._map, *self._points, *self._lines):
            self.box.addItem(item, ignoreBounds=item is not self._picture)
        self.value = QLabel("")
        self.more = QLabel("")
        for label in (self.value, self.more):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            set_role(label, "hint")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(1)
        column.addWidget(self.title)
        column.addWidget(self.view, 1)
        column.addWidget(self.value)
        column.addWidget(self.more)
        scene = self.view.scene()
        scene.sigMouseMoved.connect(self._on_moved)
        scene.sigMouseClicked.connect(self._on_clicked)
        self.set_colors(colors)
        self.point(None)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.view.setBackground(colors.background)
        for line in self._lines:
            line.setPen(pg.mkPen("#ffffff", width=1))

    def show_picture(self, picture: NDArray[np.uint8]) -> None:
        """Show the image."""
        self._shape = (picture.shape[0], picture.shape[1])
        self._picture.setImage(picture, levels=(0, 255))

    def show_heat(self, heat: Heat, colormap: str) -> None:
        """Lay a map over the image."""
        self._heat = heat
        self._map.setVisible(True)
        self._mark(heat.positive, heat.negative)
        colours = ensure_colormap(colormap).map(np.linspace(0, 1, 256))
        self._map.setLookupTable(np.rint(255 * colours).astype(np.uint8))
        self._map.setImage(heat.map, levels=heat.limits)
        self.point(None)

    def remove_heat(self, why: str) -> None:
        """Show the image alone, and say why."""
        self._heat, self._why = None, why
        self._map.setVisible(False)
        self._mark((), ())
        self.point(None)

    def _mark(
        self, positive: Sequence[tuple[int, int]], negative: Sequence[tuple[int, int]]
    ) -> None:
        marks = zip(self._points, (positive, negative), (_EXAMPLE, _COUNTER), strict=True)
        for item, pixels, (symbol, colour) in marks:
            places = np.array(pixels, float).reshape(-1, 2)[:, ::-1] + 0.5
            item.setData(pos=places, symbol=symbol, size=13, pen=pg.mkPen("#000000"), brush=colour)

    def point(self, at: QPointF | None) -> None:
        """Show the cursor of whichever picture it is over, and the similarity there."""
        y, x = (-1, -1) if at is None else (int(np.floor(at.y())), int(np.floor(at.x())))
        within = 0 <= y < self._shape[0] and 0 <= x < self._shape[1]
        for line, value in zip(self._lines, (y + 0.5, x + 0.5), strict=True):
            line.setVisible(within)
            line.setValue(value)
        if self._heat is None:
            self.value.setText(self._why)
        elif within:
            self.value.setText(f"{self._heat.map[y, x]:.3f} at y {y}, x {x}")
        else:
            low, high = self._heat.limits
            self.value.setText(f"{low:.2f} is darkest, {high:.2f} brightest")

    def _on_moved(self, at: QPointF) -> None:
        over = self.view.underMouse() and self.box.sceneBoundingRect().contains(at)
        self.pointed.emit(self.box.mapSceneToView(at) if over else None)

    def _on_clicked(self, event: Any) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        at = self.box.mapSceneToView(event.scenePos())
        y, x = int(np.floor(at.y())), int(np.floor(at.x()))
        if 0 <= y < self._shape[0] and 0 <= x < self._shape[1]:
            self.pressed.emit(y, x)

    def leaveEvent(self, event: Any) -> None:  # noqa: N802
        """Take the cursor away from all pictures."""
        super().leaveEvent(event)
        self.pointed.emit(None)


def picture_of(layer: Image) -> NDArray[np.uint8]:
    """Give the image as its layer shows it, ``(Y, X, 3)``."""
    data = np.asarray(layer.data)
    if layer.rgb:
        low, high = 0.0, 255.0 if data.dtype == np.uint8 else 1.0
    else:
        low, high = layer.contrast_limits
    return as_colour(data, low, high)
