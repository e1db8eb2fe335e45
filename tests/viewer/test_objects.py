"""Objects in the real viewer: painted and cut with a real mouse, and what is on the disk afterwards."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from clicks import canvas_of, send
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medssl.project import ClassInfo, Project, write_tiff_labels
from napari_medssl.project.checkpoint import write_tiff
from napari_medssl.project.objects import write_ids
from napari_medssl.widgets.copying import DONE
from napari_medssl.widgets.layers import find_layer
from napari_medssl.widgets.object_sources import ObjectSettings, Recipe, find
from napari_medssl.widgets.unsaved import ask_about_unsaved

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.widgets.objects_page import ObjectsPage
    from napari_medssl.widgets.problem import Problem

PLAIN, SHIFT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def page(opened, until) -> ObjectsPage:
    """The page "Objects" with the layer of a.png, on which nothing is drawn."""
    opened.open_step("Annotate")
    step = opened.steps["Annotate"].content
    step.tabs.setCurrentIndex(list(step.pages).index("Objects"))
    page = step.pages["Objects"]
    until(lambda: page.editor.layer is not None and step.annotator.layer is not None)
    return page


def at(page: ObjectsPage, y: float, x: float) -> QPoint:
    viewer = page.editor.session.viewer
    world = page.editor.session.image_layer.data_to_world((y, x))
    camera, size = viewer.scene.camera, canvas_of(viewer).size()
    return QPoint(
        round((world[1] - camera.center[-1]) * camera.zoom + size.width() / 2),
        round((world[0] - camera.center[-2]) * camera.zoom + size.height() / 2),
    )


def stroke(page: ObjectsPage, *places: tuple[float, float], modifier=PLAIN) -> None:
    canvas = canvas_of(page.editor.session.viewer)
    first, last = at(page, *places[0]), at(page, *places[-1])
    send(canvas, QEvent.Type.MouseMove, first, False, modifier)
    send(canvas, QEvent.Type.MouseButtonPress, first, True, modifier)
    for start, end in pairwise(places):
        for share in np.linspace(0, 1, 5)[1:]:
            QTest.qWait(25)  # napari drops moves that come in quick succession
            point = [a + share * (b - a) for a, b in zip(start, end, strict=True)]
            send(canvas, QEvent.Type.MouseMove, at(page, *point), True, modifier)
    send(canvas, QEvent.Type.MouseButtonRelease, last, False, modifier)
    QApplication.processEvents()


def press(page: ObjectsPage, key: Qt.Key, modifier=PLAIN) -> None:
    QTest.keyClick(canvas_of(page.editor.session.viewer), key, modifier)
    QApplication.processEvents()


def ids(page: ObjectsPage) -> np.ndarray:
    return page.editor.layer.data


def classes(page: ObjectsPage) -> np.ndarray:
    return page.editor.annotator.layer.data


def put(page: ObjectsPage, *boxes: tuple[int, int, int, int]) -> None:
    """Put rectangles (y0, y1, x0, x1) of class 2 in as the objects 1, 2, ..."""
    new, values = np.zeros_like(ids(page)), np.zeros(ids(page).shape, np.uint16)
    for number, (y0, y1, x0, x1) in enumerate(boxes, start=1):
        new[y0:y1, x0:x1], values[y0:y1, x0:x1] = number, 2
    page.editor.change(new, classes=values)


def test_painted_objects_have_an_id_each_and_the_class(page, until) -> None:
    editor, session = page.editor, page.editor.session
    classes(page)[5:12, 30:40] = 1  # background that the first object will cover
    press(page, Qt.Key.Key_O)
    editor.layer.brush_size = 4
    stroke(page, (10, 10), (10, 40))
    page.new.click()
    stroke(page, (30, 10), (30, 40))
    assert set(np.unique(ids(page))) == {0, 1, 2}
    np.testing.assert_array_equal(classes(page) == 2, ids(page) > 0)
    until(lambda: [(row.number, row.value) for row in editor.rows] == [(1, 2), (2, 2)])
    assert page.status.text().startswith("Object 2: ")

    editor.layer.mode = "erase"
    stroke(page, (30, 10), (30, 20))
    assert (classes(page)[30, 12:18] == 2).all()  # erasing leaves the class
    assert not ids(page)[30, 12:18].any()
    press(page, Qt.Key.Key_Z, CONTROL)
    press(page, Qt.Key.Key_Z, CONTROL)  # the second object, and what it did to the classes
    assert set(np.unique(ids(page))) == {0, 1}
    np.testing.assert_array_equal(classes(page) == 2, ids(page) == 1)
    press(page, Qt.Key.Key_Z, CONTROL | SHIFT)
    assert set(np.unique(ids(page))) == {0, 1, 2}
    np.testing.assert_array_equal(classes(page) == 2, ids(page) > 0)
    for _ in range(2):
        press(page, Qt.Key.Key_Z, CONTROL)
    assert not ids(page).any()
    assert (classes(page)[5:12, 30:40] == 1).all()  # background again

    for _ in range(2):
        press(page, Qt.Key.Key_Z, CONTROL | SHIFT)
    until(lambda: session.project.objects.stored() == ("a.png",))
    until(lambda: np.array_equal(session.project.objects.read("a.png"), ids(page)))
    drawn = ids(page).copy()
    session.open_image("b.png")
    until(lambda: editor.image == "b.png")
    assert not ids(page).any()
    session.open_image("a.png")
    until(lambda: editor.image == "a.png")
    np.testing.assert_array_equal(ids(page), drawn)


def test_select_merge_split_delete(page, until) -> None:
    editor = page.editor
    put(page, (5, 25, 5, 25), (5, 25, 25, 45), (40, 44, 60, 64))
    before = ids(page).copy()
    page.pick.click()
    stroke(page, (15, 10), (15, 10))
    assert editor.selected == (1,)
    assert not page.merge.isEnabled()
    assert page.merge.toolTip() == "Select two or more objects first."
    stroke(page, (15, 40), (15, 40), modifier=SHIFT)
    assert editor.selected == (1, 2)
    press(page, Qt.Key.Key_J)
    assert set(np.unique(ids(page))) == {0, 1, 3}
    assert editor.selected == (1,)
    press(page, Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(ids(page), before)

    press(page, Qt.Key.Key_K)
    assert page.marks.drawing
    editor.select([2])
    assert not page.marks.drawing  # it was another object that was to be cut
    until(lambda: [int(line[:, 1].min()) for line in page.marks.layer.data] == [25, 25])
    press(page, Qt.Key.Key_K)
    assert page.split.isChecked()
    stroke(page, (2, 36), (28, 36))
    until(lambda: editor.selected == (2, 4))
    assert not page.split.isChecked()
    assert (ids(page)[10, 26], ids(page)[10, 43]) == (2, 4)
    press(page, Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(ids(page), before)

    until(lambda: len(editor.rows) == 3)
    place = page.table.visualRect(page.table.objects.index(2, 0)).center()
    QTest.mouseClick(page.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert editor.selected == (3,)
    assert tuple(editor.session.viewer.scene.camera.center[-2:]) == (41.5, 61.5)
    QTest.keyClick(page.table, Qt.Key.Key_Delete)
    assert set(np.unique(ids(page))) == {0, 1, 2}
    assert classes(page)[41, 61] == 1
    press(page, Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(ids(page), before)
    assert classes(page)[41, 61] == 2

    page.small.set_open(True)
    until(lambda: len(editor.rows) == 3)
    page.smallest.number.setValue(17)
    assert page.delete_small.text() == "Delete 1 object"
    assert editor.selected == (3,)  # outlined: that is the preview
    page.delete_small.click()
    assert set(np.unique(ids(page))) == {0, 1, 2}


def test_objects_are_taken_from_what_is_painted_and_from_a_prediction(page, until) -> None:
    editor, session = page.editor, page.editor.session
    labels = editor.annotator.layer
    labels.data_setitem(np.nonzero(np.ones((20, 30))), 2)
    labels.data_setitem(tuple(axis + 40 for axis in np.nonzero(np.ones((10, 10)))), 2)
    editor.annotator.save()
    page.taking.set_open(True)
    take, preview = page.take, page.take._preview
    until(lambda: preview.found is not None and preview.found.number == 2)
    assert preview.source == "painted"
    assert take.source.model().item(2).toolTip() == (
        "There is no prediction of this image: predict it in the step Predict."
    )
    shown = find_layer(session.viewer, "object preview")
    assert shown.visible
    take.smallest.setValue(200)
    until(lambda: preview.found is not None and preview.found.number == 1)
    assert int(shown.data.max()) == 1
    take.smallest.setValue(0)
    until(lambda: preview.found is not None and preview.found.number == 2)
    put(page, (0, 20, 0, 30))  # one of the two is there already
    take.add.click()
    assert page.status.text() == "1 object taken. Ctrl+Z takes it back."
    assert (ids(page)[5, 5], ids(page)[45, 45]) == (1, 2)

    run = session.project.new_run("fake")
    run.write_job({"kind": "finetune", "method": "fake"})
    run.best_path.write_bytes(b"weights")
    predicted, found = np.ones((64, 80), np.uint16), np.zeros((64, 80), np.int32)
    predicted[30:60, 50:70], found[30:60, 50:60], found[30:60, 60:70] = 2, 8, 9
    write_tiff_labels(session.project.prediction_path(run.name, "a.png"), predicted, note={})
    write_ids(session.project.predicted_objects_path(run.name, "a.png"), found, note={})
    session.refresh_runs()
    until(lambda: preview.source == "stored" and preview.found is not None)
    until(lambda: preview.found is not None and int(preview.found.objects[45, 55]) == 1)
    take.replace.click()
    assert (ids(page)[45, 55], ids(page)[45, 65], ids(page)[5, 5]) == (1, 2, 0)
    assert (classes(page)[30:60, 50:70] == 2).all()
    press(page, Qt.Key.Key_Z, CONTROL)
    assert ids(page)[45, 55] == 0
    assert not (classes(page)[50:60, 50:70]).any()
    page.taking.set_open(False)
    assert not shown.visible


def test_a_done_image_is_locked_and_closing_saves(page, until) -> None:
    editor, session = page.editor, page.editor.session
    project = session.project
    put(page, (5, 25, 5, 25))
    editor.select([1])
    editor.annotator.save()
    press(page, Qt.Key.Key_M)
    until(lambda: editor.annotator.locked)
    assert not page.delete.isEnabled()
    assert page.delete.toolTip() == DONE
    press(page, Qt.Key.Key_Delete)
    assert ids(page).any()
    assert not editor.layer.editable
    session.viewer.dims.ndisplay = 3
    session.viewer.dims.ndisplay = 2
    assert not editor.layer.editable
    press(page, Qt.Key.Key_M)
    until(lambda: editor.layer.editable)
    put(page, (30, 50, 5, 25))
    drawn = ids(page).copy()
    session.shut_down()  # within the second before it would have been saved
    np.testing.assert_array_equal(project.objects.read("a.png"), drawn)


def test_undo_takes_back_both_layers_and_no_class_that_is_gone(page) -> None:
    editor, session = page.editor, page.editor.session
    put(page, (5, 25, 5, 25))
    editor.select([1])
    session.viewer.layers.selection.active = editor.annotator.layer
    page.delete.click()
    assert (classes(page)[5:25, 5:25] == 1).all()
    press(page, Qt.Key.Key_Z, CONTROL)  # not on the layer of the classes alone
    assert (ids(page)[5:25, 5:25] == 1).all()
    assert (classes(page)[5:25, 5:25] == 2).all()
    editor.select([1])
    page.delete.click()
    known = session.project.settings.classes
    other = ClassInfo(value=3, name="other", color="#00ff00")
    session.project.update(classes=(known[0], other))
    session.project_changed.emit()
    session.viewer.layers.selection.active = editor.layer
    press(page, Qt.Key.Key_Z, CONTROL)
    assert (ids(page)[5:25, 5:25] == 1).all()
    assert (classes(page)[5:25, 5:25] == 1).all()


def test_an_id_that_is_typed_in_is_the_next_one(page) -> None:
    put(page, (5, 25, 5, 25))
    page.editor.layer.selected_label = 2_000_000_000  # a table of all ids up to it would not fit
    assert page.editor.layer.selected_label == 2


def test_imported_objects_are_shown_and_not_painted_over(opened, page, tmp_path, until) -> None:
    editor, project = page.editor, page.editor.session.project
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("a", "b"):
        mask = np.zeros((64, 80), np.uint16)
        mask[5:45, 5:15] = np.arange(1, 41)[:, None]
        tifffile.imwrite(masks / f"{name}.tif", mask)
    editor.session.open_image("b.png")
    until(lambda: editor.image == "b.png" and editor.annotator.image == "b.png")
    opened.steps["Project"].content.use_masks(masks)
    until(lambda: editor.layer is not None and int(ids(page).max()) == 40)
    imported = ids(page).copy()
    until(lambda: editor.annotator.locked)
    editor.annotator.set_done(False)
    editor.select([7])
    page.delete.click()
    until(lambda: not (project.objects.read("b.png") == 7).any())
    np.testing.assert_array_equal(
        project.objects.read("b.png"), np.where(imported == 7, 0, imported)
    )


def test_unreadable_objects_are_told_and_a_closed_project_leaves_nothing(page, until) -> None:
    editor, session = page.editor, page.editor.session
    path = session.project.objects.path("b.png")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"no image")
    told: list[Problem] = []
    session.problem.connect(told.append)
    session.open_image("b.png")
    until(lambda: "is damaged" in editor.why_not)
    assert page.status.text() == editor.why_not
    assert not page.new.isEnabled()
    assert len(told) == 1
    session.open_image("a.png")
    until(lambda: editor.image == editor.annotator.image == "a.png")
    put(page, (5, 25, 5, 25))
    editor.select([1])
    page.taking.set_open(True)
    until(lambda: find_layer(session.viewer, "object preview") is not None)
    until(lambda: find_layer(session.viewer, "object marks") is not None)
    session.close_project()
    until(lambda: session.image is None)
    for role in ("objects", "object preview", "object marks"):
        until(lambda role=role: find_layer(session.viewer, role) is None)
    assert not page.layer_gone.isVisible()


def test_objects_that_cannot_be_saved_are_kept(page, until) -> None:
    editor, session = page.editor, page.editor.session
    told: list[Problem] = []
    session.problem.connect(told.append)
    wall = session.project.path / "objects"
    wall.write_bytes(b"a file where the folder would be")
    put(page, (5, 25, 5, 25))
    drawn = ids(page).copy()
    until(lambda: editor.saving.state == "failed")
    assert page.saved.text() == "NOT SAVED"
    assert len(told) == 1
    assert "What you drew is kept here" in told[0].advice
    session.open_image("b.png")
    until(lambda: editor.image == "b.png")
    box = ask_about_unsaved(session, page, on_leave=lambda: None)
    assert box.text() == "What you painted last on a.png is not saved."
    box.deleteLater()
    session.open_image("a.png")
    until(lambda: editor.image == "a.png")
    np.testing.assert_array_equal(ids(page), drawn)
    wall.unlink()
    page.save_now.click()
    until(lambda: editor.saving.state == "saved")
    np.testing.assert_array_equal(session.project.objects.read("a.png"), drawn)


def test_thresholds_of_the_distance_map(image_folder: Path, tmp_path: Path) -> None:
    project = Project.create(image_folder, project=tmp_path / "project")
    labels, distance = np.ones((64, 80), np.uint16), np.zeros((64, 80), np.float16)
    labels[10:30, 10:60] = 2
    distance[10:30, 10:60], distance[10:30, 30:40] = 0.8, 0.5  # two hearts, and a valley between
    distance[40:44, 5:9] = 0.9  # where the classes say background
    write_tiff_labels(project.prediction_path("run", "a.png"), labels, note={})
    write_tiff(project.predicted_distance_path("run", "a.png"), distance, note={})

    def found(seed_threshold: float, smallest: int = 0) -> int:
        settings = ObjectSettings.parse(
            {"seeds": {"seed_threshold": seed_threshold}, "smallest": smallest}
        )
        recipe = Recipe("distance", "a.png", "run", None, settings)
        return find(project, recipe).number

    assert found(0.4) == 1
    assert found(0.6) == 2
    assert found(0.6, smallest=1001) == 0
    with pytest.raises(ValueError, match="largest = 5 must not be below smallest = 9"):
        ObjectSettings(smallest=9, largest=5)
