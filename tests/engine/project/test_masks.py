from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medssl import Project
from napari_medssl.errors import MedsslError
from napari_medssl.project import import_masks, load_truth

NAMES = [f"cell{i}.png" for i in range(1, 5)]


def save(folder: Path, masks: dict[str, np.ndarray]) -> Path:
    for name, mask in masks.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(path)
    return folder


def mask(*values: int, dtype: type = np.uint8) -> np.ndarray:
    """Make stripes of the values, 32 x 40."""
    return np.repeat(np.resize(np.array(values, dtype), 32)[:, None], 40, axis=1)


@pytest.mark.parametrize(
    ("values", "masks_as", "labels"),
    [
        ((0, 255), "binary", (1, 2)),
        ((0, 1), "binary", (1, 2)),
        ((0, 1, 2, 3), "classes", (1, 2, 3, 4)),
        ((0, 1, 3), "classes", (1, 2, 4)),
        ((0, 128, 255), "classes", (1, 2, 3)),
        (tuple(range(12)), "instances", (1, *[2] * 11)),
    ],
)
def test_values_are_understood(
    project: Project, tmp_path: Path, values: tuple[int, ...], masks_as: str, labels: tuple
) -> None:
    masks = save(tmp_path / "masks", {name: mask(*values) for name in NAMES})
    report = import_masks(project, masks)
    assert report.masks_as == masks_as
    assert report.imported == tuple(NAMES)
    assert len(report.missing) == 8
    np.testing.assert_array_equal(project.annotations.read("cell1.png"), mask(*labels))
    assert len(project.settings.classes) == max(labels)
    assert project.annotations.status("cell1.png") == "done"
    truth = load_truth(project, masks)
    np.testing.assert_array_equal(truth["cell4.png"], mask(*labels))
    assert len(truth) == 4


def test_truth_with_fewer_values_means_the_same_as_what_was_imported(
    project: Project, tmp_path: Path
) -> None:
    import_masks(project, save(tmp_path / "masks", {"cell1.png": mask(0, 50, 128, 255)}))
    assert [item.name for item in project.settings.classes] == [
        "background",
        "class 50",
        "class 128",
        "class 255",
    ]
    part = save(tmp_path / "part", {"cell2.png": mask(0, 128, 255)})
    np.testing.assert_array_equal(load_truth(project, part)["cell2.png"], mask(1, 3, 4))


@pytest.mark.parametrize(
    "name", ["cell1.bmp", "cell1_mask.png", "cell1-labels.tif", "cell1.png.tif", "cell1.ome.tif"]
)
def test_masks_are_found_by_name(project: Project, tmp_path: Path, name: str) -> None:
    masks = save(tmp_path / "masks", {name: mask(0, 255), "more/cell9.png": mask(0, 1)})
    assert import_masks(project, masks).imported == ("cell1.png",)


def test_masks_among_or_within_the_images_are_no_images(folder: Path, tmp_path: Path) -> None:
    save(folder, {f"cell{i}_mask.png": mask(0, 9) for i in (1, 2)})
    assert any("may be masks" in note for note in Project.create(folder).report.notes)
    among = Project.create(folder, project=tmp_path / "among", masks=folder)
    assert len(among.images) == 12
    assert among.annotations.annotated() == ("cell1.png", "cell2.png")
    save(folder / "masks", {"cell3.png": mask(0, 9)})
    within = Project.create(folder, project=tmp_path / "within", masks=folder / "masks")
    assert "masks/cell3.png" not in within.images
    assert within.annotations.annotated() == ("cell3.png",)
    assert Project.open(within.path).images == within.images


def test_pictures_of_masks(project: Project, tmp_path: Path) -> None:
    palette = Image.fromarray(mask(0, 2)).convert("P")
    palette.putpalette([255, 0, 0, 0, 0, 255, 9, 9, 9])
    masks = tmp_path / "masks"
    save(masks, {"cell2.png": np.dstack([mask(0, 2)] * 3), "cell3.png": mask(0, 2)})
    palette.save(masks / "cell1.png")
    Image.fromarray(np.dstack([mask(0, 2), mask(2, 0), mask(0, 2)])).save(masks / "cell4.png")
    Image.fromarray(mask(0, 2)[:20]).save(masks / "cell5.png")
    (masks / "cell6.png").write_bytes(b"")
    report = import_masks(project, masks)
    assert report.imported == ("cell1.png", "cell2.png", "cell3.png")
    np.testing.assert_array_equal(project.annotations.read("cell1.png"), mask(1, 2))
    reasons = {item.name: item.reason for item in report.skipped}
    assert "colour picture" in reasons["cell4.png"]
    assert "20 x 40 pixels, its image 32 x 40" in reasons["cell5.png"]
    assert "the file is empty" in reasons["cell6.png"]


