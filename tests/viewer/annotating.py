"""The real Labels layer, painted with a real mouse, for the tests of annotation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from safetensors.numpy import save_file

from napari_medssl.project import write_tiff_labels
from napari_medssl.project.weights_header import SPEC_KEY

if TYPE_CHECKING:
    import napari

    from napari_medssl.widgets.annotate_step import AnnotateStep
    from napari_medssl.widgets.session import Session

LEFT = Qt.MouseButton.LeftButton


def canvas_of(viewer: napari.Viewer):
    return viewer.window._qt_viewer.canvas.native


def at(viewer: napari.Viewer, y: float, x: float) -> QPoint:
    """Give the canvas position of world coordinates."""
    camera, size = viewer.scene.camera, canvas_of(viewer).size()
    middle = camera.center[-2:]
    return QPoint(
        round((x - middle[1]) * camera.zoom + size.width() / 2),
        round((y - middle[0]) * camera.zoom + size.height() / 2),
    )


def send(canvas, kind: QEvent.Type, place: QPoint, *, held: bool) -> None:
    # QTest.mouseMove forgets the button that is held
    button = Qt.MouseButton.NoButton if kind == QEvent.Type.MouseMove else LEFT
    buttons = LEFT if held else Qt.MouseButton.NoButton
    where = QPointF(place)
    event = QMouseEvent(
        kind, where, QPointF(canvas.mapToGlobal(place)), button, buttons,
        Qt.KeyboardModifier.NoModifier,
    )  # fmt: skip
    QApplication.sendEvent(canvas, event)


def stroke(viewer: napari.Viewer, start: tuple[float, float], end: tuple[float, float]) -> None:
    canvas = canvas_of(viewer)
    send(canvas, QEvent.Type.MouseMove, at(viewer, *start), held=False)
    send(canvas, QEvent.Type.MouseButtonPress, at(viewer, *start), held=True)
    for share in (0.25, 0.5, 0.75, 1.0):
        point = [a + share * (b - a) for a, b in zip(start, end, strict=True)]
        QTest.qWait(30)  # napari drops moves that come in quick succession
        send(canvas, QEvent.Type.MouseMove, at(viewer, *point), held=True)
    send(canvas, QEvent.Type.MouseButtonRelease, at(viewer, *end), held=False)


def row_of(step: AnnotateStep, value: int) -> int:
    return next(
        row
        for row in range(step.classes.table.rowCount())
        if step.classes.table.item(row, 0).data(Qt.ItemDataRole.UserRole) == value
    )


def choose(step: AnnotateStep, value: int) -> None:
    item = step.classes.table.item(row_of(step, value), 0)
    place = step.classes.table.visualItemRect(item).center()
    QTest.mouseClick(step.classes.table.viewport(), LEFT, pos=place)


def press(button) -> None:
    QTest.mouseClick(button, LEFT)


def settle(qtbot, step: AnnotateStep) -> None:
    qtbot.waitUntil(lambda: step.annotator.state == "saved", timeout=10_000)


def open_image(qtbot, step: AnnotateStep, name: str) -> None:
    qtbot.waitUntil(
        lambda: step.annotator.image == name and step.annotator.layer is not None, timeout=30_000
    )


def predicted(qtbot, session: Session, prediction: np.ndarray, classes=(1, 2)) -> str:
    """Store a prediction of the first image, by a run that knows these classes."""
    run = session.project.new_run("probe")
    run.write_job({"kind": "finetune", "mode": "probe"})
    spec = {"head": "network", "classes": [{"value": value} for value in classes]}
    save_file({"w": np.zeros(1)}, run.best_path, metadata={SPEC_KEY: json.dumps(spec)})
    session.refresh_runs()
    qtbot.waitUntil(lambda: session.current_run == run.name, timeout=9000)
    path = session.project.prediction_path(run.name, "a.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tiff_labels(path, prediction, note={})
    session.saved_prediction.emit(run.name, "a.png")
    return run.name
