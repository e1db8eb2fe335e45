"""What is painted with a real mouse: on which layer, and when it is on the disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from annotating import canvas_of, choose, open_image, press, row_of, settle, stroke
from PIL import Image as PillowImage
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_medssl.widgets.background import wait_for_background

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from napari_medssl.widgets.annotate_step import AnnotateStep
    from napari_medssl.widgets.session import Session


def test_a_stroke_is_on_disk_soon_by_itself(qtbot, session: Session, step: AnnotateStep) -> None:
    choose(step, 2)
    layer = session.labels_layer
    assert layer.mode == "paint"
    assert layer.selected_label == 2
    stroke(session.viewer, (20, 20), (20, 60))
    assert layer.data[20, 40] == 2
    qtbot.waitUntil(lambda: session.project.annotations.status("a.png") == "partial", timeout=9000)
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
