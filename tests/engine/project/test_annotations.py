from __future__ import annotations

import numpy as np
import pytest
import tifffile

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


def test_a_rewritten_file_is_counted_anew(project: Project) -> None:
    for value in (1, 2):
        project.annotations.write("cell1.png", np.full((32, 40), value))
        assert project.annotations.counts("cell1.png") == {value: 32 * 40}


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.zeros((40, 32), int), r"have shape \(40, 32\), the image has \(32, 40\)"),
        (np.full((32, 40), 3), r"hold the value 3; this project has 0 \(not annotated\) to 2"),
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
