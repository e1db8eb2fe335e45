"""Clicks in the real canvas, and the heat map that follows; the engine is a stand-in, its features real files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from clicks import (
    LEFT,
    SHIFT,
    add_run,
    asked,
    canvas_of,
    click,
    drag,
    heat_is,
    move,
    similar,
    viewer_of,
)
from napari.layers import Labels
from PIL import Image
from qtpy.QtCore import QEvent, QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medssl.explore import cosine_similarity
from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.explore import ExploreWidget
from napari_medssl.widgets.explorer import Explorer
from napari_medssl.widgets.layers import find_layer
from napari_medssl.widgets.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    import napari


def start(widget: ExploreWidget, until) -> None:
    QTest.mouseClick(similar(widget).explore, LEFT)
    until(lambda: widget.panel.explorer.state == "ready")
    viewer_of(widget).reset_view()


def shown_image(widget: ExploreWidget) -> str | None:
    heat = widget.panel.explorer.heat
    return heat.metadata["medssl"]["image"] if heat is not None else None


def test_without_a_run_it_says_what_to_do(explore: ExploreWidget) -> None:
    assert "Pretrain" in explore.panel.missing.text()
    assert not explore.panel.controls.isEnabled()
    assert explore.workspace.isVisible()


def test_a_click_shows_the_similarity_to_that_pixel(trained: ExploreWidget, until) -> None:
    panel = trained.panel
    assert not panel.missing.isVisible()
    click(trained, 30, 30)  # not exploring yet
    assert asked(trained) == []
    start(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    heat = panel.explorer.heat
    assert heat.data.dtype == np.float32
    assert heat.data[30, 25] > heat.data[5, 60]
    assert heat.colormap.name == "inferno"
    assert "1 example." in similar(trained).hint.text()
    points = find_layer(viewer_of(trained), "query")
    np.testing.assert_array_equal(points.data, [[30, 25]])
    assert viewer_of(trained).layers.selection.active is find_layer(viewer_of(trained), "image")
    assert trained.problems == []


def test_shift_adds_a_pixel_and_a_click_starts_anew(trained: ExploreWidget, until) -> None:
    start(trained, until)
    click(trained, 30, 25)
    click(trained, 5, 70, SHIFT)
    until(heat_is(trained, [(30, 25), (5, 70)]))
    assert "2 examples." in similar(trained).hint.text()
    click(trained, 50, 50)
    until(heat_is(trained, [(50, 50)]))
    roles = [layer.metadata["medssl"]["role"] for layer in viewer_of(trained).layers]
    assert roles == ["image", "heat", "query"]


def test_dragging_moves_the_image_and_asks_nothing(trained: ExploreWidget, until) -> None:
    start(trained, until)
    before = viewer_of(trained).scene.camera.center
    drag(trained, (30, 30), (40, 60))
    assert asked(trained) == []
    assert viewer_of(trained).scene.camera.center != before


def test_outside_the_image_nothing_is_asked(trained: ExploreWidget, until) -> None:
    start(trained, until)
    click(trained, -3, 30)
    click(trained, 30, 80.6)
    assert asked(trained) == []


def test_scale_and_translate_are_taken_into_account(trained: ExploreWidget, until) -> None:
    image = find_layer(viewer_of(trained), "image")
    image.scale = (0.5, 2.0)
    image.translate = (100, -40)
    start(trained, until)
    click(trained, 33, 21)
    until(heat_is(trained, [(33, 21)]))
    heat, points = trained.panel.explorer.heat, find_layer(viewer_of(trained), "query")
    for layer in (heat, points):
        np.testing.assert_allclose(layer.scale, (0.5, 2.0))
        np.testing.assert_allclose(layer.translate, (100, -40))
    image.translate = (7, 8)
    np.testing.assert_allclose(heat.translate, (7, 8))


def test_other_layers_of_more_dimensions_do_not_shift_the_click(
    trained: ExploreWidget, until
) -> None:
    viewer = viewer_of(trained)
    viewer.add_image(np.zeros((3, 64, 80)), opacity=0.1)
    viewer.layers.selection.active = find_layer(viewer, "image")
    start(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))


def test_a_brush_paints_instead_of_asking(trained: ExploreWidget, until) -> None:
    viewer = viewer_of(trained)
    start(trained, until)
    labels = viewer.add_layer(Labels(np.zeros((64, 80), np.uint16)))
    labels.mode = "paint"
    click(trained, 30, 25)
    assert asked(trained) == []
    assert labels.data.any()


def test_starting_to_explore_puts_the_brush_down(trained: ExploreWidget, until) -> None:
    viewer = viewer_of(trained)
    labels = viewer.add_layer(Labels(np.zeros((64, 80), np.uint16)))
    labels.mode = "paint"
    start(trained, until)
    click(trained, 30, 25)
    assert asked(trained) == [(30, 25)]
    assert not labels.data.any()


def test_following_the_cursor(trained: ExploreWidget, until) -> None:
    start(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    QTest.mouseClick(similar(trained).follow, LEFT)
    move(trained, 50, 60)
    until(heat_is(trained, [(50, 60)]))
    move(trained, 10, 10)
    until(heat_is(trained, [(10, 10)]))
    QTest.mouseClick(similar(trained).follow, LEFT)
    until(heat_is(trained, [(30, 25)]))  # the clicked pixel again


def test_keys_on_the_canvas(trained: ExploreWidget, until) -> None:
    canvas, explorer = canvas_of(viewer_of(trained)), trained.panel.explorer
    QTest.keyClick(canvas, Qt.Key.Key_Q)
    assert explorer.active
    assert similar(trained).explore.isChecked()
    QTest.keyPress(canvas, Qt.Key.Key_W)
    assert explorer.following
    QTest.keyRelease(canvas, Qt.Key.Key_W)
    assert not explorer.following
    assert explorer.active
    QTest.keyClick(canvas, Qt.Key.Key_Q)
    assert not explorer.active
    assert similar(trained).explore.text().endswith("(Q)")
    assert "W" in similar(trained).follow.text()


def test_range_colours_and_opacity(trained: ExploreWidget, until) -> None:
    panel = trained.panel
    similar(trained).folds["Range and colours of the map"].set_open(True)
    shown = similar(trained).map
    start(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    heat = panel.explorer.heat
    median = float(np.median(heat.data))
    assert heat.contrast_limits == pytest.approx([median, 1.0], abs=1e-3)
    assert shown.range.value() == pytest.approx((median, 1.0), abs=0.02)
    shown.range.setValue((0.25, 0.75))
    assert heat.contrast_limits == pytest.approx([0.25, 0.75])
    assert not shown.automatic.isChecked()
    assert (shown.low.text(), shown.high.text()) == ("0.25", "0.75")
    click(trained, 5, 70)
    until(heat_is(trained, [(5, 70)]))
    assert heat.contrast_limits == pytest.approx([0.25, 0.75])  # the user's, for the next map too
    heat.contrast_limits = (0.5, 0.9)  # napari's own slider
    assert shown.range.value() == pytest.approx((0.5, 0.9))
    QTest.mouseClick(shown.automatic, LEFT, pos=QPoint(8, shown.automatic.height() // 2))
    assert heat.contrast_limits[0] == pytest.approx(np.median(heat.data), abs=1e-3)
    shown.opacity.setValue(30)
    assert heat.opacity == pytest.approx(0.3)
    heat.opacity = 0.6
    assert shown.opacity.value() == 60
    shown.colormap.setCurrentText("viridis")
    shown.colormap.textActivated.emit("viridis")
    assert heat.colormap.name == "viridis"


def test_clear_removes_map_and_cross(trained: ExploreWidget, until) -> None:
    start(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    QTest.mouseClick(similar(trained).clear, LEFT)
    assert [layer.metadata["medssl"]["role"] for layer in viewer_of(trained).layers] == ["image"]
    assert not similar(trained).clear.isEnabled()
    click(trained, 20, 20)
    until(heat_is(trained, [(20, 20)]))


def test_features_are_asked_once_per_image_and_run(
    trained: ExploreWidget, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = trained.panel.explorer.session
    asked = []
    request = session.request

    def noted(kind: str, **fields: object) -> int:
        if kind == "embed":
            asked.append((fields["run"], fields["image"]))
        return request(kind, **fields)

    monkeypatch.setattr(session, "request", noted)
    first = session.current_run
    start(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    session.open_image("b.png")
    until(lambda: session.image == "b.png" and trained.panel.explorer.state == "ready")
    until(lambda: shown_image(trained) == "b.png")  # the same pixel of a.png, asked of b.png
    heat = trained.panel.explorer.heat
    assert heat.data[30, 25] > heat.data[5, 60]
    assert similar(trained).hint.text().startswith("1 example (1 in other images).")
    click(trained, 10, 10)
    until(heat_is(trained, [(10, 10)]))
    session.open_image("a.png")
    until(lambda: session.image == "a.png" and trained.panel.explorer.state == "ready")
    click(trained, 20, 10)
    until(heat_is(trained, [(20, 10)]))
    assert asked == [(first, "a.png"), (first, "b.png")]
    second = add_run(trained, until)  # the newest run is the current one
    until(lambda: trained.panel.explorer.state == "ready")
    until(heat_is(trained, [(20, 10)]))  # same pixel, other network, at once
    assert asked[2:] == [(second, "a.png")]
    trained.panel.run.setCurrentText(first)
    trained.panel.run.activated.emit(trained.panel.run.currentIndex())
    assert session.current_run == first
    assert trained.panel.explorer.state == "ready"
    assert len(asked) == 3


def test_a_failing_engine_is_a_sentence_and_the_next_click_tries_again(
    trained: ExploreWidget, until
) -> None:
    session = trained.panel.explorer.session
    session.warm.command[:] = [session.warm.command[0], "-c", "raise SystemExit(3)"]
    QTest.mouseClick(similar(trained).explore, LEFT)
    until(lambda: trained.panel.explorer.state == "failed")
    assert similar(trained).hint.text().startswith("No features: ")
    assert len(trained.problems) == 1
    session.warm.command[:] = type(session).engine_command
    viewer_of(trained).reset_view()
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))


def test_a_map_is_not_left_for_another_network_or_another_picture(
    trained: ExploreWidget, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = trained.panel.explorer
    session = explorer.session
    start(trained, until)
    click(trained, 30, 25)
    until(lambda: explorer.answered)
    before = explorer.heat.data
    path = session.project.image_path("a.png")
    Image.fromarray(np.arange(64 * 80, dtype=np.uint16).reshape(64, 80)).save(path)
    session.images.reload()  # other values, of another type
    until(lambda: explorer.answered and explorer.heat.data is not before)
    assert np.abs(explorer.heat.data - before).max() > 0.01
    find_layer(viewer_of(trained), "image").translate = (7, 8)
    np.testing.assert_allclose(explorer.heat.translate, (7, 8))
    monkeypatch.setattr(session, "request", lambda *_, **__: 0)  # an engine that never answers
    add_run(trained, until)
    until(lambda: explorer.heat is None)
    assert similar(trained).hint.text() == "Computing the features of this image ..."
    assert trained.problems == []


def test_full_resolution_is_a_feature_for_every_pixel(trained: ExploreWidget, until) -> None:
    explorer = trained.panel.explorer
    start(trained, until)
    click(trained, 30, 25)
    until(lambda: explorer.answered)
    coarse = explorer.heat.data
    similar(trained).full.click()
    until(lambda: explorer.answered and explorer.heat.data is not coarse)
    session = explorer.session
    path = session.project.embedding_path(f"{session.current_run}.stride-1", "a.png")
    features = np.load(path)
    np.testing.assert_array_equal(
        explorer.heat.data, cosine_similarity(features, [(30, 25)], stride=1, shape=(64, 80))
    )


def test_a_second_panel_shows_the_same(trained: ExploreWidget, until) -> None:
    session = trained.panel.explorer.session
    other = ExploreWidget(session.viewer)
    session.viewer.window.add_dock_widget(other, name="Explore 2")
    assert other.panel.explorer is trained.panel.explorer
    start(trained, until)
    assert similar(other).explore.isChecked()
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    assert similar(other).hint.text() == similar(trained).hint.text()


def test_a_closed_dock_leaves_nothing_that_fails(trained: ExploreWidget, until) -> None:
    explorer, viewer = trained.panel.explorer, viewer_of(trained)
    start(trained, until)
    canvas = canvas_of(viewer)
    viewer.window.remove_dock_widget(trained)
    trained.deleteLater()
    QApplication.sendPostedEvents(trained, QEvent.Type.DeferredDelete)
    QTest.qWait(50)
    QTest.keyClick(canvas, Qt.Key.Key_Q)
    explorer.ask(10, 10)
    until(lambda: explorer.heat is not None)


@pytest.fixture
def bare(make_napari_viewer, fake_engine) -> napari.Viewer:
    viewer = make_napari_viewer(show=True)
    yield viewer
    Session.of(viewer).shut_down()
    wait_for_background()


def entry(viewer: napari.Viewer, submenu: str):
    bar = viewer.window._qt_window.menuBar()
    layers = next(a.menu() for a in bar.actions() if a.text().replace("&", "") == "Layers")
    menu = next(a.menu() for a in layers.actions() if a.text().replace("&", "") == submenu)
    return next(action for action in menu.actions() if "MedSSL" in action.text())


def test_the_layers_menus_open_the_right_place(
    bare: napari.Viewer, image_folder: Path, until
) -> None:
    for submenu in ("Segment", "Annotate", "Visualize"):
        entry(bare, submenu).trigger()
        workspace = bare.window.dock_widgets["Workspace (napari-medssl)"]
        assert workspace.open_title == "Project"  # there is none yet
    session = Session.of(bare)
    session.create_project(image_folder)
    until(lambda: session.image == "a.png")
    entry(bare, "Annotate").trigger()
    assert workspace.open_title == "Annotate"
    entry(bare, "Segment").trigger()
    assert workspace.open_title == "Annotate"  # the first step towards it that is possible
    entry(bare, "Visualize").trigger()
    assert workspace.open_title == "Pretrain"
    assert "Explore (napari-medssl)" not in bare.window.dock_widgets
    bare.open(str(image_folder / "b.png"), plugin="napari")
    entry(bare, "Annotate").trigger()
    until(lambda: session.image == "b.png")  # the selected layer's own file
    add_run_to(session, until)
    entry(bare, "Visualize").trigger()
    assert similar(bare.window.dock_widgets["Explore (napari-medssl)"]).explore.isChecked()
    entry(bare, "Segment").trigger()
    assert workspace.open_title == "Predict"
    bare.add_image(np.zeros((20, 30), np.uint8), name="loose")
    entry(bare, "Data").trigger()
    until(lambda: session.image == "(layers)/loose.tif")


def add_run_to(session: Session, until) -> None:
    run = session.project.new_run("fake")
    run.write_job({"kind": "pretrain", "method": "fake"})
    run.best_path.write_bytes(b"weights")
    session.refresh_runs()
    until(lambda: session.current_run == run.name)


def test_quick_moves_do_not_pile_up(trained: ExploreWidget, until) -> None:
    """Moves of the cursor are answered one at a time, the newest last, and never pile up."""
    explorer = Explorer.of(trained.panel.explorer.session)
    start(trained, until)
    explorer.set_following(True)
    began = time.monotonic()
    for x in range(40):
        explorer._cursor = (20, x)
        explorer._compare()
    assert time.monotonic() - began < 2  # each waits for none of the answers
    until(heat_is(trained, [(20, 39)]))
