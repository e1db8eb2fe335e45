"""Labels that cannot be saved: on a disk that is really full, with the limit that the system has for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from qtpy.QtWidgets import QMessageBox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

resource = pytest.importorskip("resource")  # not on Windows

SIDE = 800
LIMIT = 60_000  # bytes of a file; labels of noise need more


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cells"
    folder.mkdir()
    for name in ("a", "b"):
        Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def disk() -> Iterator[Callable[[bool], None]]:
    """Make the disk full or not: no file of this process can grow beyond a limit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def set_full(full: bool) -> None:
        limit = LIMIT if full else before[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))

    yield set_full
    set_full(False)


def scribble(layer, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 3, layer.data.shape, dtype=layer.data.dtype)
    layer.data_setitem(np.nonzero(noise), noise[np.nonzero(noise)])


def boxes(session) -> list[QMessageBox]:
    found = session.viewer.window._qt_window.findChildren(QMessageBox)
    return [box for box in found if box.isVisible()]


def answer(session, until, text: str) -> str:
    until(lambda: bool(boxes(session)))
    (box,) = boxes(session)
    said = f"{box.text()} {box.informativeText()}"
    next(button for button in box.buttons() if button.text() == text).click()
    until(lambda: not boxes(session))
    return said


def test_a_full_disk(opened, until, disk, close_window) -> None:
    session, banner = opened.session, opened.banner
    opened.open_step("Annotate")
    annotator = opened.steps["Annotate"].content.annotator
    until(lambda: annotator.layer is not None)
    annotator.store._again.setInterval(200)
    annotator.layer.paint((10, 10), 2)
    annotator.save()
    until(lambda: annotator.state == "saved")
    file = session.project.annotations.path("a.png")
    old = file.read_bytes()
    tries: list[str] = []
    annotator.store.failed.connect(tries.append)

    disk(True)
    scribble(annotator.layer, 0)
    until(lambda: len(tries) > 3)
    assert file.read_bytes() == old
    assert len(opened.problems) == 1  # told once, however often it is tried
    assert banner.isVisible()
    assert "cannot be written" in banner.sentence.text()
    assert "kept here" in banner.advice.text()
    assert opened.steps["Annotate"].content.header.saved.text() == "NOT SAVED"

    session.open_image("b.png")  # and back: nothing is lost by that
    until(lambda: annotator.image == "b.png" and annotator.layer is not None)
    session.open_image("a.png")
    until(lambda: annotator.image == "a.png" and annotator.layer is not None)
    scribble(annotator.layer, 1)
    painted = annotator.layer.data.copy()

    window = session.viewer.window._qt_window
    close_window(int(window.winId()))
    said = answer(session, until, "Stay")
    assert "a.png is not saved" in said
    assert window.isVisible()
    session.close_project()
    answer(session, until, "Try again")  # still full: it is asked again
    answer(session, until, "Stay")
    assert session.project is not None
    np.testing.assert_array_equal(annotator.layer.data, painted)
    assert file.read_bytes() == old

    disk(False)
    until(lambda: annotator.state == "saved")
    assert [problem.level for problem in opened.problems] == ["error", "good"]
    assert "saved again" in banner.sentence.text()
    np.testing.assert_array_equal(session.project.annotations.read("a.png"), painted)
    assert not [path for path in file.parent.iterdir() if path.name.startswith(".tmp-")]
    session.close_project()
    assert session.project is None


def test_leaving_without_saving_is_the_users_choice(opened, until, disk) -> None:
    session = opened.session
    opened.open_step("Annotate")
    annotator = opened.steps["Annotate"].content.annotator
    until(lambda: annotator.layer is not None)
    disk(True)
    scribble(annotator.layer, 0)
    session.close_project()
    answer(session, until, "Leave and lose it")
    until(lambda: session.project is None)
    assert annotator.store.unsaved == ()
