"""Classes are added, named, coloured and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from annotating import choose, open_image, predicted, press, row_of, settle
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit

from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.class_changes import remove_class, survey
from napari_medssl.widgets.class_removal import ClassRemovalDialog

if TYPE_CHECKING:
    from napari_medssl.widgets.annotate_step import AnnotateStep
    from napari_medssl.widgets.session import Session


def test_classes_are_added_named_coloured_and_removed(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    press(step.classes.add)
    editor = step.classes.table.findChild(QLineEdit)
    assert step.classes.table.value == 3
    assert step.classes.table.state() == step.classes.table.State.EditingState
    QTest.keyClicks(editor, "nucle")
    session.labels_layer.paint((10, 10), 2)  # what is saved meanwhile does not disturb the typing
    qtbot.waitUntil(lambda: session.project.annotations.status("a.png") == "partial", timeout=9000)
    settle(qtbot, step)
    QTest.keyClicks(editor, "olus")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: session.project.settings.classes[2].name == "nucleolus", timeout=9000)
    assert session.labels_layer.selected_label == 3
    colours = [item.color for item in session.project.settings.classes]
    assert len(set(colours)) == 3
    step.classes.set_colour(3, QColor("#123456"))
    assert session.project.settings.classes[2].color == "#123456"
    shown = session.labels_layer.colormap.map(np.array([3]))[0]
    np.testing.assert_allclose(shown[:3], np.array([0x12, 0x34, 0x56]) / 255, atol=1e-3)
    assert step.classes.remove.isEnabled()
    step.classes.remove.trigger()
    qtbot.waitUntil(lambda: len(session.project.settings.classes) == 2, timeout=9000)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.selected_label == 2
    choose(step, 2)
    assert not step.classes.remove.isEnabled()  # one class beside the background always stays
    choose(step, 1)
    assert not step.classes.rename.isEnabled()
    assert session.problems == []


def test_a_taken_name_is_refused_in_a_sentence(qtbot, session: Session, step: AnnotateStep) -> None:
    press(step.classes.add)
    step.classes.table.item(row_of(step, 3), 0).setText("  Foreground ")
    assert [problem.sentence for problem in session.problems] == [
        "There is already a class called 'Foreground'."
    ]
    assert step.classes.table.item(row_of(step, 3), 0).text() == "class 2"


def test_removing_a_painted_class_says_what_that_means_and_keeps_the_others(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    for _ in range(2):
        press(step.classes.add)
    elsewhere = np.zeros((60, 80), np.uint16)
    elsewhere[5], elsewhere[6], elsewhere[7] = 3, 2, 4
    session.project.annotations.write("b.png", elsewhere, done=True)
    session.labels_layer.paint((10, 10), 3)
    session.labels_layer.paint((40, 40), 2)
    run = predicted(qtbot, session, np.full((60, 80), 3, np.uint16), classes=(1, 2, 3, 4))
    choose(step, 3)
    step.classes.remove.trigger()
    qtbot.waitUntil(lambda: bool(step.findChildren(ClassRemovalDialog)), timeout=9000)
    dialog = step.findChild(ClassRemovalDialog)
    assert "painted on 2 images" in dialog.text.text()
    assert run in dialog.text.text()
    assert [dialog.into.itemText(i) for i in range(dialog.into.count())] == [
        "not annotated", "background", "foreground", "class 3",
    ]  # fmt: skip
    dialog.into.setCurrentIndex(2)
    press(dialog.remove)
    annotations = session.project.annotations
    qtbot.waitUntil(lambda: len(session.project.settings.classes) == 3, timeout=9000)
    open_image(qtbot, step, "a.png")
    assert wait_for_background()
    assert set(np.unique(annotations.read("a.png"))) == {0, 2}
    np.testing.assert_array_equal(annotations.read("b.png")[4:9, 0], [0, 2, 2, 4, 0])
    assert annotations.status("b.png") == "done"
    session.labels_layer.undo()
    assert 3 not in session.labels_layer.data
    press(step.classes.add)
    assert step.classes.table.value == 5  # the run still predicts 3
    press(step.tools.copy)
    qtbot.waitUntil(lambda: "of removed classes" in step.hint.text(), timeout=9000)
    assert session.problems == []


def test_a_removed_class_may_become_not_annotated(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    press(step.classes.add)
    session.labels_layer.paint((10, 10), 2)
    session.labels_layer.paint((40, 40), 3)
    press(step.header.done)  # what is locked loses the class all the same
    found = []
    survey(step.annotator, 2, on_result=found.append)
    qtbot.waitUntil(lambda: bool(found), timeout=9000)
    assert found[0].images == ("a.png",)
    remove_class(step.annotator, found[0])
    values = lambda: [item.value for item in session.project.settings.classes]  # noqa: E731
    qtbot.waitUntil(lambda: values() == [1, 3], timeout=9000)
    open_image(qtbot, step, "a.png")
    assert wait_for_background()
    assert set(np.unique(session.project.annotations.read("a.png"))) == {0, 3}
    assert session.problems == []


def test_the_objects_of_a_removed_class_go_with_it(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    project, editor = session.project, step.pages["Objects"].editor
    press(step.classes.add)
    labels, ids = np.ones((60, 80), np.uint16), np.zeros((60, 80), np.int32)
    labels[5:10, 5:10], labels[20:30, 20:30] = 2, 3
    ids[5:10, 5:10], ids[20:30, 20:30] = 7, 8
    for name in ("a.png", "b.png"):  # the first one is open
        project.annotations.write(name, labels)
        project.objects.write(name, ids)
    step.annotator.reload()
    step.tabs.setCurrentIndex(1)
    open_image(qtbot, step, "a.png")
    qtbot.waitUntil(lambda: editor.layer is not None, timeout=9000)
    found = []
    survey(step.annotator, 2, on_result=found.append)
    qtbot.waitUntil(lambda: bool(found), timeout=9000)
    dialog = ClassRemovalDialog(found[0], project.settings.classes, step)
    assert "2 objects of it go with it" in dialog.text.text()
    remove_class(step.annotator, found[0], into=1)
    qtbot.waitUntil(lambda: len(project.settings.classes) == 2, timeout=9000)
    assert wait_for_background()
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(project.objects.read(name), np.where(ids == 8, 8, 0))
    qtbot.waitUntil(lambda: editor.layer is not None, timeout=9000)
    assert set(np.unique(editor.layer.data)) == {0, 8}
    assert session.problems == []
