"""Clicks in the real canvas, and the heat map that follows; the engine is a stand-in, its features real files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medssl.explore import cosine_similarity
from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.explore import ExploreWidget
from napari_medssl.widgets.explorer import Explorer
from napari_medssl.widgets.layers import find_layer
from napari_medssl.widgets.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import napari

LEFT = Qt.MouseButton.LeftButton
NONE = Qt.MouseButton.NoButton
SHIFT = Qt.KeyboardModifier.ShiftModifier
PLAIN = Qt.KeyboardModifier.NoModifier


@pytest.fixture
def widget(make_napari_viewer, fake_engine, image_folder: Path, until) -> ExploreWidget:
    viewer = make_napari_viewer(show=True)
    widget = ExploreWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Explore")
    session = Session.of(viewer)
    widget.problems = []
    session.problem.connect(widget.problems.append)
    session.create_project(image_folder)
    until(lambda: session.image == "a.png")
    yield widget
    session.shut_down()
    wait_for_background()


@pytest.fixture
def trained(widget: ExploreWidget, until) -> ExploreWidget:
    """The widget of a project with a run."""
    add_run(widget, until)
    return widget


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


def start(widget: ExploreWidget, until) -> None:
    QTest.mouseClick(widget.panel.explore, LEFT)
    until(lambda: widget.panel.explorer.state == "ready")
    viewer_of(widget).reset_view()


def test_without_a_run_it_says_what_to_do(widget: ExploreWidget) -> None:
    assert "Pretrain" in widget.panel.missing.text()
    assert not widget.panel.controls.isEnabled()
    assert widget.workspace.isVisible()


def test_a_click_shows_the_similarity_to_that_pixel(trained: ExploreWidget, until) -> None:
    panel = trained.panel
    assert not panel.missing.isVisible()
    click(trained, 30, 30)  # not exploring yet
    assert panel.explorer.queries == []
    start(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    heat = panel.explorer.heat
    assert heat.data.dtype == np.float32
    assert heat.data[30, 25] > heat.data[5, 60]
    assert heat.colormap.name == "inferno"
    assert "y 30, x 25" in panel.hint.text()
    points = find_layer(viewer_of(trained), "query")
    np.testing.assert_array_equal(points.data, [[30, 25]])
    assert viewer_of(trained).layers.selection.active is find_layer(viewer_of(trained), "image")
    assert trained.problems == []


def test_shift_adds_a_pixel_and_a_click_starts_anew(trained: ExploreWidget, until) -> None:
    start(trained, until)
    click(trained, 30, 25)
    click(trained, 5, 70, SHIFT)
    until(heat_is(trained, [(30, 25), (5, 70)]))
    assert "mean of 2 pixels" in trained.panel.hint.text()
    click(trained, 50, 50)
    until(heat_is(trained, [(50, 50)]))
    roles = [layer.metadata["medssl"]["role"] for layer in viewer_of(trained).layers]
    assert roles == ["image", "heat", "query"]


def test_dragging_moves_the_image_and_asks_nothing(trained: ExploreWidget, until) -> None:
    start(trained, until)
    before = viewer_of(trained).scene.camera.center
    drag(trained, (30, 30), (40, 60))
    assert trained.panel.explorer.queries == []
    assert viewer_of(trained).scene.camera.center != before


def test_outside_the_image_nothing_is_asked(trained: ExploreWidget, until) -> None:
    start(trained, until)
    click(trained, -3, 30)
    click(trained, 30, 80.6)
    assert trained.panel.explorer.queries == []


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
    assert trained.panel.explorer.queries == []
    assert labels.data.any()


def test_starting_to_explore_puts_the_brush_down(trained: ExploreWidget, until) -> None:
    viewer = viewer_of(trained)
    labels = viewer.add_layer(Labels(np.zeros((64, 80), np.uint16)))
    labels.mode = "paint"
    start(trained, until)
    click(trained, 30, 25)
    assert trained.panel.explorer.queries == [(30, 25)]
    assert not labels.data.any()


def test_following_the_cursor(trained: ExploreWidget, until) -> None:
    start(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    QTest.mouseClick(trained.panel.follow, LEFT)
    move(trained, 50, 60)
    until(heat_is(trained, [(50, 60)]))
    move(trained, 10, 10)
    until(heat_is(trained, [(10, 10)]))
    QTest.mouseClick(trained.panel.follow, LEFT)
    until(heat_is(trained, [(30, 25)]))  # the clicked pixel again


def test_keys_on_the_canvas(trained: ExploreWidget, until) -> None:
    canvas, explorer = canvas_of(viewer_of(trained)), trained.panel.explorer
    QTest.keyClick(canvas, Qt.Key.Key_Q)
    assert explorer.active
    assert trained.panel.explore.isChecked()
    QTest.keyPress(canvas, Qt.Key.Key_W)
    assert explorer.following
    QTest.keyRelease(canvas, Qt.Key.Key_W)
    assert not explorer.following
    assert explorer.active
    QTest.keyClick(canvas, Qt.Key.Key_Q)
    assert not explorer.active
    assert trained.panel.explore.text().endswith("(Q)")
    assert "W" in trained.panel.follow.text()


def test_range_and_opacity(trained: ExploreWidget, until) -> None:
    panel = trained.panel
    start(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    heat = panel.explorer.heat
    median = float(np.median(heat.data))
    assert heat.contrast_limits == pytest.approx([median, 1.0], abs=1e-3)
    assert panel.range.value() == pytest.approx((median, 1.0), abs=0.02)
    panel.range.setValue((0.25, 0.75))
    assert heat.contrast_limits == pytest.approx([0.25, 0.75])
    assert not panel.automatic.isChecked()
    assert (panel.low.text(), panel.high.text()) == ("0.25", "0.75")
    click(trained, 5, 70)
    until(heat_is(trained, [(5, 70)]))
    assert heat.contrast_limits == pytest.approx([0.25, 0.75])  # the user's, for the next map too
    heat.contrast_limits = (0.5, 0.9)  # napari's own slider
    assert panel.range.value() == pytest.approx((0.5, 0.9))
    QTest.mouseClick(panel.automatic, LEFT, pos=QPoint(8, panel.automatic.height() // 2))
    assert heat.contrast_limits[0] == pytest.approx(np.median(heat.data), abs=1e-3)
    panel.opacity.setValue(30)
    assert heat.opacity == pytest.approx(0.3)
    heat.opacity = 0.6
    assert panel.opacity.value() == 60


def test_clear_removes_map_and_cross(trained: ExploreWidget, until) -> None:
    start(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    QTest.mouseClick(trained.panel.clear, LEFT)
    assert [layer.metadata["medssl"]["role"] for layer in viewer_of(trained).layers] == ["image"]
    assert not trained.panel.clear.isEnabled()
    click(trained, 20, 20)
    until(heat_is(trained, [(20, 20)]))


def test_features_are_asked_once_per_image_and_run(
    trained: ExploreWidget, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = trained.panel.explorer.session
    asked = []
    request = session.request
    monkeypatch.setattr(
        session,
        "request",
        lambda kind, **fields: (
            asked.append((fields["run"], fields["image"])) or request(kind, **fields)
        ),
    )
    first = session.current_run
    start(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    session.open_image("b.png")
    until(lambda: session.image == "b.png" and trained.panel.explorer.state == "ready")
    assert trained.panel.explorer.heat is None  # the map of another image is gone
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
    QTest.mouseClick(trained.panel.explore, LEFT)
    until(lambda: trained.panel.explorer.state == "failed")
    assert trained.panel.hint.text().startswith("No features: ")
    assert len(trained.problems) == 1
    session.warm.command[:] = type(session).engine_command
    viewer_of(trained).reset_view()
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))


def test_a_second_panel_shows_the_same(trained: ExploreWidget, until) -> None:
    session = trained.panel.explorer.session
    other = ExploreWidget(session.viewer)
    session.viewer.window.add_dock_widget(other, name="Explore 2")
    assert other.panel.explorer is trained.panel.explorer
    start(trained, until)
    assert other.panel.explore.isChecked()
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    assert other.panel.hint.text() == trained.panel.hint.text()


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
    assert bare.window.dock_widgets["Explore (napari-medssl)"].panel.explore.isChecked()
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
    assert time.monotonic() - began < 0.5
    until(heat_is(trained, [(20, 39)]))
