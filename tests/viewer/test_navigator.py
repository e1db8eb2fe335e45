"""The table of all images, driven by its keys and the mouse, and how images come back as they were looked at."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_medssl.project import write_tiff_labels
from napari_medssl.project.looks import read_looks
from napari_medssl.widgets.image_rows import Column, Facts, Scored, Wanted, arranged
from napari_medssl.widgets.navigator import KEY, Navigator, NavigatorDock

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

DOWN = Qt.SortOrder.DescendingOrder
NAMES = ("a1.png", "a2.png", "b/a10.png", "b/c[1].png")


def test_rows_are_chosen_and_sorted_with_the_unknown_last():
    facts = Facts(
        statuses={"a2.png": "done", "b/a10.png": "partial"},
        predicted={"a1.png", "a2.png"},
        predicted_by_others={"a1.png", "b/a10.png"},
        uncertainty={"a1.png": 0.2, "b/a10.png": 0.7, "b/c[1].png": 0.2},
        scores={"a2.png": Scored({"cell": 0.5, "rim": 1.0}), "a1.png": Scored({}, "damaged")},
    )

    def rows(column: Column, *, down: bool = False, **wanted: str) -> list[int]:
        found = arranged(NAMES, facts, Wanted(**wanted), column, descending=down)
        return [NAMES.index(name) for name in found]

    assert rows(Column.IMAGE, down=True) == [3, 2, 1, 0]
    assert rows(Column.ANNOTATION) == [0, 3, 2, 1]
    assert rows(Column.PREDICTION) == [3, 2, 0, 1]
    assert rows(Column.UNCERTAINTY) == [0, 3, 2, 1]
    assert rows(Column.UNCERTAINTY, down=True) == [2, 0, 3, 1]
    assert rows(Column.SCORE) == rows(Column.SCORE, down=True) == [1, 0, 2, 3]
    assert facts.dice("a2.png") == 0.75
    assert rows(Column.IMAGE, text="A1") == [0, 2]
    assert rows(Column.IMAGE, text="b/*1") == [2, 3]
    assert rows(Column.IMAGE, text="a?.") == [0, 1]
    assert rows(Column.IMAGE, text="[1]") == [3]
    assert rows(Column.IMAGE, status="none") == [0, 3]
    assert rows(Column.IMAGE, prediction="other") == [2]
    assert rows(Column.IMAGE, prediction="none", status="none") == [3]


@pytest.fixture
def navigator(opened, until) -> Navigator:
    """The table, opened by the button of the workspace."""
    until(lambda: opened.session.labels_layer is not None)
    opened.all_images.click()
    docks = opened.session.viewer.window.dock_widgets.values()
    found = next(inner for inner in docks if isinstance(inner, Navigator))
    until(lambda: found.isVisible() and found.table.images.rowCount() == 3)
    return found


def cell(navigator: Navigator, name: str, column: Column, role=Qt.ItemDataRole.DisplayRole) -> str:
    images = navigator.table.images
    return images.data(images.index(images.place_of(name), column), role)


def add_run(session: Session, until, *, taught: list[str]) -> str:
    """Put a fine-tuned run into the project that learned from these images."""
    run = session.project.new_run("finetune")
    job = {"kind": "finetune", "mode": "probe", "images": taught}
    (run.path / "job.json").write_text(json.dumps(job))
    run.best_path.write_bytes(b"weights")
    session.refresh_runs()
    until(lambda: session.current_run == run.name)
    return run.name


def test_the_table_says_what_is_annotated_predicted_and_right(opened, navigator, until):
    session = opened.session
    project = session.project
    truth = np.ones((64, 80), np.uint16)
    truth[10:20, 10:20] = 2
    truth[40:, :] = 0  # not annotated, so not compared
    for name in ("a.png", "b.png"):
        project.annotations.write(name, truth, done=True)
    session.labels_changed.emit()
    run = add_run(session, until, taught=["b.png"])
    prediction = np.ones((64, 80), np.uint16)
    prediction[10:20, 15:30] = 2
    prediction[50:, :] = 2
    for name in ("a.png", "b.png"):
        write_tiff_labels(project.prediction_path(run, name), prediction, note={})
        session.saved_prediction.emit(run, name)
    until(
        lambda: cell(navigator, "b.png", Column.SCORE) == "(0.40)"
    )  # scored first, then looked up
    assert cell(navigator, "a.png", Column.SCORE) == "0.40"  # 2 * 50 / (100 + 150)
    words = Qt.ItemDataRole.ToolTipRole
    assert "learned from this image" in cell(navigator, "b.png", Column.SCORE, words)
    assert "learned" not in cell(navigator, "a.png", Column.SCORE, words)
    assert cell(navigator, "c.png", Column.SCORE, words) == (
        "Only images that are marked done are scored."
    )
    assert [cell(navigator, f"{x}.png", Column.PREDICTION) for x in "abc"] == ["yes", "yes", "no"]
    assert "●" in cell(navigator, "a.png", Column.ANNOTATION)
    assert navigator.summary.text() == "3 of 3 shown, 2 done"

    navigator.status.setCurrentIndex(navigator.status.findData("done"))
    navigator.search.setText("B*")
    assert navigator.table.images.rows == ["b.png"]
    assert navigator.summary.text() == "1 of 3 shown, 2 done"
    navigator.all.click()
    assert navigator.summary.text() == "3 of 3 shown, 2 done"

    write_tiff_labels(project.prediction_path(run, "a.png"), np.maximum(truth, 1), note={})
    session.saved_prediction.emit(run, "a.png")
    until(lambda: cell(navigator, "a.png", Column.SCORE) == "1.00")
    other = add_run(session, until, taught=[])
    until(lambda: cell(navigator, "a.png", Column.PREDICTION) == "by another run")
    assert other in cell(navigator, "a.png", Column.PREDICTION, words)
    assert cell(navigator, "a.png", Column.SCORE) == ""
    assert opened.problems == []


def test_enter_and_double_click_open_and_a_hides(opened, navigator, until):
    session, table = opened.session, navigator.table
    assert table.images.rows[table.currentIndex().row()] == "a.png"
    QTest.keyClick(table, Qt.Key.Key_Down)
    QTest.keyClick(table, Qt.Key.Key_Return)
    until(lambda: session.image == "b.png")
    assert cell(navigator, "b.png", Column.IMAGE) == "▸ b.png"
    table.sortByColumn(Column.IMAGE, DOWN)
    assert table.images.rows[table.currentIndex().row()] == "b.png"
    place = table.visualRect(table.images.index(0, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert session.image == "b.png"
    QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    until(lambda: session.image == "c.png")
    QTest.keyClick(table, Qt.Key.Key_A)
    assert not navigator.isVisible()
    until(lambda: session.labels_layer is not None)
    layer = session.labels_layer
    assert KEY in {str(key) for key in layer.keymap}
    NavigatorDock.of(session).toggle()
    assert navigator.isVisible()
    assert opened.problems == []


def test_contrast_and_zoom_of_an_image_come_back(opened, until):
    session = opened.session
    camera = session.viewer.scene.camera

    def show(name: str) -> None:
        session.open_image(name)
        until(lambda: session.image == name)

    automatic = {}
    for name in ("b.png", "a.png"):
        show(name)
        automatic[name] = tuple(session.image_layer.contrast_limits)
    session.image_layer.contrast_limits = (20, 90)
    camera.center, camera.zoom = (30, 25), 7.5
    show("b.png")
    assert tuple(session.image_layer.contrast_limits) == automatic["b.png"]
    camera.zoom = 2.0
    show("c.png")
    show("a.png")
    assert tuple(session.image_layer.contrast_limits) == (20, 90)
    assert camera.center[-2:] == (30, 25)
    assert camera.zoom == 7.5

    path = session.project.path  # and in the next session
    camera.zoom = 9.0
    session.close_project()
    until(lambda: (path / "views.json").is_file())
    session.open_project(path)
    until(lambda: session.image == "a.png")
    until(lambda: camera.zoom == 9.0)
    assert tuple(session.image_layer.contrast_limits) == (20, 90)
    show("b.png")
    assert tuple(session.image_layer.contrast_limits) == automatic["b.png"]
    assert camera.zoom == 2.0
    assert opened.problems == []
    camera.zoom = 6.0  # written when the viewer closes, too
    session.shut_down()
    assert read_looks(path)["b.png"].view.zoom == 6.0


def test_planes_of_a_stack_are_looked_at_alike(workspace, tmp_path, until):
    session = workspace.session
    folder = tmp_path / "movies"
    folder.mkdir()
    values = np.random.default_rng(0).integers(0, 50, (3, 40, 60)).astype(np.uint16)
    tifffile.imwrite(
        folder / "m.tif",
        values * np.array([1, 10, 100])[:, None, None].astype("u2"),
        photometric="minisblack",
    )
    session.create_project(folder)
    until(lambda: session.image is not None)
    first, second, _ = session.project.images
    camera, layer = session.viewer.scene.camera, session.image_layer
    automatic = tuple(layer.contrast_limits)
    camera.zoom = 3.0
    session.open_image(second)
    until(lambda: session.image == second)
    assert tuple(session.image_layer.contrast_limits) == automatic
    session.image_layer.contrast_limits = (5, 400)
    camera.zoom = 4.0
    session.open_image(first)
    until(lambda: session.image == first)
    assert tuple(session.image_layer.contrast_limits) == (5, 400)
    assert camera.zoom == 4.0
