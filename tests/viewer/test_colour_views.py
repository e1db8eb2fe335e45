"""Colours of the features on the open image, and the map beside it; real clicks in canvas and map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from clicks import click, viewer_of
from stored import drag_over, store_features

from napari_medssl.explore import colours
from napari_medssl.explore.store import Index, index_path
from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.feature_store import FeatureStore
from napari_medssl.widgets.layers import find_layer

if TYPE_CHECKING:
    from napari_medssl.widgets.colour_views import ColoursSection
    from napari_medssl.widgets.explore import ExploreWidget


@pytest.fixture
def section(trained: ExploreWidget, until) -> ColoursSection:
    """The section Colours of a project whose features are stored."""
    found = trained.panel.open_section("Colours")
    assert not found.show_button.isEnabled()
    until(lambda: "store them first" in found.hint.text())
    store_features(trained, until)
    until(found.show_button.isEnabled)
    return found


def choose(section: ColoursSection, kind: str) -> None:
    number = section.kind.findData(kind)
    section.kind.setCurrentIndex(number)
    section.kind.activated.emit(number)


def test_colours_lie_on_whichever_image_is_open(
    trained: ExploreWidget, section: ColoursSection, until
) -> None:
    viewer, session = viewer_of(trained), trained.panel.explorer.session
    find_layer(viewer, "image").scale = (2, 3)
    section.show_button.click()
    until(lambda: find_layer(viewer, "colours") is not None)
    layer = find_layer(viewer, "colours")
    assert layer.data.shape == (64, 80, 3)
    assert layer.scale.tolist() == [2, 3]
    nucleus, background = layer.data[30, 30].astype(int), layer.data[50, 10].astype(int)
    assert np.abs(nucleus - background).max() > 40
    session.open_image("c.png")
    until(lambda: session.image == "c.png" and find_layer(viewer, "colours") is not None)
    assert find_layer(viewer, "colours").data.shape == (90, 70, 3)
    choose(section, "kmeans")
    section.clusters.setValue(3)
    section.show_button.click()
    until(lambda: getattr(find_layer(viewer, "colours"), "name", "") == "clusters")
    clusters = find_layer(viewer, "colours")
    assert set(np.unique(clusters.data)) <= {1, 2, 3}
    assert not clusters.editable
    assert "1: " in section.hint.text()
    section.remove.click()
    assert find_layer(viewer, "colours") is None
    assert trained.problems == []


def test_map_and_image_point_at_each_other(
    trained: ExploreWidget, section: ColoursSection, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colours, "TSNE_CELLS", 150)
    viewer = viewer_of(trained)
    choose(section, "tsne")
    section.show_button.click()
    until(section.map.isVisible)
    until(lambda: find_layer(viewer, "colours") is not None)
    grid = section._painted.grid
    # the places of one half of the image are outlined: those pixels light up, and no others
    low, high = grid.reshape(-1, 2).min(0) - 0.05, grid.reshape(-1, 2).max(0) + 0.05
    middle = float(np.median(grid[..., 0]))
    drag_over(
        section.map.scatter,
        [(low[0], low[1]), (low[0], high[1]), (middle, high[1]), (middle, low[1])],
    )
    lit = find_layer(viewer, "lit")
    dark = lit.data[..., 3] == lit.data[0, 0, 3] if grid[0, 0, 0] > middle else lit.data[..., 3] > 0
    clear = grid[..., 0] < middle
    away = np.abs(grid[..., 0] - middle) > 0.03  # the outline is as exact as the pixels of the plot
    shade = lit.data[::4, ::4, 3] == 185
    np.testing.assert_array_equal(~shade[away], clear[away])
    assert dark.any()
    assert "Outlined" in section.map.text.text()
    # a click in the image rings its place on the map, and the outline is gone
    click(trained, 30, 30)
    assert find_layer(viewer, "lit") is None
    rings = section.map.scatter._lit.getData()
    assert np.allclose(np.array(rings).T, grid[7, 7])
    # so does what is drawn
    drawn = np.zeros((64, 80), int)
    drawn[0:8, 0:4] = 1
    viewer.add_labels(drawn)
    section.map.region.click()
    assert len(section.map.scatter._lit.getData()[0]) == 2
    assert trained.problems == []


def test_a_map_in_the_making_shows_how_far_it_is_and_can_be_stopped(
    trained: ExploreWidget, section: ColoursSection, until
) -> None:
    choose(section, "tsne")
    section.show_button.click()
    assert section.work.isVisible()
    assert not section.show_button.isEnabled()
    until(lambda: section.work.bar.value() > 0)
    section.work.stop.click()
    assert not section.work.isVisible()
    assert section.show_button.isEnabled()
    assert wait_for_background(2.0, lane="fitting")  # the thread is free again
    assert find_layer(viewer_of(trained), "colours") is None
    assert trained.problems == []


def test_an_image_that_is_stored_later_is_coloured_as_the_others(
    trained: ExploreWidget, section: ColoursSection, until
) -> None:
    viewer, session = viewer_of(trained), trained.panel.explorer.session
    store = FeatureStore.of(session)
    path = index_path(store.standing.store.folder)
    index = Index.read(path)
    index.model_copy(
        update={"images": {name: index.images[name] for name in ("a.png", "b.png")}}
    ).write(path)
    store.refresh()
    until(lambda: store.standing.missing == ("c.png",))
    section.show_button.click()
    until(lambda: find_layer(viewer, "colours") is not None)
    session.open_image("c.png")
    until(lambda: session.image == "c.png" and "c.png" in section.hint.text())
    assert find_layer(viewer, "colours") is None
    store.start()
    until(lambda: find_layer(viewer, "colours") is not None)
    assert find_layer(viewer, "colours").data.shape == (90, 70, 3)
    # the section is gone: so is what only it could remove
    viewer.window.remove_dock_widget(trained)
    trained.deleteLater()
    until(lambda: find_layer(viewer, "colours") is None)
    assert trained.problems == []
