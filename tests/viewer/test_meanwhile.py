"""What changes while the step Annotate waits for something: another image, project or stroke, a full disk."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from clicks import canvas_of
from napari.layers import Labels
from qtpy.QtCore import QEvent, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medssl.errors import MedsslError
from napari_medssl.project import ClassInfo
from napari_medssl.widgets.annotate_step import AnnotateStep
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.class_changes import remove_class, survey
from napari_medssl.widgets.copying import copy_class
from napari_medssl.widgets.feature_store import FeatureStore
from napari_medssl.widgets.layers import mark
from napari_medssl.widgets.loop import Loop
from napari_medssl.widgets.suggestions import Suggestions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_medssl.widgets.session import Session
    from napari_medssl.widgets.workspace import Workspace


@pytest.fixture
def annotator(opened: Workspace, until) -> Annotator:
    annotator = Annotator.of(opened.session)
    until(lambda: annotator.layer is not None)
    return annotator


@pytest.fixture
def hold(opened: Workspace) -> Iterator[Callable[..., threading.Event]]:
    """Let a lane wait, as it does on a slow disk, until the event is set."""
    events = []

    def begin(lane: str, threads: int = 1) -> threading.Event:
        events.append(threading.Event())
        for _ in range(threads):
            opened.session.background(
                lambda event=events[-1]: event.wait(30), on_result=lambda _: None, lane=lane
            )
        return events[-1]

    yield begin
    for event in events:
        event.set()


def other_project(session: Session, folder: Path, until) -> None:
    folder.mkdir()
    tifffile.imwrite(folder / "z.tif", np.zeros((30, 30), np.uint8))
    before = session.project
    session.create_project(folder)
    until(lambda: session.project is not before and session.image == "z.tif")


def test_a_stroke_during_a_write_is_not_called_saved(annotator: Annotator, hold, until) -> None:
    go_on = hold("saving")
    annotator.layer.paint((10, 10), 2)
    annotator.save()
    assert annotator.state == "saving"
    annotator.layer.paint((40, 40), 2)
    assert annotator.state == "unsaved"
    go_on.set()
    until(lambda: annotator.state == "saved")
    stored = annotator.session.project.annotations.read("a.png")
    assert stored[10, 10] == stored[40, 40] == 2


def test_what_is_copied_is_the_prediction_that_was_seen(annotator: Annotator, hold, until) -> None:
    session, shape = annotator.session, annotator.layer.data.shape
    live = Labels(np.where(np.arange(shape[1]) < 20, 2, 1) * np.ones(shape, np.uint16))
    mark(live, "live", image="a.png")
    session.viewer.add_layer(live)
    seen = live.data.copy()
    go_on = hold("reading", threads=2)
    copy_class(annotator, 2)
    live.data[...] = 1  # as a new live prediction is drawn
    go_on.set()
    until(lambda: annotator.layer.data.any())
    np.testing.assert_array_equal(annotator.layer.data, np.where(seen == 2, 2, 0))


def test_a_class_is_not_removed_from_another_project(
    annotator: Annotator, tmp_path: Path, until
) -> None:
    session, found = annotator.session, []
    session.project.update(classes=(*annotator.classes, _class(3)))
    survey(annotator, 2, on_result=found.append)
    until(lambda: bool(found))
    other_project(session, tmp_path / "other", until)
    session.project.update(classes=(*annotator.classes, _class(3)))
    remove_class(annotator, found[0])
    assert wait_for_background(lane="saving")
    QTest.qWait(50)
    assert [item.value for item in annotator.classes] == [1, 2, 3]


def _class(value: int) -> ClassInfo:
    return ClassInfo(value=value, name=f"class {value}", color="#123456")


def test_a_step_that_is_gone_leaves_nothing_behind(
    annotator: Annotator, crashes: list, until
) -> None:
    session = annotator.session
    step = AnnotateStep(session)
    step.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    session.open_image("b.png")
    until(lambda: annotator.image == "b.png" and annotator.layer is not None)
    session.viewer.layers.selection.active = annotator.layer
    QTest.keyClick(canvas_of(session.viewer), Qt.Key.Key_H)
    until(lambda: annotator.image == "b.png")
    assert crashes == []


def test_the_slider_stays_where_it_was_moved_while_a_plane_is_read(
    opened: Workspace, tmp_path: Path, until
) -> None:
    session = opened.session
    folder = tmp_path / "volumes"
    folder.mkdir()
    stack = np.random.default_rng(0).integers(0, 4000, (12, 40, 50), dtype=np.uint16)
    tifffile.imwrite(folder / "scan.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    session.create_project(folder)
    until(lambda: session.image == "scan.tif/z00")
    opened.open_step("Annotate")
    bar = opened.findChild(AnnotateStep).header.planes
    session.open_image("scan.tif/z02")
    bar.slider.setValue(6)
    until(lambda: session.image == "scan.tif/z06")
    bar.slider.setValue(3)
    session.close_project()  # before the slider rests
    until(lambda: session.image is None)
    QTest.qWait(200)


def test_nothing_is_trained_while_strokes_cannot_be_written(
    annotator: Annotator, until, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = annotator.session
    annotator.layer.data_setitem(np.nonzero(np.ones((10, 30))), 1)
    annotator.layer.data_setitem((np.arange(24, 36), np.arange(24, 36)), 2)
    loop = Loop.of(session)
    loop.watch()
    annotator.save()
    until(lambda: not loop.why_not)
    kind = type(session.project.annotations)

    def full(self, name, labels, *, done=False):
        raise MedsslError("The disk is full.")

    problems = []
    session.problem.connect(problems.append)
    with monkeypatch.context() as patch:
        patch.setattr(kind, "write", full)
        annotator.layer.paint((50, 50), 2)
        loop.start()
        until(lambda: any("nothing can learn from it" in item.sentence for item in problems))
    assert session.active is None
    assert loop.job is None
    annotator.saving.save_again()
    until(lambda: not annotator.store.unsaved)
    loop.start()
    until(lambda: loop.job is not None)
    until(lambda: session.active is None)


def test_strokes_that_are_written_after_the_image_was_left_count_for_the_advice(
    opened: Workspace, annotator: Annotator, hold, until
) -> None:
    session = opened.session
    run = session.project.new_run("fake")
    run.write_job({"kind": "pretrain", "method": "fake"})
    run.best_path.write_bytes(b"weights")
    session.refresh_runs()
    until(lambda: session.current_run == run.name)
    suggestions = Suggestions.of(session)
    suggestions.watch()
    store = FeatureStore.of(session)
    until(lambda: store.standing is not None and store.standing.plan is not None)
    store.start()
    until(lambda: suggestions.stand == "ready" and session.active is None)
    annotator.layer.data_setitem(np.nonzero(np.ones((10, 30))), 1)
    annotator.layer.data_setitem((np.arange(24, 36), np.arange(24, 36)), 2)
    go_on = hold("saving")
    session.open_image("b.png")
    until(lambda: session.image == "b.png")
    QTest.qWait(100)
    assert not suggestions.uncertainty
    go_on.set()
    until(lambda: bool(suggestions.uncertainty), seconds=10)
