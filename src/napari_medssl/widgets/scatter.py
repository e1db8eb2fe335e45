"""A scatter plot to point at: outlines drawn around points, points lit up, pictures instead of points."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtWidgets import QGraphicsItem, QGraphicsPixmapItem, QLabel, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from qtpy.QtGui import QPixmap

    from napari_medssl.widgets.theme import Colors

__all__ = ["MARKS", "Group", "Scatter", "inside"]


class Mark(NamedTuple):
    """A shape of points."""

    symbol: str
    """As pyqtgraph calls it."""
    text: str
    """As a character."""


MARKS = (
    Mark("o", "●"),
    Mark("s", "■"),
    Mark("t", "▼"),
    Mark("d", "◆"),
    Mark("star", "★"),
    Mark("t1", "▲"),
    Mark("+", "✚"),
    Mark("x", "✖"),
)
"""Of the groups in turn, so that they are told apart without their colours."""
_REACH = 14.0  # pixels on the screen from which a point can be pointed at
_FAINT = "50"  # opacity, in hexadecimal, of points of no group
_MOST_NAMED = 12  # groups in the legend, the first ones
_STEP = 3.0  # pixels on the screen between two corners of an outline


class Group(NamedTuple):
    """Points of one kind."""

    name: str
    """Empty for points that the legend does not name."""
    colour: str
    """As ``#rrggbb``."""
    members: NDArray[np.intp]
    """Which points."""