def test_annotations_are_not_overwritten_unless_asked(project: Project, tmp_path: Path) -> None:
    project.annotations.write("cell1.png", mask(2))
    masks = save(tmp_path / "masks", {name: mask(0, 1) for name in NAMES})
    report = import_masks(project, masks)
    assert [item.reason for item in report.skipped] == ["the image is annotated already"]
    assert project.annotations.counts("cell1.png") == {2: 1280}
    assert import_masks(project, masks, overwrite=True).imported == tuple(NAMES)


def test_the_labels_of_another_project_are_taken_as_they_are(
    project: Project, folder: Path, tmp_path: Path
) -> None:
    project.annotations.write("cell1.png", mask(0, 1, 2))
    project.annotations.write("more/wide.png", np.ones((24, 48), int))
    other = Project.create(folder, project=tmp_path / "other", masks=project.path / "labels")
    assert other.imported is not None
    assert other.imported.masks_as == "labels"
    np.testing.assert_array_equal(other.annotations.read("cell1.png"), mask(0, 1, 2))
    assert other.annotations.statuses()["cell1.png"] == "partial"


def test_a_folder_without_fitting_masks_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path
) -> None:
    save(tmp_path / "masks", {"different.png": mask(0, 1)})
    with pytest.raises(MedsslError, match="None of the 1 masks"):
        Project.create(folder, masks=tmp_path / "masks")
    with pytest.raises(MedsslError, match="There is no folder"):
        Project.create(folder, masks=tmp_path / "nothing")
    assert not (tmp_path / "images-medssl").exists()


def test_truth_by_names_alone(tmp_path: Path) -> None:
    masks = save(tmp_path / "masks", {"a_mask.png": mask(0, 255)})
    truth = load_truth(["a.png", "b.png"], masks)
    assert (list(truth), truth.missing) == (["a.png"], ("b.png",))
    np.testing.assert_array_equal(truth["a.png"], mask(1, 2))


def test_a_mask_stack_beside_an_image_stack_has_a_mask_for_each_plane(
    folder: Path, tmp_path: Path
) -> None:
    images = np.random.default_rng(0).integers(0, 99, (2, 5, 16, 20), dtype=np.uint16)
    masks = np.zeros((2, 5, 16, 20), np.uint8)
    for t, z in np.ndindex(2, 5):
        masks[t, z, : 1 + 5 * t + z] = 255
    for name, values in (("movie", images), ("odd", images[0]), ("late", images[:, 0])):
        axes = {"movie": "TZYX", "odd": "ZYX", "late": "TYX"}[name]
        tifffile.imwrite(folder / f"{name}.tif", values, imagej=True, metadata={"axes": axes})
    truth = tmp_path / "masks"
    truth.mkdir()
    tifffile.imwrite(truth / "movie_mask.tif", masks, imagej=True, metadata={"axes": "TZYX"})
    # Axes without names, as many programs write masks: only the sizes must agree.
    tifffile.imwrite(truth / "odd.tif", masks[1], photometric="minisblack", metadata=None)
    tifffile.imwrite(truth / "late.tif", masks[0], imagej=True, metadata={"axes": "TYX"})
    project = Project.create(folder, masks=truth, recursive=False)
    assert project.imported is not None
    assert len(project.imported.imported) == 10 + 5
    for t, z in np.ndindex(2, 5):
        expected = np.where(masks[t, z] > 0, 2, 1)
        np.testing.assert_array_equal(project.annotations.read(f"movie.tif/t{t}_z{z}"), expected)
    read = project.annotations.read("odd.tif/z3")
    np.testing.assert_array_equal(read, np.where(masks[1, 3] > 0, 2, 1))
    assert {item.name: item.reason for item in project.imported.skipped} == {
        f"late.tif/t{t}": "The mask late.tif has 5 planes (T), its image has 2 planes (T)."
        for t in range(2)
    }
    truths = load_truth(project, truth)
    np.testing.assert_array_equal(truths["odd.tif/z3"], read)
    # What this program stored comes back in another project, plane by plane.
    other = Project.create(
        folder, project=tmp_path / "other", masks=project.path / "labels", recursive=False
    )
    assert other.imported is not None
    assert other.imported.imported == project.imported.imported
    np.testing.assert_array_equal(other.annotations.read("odd.tif/z3"), read)


def test_a_stack_is_no_mask_of_a_single_image(project: Project, tmp_path: Path) -> None:
    masks = save(tmp_path / "masks", {"cell2.png": mask(0, 255)})
    values = np.stack([mask(0, 255)] * 3)
    tifffile.imwrite(masks / "cell1.tif", values, photometric="minisblack")
    report = import_masks(project, masks)
    assert report.imported == ("cell2.png",)
    (skipped,) = report.skipped
    assert skipped.reason == ("The mask cell1.tif has 3 planes (P), its image is a single plane.")
