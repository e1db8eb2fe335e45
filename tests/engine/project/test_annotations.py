from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medssl import Project
from napari_medssl.errors import MedsslError


def test_what_was_drawn_comes_back_with_status_and_counts(project: Project) -> None:
    annotations = project.annotations
    assert annotations.annotated() == ()
    assert not annotations.read("cell2.png").any()
    assert annotations.counts("cell2.png") == {0: 32 * 40}
    labels = np.zeros((32, 40), np.int64)
    labels[:4], labels[4:6] = 1, 2
    annotations.write("cell2.png", labels)
    annotations.write("more/cell1.png", np.ones((32, 40), np.uint8), done=True)
    annotations.write("cell10.png", np.zeros((32, 40), np.uint8))
    fresh = Project.open(project.path).annotations
    np.testing.assert_array_equal(fresh.read("cell2.png"), labels)
    assert fresh.read("cell2.png").dtype == np.uint16
    assert fresh.counts("cell2.png") == {0: 26 * 40, 1: 160, 2: 80}
    statuses = fresh.statuses()
    assert {name: status for name, status in statuses.items() if status != "none"} == {
        "cell2.png": "partial",
        "more/cell1.png": "done",
    }
    assert list(statuses) == list(project.images)
    assert fresh.annotated() == ("cell2.png", "more/cell1.png")
    annotations.clear("cell2.png")
    assert fresh.status("cell2.png") == "none"
    assert (project.path / "labels" / "more" / "cell1.png.tif").is_file()


def test_what_labels_were_taken_from_stays_with_them_until_they_are_empty(project: Project) -> None:
    name, labels = "cell2.png", np.ones((32, 40), np.uint16)
    project.annotations.take_from(name, "first")
    assert project.annotations.origins(name) == ()  # nothing is stored yet
    project.annotations.write(name, labels)
    fresh = Project.open(project.path).annotations
    assert fresh.origins(name) == ("first",)
    fresh.take_from(name, "second")
    fresh.write(name, labels, done=True)
    fresh.accept_image(name)
    assert fresh.origins(name) == ("first", "second")
    fresh.write(name, 0 * labels)
    fresh.write(name, labels)
    assert fresh.origins(name) == ()


def test_a_rewritten_file_is_counted_anew(project: Project) -> None:
    for value in (1, 2):
        project.annotations.write("cell1.png", np.full((32, 40), value))
        assert project.annotations.counts("cell1.png") == {value: 32 * 40}


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros((40, 32), int), r"have shape \(40, 32\), the image has \(32, 40\)"),
        (np.full((32, 40), 3), r"hold the value 3; this project has 0 \(not annotated\) and 1, 2"),
        (np.full((32, 40), -1), "hold the value -1"),
        (np.zeros((32, 40)), "float64"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    project: Project, labels: np.ndarray, reason: str
) -> None:
    with pytest.raises(MedsslError, match=reason):
        project.annotations.write("cell1.png", labels)
    with pytest.raises(MedsslError, match="has no image"):
        project.annotations.write("../cell1.png", labels)
    assert project.annotations.annotated() == ()


def test_files_of_other_programs_are_understood_and_damaged_ones_named(project: Project) -> None:
    path = project.annotations.path("cell1.png")
    path.parent.mkdir(parents=True)
    tifffile.imwrite(path, np.full((32, 40), 2, np.uint8))
    assert project.annotations.counts("cell1.png") == {2: 1280}
    assert project.annotations.status("cell1.png") == "partial"
    path.write_bytes(b"damaged")
    with pytest.raises(MedsslError, match=r"cell1\.png\.tif is damaged"):
        project.annotations.read("cell1.png")


