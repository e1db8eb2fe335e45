"""The real Labels layer, painted with a real mouse, and what is on the disk afterwards."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from napari.layers import Labels
from PIL import Image as PillowImage
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLineEdit
from safetensors.numpy import save_file

from napari_medssl.errors import MedsslError
from napari_medssl.project import write_tiff_labels
from napari_medssl.project.weights_header import SPEC_KEY
from napari_medssl.widgets.annotate_step import AnnotateStep
from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.class_changes import remove_class, survey
from napari_medssl.widgets.class_removal import ClassRemovalDialog
from napari_medssl.widgets.layers import mark
from napari_medssl.widgets.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari

FAKE = [sys.executable, str(Path(__file__).parent / "fake_engine.py")]
NAMES = ("a.png", "b.png", "c.png")
LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "cells"
    images.mkdir()
    for index, name in enumerate(NAMES):
        pixels = np.random.default_rng(index).integers(0, 255, (60, 80), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(images / name)
    return images


@pytest.fixture
def session(
    make_napari_viewer: Callable[..., napari.Viewer],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    qtbot,
) -> Session:
    monkeypatch.setattr(Session, "engine_command", FAKE)
    monkeypatch.setattr(Session, "home", tmp_path / "home")
    viewer = make_napari_viewer(show=True)
    session = Session.of(viewer)
    session.problems = []
    session.problem.connect(session.problems.append)
    session.create_project(folder)
    qtbot.waitUntil(lambda: session.image == "a.png", timeout=20_000)
    yield session
    session.shut_down()
    wait_for_background()


@pytest.fixture
def step(session: Session, qtbot) -> AnnotateStep:
    step = AnnotateStep(session)
    session.viewer.window.add_dock_widget(step, name="Annotate")
    qtbot.waitUntil(lambda: session.labels_layer is not None, timeout=10_000)
    return step


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


def test_a_stroke_is_on_disk_two_seconds_later(qtbot, session: Session, step: AnnotateStep) -> None:
    choose(step, 2)
    layer = session.labels_layer
    assert layer.mode == "paint"
    assert layer.selected_label == 2
    stroke(session.viewer, (20, 20), (20, 60))
    painted = time.monotonic()
    assert layer.data[20, 40] == 2
    qtbot.waitUntil(lambda: session.project.annotations.status("a.png") == "partial", timeout=9000)
    assert time.monotonic() - painted < 2.0
    on_disk = session.project.annotations.read("a.png")
    np.testing.assert_array_equal(on_disk, layer.data)
    assert set(np.unique(on_disk)) == {0, 2}
    settle(qtbot, step)
    assert step.annotator.counts[2] == (on_disk == 2).sum()
    assert step.classes.table.item(row_of(step, 2), 2).text() == f"{(on_disk == 2).sum():,}"
    assert "partly" in step.header.status.text()
    assert step.header.saved.text().startswith("saved ")


def test_painting_without_a_pause_is_saved_too(
    qtbot, session: Session, step: AnnotateStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    step.annotator.saving._longest.setInterval(400)
    layer = session.labels_layer
    start = time.monotonic()
    while session.project.annotations.status("a.png") == "none":
        layer.paint((10, 10 + int(10 * (time.monotonic() - start))), 2)
        qtbot.wait(50)  # always less than the pause that the first timer waits for
        assert time.monotonic() - start < 5


def test_undo_is_saved(qtbot, session: Session, step: AnnotateStep) -> None:
    layer = session.labels_layer
    layer.paint((10, 10), 2)
    qtbot.waitUntil(lambda: session.project.annotations.status("a.png") == "partial", timeout=9000)
    settle(qtbot, step)
    layer.undo()
    qtbot.waitUntil(lambda: session.project.annotations.status("a.png") == "none", timeout=9000)


def test_changing_only_the_looks_writes_nothing(
    qtbot, session: Session, step: AnnotateStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    step.annotator.store.written.connect(written.append)
    layer = session.labels_layer
    layer.contour = 1
    layer.opacity = 0.3
    layer.visible = False
    layer.visible = True
    qtbot.wait(1500)
    assert written == []
    assert step.annotator.state == "saved"


def test_next_and_previous_keep_every_stroke(qtbot, session: Session, step: AnnotateStep) -> None:
    choose(step, 2)
    session.labels_layer.brush_size = 7
    session.labels_layer.paint((10, 10), 2)
    press(step.header.next)  # at once: the stroke is not saved yet
    open_image(qtbot, step, "b.png")
    layer = session.labels_layer
    assert layer.data.max() == 0
    assert (layer.mode, layer.brush_size, layer.selected_label) == ("paint", 7, 2)
    assert session.viewer.layers.selection.active is layer
    layer.paint((30, 30), 1)
    press(step.header.previous)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.data[10, 10] == 2
    assert wait_for_background()
    assert session.project.annotations.read("a.png")[10, 10] == 2
    assert session.project.annotations.read("b.png")[30, 30] == 1
    assert len([layer for layer in session.viewer.layers if "medssl" in layer.metadata]) == 2
    assert not step.header.previous.isEnabled()
    assert step.header.place.text() == "1 of 3"


def test_going_back_before_the_write_ends_shows_what_was_painted(
    qtbot, session: Session, step: AnnotateStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = type(session.project.annotations).write

    def slowly(self, name, labels, *, done=False):
        time.sleep(1.0)
        write(self, name, labels, done=done)

    monkeypatch.setattr(type(session.project.annotations), "write", slowly)
    session.labels_layer.paint((10, 10), 2)
    press(step.header.next)
    open_image(qtbot, step, "b.png")
    press(step.header.previous)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.data[10, 10] == 2
    assert wait_for_background()
    assert session.project.annotations.read("a.png")[10, 10] == 2


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
    layer.undo()
    np.testing.assert_array_equal(layer.data, painted)
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


def test_planes_of_a_stack_have_labels_of_their_own(
    qtbot, session: Session, step: AnnotateStep, tmp_path: Path
) -> None:
    assert step.header.planes.isHidden()
    other = tmp_path / "volumes"
    other.mkdir()
    stack = np.random.default_rng(0).integers(0, 4000, (12, 40, 50), dtype=np.uint16)
    tifffile.imwrite(other / "scan.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    session.create_project(other)
    open_image(qtbot, step, "scan.tif/z00")
    bar = step.header.planes
    assert bar.text.text() == "plane 1 of 12"
    assert "plane by plane" in bar.toolTip()
    session.labels_layer.paint((10, 10), 2)
    canvas = canvas_of(session.viewer)
    QTest.keyClick(canvas, Qt.Key.Key_PageDown)
    open_image(qtbot, step, "scan.tif/z01")
    assert not session.labels_layer.data.any()
    bar.slider.setValue(11)
    open_image(qtbot, step, "scan.tif/z11")
    np.testing.assert_array_equal(session.image_layer.data, stack[11])
    assert not bar.down.isEnabled()
    QTest.keyClick(canvas, Qt.Key.Key_PageDown)
    assert "last plane" in step.hint.text()
    bar.slider.setValue(0)
    open_image(qtbot, step, "scan.tif/z00")
    assert session.labels_layer.data[10, 10] == 2


def test_a_value_without_a_class_cannot_be_painted(session: Session, step: AnnotateStep) -> None:
    choose(step, 2)
    layer = session.labels_layer
    layer.selected_label = 9  # napari's own controls allow it
    assert layer.selected_label == 2
    assert "No class has the value 9" in step.hint.text()
    layer.selected_label = 1
    assert step.classes.table.value == 1
    layer.selected_label = 0
    assert layer.mode == "erase"
    assert step.classes.table.value == 0
    choose(step, 2)
    assert (layer.mode, layer.selected_label) == ("paint", 2)


def test_what_cannot_be_written_stays_and_is_tried_again(
    qtbot, session: Session, step: AnnotateStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(session.project.annotations)
    write = kind.write

    def full(self, name, labels, *, done=False):
        raise MedsslError("The disk is full.", advice="Make room.")

    monkeypatch.setattr(kind, "write", full)
    session.labels_layer.paint((10, 10), 2)
    qtbot.waitUntil(lambda: step.annotator.state == "failed", timeout=9000)
    assert session.problems[-1].sentence == "The disk is full."
    assert step.header.saved.text() == "NOT SAVED"
    assert step.header.save_now.isVisible()
    press(step.header.next)
    open_image(qtbot, step, "b.png")
    press(step.header.previous)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.data[10, 10] == 2  # not lost by going to another image
    assert step.header.saved.text() == "NOT SAVED"
    monkeypatch.setattr(kind, "write", write)
    press(step.header.save_now)
    settle(qtbot, step)
    assert session.project.annotations.read("a.png")[10, 10] == 2
    assert not step.header.save_now.isVisible()


def test_a_damaged_file_is_said_and_never_overwritten(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    path = session.project.annotations.path("b.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not a tiff")
    press(step.header.next)
    qtbot.waitUntil(lambda: bool(session.problems), timeout=9000)
    assert session.image == "b.png"
    assert session.labels_layer is None
    assert path.read_bytes() == b"not a tiff"
    assert not step.tools.rest.isEnabled()


def test_closing_the_viewer_saves_the_last_stroke(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    annotations = session.project.annotations
    session.labels_layer.paint((10, 10), 2)
    session.viewer.close()
    assert wait_for_background()
    assert annotations.read("a.png")[10, 10] == 2


def test_opening_another_project_saves_the_last_stroke(
    qtbot, session: Session, step: AnnotateStep, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    PillowImage.fromarray(np.zeros((30, 30), np.uint8)).save(other / "z.png")
    before = session.project
    session.labels_layer.paint((10, 10), 2)
    session.create_project(other)
    open_image(qtbot, step, "z.png")
    assert session.labels_layer.data.shape == (30, 30)
    assert wait_for_background()
    assert before.annotations.read("a.png")[10, 10] == 2
    assert session.project.annotations.status("z.png") == "none"


def test_a_removed_layer_is_saved_and_comes_back(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    session.labels_layer.paint((10, 10), 2)
    session.viewer.layers.remove(session.labels_layer)
    assert step.tools.layer_gone.isVisible()
    press(step.tools.layer_gone)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.data[10, 10] == 2
    assert not step.tools.layer_gone.isVisible()


def test_the_layer_lies_on_the_image_and_follows_it(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    image = session.image_layer
    image.scale = (0.5, 0.25)
    image.translate = (100, -7)
    layer = session.labels_layer
    np.testing.assert_allclose(layer.scale, (0.5, 0.25))
    np.testing.assert_allclose(layer.translate, (100, -7))
    session.viewer.reset_view()
    choose(step, 2)
    world = image.data_to_world((20, 30))
    stroke(session.viewer, world, image.data_to_world((20, 50)))
    assert layer.data[20, 40] == 2
    press(step.header.next)
    open_image(qtbot, step, "b.png")
    np.testing.assert_allclose(session.labels_layer.scale, session.image_layer.scale)


def test_a_started_job_finds_the_last_stroke(qtbot, session: Session, step: AnnotateStep) -> None:
    session.labels_layer.paint((10, 10), 2)
    job = {"kind": "pretrain", "project": str(session.project.path), "training": {"steps": 2}}
    session.start_job(job)
    assert wait_for_background()
    assert session.project.annotations.read("a.png")[10, 10] == 2
    qtbot.waitUntil(lambda: session.active is None, timeout=20_000)


def test_colour_images_have_two_dimensional_labels(
    qtbot, session: Session, step: AnnotateStep, tmp_path: Path
) -> None:
    other = tmp_path / "colour"
    other.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    PillowImage.fromarray(pixels).save(other / "stain.png")
    session.create_project(other)
    open_image(qtbot, step, "stain.png")
    assert session.labels_layer.data.shape == (40, 50)
    session.labels_layer.paint((10, 10), 2)
    qtbot.waitUntil(
        lambda: session.project.annotations.status("stain.png") == "partial", timeout=9000
    )
