"""The whole way in the real viewer with the real engine, through the buttons."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medssl.project import Project
from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.layers import marked
from napari_medssl.widgets.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_IMAGES = 12
_SMALL = {
    "training": {"steps": 12, "batch_size": 2, "patch_size": 64},
    "threads": 1,
}
_SLOW = 400  # seconds; the machine may be busy


@pytest.fixture
def folder(real_data: Path, tmp_path: Path) -> Path:
    target = tmp_path / "dsb2018_fluo"
    target.mkdir()
    for path in sorted((real_data / "dsb2018_fluo" / "images").iterdir())[:_IMAGES]:
        shutil.copy(path, target)
    return target


@pytest.fixture
def open_workspace(
    make_napari_viewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], object]]:
    """Open viewers with a workspace, as the plugin menu does."""
    from napari_medssl.widgets.workspace import Workspace

    monkeypatch.setattr(Session, "home", tmp_path / "home")
    sessions: list[Session] = []

    def make() -> object:
        viewer = make_napari_viewer(show=True)
        _, workspace = viewer.window.add_plugin_dock_widget("napari-medssl", "Workspace")
        assert isinstance(workspace, Workspace)
        workspace.problems = []
        workspace.session.problem.connect(workspace.problems.append)
        sessions.append(workspace.session)
        return workspace

    yield make
    for session in sessions:
        session.shut_down()
    wait_for_background()


def place_of(viewer, y: float, x: float) -> QPoint:
    """Give the canvas position of a pixel of the image."""
    camera = viewer.scene.camera
    size = viewer.window._qt_viewer.canvas.native.size()
    return QPoint(
        round(size.width() / 2 + (x - camera.center[-1]) * camera.zoom),
        round(size.height() / 2 + (y - camera.center[-2]) * camera.zoom),
    )


def mouse(viewer, kind: QEvent.Type, at: QPoint, *, down: bool) -> None:
    canvas = viewer.window._qt_viewer.canvas.native
    left = Qt.MouseButton.LeftButton
    button = left if kind != QEvent.Type.MouseMove else Qt.MouseButton.NoButton
    held = left if down else Qt.MouseButton.NoButton
    event = QMouseEvent(
        kind,
        QPointF(at),
        QPointF(canvas.mapToGlobal(at)),
        button,
        held,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(canvas, event)
    QApplication.processEvents()


def stroke(viewer, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw a line with the mouse."""
    points = [place_of(viewer, *point) for point in np.linspace(start, end, 12)]
    mouse(viewer, QEvent.Type.MouseMove, points[0], down=False)
    mouse(viewer, QEvent.Type.MouseButtonPress, points[0], down=True)
    for point in points[1:]:
        QTest.qWait(30)  # napari drops moves that come in quick succession
        mouse(viewer, QEvent.Type.MouseMove, point, down=True)
    mouse(viewer, QEvent.Type.MouseButtonRelease, points[-1], down=False)


