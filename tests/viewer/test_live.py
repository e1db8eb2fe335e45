"""Live prediction under a real brush: a real probe on features that the stand-in engine makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from clicks import canvas_of
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_medssl.explore.store import EmbeddingStore
from napari_medssl.widgets import annotation_commands as commands
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.feature_store import FeatureStore
from napari_medssl.widgets.live import LivePredictor
from napari_medssl.widgets.live_bar import LiveBar
from napari_medssl.widgets.session import Session

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("a.png", "b.png", "c.png")
SHAPE = (64, 80)


def truth_of(name: str) -> np.ndarray:
    """Give 1 for the background and 2 for one bright square, elsewhere in each image."""
    truth = np.ones(SHAPE, np.uint16)
    left = 10 + 15 * NAMES.index(name)
    truth[16:44, left : left + 28] = 2
    return truth


@pytest.fixture
def session(make_napari_viewer, fake_engine, tmp_path: Path, until) -> Session:
    folder = tmp_path / "squares"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        grey = rng.integers(20, 60, SHAPE) + 150 * (truth_of(name) == 2)
        Image.fromarray(grey.astype(np.uint8)).save(folder / name)
    session = Session.of(make_napari_viewer(show=True))
    session.problems = []
    session.problem.connect(session.problems.append)
    session.create_project(folder)
    until(lambda: session.image == "a.png")
    live = LivePredictor.of(session)
    until(lambda: Annotator.of(session).layer is not None)
    yield session
    live.set_on(False)
    session.shut_down()
    wait_for_background()


def add_run(session: Session, until) -> None:
    run = session.project.new_run("fake")
    run.write_job({"kind": "pretrain", "method": "fake"})
    run.best_path.write_bytes(b"weights")
    session.refresh_runs()
    until(lambda: session.current_run == run.name)


def paint(session: Session, value: int) -> None:
    """Draw one short stroke where it is true."""
    annotator = Annotator.of(session)
    annotator.paint_with(value)
    annotator.layer.brush_size = 5
    ys, xs = np.nonzero(truth_of(session.image) == value)
    y, x = int(ys[len(ys) // 2]), int(xs[len(xs) // 2])
    with annotator.layer.block_history():
        for step in range(4):
            annotator.layer.paint((y, min(x + step, int(xs[ys == y].max()) - 3)), value)


def agreement(session: Session) -> float:
    """Give the share of pixels of the layer that are right, away from edges the features are too coarse for."""
    shown = session.layer("live").data
    truth = truth_of(session.image)
    assert shown.shape == truth.shape
    return float((shown == truth).mean())


def test_two_strokes_predict_the_image_and_then_every_other(session, until) -> None:
    add_run(session, until)
    live, bar = LivePredictor.of(session), LiveBar(session)
    session.viewer.window.add_dock_widget(bar, name="Live")
    bar.switch.click()
    until(lambda: "Paint some background" in bar.text.text())
    paint(session, 1)
    until(lambda: "Only background is painted" in bar.text.text())
    assert live.result is None
    paint(session, 2)
    # features were not stored: the engine made them, and they tell places more than they tell brightness
    until(lambda: live.result is not None and live.result.by_features)
    order = [layer.metadata.get("medssl", {}).get("role") for layer in session.viewer.layers]
    assert order == ["image", "live", "labels"]
    layer = session.layer("live")
    session.open_image("b.png")  # nothing is painted there
    until(lambda: live.result is not None and live.result.image == "b.png")
    until(lambda: live.result is not None and live.result.by_features)
    assert session.layer("live") is layer  # one for all images
    assert "of 1 image." in bar.text.text()
    assert session.problems == []


def test_without_a_run_it_follows_every_change_by_the_image_alone(session, until) -> None:
    live = LivePredictor.of(session)
    live.set_on(True)
    paint(session, 1)
    paint(session, 2)
    until(lambda: live.result is not None)
    assert not live.with_features
    assert agreement(session) > 0.97
    few = live.result.pixels
    commands.rest_is_background(Annotator.of(session))
    until(lambda: live.result is not None and live.result.pixels > few)
    for _ in range(2):
        session.labels_layer.undo()
    until(lambda: live.result is None and "Only background" in live.why_not)
    assert not session.layer("live").data.any()
    paint(session, 2)
    until(lambda: live.result is not None)
    add_run(session, until)  # another network learns anew
    before = live.result
    until(lambda: live.result is not None and live.result is not before)
    assert live.with_features


def test_off_computes_nothing_and_once_computes_once(session, until) -> None:
    live, canvas = LivePredictor.of(session), canvas_of(session.viewer)
    paint(session, 1)
    paint(session, 2)
    QTest.qWait(300)
    assert live.result is None
    assert session.layer("live") is None
    QTest.keyClick(canvas, Qt.Key.Key_L, Qt.KeyboardModifier.ShiftModifier)
    until(lambda: live.result is not None)
    assert not live.on
    first = live.result
    paint(session, 1)
    QTest.qWait(300)
    assert live.result is first
    QTest.keyClick(canvas, Qt.Key.Key_L)
    until(lambda: live.result is not first)
    assert live.on
    QTest.keyClick(canvas, Qt.Key.Key_L)
    assert not session.layer("live").visible


def test_stored_features_are_used_where_there_are_any(session, until, monkeypatch) -> None:
    add_run(session, until)
    store = FeatureStore.of(session)
    store.watch()
    until(lambda: store.standing is not None)
    store.start()
    until(lambda: store.standing is not None and len(store.standing.stored) == 3)
    read = []
    grid = EmbeddingStore.grid
    monkeypatch.setattr(
        EmbeddingStore, "grid", lambda self, name: read.append(name) or grid(self, name)
    )
    live = LivePredictor.of(session)
    live.set_on(True)
    paint(session, 1)
    paint(session, 2)
    until(lambda: live.result is not None and live.result.by_features)
    assert "a.png" in read
    made = session.project.embedding_path(session.current_run, "a.png")
    assert not made.is_file()  # the engine was not asked


def test_the_stored_prediction_makes_room_and_comes_back(session, until) -> None:
    add_run(session, until)
    session.predictions.predict()
    until(lambda: session.prediction_layer is not None)
    live = LivePredictor.of(session)
    live.set_on(True)
    paint(session, 1)
    paint(session, 2)
    until(lambda: live.result is not None)
    assert not session.prediction_layer.visible
    live.set_on(False)
    assert session.prediction_layer.visible
    live.set_on(True)
    until(lambda: live.result is not None)
    session.labels_layer.data_setitem(np.nonzero(session.labels_layer.data), 0)
    until(lambda: live.result is None)
    assert session.prediction_layer.visible  # there is nothing to make room for
    paint(session, 1)
    paint(session, 2)
    until(lambda: live.result is not None)
    assert not session.prediction_layer.visible
    session.prediction_layer.visible = True  # by its eye
    paint(session, 1)
    until(lambda: live.result is not None)
    assert session.prediction_layer.visible


def test_what_goes_wrong_is_told_once(session, until) -> None:
    live = LivePredictor.of(session)
    broken = session.project.annotations.path("b.png")
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_bytes(b"no labels")
    live.set_on(True)
    for value in (1, 2, 1):
        paint(session, value)
        QTest.qWait(200)
    assert "b.png" in live.why_not
    assert len(session.problems) == 1
    broken.unlink()
    paint(session, 2)
    until(lambda: live.result is not None)
    assert live.why_not == ""
