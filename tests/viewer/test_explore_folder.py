"""Examples and counter-examples, kept queries, the folder ranked, and labels of it; the engine is a stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from clicks import ALT, LEFT, SHIFT, asked, canvas_of, click, heat_is, similar, viewer_of
from napari.components import ViewerModel
from napari.layers import Image, Labels
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_medssl.errors import MedsslError
from napari_medssl.explore.annotate import above
from napari_medssl.explore.query import Query, query_names
from napari_medssl.explore.ranking import ranked, search
from napari_medssl.explore.store import EmbeddingStore, index_path
from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.drawn_region import drawn_region
from napari_medssl.widgets.layers import find_layer

if TYPE_CHECKING:
    from napari_medssl.widgets.explore import ExploreWidget


def begin(widget: ExploreWidget, until) -> None:
    QTest.mouseClick(similar(widget).explore, LEFT)
    until(lambda: widget.panel.explorer.state == "ready")
    viewer_of(widget).reset_view()


def stored(widget: ExploreWidget, until) -> EmbeddingStore:
    """Store the features of the folder by the button."""
    session, folder = widget.panel.explorer.session, similar(widget).folder
    until(lambda: folder.store.start.isEnabled())
    assert folder.store.text.text().startswith("No features are stored yet. 3 images take ")
    QTest.mouseClick(folder.store.start, LEFT)
    until(lambda: folder.store.text.text().startswith("The features of all 3 images are stored"))
    assert folder.store.start.isHidden()
    return EmbeddingStore.open(session.project, session.current_run)


def test_counter_examples_regions_and_undo(trained: ExploreWidget, until) -> None:
    explorer, section, viewer = trained.panel.explorer, similar(trained), viewer_of(trained)
    begin(trained, until)
    click(trained, 30, 25)
    until(heat_is(trained, [(30, 25)]))
    alone = explorer.heat.data
    click(trained, 5, 70, ALT)
    until(lambda: explorer.query.how == "contrast" and explorer.heat.data is not alone)
    until(lambda: explorer.heat.data[5, 70] < 0 < explorer.heat.data[30, 25])
    assert "1 example and 1 counter-example" in section.hint.text()
    assert [str(symbol) for symbol in find_layer(viewer, "query").symbol] == ["cross", "x"]
    assert (section.how.currentText(), section.how.isEnabled()) == ("contrast", False)
    QTest.mouseClick(section.counter, LEFT)  # for where the window manager takes Alt+click
    click(trained, 60, 10)
    assert [part.positive for part in explorer.parts] == [True, False, False]
    QTest.mouseClick(section.counter, LEFT)

    QTest.mouseClick(section.undo, LEFT)
    QTest.keyClick(canvas_of(viewer), Qt.Key.Key_Q, SHIFT)
    until(heat_is(trained, [(30, 25)]))
    assert explorer.query.how == "mean"
    click(trained, 50, 50)  # starts anew, and that can be taken back too
    QTest.mouseClick(section.undo, LEFT)
    assert asked(trained) == [(30, 25)]

    drawn = viewer.add_layer(Labels(np.zeros((64, 80), np.uint8), name="drawn"))
    QTest.mouseClick(section.region, LEFT)
    assert section.hint.text().startswith("Nothing is drawn in 'drawn'")
    drawn.data[10:14, 60:70] = 1
    QTest.mouseClick(section.region, LEFT)
    region = explorer.parts[-1]
    np.testing.assert_array_equal(region.mask((64, 80)), drawn.data == 1)
    assert (find_layer(viewer, "region").data > 0).sum() == 40
    section.how.setCurrentIndex(section.how.findData("max"))
    section.how.activated.emit(section.how.currentIndex())
    assert explorer.query.how == "max"
    assert trained.problems == []


def test_a_kept_query_is_asked_of_another_image(trained: ExploreWidget, until) -> None:
    explorer, kept = trained.panel.explorer, similar(trained).kept
    session = explorer.session
    similar(trained).folds["Kept queries"].set_open(True)
    begin(trained, until)
    click(trained, 30, 25)
    kept.name.setEditText("bright")
    QTest.mouseClick(kept.keep, LEFT)
    until(lambda: query_names(session.project) == ("bright",) and kept.delete.isEnabled())
    kept.name.setEditText("cells")
    QTest.mouseClick(kept.rename, LEFT)
    until(lambda: query_names(session.project) == ("cells",) and kept.delete.isEnabled())
    QTest.mouseClick(similar(trained).clear, LEFT)
    session.open_image("b.png")
    until(lambda: session.image == "b.png")
    kept.name.setCurrentText("cells")
    kept.name.activated.emit(0)
    until(lambda: explorer.heat is not None)
    assert [(part.image, part.y, part.x) for part in explorer.parts] == [("a.png", 30, 25)]
    QTest.mouseClick(kept.delete, LEFT)
    until(lambda: query_names(session.project) == ())
    assert trained.problems == []


def test_the_folder_is_ranked_and_a_click_goes_there(trained: ExploreWidget, until) -> None:
    explorer, folder = trained.panel.explorer, similar(trained).folder
    session = explorer.session
    store = stored(trained, until)
    assert not folder.start.isEnabled()
    assert folder.text.text().startswith("Give an example first")
    explorer.ask(30, 25)
    QTest.mouseClick(folder.start, LEFT)
    until(lambda: not folder._search.running and len(folder.gallery.matches.matches) == 3)
    prototypes = Query.parse(explorer.query.model_dump(), where="test").prototypes(store.pixels)
    expected = ranked(search(store, prototypes))
    assert list(folder.gallery.matches.matches) == expected
    assert expected[0].image == "a.png"
    model = folder.gallery.matches
    until(lambda: model.data(model.index(1), Qt.ItemDataRole.DecorationRole) is not model._blank)
    assert model.data(model.index(1)).startswith(f"2   {expected[1].score:.3f}\n")

    folder.order.setCurrentIndex(1)
    folder.order.activated.emit(1)
    assert list(folder.gallery.matches.matches) == expected[::-1]
    there = expected[-1]
    folder.gallery.scrollToTop()
    place = folder.gallery.visualRect(model.index(0)).center()
    QTest.mouseClick(folder.gallery.viewport(), LEFT, pos=place)
    until(lambda: session.image == there.image and explorer.heat is not None)
    center = viewer_of(trained).scene.camera.center[-2:]
    np.testing.assert_allclose(center, session.image_layer.data_to_world((there.y, there.x)))
    [mark] = find_layer(viewer_of(trained), "query").data  # the example lies in a.png
    np.testing.assert_array_equal(mark, (there.y, there.x))
    explorer.ask(5, 5)
    assert "find again" in folder.text.text()
    assert trained.problems == []


def test_similarity_becomes_annotation_and_hand_drawn_labels_stay(
    trained: ExploreWidget, until
) -> None:
    explorer, section = trained.panel.explorer, similar(trained)
    session, labels = explorer.session, section.labels
    drawn = np.zeros((64, 80), np.uint16)
    drawn[28:32] = 1
    session.project.annotations.write("b.png", drawn)
    finished = np.zeros((90, 70), np.uint16)
    finished[0] = 1
    session.project.annotations.write("c.png", finished, done=True)
    session.labels_changed.emit()
    store = stored(trained, until)
    explorer.ask(30, 25)
    section.folds["Make labels"].set_open(True)
    until(lambda: labels.this.isEnabled() and explorer.state == "ready")
    until(lambda: session.labels_layer is not None)
    labels.number.setValue(0.99)
    wanted = above(explorer.heat.data, 0.99, smoothing=1.0, minimum_area=16)
    until(lambda: np.array_equal(find_layer(session.viewer, "outline").data > 0, wanted))
    assert 0 < wanted.sum() < wanted.size / 2

    layer = session.labels_layer
    layer.data_setitem((np.array([30]), np.array([25])), 1)  # by hand, within the outline
    QTest.mouseClick(labels.this, LEFT)
    hand = (30, 25)
    assert layer.data[hand] == 1
    wanted[hand] = False
    np.testing.assert_array_equal(layer.data == 2, wanted)
    until(lambda: 2 in session.project.annotations.counts("a.png"))  # saved as painting is
    QTest.mouseClick(labels.undo, LEFT)
    assert not (layer.data == 2).any()

    QTest.mouseClick(section.folder.start, LEFT)
    until(lambda: labels.all.isEnabled())
    until(lambda: session.overview.annotated.images == ("a.png", "b.png", "c.png"))
    before = session.project.annotations.read("b.png")
    QTest.mouseClick(labels.all, LEFT)
    until(lambda: labels.box is not None)
    assert "3 images" in labels.box.text()
    assert "annotated already, in 3 of them, stays as it is" in labels.box.informativeText()
    labels.box.reject()  # nothing happens
    assert not labels._labels.running
    np.testing.assert_array_equal(session.project.annotations.read("b.png"), before)
    QTest.mouseClick(labels.all, LEFT)
    until(lambda: labels.box is not None)
    labels._outline.set_threshold(-1.0)  # not what was asked about
    QTest.mouseClick(labels.box.buttons()[0], LEFT)
    until(lambda: "labelled" in labels.text.text() and not labels._labels.running)
    wait_for_background(lane="saving")
    heat = store.pixels("b.png").heat(explorer.query.prototypes(store.pixels))
    mask = above(heat, 0.99, smoothing=1.0, minimum_area=16)
    assert (mask & (drawn == 1)).any()
    expected = np.where(mask & (drawn == 0), 2, drawn)
    assert (expected == 2).any()
    np.testing.assert_array_equal(session.project.annotations.read("b.png"), expected)
    np.testing.assert_array_equal(session.project.annotations.read("c.png"), finished)
    assert "1 image marked done" in labels.text.text()
    assert (layer.data == 2).any()  # the open image, through its layer
    assert trained.problems == []


def test_nothing_is_labelled_by_features_that_are_no_longer_those_searched(
    trained: ExploreWidget, until
) -> None:
    explorer, section = trained.panel.explorer, similar(trained)
    session, labels = explorer.session, section.labels
    stored(trained, until)
    explorer.ask(30, 25)
    until(lambda: explorer.answered)
    QTest.mouseClick(section.folder.start, LEFT)
    until(lambda: labels.all.isEnabled())
    labels.automatic.click()
    assert labels._outline.chosen is not None
    labels.automatic.click()
    assert labels._outline.chosen is None  # chosen anew for each map again
    QTest.mouseClick(labels.all, LEFT)
    until(lambda: labels.box is not None)
    assert "None of them is annotated yet." in labels.box.informativeText()
    session.project.run(session.current_run).best_path.write_bytes(b"the run was trained on")
    session.refresh_runs()
    until(lambda: section.folder._search.outdated)
    QTest.mouseClick(labels.box.buttons()[0], LEFT)
    assert "Nothing is labelled" in labels.text.text()
    assert not labels.all.isEnabled()
    until(lambda: section.folder.store.start.isEnabled())
    QTest.mouseClick(section.folder.store.start, LEFT)
    until(lambda: section.folder.store.text.text().startswith("The features of all 3 images"))
    assert section.folder._search.outdated  # the files are the new network's
    assert "find again" in section.folder.text.text()
    assert session.project.annotations.annotated() == ()
    assert trained.problems == []


def test_a_budget_and_a_damaged_list_of_what_is_stored_offer_to_store_anew(
    trained: ExploreWidget, until
) -> None:
    session, bar = trained.panel.explorer.session, similar(trained).folder.store
    store = stored(trained, until)
    bar.budget.setValue(1)  # finer than the stand-in stores
    until(lambda: "Within the disk budget" in bar.text.text())
    assert "4 features per 4 x 4 pixels." in bar.text.text()
    assert (bar.start.text(), bar.start.isEnabled()) == ("Store all anew", True)
    bar.budget.setValue(0)
    until(lambda: bar.start.isHidden())
    index_path(store.folder).write_text("{")
    session.refresh_runs()
    until(lambda: bar.start.text() == "Store all anew" and not bar.start.isHidden())
    QTest.mouseClick(bar.start, LEFT)
    until(lambda: bar.text.text().startswith("The features of all 3 images are stored"))
    assert trained.problems == []


def test_drawn_shapes_are_seen_where_they_lie_on_the_image() -> None:
    viewer = ViewerModel()
    image = Image(np.zeros((40, 60)), scale=(2, 2), translate=(100, 0))
    shapes = viewer.add_shapes([[[110, 20], [110, 39], [129, 39], [129, 20]]])  # in the world
    mask = drawn_region(viewer, image)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 14, 10, 19)
    shapes.add([[0, 0], [9, 9]], shape_type="line")  # no area
    np.testing.assert_array_equal(drawn_region(viewer, image), mask)
    viewer.layers.selection.clear()
    viewer.layers.selection.active = None
    with pytest.raises(MedsslError, match="No layer is selected"):
        drawn_region(viewer, image)


def test_drawn_labels_are_seen_where_they_lie_on_the_image() -> None:
    viewer = ViewerModel()
    image = Image(np.zeros((40, 60)), scale=(2, 2), translate=(100, 0))
    labels = np.zeros((40, 60), int)
    labels[10:20, 30:34] = 1
    layer = viewer.add_labels(labels, scale=(2, 2), translate=(104, 0))  # two rows further down
    np.testing.assert_array_equal(drawn_region(viewer, image), np.roll(labels, 2, axis=0) == 1)
    layer.translate = (100, 0)
    np.testing.assert_array_equal(drawn_region(viewer, image), labels == 1)