def brightest_and_darkest(image: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    inside = image[20:-20, 20:-20]
    high = np.unravel_index(np.argmax(inside), inside.shape)
    low = np.unravel_index(np.argmin(inside), inside.shape)
    return (high[0] + 20, high[1] + 20), (low[0] + 20, low[1] + 20)


def annotated_pixels(session: Session, value: int) -> int:
    return session.project.annotations.counts(session.image).get(value, 0)


@pytest.mark.timeout(1500)
def test_the_whole_way(open_workspace, folder: Path, until):
    workspace = open_workspace()
    session = workspace.session
    steps = {title: view.content for title, view in workspace.steps.items()}

    # a folder becomes a project
    steps["Project"].use_folder(folder)
    until(lambda: session.image is not None, _SLOW)
    until(lambda: session.description is not None, _SLOW)
    assert len(session.project.images) == _IMAGES
    project_path = session.project.path

    # pretrain some steps, stop, resume
    workspace.steps["Pretrain"].button.click()
    pretrain = steps["Pretrain"]
    assert pretrain.method.currentText() == "MedSASS"
    pretrain.job_form.set_values(_SMALL)
    pretrain.start.click()
    until(lambda: session.active is not None and session.active.step >= 3, _SLOW)
    pretrain.monitor.stop.click()
    until(lambda: session.active is None, _SLOW)
    until(lambda: pretrain.monitor.resume.isEnabled(), _SLOW)
    stopped_at = session.runs[0].metrics()["loss"][-1][0]
    assert 3 <= stopped_at < 12
    pretrain.monitor.resume.click()
    until(lambda: session.active is not None and session.active.step > stopped_at, _SLOW)

    # paint with the mouse while it trains
    workspace.steps["Annotate"].button.click()
    until(lambda: session.labels_layer is not None)
    viewer, labels = session.viewer, session.labels_layer
    viewer.layers.selection.active = labels
    bright, dark = brightest_and_darkest(session.image_layer.data)
    labels.brush_size = 8
    labels.mode = "paint"
    for value, (y, x) in ((2, bright), (1, dark)):
        labels.selected_label = value
        stroke(viewer, (y - 5, x - 5), (y + 5, x + 5))
    assert labels.data[bright] == 2
    assert labels.data[dark] == 1
    until(lambda: set(session.overview.annotated.pixels) == {1, 2})
    until(lambda: session.active is None, _SLOW)
    until(lambda: session.runs[0].status == "done")
    assert [step for step, _ in session.runs[0].metrics()["loss"]] == list(range(1, 13))

    # fine-tune; the open image is predicted by itself
    workspace.steps["Finetune"].button.click()
    finetune = steps["Finetune"]
    assert finetune.mode == "full"
    finetune.job_form.set_values({"training": {"steps": 10, "batch_size": 2}, "threads": 1})
    finetune.train.click()
    until(lambda: session.active is None and len(session.usable_runs) == 2, _SLOW)
    until(lambda: session.prediction_layer is not None, _SLOW)
    assert set(np.unique(session.prediction_layer.data)) <= {1, 2}
    assert session.prediction_layer.data.shape == session.image_layer.data.shape

    # the whole folder
    workspace.steps["Predict"].button.click()
    steps["Predict"].folder.click()
    until(lambda: session.active is None, _SLOW)
    until(lambda: steps["Predict"].images.model.rowCount() == _IMAGES)

    # click for similarity
    workspace.steps["Explore"].button.click()
    similar = steps["Explore"].sections["Similar"]
    similar.explore.click()
    at = place_of(viewer, *bright)
    mouse(viewer, QEvent.Type.MouseMove, at, down=False)
    mouse(viewer, QEvent.Type.MouseButtonPress, at, down=True)
    mouse(viewer, QEvent.Type.MouseButtonRelease, at, down=False)
    until(lambda: session.layer("heat") is not None, _SLOW)
    heat = session.layer("heat").data
    assert heat.shape == session.image_layer.data.shape
    [example] = steps["Explore"].explorer.parts
    clicked = (example.y, example.x)
    assert np.abs(np.subtract(clicked, bright)).max() <= 1
    assert (
        heat[clicked] > 0.8
    )  # not 1: the map is interpolated between the features of every second pixel
    assert heat[dark] < heat[bright]

    # the folder for more of it, and labels of what is alike
    similar.folder.store.start.click()
    until(lambda: session.active is not None, _SLOW)
    until(lambda: session.active is None and similar.folder.start.isEnabled(), _SLOW)
    similar.folder.start.click()
    until(lambda: len(similar.folder.gallery.matches.matches) == _IMAGES, _SLOW)
    assert similar.folder.gallery.matches.matches[0].image == session.image
    similar.folds["Make labels"].set_open(True)
    until(similar.labels.this.isEnabled)
    before = np.count_nonzero(labels.data == 2)
    similar.labels.this.click()
    assert np.count_nonzero(labels.data == 2) > before
    assert labels.data[dark] == 1
    until(lambda: annotated_pixels(session, 2) > before)

    # a killed engine is a sentence, and nothing is lost
    workspace.steps["Pretrain"].button.click()
    pretrain.start.click()
    until(lambda: session.active is not None and session.active.step >= 1, _SLOW)
    assert workspace.problems == []
    os.kill(session.active.process.pid, signal.SIGKILL)
    until(lambda: session.active is None)
    assert "killed" in workspace.banner.sentence.text()

    # close, reopen: all there
    viewer.close()
    again = open_workspace()
    again.steps["Project"].content.recent.setCurrentIndex(1)
    again.steps["Project"].content.recent.activated.emit(1)
    session = again.session
    until(lambda: session.image is not None, _SLOW)
    assert session.project.path == project_path
    until(lambda: len(session.usable_runs) >= 2, _SLOW)
    until(lambda: session.labels_layer is not None)
    assert session.labels_layer.data[bright] == 2
    assert session.labels_layer.data[dark] == 1
    session.choose_run(next(run.name for run in session.runs if run.kind == "finetune"))
    until(lambda: session.prediction_layer is not None)
    assert marked(session.prediction_layer)["image"] == session.image
    project = Project.open(project_path)
    assert len(project.runs()) == 3
    assert again.problems == []
