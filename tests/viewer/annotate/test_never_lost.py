"""Strokes survive whatever happens right after them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from annotating import open_image, press, settle
from PIL import Image as PillowImage

from napari_medssl.errors import MedsslError
from napari_medssl.widgets.background import wait_for_background

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from napari_medssl.widgets.annotate_step import AnnotateStep
    from napari_medssl.widgets.session import Session


def test_going_back_before_the_write_ends_shows_what_was_painted(
    qtbot, session: Session, step: AnnotateStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = type(session.project.annotations).write

    def slowly(self, name, labels, *, done=False):
        time.sleep(1.0)
        write(self, name, labels, done=done)

    monkeypatch.setattr(type(session.project.annotations), "write", slowly)
    session.labels_layer.paint((10, 10), 2)
    press(step.header.next)
    open_image(qtbot, step, "b.png")
    press(step.header.previous)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.data[10, 10] == 2
    assert wait_for_background()
    assert session.project.annotations.read("a.png")[10, 10] == 2


def test_what_cannot_be_written_stays_and_is_tried_again(
    qtbot, session: Session, step: AnnotateStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(session.project.annotations)
    write = kind.write

    def full(self, name, labels, *, done=False):
        raise MedsslError("The disk is full.", advice="Make room.")

    monkeypatch.setattr(kind, "write", full)
    session.labels_layer.paint((10, 10), 2)
    qtbot.waitUntil(lambda: step.annotator.state == "failed", timeout=9000)
    assert session.problems[-1].sentence == "The disk is full."
    assert step.header.saved.text() == "NOT SAVED"
    assert step.header.save_now.isVisible()
    press(step.header.next)
    open_image(qtbot, step, "b.png")
    press(step.header.previous)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.data[10, 10] == 2  # not lost by going to another image
    assert step.header.saved.text() == "NOT SAVED"
    monkeypatch.setattr(kind, "write", write)
    press(step.header.save_now)
    settle(qtbot, step)
    assert session.project.annotations.read("a.png")[10, 10] == 2
    assert not step.header.save_now.isVisible()


def test_a_damaged_file_is_said_and_never_overwritten(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    path = session.project.annotations.path("b.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not a tiff")
    press(step.header.next)
    qtbot.waitUntil(lambda: bool(session.problems), timeout=9000)
    assert session.image == "b.png"
    assert session.labels_layer is None
    assert path.read_bytes() == b"not a tiff"
    assert not step.tools.rest.isEnabled()


def test_closing_the_viewer_saves_the_last_stroke(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    annotations = session.project.annotations
    session.labels_layer.paint((10, 10), 2)
    session.viewer.close()
    assert wait_for_background()
    assert annotations.read("a.png")[10, 10] == 2


def test_opening_another_project_saves_the_last_stroke(
    qtbot, session: Session, step: AnnotateStep, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    PillowImage.fromarray(np.zeros((30, 30), np.uint8)).save(other / "z.png")
    before = session.project
    session.labels_layer.paint((10, 10), 2)
    session.create_project(other)
    open_image(qtbot, step, "z.png")
    assert session.labels_layer.data.shape == (30, 30)
    assert wait_for_background()
    assert before.annotations.read("a.png")[10, 10] == 2
    assert session.project.annotations.status("z.png") == "none"


def test_a_removed_layer_is_saved_and_comes_back(
    qtbot, session: Session, step: AnnotateStep
) -> None:
    session.labels_layer.paint((10, 10), 2)
    session.viewer.layers.remove(session.labels_layer)
    assert step.tools.layer_gone.isVisible()
    press(step.tools.layer_gone)
    open_image(qtbot, step, "a.png")
    assert session.labels_layer.data[10, 10] == 2
    assert not step.tools.layer_gone.isVisible()


def test_a_started_job_finds_the_last_stroke(qtbot, session: Session, step: AnnotateStep) -> None:
    session.labels_layer.paint((10, 10), 2)
    job = {"kind": "pretrain", "project": str(session.project.path), "training": {"steps": 2}}
    session.start_job(job)
    assert wait_for_background()
    assert session.project.annotations.read("a.png")[10, 10] == 2
    qtbot.waitUntil(lambda: session.active is None, timeout=20_000)
