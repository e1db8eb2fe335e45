from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_medssl.errors import MedsslError
from napari_medssl.project import import_masks, load_truth

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.project import Project


def stripes(shape: tuple[int, int], dtype: type = np.uint16) -> np.ndarray:
    """Twelve objects and background."""
    return np.repeat((np.arange(shape[0]) % 13).astype(dtype)[:, None], shape[1], axis=1)


def test_objects_come_back_as_they_were_stored(project: Project) -> None:
    name = "cell1.png"
    shape = project.shape(name)
    assert not project.objects.read(name).any()
    assert project.objects.stored() == ()
    few = stripes(shape)
    many = few.astype(np.int64) * 100_000
    for ids in (few, many):
        project.objects.write(name, ids)
        np.testing.assert_array_equal(project.objects.read(name), ids)
        assert project.objects.read(name).dtype == np.int32
    assert project.objects.stored() == (name,)
    assert tifffile.imread(project.objects.path(name)).dtype == np.int32
    project.objects.clear(name)
    assert not project.objects.read(name).any()


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (np.zeros((3, 4), int), "shape"),
        (np.full((32, 40), -1), "-1"),
        (np.full((32, 40), 2**24), "16777216"),
        (np.full((32, 40), 1.5), "float64"),
    ],
)
def test_what_is_no_object_map_is_refused(project: Project, ids: np.ndarray, told: str) -> None:
    with pytest.raises(MedsslError, match=told):
        project.objects.write("cell1.png", ids)
    assert not project.objects.path("cell1.png").exists()


def test_objects_of_another_image_are_refused(project: Project) -> None:
    project.objects.write("cell1.png", stripes(project.shape("cell1.png")))
    tifffile.imwrite(project.objects.path("cell1.png"), np.ones((5, 6), np.uint16))
    with pytest.raises(MedsslError, match="was replaced"):
        project.objects.read("cell1.png")


def test_instance_masks_are_imported_as_labels_and_objects(
    project: Project, tmp_path: Path
) -> None:
    name = "cell1.png"
    ids = stripes(project.shape(name))
    masks = tmp_path / "masks"
    masks.mkdir()
    tifffile.imwrite(masks / "cell1.tif", ids)
    import_masks(project, masks)
    np.testing.assert_array_equal(project.objects.read(name), ids)
    np.testing.assert_array_equal(project.annotations.read(name) == 2, ids > 0)
    truth = load_truth(project, masks)
    np.testing.assert_array_equal(truth.objects(name), ids)
    # The project's own object files are masks of objects, too.
    again = load_truth(project, project.path / "objects")
    np.testing.assert_array_equal(again.objects(name), ids)
    tifffile.imwrite(masks / "cell1.tif", np.where(ids > 0, ids * np.uint32(2**28), np.uint32(0)))
    import_masks(project, masks, overwrite=True)  # hashes, colours
    np.testing.assert_array_equal(project.objects.read(name), ids)
    tifffile.imwrite(masks / "cell1.tif", np.where(ids > 6, np.uint8(255), np.uint8(0)))
    import_masks(project, masks, overwrite=True)
    assert project.objects.stored() == ()  # they divided what is gone
    with pytest.raises(MedsslError, match="binary"):
        load_truth(project, masks).objects(name)
