"""What fills many pixels at once: the rest as background, and a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from annotating import LEFT, at, canvas_of, choose, predicted, press, settle
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_medssl.widgets.layers import mark

if TYPE_CHECKING:
    from napari_medssl.widgets.annotate_step import AnnotateStep
    from napari_medssl.widgets.session import Session


def test_rest_is_background_keeps_what_is_painted_and_can_be_undone(
    session: Session, step: AnnotateStep
) -> None:
    layer = session.labels_layer
    layer.paint((10, 10), 2)
    before = layer.data.copy()
    press(step.tools.rest)
    np.testing.assert_array_equal(layer.data, np.where(before == 0, 1, before))
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)


def test_a_prediction_fills_only_what_is_free_unless_asked(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    assert not step.tools.copy.isEnabled()
    assert "no prediction" in step.tools.copy.toolTip()
    prediction = np.full((60, 80), 1, dtype=np.uint16)
    prediction[:, 40:] = 2
    predicted(qtbot, session, prediction)
    assert step.tools.copy.isEnabled()
    layer = session.labels_layer
    layer.data_setitem(np.nonzero(np.arange(60)[:, None] * np.ones(80) < 10), 2)
    painted = layer.data.copy()
    press(step.tools.copy)
    qtbot.waitUntil(lambda: layer.data.all(), timeout=9000)
    np.testing.assert_array_equal(layer.data, np.where(painted > 0, painted, prediction))
    qtbot.waitUntil(lambda: "pixels taken from" in step.hint.text(), timeout=9000)
    settle(qtbot, step)
    assert session.project.annotations.origins("a.png") == (session.predictions.name,)
    session.viewer.layers.selection.active = layer
    QTest.keyClick(canvas_of(session.viewer), Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(layer.data, painted)
    assert not step.hint.isVisible()  # it was about what is taken back
    step.tools.overwrite.click()
    press(step.tools.copy)
    qtbot.waitUntil(lambda: layer.data.all(), timeout=9000)
    np.testing.assert_array_equal(layer.data, prediction)


def test_a_class_or_a_clicked_object_is_taken_alone(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    prediction = np.full((60, 80), 1, dtype=np.uint16)
    prediction[5:15, 5:15] = prediction[30:40, 50:60] = 2
    predicted(qtbot, session, prediction)
    layer = session.labels_layer
    step.tools.only.popup.aboutToShow.emit()
    assert [action.text() for action in step.tools.only.popup.actions()] == [
        "background",
        "foreground",
    ]
    step.tools.only.popup.actions()[1].trigger()
    qtbot.waitUntil(lambda: layer.data.any(), timeout=9000)
    np.testing.assert_array_equal(layer.data, np.where(prediction == 2, 2, 0))
    layer.undo()
    press(step.tools.pick)
    canvas = canvas_of(session.viewer)
    QTest.mouseClick(canvas, LEFT, pos=at(session.viewer, 35, 55))
    qtbot.waitUntil(lambda: layer.data.any(), timeout=9000)
    assert np.argwhere(layer.data).min(0).tolist() == [30, 50]
    assert (layer.data == 2).sum() == 100
    QTest.mouseClick(canvas, LEFT, pos=at(session.viewer, 50, 20))
    qtbot.waitUntil(lambda: "background in the prediction" in step.hint.text(), timeout=9000)
    live = Labels(np.where(np.arange(80) < 20, 2, 1) * np.ones((60, 1), int), name="live")
    mark(live, "live", image="a.png")
    session.viewer.add_layer(live)
    session.viewer.layers.selection.active = layer
    QTest.mouseClick(canvas, LEFT, pos=at(session.viewer, 50, 10))
    qtbot.waitUntil(lambda: layer.data[50, 10] == 2, timeout=9000)
    assert "the live prediction" in step.hint.text()
    choose(step, 2)  # the brush in hand ends it
    assert not step.tools.pick.isChecked()