def inside(places: NDArray[np.floating], outline: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which places lie in an outline, by the even-odd rule.

    Parameters
    ----------
    places : ndarray of shape (N, 2)
        The places.
    outline : ndarray of shape (M, 2)
        Corners; the last is joined to the first.

    Returns
    -------
    ndarray of bool, (N,)
    """
    x, y = places[:, 0], places[:, 1]
    within = np.zeros(len(places), bool)
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        within ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return within


class Scatter(QWidget):
    """The plot, and its legend below.

    Parameters
    ----------
    colors : Colors
        The theme's colours.
    lasso : bool
        Whether dragging draws an outline; it moves the plot otherwise.
    square : bool
        Whether both axes have the same scale.
    height : int
        Of the plot, pixels.
    """

    outlined = Signal(object)
    """Corners ``(M, 2)`` of an outline that was drawn."""
    clicked = Signal(int)
    """The point that was clicked."""
    missed = Signal()
    """A click beside all points."""
    hovered = Signal(int)
    """The point under the cursor; -1 when there is none any more."""

    def __init__(
        self,
        colors: Colors,
        *,
        lasso: bool = False,
        square: bool = False,
        height: int = 240,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._colors = colors
        self._places: NDArray[np.floating] = np.empty((0, 2))
        self._hovered = -1
        self._pictures: list[QGraphicsPixmapItem] = []
        self._items: list[pg.ScatterPlotItem] = []
        self.box = _Box(lasso=lasso)
        self.plot = pg.PlotWidget(viewBox=self.box)
        self.plot.setFixedHeight(height)
        self.plot.hideButtons()
        self.plot.setMenuEnabled(False)
        self.plot.hideAxis("left")
        self.plot.hideAxis("bottom")
        self.plot.setAspectLocked(square)
        self.plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._lit = pg.ScatterPlotItem()
        self._lit.setZValue(20)
        self._outline = pg.PlotCurveItem()
        self._outline.setZValue(30)
        for item in (self._lit, self._outline):
            self.box.addItem(item, ignoreBounds=True)
        self.legend = QLabel()
        self.legend.setWordWrap(True)
        self.legend.setVisible(False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.plot)
        column.addWidget(self.legend)
        self.box.drawing.connect(self._draw_outline)
        self.box.drawn.connect(self._on_drawn)
        # of the scene, not of the view: points take the clicks on them for themselves
        self.plot.scene().sigMouseClicked.connect(self._on_clicked)
        self.plot.scene().sigMouseMoved.connect(self._on_moved)
        self.set_colors(colors)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme; points keep theirs until they are shown again."""
        self._colors = colors
        self.plot.setBackground(colors.background)
        self._outline.setPen(pg.mkPen(colors.text, width=1.5, style=Qt.PenStyle.DashLine))

    # -- what is shown ---------------------------------------------------------------------------

    def show_coloured(
        self, places: NDArray[np.floating], colours: NDArray[np.uint8], *, size: float = 5
    ) -> None:
        """Show points, each in a colour of its own, ``(N, 2)`` and ``(N, 3)``."""
        self._begin(places)
        brushes = [pg.mkBrush(*(int(part) for part in colour)) for colour in colours]
        self._add(places, size=size, brush=brushes)
        self._say([])

    def show_groups(
        self, places: NDArray[np.floating], groups: Sequence[Group], *, size: float = 7
    ) -> None:
        """Show points in the colours and shapes of their groups, and a legend; those of none are small and faint."""
        self._begin(places)
        rest = np.ones(len(places), bool)
        named = []
        for number, group in enumerate(groups):
            rest[group.members] = False
            mark = MARKS[number % len(MARKS)]
            brush = pg.mkBrush(group.colour)
            self._add(places[group.members], size=size, brush=brush, shape=mark.symbol)
            if group.name:
                named.append((mark.text, group))
        if rest.any():
            self._add(places[rest], size=3, brush=pg.mkBrush(f"{self._colors.faint}{_FAINT}"))
        self._say(named)

    def show_pictures(self, places: NDArray[np.floating], pictures: Sequence[QPixmap]) -> None:
        """Lay a picture over each point; they keep their size on the screen."""
        for place, picture in zip(places, pictures, strict=True):
            item = QGraphicsPixmapItem(picture)
            item.setFlag(QGraphicsItem.GraphicsItemFlag.ItemIgnoresTransformations)
            item.setOffset(-picture.width() / 2, -picture.height() / 2)
            item.setPos(QPointF(*map(float, place)))
            item.setZValue(10)
            self.box.addItem(item, ignoreBounds=True)
            self._pictures.append(item)

    def light_up(self, places: NDArray[np.floating] | None) -> None:
        """Ring places ``(N, 2)``, or none any more."""
        shown = np.empty((0, 2)) if places is None else places
        self._lit.setData(
            pos=shown,
            size=11,
            brush=None,
            pen=pg.mkPen(self._colors.text, width=1.6),
        )

    def clear_outline(self) -> None:
        """Remove the outline that was drawn."""
        self._outline.setData([], [])

    def clear(self) -> None:
        """Show nothing."""
        self._begin(np.empty((0, 2)))
        self._say([])

    def show_all(self) -> None:
        """Zoom so that every point is seen."""
        self.box.autoRange(padding=0.06)

    def _begin(self, places: NDArray[np.floating]) -> None:
        self._places = places
        for item in (*self._items, *self._pictures):
            self.box.removeItem(item)
        self._items.clear()
        self._pictures.clear()
        self._hovered = -1

    def _add(
        self, places: NDArray[np.floating], *, size: float, brush: Any, shape: str = "o"
    ) -> None:
        item = pg.ScatterPlotItem(
            pos=places, size=size, brush=brush, pen=pg.mkPen(None), symbol=shape
        )
        self._items.append(item)
        self.box.addItem(item)

    def _say(self, named: Sequence[tuple[str, Group]]) -> None:
        parts = []
        for letter, group in named[:_MOST_NAMED]:
            said = escape(f"{group.name} ({len(group.members)})").replace(" ", "&nbsp;")
            parts.append(f'<span style="color:{group.colour}">{letter}</span>&nbsp;{said}')
        if len(named) > _MOST_NAMED:
            parts.append(f"and {len(named) - _MOST_NAMED} more")
        self.legend.setText("&nbsp; ".join(parts))
        self.legend.setVisible(bool(parts))

    # -- the mouse -------------------------------------------------------------------------------

    def nearest(self, at: QPointF) -> int:
        """Give the point within reach of a place of the plot; -1 where none is."""
        if not len(self._places):
            return -1
        pixel = np.array(self.box.viewPixelSize())
        away = np.hypot(*((self._places - (at.x(), at.y())) / pixel).T)
        found = int(away.argmin())
        reach = _REACH
        if self._pictures:
            reach = max(reach, self._pictures[0].pixmap().width() / 2)
        return found if away[found] <= reach else -1

    def _draw_outline(self, corners: NDArray[np.floating]) -> None:
        self._outline.setData(*np.vstack([corners, corners[:1]]).T)

    def _on_drawn(self, corners: NDArray[np.floating]) -> None:
        if len(corners) > 2:
            self.outlined.emit(corners)
        else:
            self.clear_outline()

    def _on_clicked(self, event: Any) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        if event.double():
            self.show_all()
            return
        found = self.nearest(self.box.mapSceneToView(event.scenePos()))
        if found >= 0:
            self.clicked.emit(found)
        else:
            self.missed.emit()

    def _on_moved(self, at: QPointF) -> None:
        within = self.box.sceneBoundingRect().contains(at)
        found = self.nearest(self.box.mapSceneToView(at)) if within else -1
        if found != self._hovered:
            self._hovered = found
            self.hovered.emit(found)

    def leaveEvent(self, event: Any) -> None:  # noqa: N802
        """Nothing is under the cursor any more."""
        super().leaveEvent(event)
        if self._hovered != -1:
            self._hovered = -1
            self.hovered.emit(-1)


class _Box(pg.ViewBox):  # type: ignore[misc]
    """A view in which the left button draws, the middle one moves and the wheel zooms."""

    drawing = Signal(object)
    drawn = Signal(object)

    def __init__(self, *, lasso: bool) -> None:
        super().__init__(enableMenu=False)
        self._lasso = lasso
        self._corners: list[tuple[float, float]] = []
        self.setMouseMode(self.PanMode)

    def mouseDragEvent(self, event: Any, axis: int | None = None) -> None:  # noqa: N802
        """Draw an outline with the left button."""
        if not self._lasso or event.button() != Qt.MouseButton.LeftButton or axis is not None:
            super().mouseDragEvent(event, axis)
            return
        event.accept()
        if event.isStart():
            start = self.mapToView(event.buttonDownPos())
            self._corners = [(start.x(), start.y())]
        at = self.mapToView(event.pos())
        step = np.subtract((at.x(), at.y()), self._corners[-1]) / self.viewPixelSize()
        if np.hypot(*step) >= _STEP:
            self._corners.append((at.x(), at.y()))
        corners = np.array(self._corners)
        self.drawing.emit(corners)
        if event.isFinish():
            self.drawn.emit(corners)
