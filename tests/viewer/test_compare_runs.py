"""The same query asked of several networks, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from clicks import viewer_of
from qtpy.QtCore import QPointF, Qt

from napari_medssl.explore import cosine_similarity

if TYPE_CHECKING:
    from napari_medssl.widgets.explore import ExploreWidget


def test_networks_are_asked_for_the_same_pixel(trained: ExploreWidget, until) -> None:
    viewer, session = viewer_of(trained), trained.panel.explorer.session
    for name in ("a.png", "b.png"):
        labels = np.ones(session.project.shape(name), np.uint16)
        labels[20:40, 20:40] = 2
        session.project.annotations.write(name, labels)
    session.overview.refresh()
    until(lambda: len(session.overview.annotated.images) == 2)
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
