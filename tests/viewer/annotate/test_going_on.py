"""Keys, the next image, and images that are done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from annotating import canvas_of, choose, open_image, press, stroke
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_medssl.widgets.background import wait_for_background

if TYPE_CHECKING:
    from napari_medssl.widgets.annotate_step import AnnotateStep
    from napari_medssl.widgets.session import Session


def test_keys_work_on_our_layers_from_the_canvas(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    canvas = canvas_of(session.viewer)
    QTest.keyClick(canvas, Qt.Key.Key_N)
    open_image(qtbot, step, "b.png")
    QTest.keyClick(canvas, Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    open_image(qtbot, step, "a.png")
    step.annotator.paint_with(2)
    session.labels_layer.paint((10, 10), 2)
    QTest.keyClick(canvas, Qt.Key.Key_M)
    qtbot.waitUntil(lambda: session.project.annotations.status("a.png") == "done", timeout=9000)
    assert session.labels_layer.selected_label == 2  # not napari's "new label"
    QTest.keyClick(canvas, Qt.Key.Key_R)
    assert (session.labels_layer.data == 0).any()
    assert "marked done" in step.hint.text()
    QTest.keyClick(canvas, Qt.Key.Key_U)
    open_image(qtbot, step, "b.png")
    assert wait_for_background()
    assert session.project.annotations.status("a.png") == "done"
    for key, button in {
        "N": step.header.next, "Shift+N": step.header.previous, "U": step.header.unannotated,
        "R": step.tools.rest, "C": step.tools.copy, "S": step.tools.pick,
    }.items():  # fmt: skip
        assert button.text().endswith(f"({key})")
    assert step.header.done.text() == "Mark done (M)"


def test_next_not_annotated_goes_round_and_says_when_there_is_none(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    some = np.full((60, 80), 2, dtype=np.uint16)
    session.project.annotations.write("b.png", some)
    press(step.header.unannotated)
    open_image(qtbot, step, "c.png")
    press(step.header.unannotated)
    open_image(qtbot, step, "a.png")
    session.project.annotations.write("c.png", some)
    press(step.header.unannotated)
    qtbot.waitUntil(lambda: "Every other image" in step.hint.text(), timeout=9000)
    assert session.image == "a.png"


def test_done_needs_something_and_can_be_taken_back(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    press(step.header.done)
    assert "Nothing is painted" in step.hint.text()
    assert not step.annotator.done
    press(step.tools.rest)
    press(step.header.done)
    qtbot.waitUntil(lambda: session.project.annotations.status("a.png") == "done", timeout=9000)
    assert "done, locked" in step.header.status.text()
    press(step.header.done)
    qtbot.waitUntil(lambda: session.project.annotations.status("a.png") == "partial", timeout=9000)
    assert set(np.unique(session.project.annotations.read("a.png"))) == {1}


def test_a_done_image_cannot_be_painted_until_it_is_unlocked(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    layer = session.labels_layer
    press(step.tools.rest)
    choose(step, 2)
    press(step.header.done)
    stroke(session.viewer, (20, 20), (20, 60))
    assert set(np.unique(layer.data)) == {1}
    assert not step.tools.rest.isEnabled()
    assert "Locked" in step.classes.heading.text()
    session.viewer.dims.ndisplay = 3  # on its way back napari makes every Labels layer editable
    session.viewer.dims.ndisplay = 2
    choose(step, 2)
    stroke(session.viewer, (20, 20), (20, 60))
    assert set(np.unique(layer.data)) == {1}
    press(step.header.next)
    open_image(qtbot, step, "b.png")
    assert layer.editable
    press(step.header.previous)
    open_image(qtbot, step, "a.png")
    assert not layer.editable
    press(step.header.done)
    choose(step, 2)
    stroke(session.viewer, (20, 20), (20, 60))
    assert set(np.unique(layer.data)) == {1, 2}
