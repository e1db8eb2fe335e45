"""Stored features of the test project, made by the stand-in engine as the button does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medssl.widgets.feature_store import FeatureStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medssl.widgets.explore import ExploreWidget
    from napari_medssl.widgets.scatter import Scatter

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
PLAIN = Qt.KeyboardModifier.NoModifier


def store_features(widget: ExploreWidget, until) -> None:
    """Store the features of all images with the current run."""
    session = widget.panel.explorer.session
    store = FeatureStore.of(session)
    until(lambda: store.standing is not None)
    store.start()
    until(lambda: store.standing is not None and len(store.standing.stored) == 3)


def drag_over(scatter: Scatter, corners: Sequence[tuple[float, float]]) -> None:
    """Draw an outline with the mouse through places of the plot."""
    canvas = scatter.plot.viewport()
    places = [
        scatter.plot.mapFromScene(scatter.box.mapViewToScene(QPointF(x, y))) for x, y in corners
    ]
    send(canvas, QEvent.Type.MouseButtonPress, places[0], LEFT, LEFT)
    for place in places[1:]:
        send(canvas, QEvent.Type.MouseMove, place, NONE, LEFT)
        QTest.qWait(20)  # pyqtgraph leaves out moves that follow within 10 ms
    send(canvas, QEvent.Type.MouseButtonRelease, places[-1], LEFT, NONE)


def click_on(scatter: Scatter, x: float, y: float) -> None:
    """Click a place of the plot."""
    canvas = scatter.plot.viewport()
    place = scatter.plot.mapFromScene(scatter.box.mapViewToScene(QPointF(x, y)))
    send(canvas, QEvent.Type.MouseButtonPress, place, LEFT, LEFT)
    send(canvas, QEvent.Type.MouseButtonRelease, place, LEFT, NONE)


def send(canvas, kind: QEvent.Type, place: QPoint, button, held) -> None:
    event = QMouseEvent(
        kind, QPointF(place), QPointF(canvas.mapToGlobal(place)), button, held, PLAIN
    )
    QApplication.sendEvent(canvas, event)