def test_an_image_that_changed_since_it_was_annotated_is_noticed(
    project: Project, folder: Path
) -> None:
    stroke = np.full((32, 40), 2)
    names = ("cell1.png", "cell2.png", "cell3.png", "cell4.png")
    for name in names:
        project.annotations.write(name, stroke)
    assert project.annotations.changed_images() == ()
    os.utime(folder / "cell1.png", (1, 1))  # copied to another disk, say: the same content
    Image.new("L", (40, 32), 7).save(folder / "cell2.png")
    Image.new("L", (9, 9)).save(folder / "cell3.png")
    (folder / "cell4.png").write_bytes(b"damaged")
    opened = Project.open(project.path)
    assert opened.annotations.changed_images() == ("cell2.png", "cell3.png")
    # Going on to paint is no consent: the first strokes may be in the wrong place.
    opened.annotations.write("cell2.png", stroke, done=True)
    assert Project.open(project.path).annotations.changed_images() == ("cell2.png", "cell3.png")
    opened.annotations.accept_image("cell2.png")
    assert opened.annotations.changed_images() == ("cell3.png",)
    assert opened.annotations.status("cell2.png") == "done"
    with pytest.raises(MedsslError, match="are 32 x 40 pixels, the image is 9 x 9"):
        opened.annotations.accept_image("cell3.png")
    opened.annotations.clear("cell3.png")
    opened.annotations.write("cell3.png", np.full((9, 9), 2))
    assert Project.open(project.path).annotations.changed_images() == ()


def test_a_time_series_that_grows_does_not_change_the_planes_it_had(
    project: Project, folder: Path
) -> None:
    values = np.random.default_rng(0).integers(0, 99, (12, 16, 16), dtype=np.uint8)

    def save(count: int) -> None:
        tifffile.imwrite(folder / "t.tif", values[:count], imagej=True, metadata={"axes": "TYX"})

    save(11)
    project.rescan()
    for name in ("t.tif/t03", "t.tif/t05"):
        project.annotations.write(name, np.full((16, 16), 2))
    values[5] += 1
    save(12)
    opened = Project.open(project.path)
    assert opened.images[-1] == "t.tif/t11"
    assert opened.annotations.changed_images() == ("t.tif/t05",)


def test_labels_are_stored_whatever_becomes_of_the_image(project: Project, folder: Path) -> None:
    stroke = np.full((32, 40), 2)
    project.annotations.write("cell1.png", stroke)
    (folder / "cell1.png").unlink()
    (folder / "cell2.png").write_bytes(b"")
    list(project.check())
    for name in ("cell1.png", "cell2.png"):
        project.annotations.write(name, stroke, done=True)
        np.testing.assert_array_equal(project.annotations.read(name), stroke)
    opened = Project.open(project.path)
    assert "cell1.png" not in opened.images
    assert (
        "Annotated, but no longer there: 1 (cell1.png). The annotations are kept."
        in opened.report.notes
    )
    shutil.copy(folder / "cell3.png", folder / "cell1.png")
    opened.rescan()
    assert opened.annotations.status("cell1.png") == "done"
    assert not any("no longer there" in note for note in opened.report.notes)


def test_a_damaged_label_file_and_a_link_that_leaves_are_named_and_do_not_hide_the_others(
    project: Project, tmp_path: Path
) -> None:
    stroke = np.full((32, 40), 2)
    for name in ("cell1.png", "cell2.png", "cell3.png"):
        project.annotations.write(name, stroke)
    project.annotations.path("cell2.png").write_bytes(b"torn")
    outside = tmp_path / "outside.tif"
    project.annotations.path("cell3.png").rename(outside)
    project.annotations.path("cell3.png").symlink_to(outside)
    before = outside.read_bytes()
    annotations = Project.open(project.path).annotations
    assert annotations.annotated() == ("cell1.png", "cell2.png", "cell3.png")
    damaged = annotations.damaged()
    assert list(damaged) == ["cell2.png", "cell3.png"]
    assert "is damaged" in damaged["cell2.png"]
    assert "leads out of" in damaged["cell3.png"]
    with pytest.raises(MedsslError, match="leads out of"):
        annotations.write("cell3.png", stroke)
    assert outside.read_bytes() == before
    assert annotations.changed_images() == ()
    annotations.write("cell2.png", stroke)
    assert list(annotations.damaged()) == ["cell3.png"]
