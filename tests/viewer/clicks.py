"""Clicks in the real canvas, at pixels of the open image, for the tests of Explore."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medssl.explore import cosine_similarity
from napari_medssl.widgets.layers import find_layer
from napari_medssl.widgets.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari

    from napari_medssl.widgets.explore import ExploreWidget
    from napari_medssl.widgets.similar_section import SimilarSection

LEFT = Qt.MouseButton.LeftButton
NONE = Qt.MouseButton.NoButton
SHIFT = Qt.KeyboardModifier.ShiftModifier
ALT = Qt.KeyboardModifier.AltModifier
PLAIN = Qt.KeyboardModifier.NoModifier


def similar(widget: ExploreWidget) -> SimilarSection:
    return widget.panel.sections["Similar"]


def asked(widget: ExploreWidget) -> list[tuple[int, int]]:
    """Give the clicked pixels."""
    return [(part.y, part.x) for part in widget.panel.explorer.parts]


def add_run(widget: ExploreWidget, until) -> str:
    session = Session.of(viewer_of(widget))
    run = session.project.new_run("fake")
    run.write_job({"kind": "pretrain", "method": "fake"})
    run.best_path.write_bytes(b"weights")
    session.refresh_runs()
    until(lambda: session.current_run == run.name)
    return run.name


def viewer_of(widget: ExploreWidget) -> napari.Viewer:
    return widget.panel.explorer.session.viewer


def canvas_of(viewer: napari.Viewer):
    return viewer.window._qt_viewer.canvas.native


def at(widget: ExploreWidget, y: float, x: float) -> QPoint:
    """Give the canvas position of a pixel of the image."""
    viewer = viewer_of(widget)
    world = find_layer(viewer, "image").data_to_world((y, x))
    camera, size = viewer.scene.camera, canvas_of(viewer).size()
    return QPoint(
        round((world[1] - camera.center[-1]) * camera.zoom + size.width() / 2),
        round((world[0] - camera.center[-2]) * camera.zoom + size.height() / 2),
    )


def send(canvas, kind: QEvent.Type, place: QPoint, held: bool, modifier) -> None:
    button = NONE if kind == QEvent.Type.MouseMove else LEFT
    event = QMouseEvent(
        kind, QPointF(place), QPointF(canvas.mapToGlobal(place)), button, LEFT if held else NONE,
        modifier,
    )  # fmt: skip
    QApplication.sendEvent(canvas, event)


def move(widget: ExploreWidget, y: float, x: float) -> None:
    QTest.qWait(30)  # napari drops moves that come in quick succession
    send(canvas_of(viewer_of(widget)), QEvent.Type.MouseMove, at(widget, y, x), False, PLAIN)
    QTest.qWait(30)


def click(widget: ExploreWidget, y: float, x: float, modifier=PLAIN) -> None:
    canvas, place = canvas_of(viewer_of(widget)), at(widget, y, x)
    send(canvas, QEvent.Type.MouseButtonPress, place, True, modifier)
    send(canvas, QEvent.Type.MouseButtonRelease, place, False, modifier)


def drag(widget: ExploreWidget, start: tuple[int, int], end: tuple[int, int]) -> None:
    canvas = canvas_of(viewer_of(widget))
    first, last = at(widget, *start), at(widget, *end)
    send(canvas, QEvent.Type.MouseButtonPress, first, True, PLAIN)
    for place in ((first + last) / 2, last):
        QTest.qWait(30)
        send(canvas, QEvent.Type.MouseMove, place, True, PLAIN)
    send(canvas, QEvent.Type.MouseButtonRelease, last, False, PLAIN)


def expected(widget: ExploreWidget, queries: list[tuple[int, int]]) -> np.ndarray:
    session = widget.panel.explorer.session
    features = np.load(session.project.embedding_path(session.current_run, session.image))
    shape = session.project.shape(session.image)
    return cosine_similarity(features, queries, stride=4, shape=shape)


def heat_is(widget: ExploreWidget, queries: list[tuple[int, int]]) -> Callable[[], bool]:
    def check() -> bool:
        heat = widget.panel.explorer.heat
        return heat is not None and np.array_equal(heat.data, expected(widget, queries))

    return check
