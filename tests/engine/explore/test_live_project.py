"""What live prediction learns from in a project: strokes on the disk and under the brush, features of two origins."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from napari_medssl.explore.live_project import LiveProject, Strokes
from napari_medssl.explore.store import Entry, Index, file_of, index_path, store_path
from napari_medssl.project import Project
from napari_medssl.project.listing import identity_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project import Run

NAMES = ("a.png", "b.png", "c.png")
SIDE, STRIDE = 64, 4
STORED, ALL = 3, 8
"""Dimensions that the store keeps, of those that there are."""


def truth_of(name: str) -> NDArray[np.uint16]:
    """Give 2 in a band and 1 beside it, elsewhere in each image."""
    truth = np.ones((SIDE, SIDE), np.uint16)
    first = 8 + 16 * NAMES.index(name)
    truth[:, first : first + 24] = 2
    return truth


def cells_of(name: str) -> NDArray[np.float16]:
    """Give features of which the second tells; the image itself is noise."""
    cells = np.random.default_rng(1).normal(0, 0.1, (SIDE // STRIDE, SIDE // STRIDE, ALL))
    cells[..., 1] += truth_of(name)[::STRIDE, ::STRIDE]
    return cells.astype(np.float16)


def strokes_in(name: str, version: int, values: tuple[int, ...] = (1, 2)) -> Strokes:
    truth = truth_of(name)
    labels = np.where(np.isin(truth, values), truth, 0).astype(np.uint16)
    labels[:30] = labels[34:] = 0
    return Strokes(labels, version)


def write_store(project: Project, run: Run, names: tuple[str, ...]) -> None:
    folder = store_path(project, run.name, "mix")
    size, mtime = identity_of(run.best_path)
    images = {}
    for name in names:
        path = file_of(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, cells_of(name)[..., :STORED])
        of_image = identity_of(project.image_path(name))
        images[name] = Entry(shape=(SIDE, SIDE), sha256="0", size=of_image[0], mtime=of_image[1])
    Index(
        run=run.name,
        source="mix",
        stride=STRIDE,
        dimensions=STORED,
        weights_sha256="0",
        weights_size=size,
        weights_mtime=mtime,
        images=images,
    ).write(index_path(folder))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        noise = rng.integers(0, 255, (SIDE, SIDE), np.uint8)
        cv2.imwrite(str(tmp_path / "images" / name), noise)
    return Project.create(tmp_path / "images")


@pytest.fixture
def run(project: Project) -> Run:
    run = project.new_run("medsass")
    run.best_path.write_bytes(b"weights")
    return run


def right(live: LiveProject, name: str, strokes: Strokes | None = None) -> bool:
    answer = live.answer(name, strokes)
    assert answer is not None
    assert answer.prediction is not None
    right = float((answer.prediction.labels == truth_of(name)).mean())
    return answer.prediction.by_features and right > 0.8  # the forest guesses: the images are noise


def test_features_of_a_store_and_of_single_images_are_one(
    project: Project, run: Run, tmp_path: Path
) -> None:
    write_store(project, run, ("a.png",))
    project.annotations.write("a.png", strokes_in("a.png", 0).labels)
    live = LiveProject(project, run)
    answer = live.answer("b.png")
    assert answer is not None
    assert answer.prediction is not None  # by what the image alone shows
    assert not answer.prediction.by_features
    assert (answer.missing, answer.stride) == (("b.png",), STRIDE)
    made = tmp_path / "b.npy"
    np.save(made, cells_of("b.png"))  # in all dimensions, as the engine makes them
    live.add("b.png", made, STRIDE)
    assert right(live, "b.png")
    strokes = strokes_in("c.png", 1)
    answer = live.answer("c.png", strokes)
    assert answer is not None
    assert answer.missing == ("c.png",)
    write_store(project, run, ("a.png", "c.png"))  # meanwhile
    assert right(live, "c.png", strokes)
    made.unlink()
    answer = live.answer("b.png")
    assert answer is not None
    assert answer.missing == ("b.png",)


def test_features_of_another_network_or_image_are_not_used(project: Project, run: Run) -> None:
    write_store(project, run, NAMES)
    project.annotations.write("a.png", strokes_in("a.png", 0).labels)
    assert right(LiveProject(project, run), "b.png")
    os.utime(project.image_path("b.png"), ns=(1, 1))
    answer = LiveProject(project, run).answer("b.png")
    assert answer is not None
    assert answer.prediction is not None
    assert (answer.prediction.by_features, answer.missing) == (False, ("b.png",))
    run.best_path.write_bytes(b"other weights")
    answer = LiveProject(project, run).answer("c.png")
    assert answer is not None
    assert (answer.missing, answer.stride) == (("c.png", "a.png"), None)


def test_an_image_that_changes_while_it_is_open_is_asked_for_once(
    project: Project, run: Run, tmp_path: Path
) -> None:
    write_store(project, run, NAMES)
    project.annotations.write("a.png", strokes_in("a.png", 0).labels)
    live = LiveProject(project, run)
    assert right(live, "b.png")
    os.utime(project.image_path("b.png"), ns=(1, 1))
    made = tmp_path / "b.npy"
    np.save(made, cells_of("b.png"))
    live.add("b.png", made, STRIDE)  # of the file as it is now
    assert right(live, "b.png")


def test_nothing_is_computed_anew_while_nothing_changed(project: Project, run: Run) -> None:
    write_store(project, run, NAMES)
    project.annotations.write("b.png", strokes_in("b.png", 0, (1,)).labels)
    live = LiveProject(project, run)
    answers = [live.answer("a.png", strokes_in("a.png", version, (2,))) for version in (1, 1, 2)]
    first, same, other = (answer.prediction for answer in answers if answer is not None)
    assert first is not None
    assert first is same
    assert other is not first
    project.annotations.write("b.png", strokes_in("b.png", 0, (2,)).labels)
    answer = live.answer("a.png", strokes_in("a.png", 2, (2,)))
    assert answer is not None
    assert answer.prediction is None
    assert "Only foreground is painted" in answer.why
