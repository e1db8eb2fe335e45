"""The real Labels layer, painted with a real mouse, and what is on the disk afterwards."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as PillowImage
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLineEdit

from napari_medssl.errors import MedsslError
from napari_medssl.project import write_tiff_labels
from napari_medssl.widgets import annotation_commands as commands
from napari_medssl.widgets.annotate_step import AnnotateStep
from napari_medssl.widgets.background import wait_for_background
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
        for row in range(step.table.rowCount())
        if step.table.item(row, 0).data(Qt.ItemDataRole.UserRole) == value
    )


def choose(step: AnnotateStep, value: int) -> None:
    item = step.table.item(row_of(step, value), 0)
    place = step.table.visualItemRect(item).center()
    QTest.mouseClick(step.table.viewport(), LEFT, pos=place)


def press(button) -> None:
    QTest.mouseClick(button, LEFT)


def settle(qtbot, step: AnnotateStep) -> None:
    qtbot.waitUntil(lambda: step.annotator.state == "saved", timeout=10_000)


def open_image(qtbot, step: AnnotateStep, name: str) -> None:
    qtbot.waitUntil(
        lambda: step.annotator.image == name and step.annotator.layer is not None, timeout=10_000
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
    assert step.table.item(row_of(step, 2), 2).text() == f"{(on_disk == 2).sum():,}"
    assert "partly" in step.status.text()
    assert step.saved.text().startswith("saved ")


def test_painting_without_a_pause_is_saved_too(
    qtbot, session: Session, step: AnnotateStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    step.annotator._longest.setInterval(400)
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
    press(step.next)  # at once: the stroke is not saved yet
    open_image(qtbot, step, "b.png")
    layer = session.labels_layer
    assert layer.data.max() == 0
    assert (layer.mode, layer.brush_size, layer.selected_label) == ("paint", 7, 2)
    assert session.viewer.layers.selection.active is layer
    layer.paint((30, 30), 1)
    press(step.previous)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.data[10, 10] == 2
    assert wait_for_background()
    assert session.project.annotations.read("a.png")[10, 10] == 2
    assert session.project.annotations.read("b.png")[30, 30] == 1
    assert len([layer for layer in session.viewer.layers if "medssl" in layer.metadata]) == 2
    assert not step.previous.isEnabled()
    assert step.place.text() == "1 of 3"


def test_going_back_before_the_write_ends_shows_what_was_painted(
    qtbot, session: Session, step: AnnotateStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = type(session.project.annotations).write

    def slowly(self, name, labels, *, done=False):
        time.sleep(1.0)
        write(self, name, labels, done=done)

    monkeypatch.setattr(type(session.project.annotations), "write", slowly)
    session.labels_layer.paint((10, 10), 2)
    press(step.next)
    open_image(qtbot, step, "b.png")
    press(step.previous)
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
    assert step.done.isChecked()
    QTest.keyClick(canvas, Qt.Key.Key_R)
    assert not (session.labels_layer.data == 0).any()
    QTest.keyClick(canvas, Qt.Key.Key_U)
    open_image(qtbot, step, "b.png")
    assert wait_for_background()
    assert session.project.annotations.status("a.png") == "done"
    for key, button in {
        "N": step.next, "Shift+N": step.previous, "U": step.unannotated,
        "R": step.rest, "C": step.copy, "M": step.done,
    }.items():  # fmt: skip
        assert button.text().endswith(f"({key})")


def test_next_not_annotated_goes_round_and_says_when_there_is_none(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    some = np.full((60, 80), 2, dtype=np.uint16)
    session.project.annotations.write("b.png", some)
    press(step.unannotated)
    open_image(qtbot, step, "c.png")
    press(step.unannotated)
    open_image(qtbot, step, "a.png")
    session.project.annotations.write("c.png", some)
    press(step.unannotated)
    qtbot.waitUntil(lambda: "Every other image" in step.hint.text(), timeout=9000)
    assert session.image == "a.png"


def test_done_needs_something_and_can_be_taken_back(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    press(step.done)
    assert "Nothing is painted" in step.hint.text()
    assert not step.done.isChecked()
    press(step.rest)
    press(step.done)
    qtbot.waitUntil(lambda: session.project.annotations.status("a.png") == "done", timeout=9000)
    assert "done" in step.status.text()
    press(step.done)
    qtbot.waitUntil(lambda: session.project.annotations.status("a.png") == "partial", timeout=9000)
    assert set(np.unique(session.project.annotations.read("a.png"))) == {1}


def test_rest_is_background_keeps_what_is_painted_and_can_be_undone(
    session: Session, step: AnnotateStep
) -> None:
    layer = session.labels_layer
    layer.paint((10, 10), 2)
    before = layer.data.copy()
    press(step.rest)
    np.testing.assert_array_equal(layer.data, np.where(before == 0, 1, before))
    layer.undo()
    np.testing.assert_array_equal(layer.data, before)


def test_a_prediction_fills_only_what_is_free_unless_asked(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    assert not step.copy.isEnabled()
    assert "no prediction" in step.copy.toolTip()
    run = session.project.new_run("probe")
    run.write_job({"kind": "finetune", "mode": "probe"})
    run.best_path.write_bytes(b"x")
    session.refresh_runs()
    qtbot.waitUntil(lambda: session.current_run == run.name, timeout=9000)
    assert "not predicted this image" in step.copy.toolTip()
    prediction = np.full((60, 80), 1, dtype=np.uint16)
    prediction[:, 40:] = 2
    path = session.project.prediction_path(run.name, "a.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tiff_labels(path, prediction, note={})
    session.saved_prediction.emit(run.name, "a.png")
    assert step.copy.isEnabled()
    layer = session.labels_layer
    layer.data_setitem(np.nonzero(np.arange(60)[:, None] * np.ones(80) < 10), 2)
    painted = layer.data.copy()
    press(step.copy)
    qtbot.waitUntil(lambda: layer.data.all(), timeout=9000)
    np.testing.assert_array_equal(layer.data, np.where(painted > 0, painted, prediction))
    layer.undo()
    np.testing.assert_array_equal(layer.data, painted)
    step.overwrite.click()
    press(step.copy)
    qtbot.waitUntil(lambda: layer.data.all(), timeout=9000)
    np.testing.assert_array_equal(layer.data, prediction)


def test_classes_are_added_named_coloured_and_removed(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    press(step.add)
    editor = step.table.findChild(QLineEdit)
    assert step.table.value == 3
    assert step.table.state() == step.table.State.EditingState
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
    step._set_colour(3, QColor("#123456"))
    assert session.project.settings.classes[2].color == "#123456"
    shown = session.labels_layer.colormap.map(np.array([3]))[0]
    np.testing.assert_allclose(shown[:3], np.array([0x12, 0x34, 0x56]) / 255, atol=1e-3)
    assert step.remove.isEnabled()
    press(step.remove)
    qtbot.waitUntil(lambda: len(session.project.settings.classes) == 2, timeout=9000)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.selected_label == 2
    choose(step, 2)
    assert not step.remove.isEnabled()  # one class beside the background always stays
    choose(step, 1)
    assert not step.rename.isEnabled()
    assert session.problems == []


def test_a_taken_name_is_refused_in_a_sentence(qtbot, session: Session, step: AnnotateStep) -> None:
    press(step.add)
    step.table.item(row_of(step, 3), 0).setText("  Foreground ")
    assert [problem.sentence for problem in session.problems] == [
        "There is already a class called 'Foreground'."
    ]
    assert step.table.item(row_of(step, 3), 0).text() == "class 2"


def test_removing_a_painted_class_asks_and_clears_its_pixels(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    press(step.add)
    elsewhere = np.zeros((60, 80), np.uint16)
    elsewhere[5] = 3
    elsewhere[6] = 2
    session.project.annotations.write("b.png", elsewhere, done=True)
    layer = session.labels_layer
    layer.paint((10, 10), 3)
    layer.paint((40, 40), 2)
    names: list[list[str]] = []
    commands.images_with(step.annotator, 3, on_result=names.append)
    qtbot.waitUntil(lambda: bool(names), timeout=9000)
    assert sorted(names[0]) == ["a.png", "b.png"]
    commands.remove_class(step.annotator, 3, names[0])
    qtbot.waitUntil(lambda: len(session.project.settings.classes) == 2, timeout=9000)
    qtbot.waitUntil(lambda: step.annotator.layer is not None, timeout=9000)
    assert wait_for_background()
    assert set(np.unique(session.project.annotations.read("a.png"))) == {0, 2}
    assert set(np.unique(session.project.annotations.read("b.png"))) == {0, 2}
    assert session.project.annotations.status("b.png") == "done"
    session.labels_layer.undo()
    assert 3 not in session.labels_layer.data
    assert session.problems == []


def test_a_value_without_a_class_cannot_be_painted(session: Session, step: AnnotateStep) -> None:
    choose(step, 2)
    layer = session.labels_layer
    layer.selected_label = 9  # napari's own controls allow it
    assert layer.selected_label == 2
    assert "No class has the value 9" in step.hint.text()
    layer.selected_label = 1
    assert step.table.value == 1
    layer.selected_label = 0
    assert layer.mode == "erase"
    assert step.table.value == 0
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
    assert step.saved.text() == "NOT SAVED"
    assert step.save_now.isVisible()
    press(step.next)
    open_image(qtbot, step, "b.png")
    press(step.previous)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.data[10, 10] == 2  # not lost by going to another image
    assert step.saved.text() == "NOT SAVED"
    monkeypatch.setattr(kind, "write", write)
    press(step.save_now)
    settle(qtbot, step)
    assert session.project.annotations.read("a.png")[10, 10] == 2
    assert not step.save_now.isVisible()


def test_a_damaged_file_is_said_and_never_overwritten(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    path = session.project.annotations.path("b.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not a tiff")
    press(step.next)
    qtbot.waitUntil(lambda: bool(session.problems), timeout=9000)
    assert session.image == "b.png"
    assert session.labels_layer is None
    assert path.read_bytes() == b"not a tiff"
    assert not step.rest.isEnabled()


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
    assert step.layer_gone.isVisible()
    press(step.layer_gone)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.data[10, 10] == 2
    assert not step.layer_gone.isVisible()


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
    press(step.next)
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
