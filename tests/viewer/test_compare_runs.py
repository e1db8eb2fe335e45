"""The same query asked of several networks, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from clicks import add_run, viewer_of
from qtpy.QtCore import QPointF, Qt

from napari_medssl.explore import cosine_similarity
from napari_medssl.explore.query import Point, Query

if TYPE_CHECKING:
    from napari_medssl.widgets.explore import ExploreWidget


def annotate_two(widget: ExploreWidget, until) -> None:
    session = widget.panel.explorer.session
    for name in ("a.png", "b.png"):
        labels = np.ones(session.project.shape(name), np.uint16)
        labels[20:40, 20:40] = 2
        session.project.annotations.write(name, labels)
    session.overview.refresh()
    until(lambda: len(session.overview.annotated.images) == 2)


def test_networks_are_asked_for_the_same_pixel(trained: ExploreWidget, until) -> None:
    viewer, session = viewer_of(trained), trained.panel.explorer.session
    annotate_two(trained, until)
    section = trained.panel.open_section("Compare")
    items = [section.runs.item(row) for row in range(section.runs.count())]
    assert [item.checkState() for item in items] == 2 * [Qt.CheckState.Checked]  # before and after
    items[0].setCheckState(Qt.CheckState.Unchecked)
    assert not section.compare_button.isEnabled()
    items[0].setCheckState(Qt.CheckState.Checked)
    section.compare_button.click()
    until(lambda: not section.progress.isVisible())
    after, before = section.view.panels
    assert "before training" in before.title.text()
    before.pressed.emit(30, 25)
    assert trained.panel.explorer.query.points[0].y == 30
    until(lambda: after._heat is not None and before._heat is not None)
    shape = session.project.shape("a.png")
    for panel, folder in ((after, session.current_run), (before, f"{session.current_run}.start")):
        features = np.load(session.project.embedding_path(folder, "a.png"))
        expected = cosine_similarity(features, [(30, 25)], stride=4, shape=shape)
        np.testing.assert_array_equal(panel._heat.map, expected)
    assert not np.array_equal(after._heat.map, before._heat.map)
    # one cursor and one zoom
    after.pointed.emit(QPointF(25.5, 30.5))
    assert before.value.text() == f"{before._heat.map[30, 25]:.3f} at y 30, x 25"
    after.box.setRange(xRange=(10, 30), yRange=(10, 30), padding=0)
    after.box.sigRangeChangedManually.emit([True, True])
    assert np.allclose(before.box.viewRange(), after.box.viewRange(), atol=0.5)
    until(lambda: all("separability 1" in panel.more.text() for panel in section.view.panels))
    # another image is compared as soon as it is open
    session.open_image("c.png")
    until(lambda: session.image == "c.png" and section._image == "c.png")
    until(lambda: all(panel._heat is not None for panel in section.view.panels))
    assert section.view.panels[0]._heat.map.shape == session.project.shape("c.png")
    # a closed window is opened again
    viewer.window.remove_dock_widget(section.view)
    until(lambda: section.view is None)
    section.compare_button.click()
    until(lambda: section.view is not None and not section.progress.isVisible())
    assert len(section.view.panels) == 2
    assert trained.problems == []


def test_nothing_of_another_source_or_of_former_weights_is_shown(
    trained: ExploreWidget, until
) -> None:
    explorer = trained.panel.explorer
    session = explorer.session
    first, second = session.current_run, add_run(trained, until)
    section = trained.panel.open_section("Compare")
    for row in range(section.runs.count()):
        item = section.runs.item(row)
        trained_network = "before" not in item.text()
        item.setCheckState(Qt.CheckState.Checked if trained_network else Qt.CheckState.Unchecked)

    def shows(folder: str) -> bool:
        heat = section.view.panels[0]._heat if section.view.panels else None
        path = session.project.embedding_path(folder, "a.png")
        if heat is None or not path.is_file():
            return False
        shape = session.project.shape("a.png")
        expected = cosine_similarity(np.load(path), [(30, 25)], stride=4, shape=shape)
        return np.array_equal(heat.map, expected)

    explorer.ask(30, 25)
    section.compare_button.click()
    until(lambda: shows(second))
    explorer.set_source("decoder-2")
    assert section.view.panels == []
    assert "Press Compare" in section.hint.text()
    section.compare_button.click()
    until(lambda: shows(f"{second}.decoder-2.open"))
    # trained on: what was shown is of no network that there is
    weights = session.project.run(first).best_path
    weights.write_bytes(b"other weights")
    explorer.ask(31, 25)
    assert section.view.panels == []
    # a network before training has no other source
    items = [section.runs.item(row) for row in range(section.runs.count())]
    next(item for item in items if "before" in item.text()).setCheckState(Qt.CheckState.Checked)
    assert not section.compare_button.isEnabled()
    assert "cannot be asked for its decoder-2" in section.hint.text()
    assert trained.problems == []


def test_gathering_goes_on_in_another_tab_and_ends_with_the_panel(
    trained: ExploreWidget, until
) -> None:
    explorer = trained.panel.explorer
    annotate_two(trained, until)
    section = trained.panel.open_section("Compare")
    section.compare_button.click()
    trained.panel.open_section("Similar")
    explorer.set_query(Query(points=(Point(image="c.png", y=5, x=5),)))  # one more image
    view = section.view
    until(lambda: all(panel._heat is not None for panel in view.panels))
    until(lambda: all("separability 1" in panel.more.text() for panel in view.panels))
    explorer.set_active(True)
    window = viewer_of(trained).window
    assert "Compare runs" in window.dock_widgets
    section.compare_button.click()
    window.remove_dock_widget(trained)
    trained.deleteLater()
    until(lambda: "Compare runs" not in window.dock_widgets)
    assert not explorer.active
    assert trained.problems == []
