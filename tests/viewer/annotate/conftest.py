"""A project of three images, open in the step "Annotate"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as PillowImage

from napari_medssl.widgets.annotate_step import AnnotateStep
from napari_medssl.widgets.background import wait_for_background
from napari_medssl.widgets.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import napari

NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "cells"
    images.mkdir()
    for index, name in enumerate(NAMES):
        pixels = np.random.default_rng(index).integers(0, 255, (60, 80), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(images / name)
    return images


@pytest.fixture
def session(
    make_napari_viewer: Callable[..., napari.Viewer],
    folder: Path,
    fake_engine: list[str],
    qtbot,
) -> Iterator[Session]:
    viewer = make_napari_viewer(show=True)
    session = Session.of(viewer)
    session.problems = []
    session.problem.connect(session.problems.append)
    session.create_project(folder)
    qtbot.waitUntil(lambda: session.image == "a.png", timeout=20_000)
    yield session
    session.shut_down()
    wait_for_background()


@pytest.fixture
def step(session: Session, qtbot) -> AnnotateStep:
    step = AnnotateStep(session)
    session.viewer.window.add_dock_widget(step, name="Annotate")
    qtbot.waitUntil(lambda: session.labels_layer is not None, timeout=10_000)
    return step
