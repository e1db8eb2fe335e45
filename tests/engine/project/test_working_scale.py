"""What a network sees of an image, what it learns of labels, and how its maps come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import tifffile

from napari_medssl.errors import MedsslError
from napari_medssl.project import Project
from napari_medssl.project.working_scale import (
    ScaledImages,
    ScaleRule,
    to_native,
    to_network,
    to_targets,
)

if TYPE_CHECKING:
    from pathlib import Path


def tiffs(folder: Path, **sizes: float | None) -> Project:
    """Make a project of images of 20 x 30 pixels, of so many micrometres each; None does not say it."""
    folder.mkdir()
    for name, size in sizes.items():
        said = {} if size is None else {"PhysicalSizeX": size, "PhysicalSizeY": size}
        pixels = np.arange(600, dtype=np.uint8).reshape(20, 30)
        tifffile.imwrite(folder / f"{name}.tif", pixels, ome=True, metadata={"axes": "YX", **said})
    return Project.create(folder)


def test_the_factor_of_each_rule() -> None:
    shape = (300, 512)
    assert ScaleRule().factor(shape) == 1
    assert ScaleRule(value=0.5).factor(shape) == 0.5
    assert ScaleRule(rule="fit", value=256).factor(shape) == 2
    assert ScaleRule(rule="fit", value=1024).factor(shape) == 0.5
    assert ScaleRule(rule="physical", value=2).factor(shape, 0.5) == 4
    with pytest.raises(MedsslError, match=r"2 µm per network pixel.*neither the image nor"):
        ScaleRule(rule="physical", value=2).factor(shape)
    with pytest.raises(ValueError, match="greater than 0"):
        ScaleRule(value=0)


def test_the_median_of_the_folder_stands_for_a_size_that_is_not_told(tmp_path: Path) -> None:
    project = tiffs(tmp_path / "images", a=0.5, b=1.0, c=4.0, d=None)
    scaled = ScaledImages(project, ScaleRule(rule="physical", value=2.0))
    assert [scaled.factor(name) for name in project.images] == [4, 2, 0.5, 2]
    assert scaled.shape("a.tif") == (5, 8)
    assert scaled.planes("c.tif").shape == (1, 40, 60)
    assert scaled.notes(["a.tif", "d.tif"]) == [
        "1 image does not tell the pixel size; the folder's median is taken (1 µm)."
    ]
    assert scaled.notes(["a.tif"]) == []
    assert ScaledImages(project, ScaleRule()).notes(project.images) == []


def test_a_folder_without_any_pixel_size_refuses_micrometres(tmp_path: Path) -> None:
    project = tiffs(tmp_path / "images", a=None)
    scaled = ScaledImages(project, ScaleRule(rule="physical", value=2.0))
    with pytest.raises(MedsslError, match=r"tells its pixel size.*Choose a scale in file pixels"):
        scaled.factor("a.tif")


def test_images_shrink_by_area_averaging() -> None:
    """Any sampling of a checkerboard would show black, white or stripes."""
    board = (np.indices((60, 80)).sum(0) % 2).astype(np.float32)
    np.testing.assert_allclose(to_network(board[None], 2), 0.5)
    np.testing.assert_allclose(to_network(board[None], 4), 0.5)
    ramp = np.arange(8, dtype=np.float32) * np.ones((2, 8, 1), np.float32)
    np.testing.assert_allclose(to_network(ramp, 4)[:, 0], [[1.5, 5.5]] * 2)
    odd = np.random.default_rng(0).random((1, 7, 10), np.float32)
    small = to_network(odd, 2.5)  # 7 / 2.5 = 2.8 rounds to 3
    assert small.shape == (1, 3, 4)
    assert small.mean() == pytest.approx(odd.mean(), abs=1e-6)
    assert to_network(odd, 1.0) is odd
    assert to_network(odd, 100).shape == (1, 1, 1)


def test_scribbles_of_a_pixel_count_as_much_at_a_coarse_scale() -> None:
    labels = np.zeros((8, 12), np.uint16)
    labels[1, :4] = 7  # a line through the first cell of 4 x 4
    labels[5, 4:7], labels[6, 4] = 7, 9  # three pixels and one in the fifth
    labels[:4, 8:] = 9  # the whole third
    targets = to_targets(labels, (7, 9), 4)
    expected = np.array(
        [
            [[1, 0, 0], [0, 0.75, 0]],
            [[0, 0, 1], [0, 0.25, 0]],
        ]
    )
    np.testing.assert_allclose(targets, expected, atol=1e-6)
    np.testing.assert_array_equal(targets.sum(0) > 0, [[1, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize("factor", [1.0, 1.7, 3.3, 0.5])
def test_every_annotated_pixel_is_in_a_target_of_weight_1(factor: float) -> None:
    labels = np.zeros((50, 41), np.uint16)
    cv2.line(labels, (3, 4), (35, 44), 2)
    labels[45, 2] = 1
    targets = to_targets(labels, (1, 2), factor)
    weight = targets.sum(0)
    np.testing.assert_allclose(weight[weight > 0], 1, atol=1e-6)
    ys, xs = np.nonzero(labels)
    rows, columns = weight.shape
    at = ((ys + 0.5) * rows / 50).astype(int), ((xs + 0.5) * columns / 41).astype(int)
    assert (weight[at] > 0).all()
    if factor <= 1:  # where pixels are not shared, shares are all or nothing
        assert set(np.unique(targets)) == {0, 1}


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.0, 3.7])
def test_maps_come_back_in_the_shape_and_at_the_place_of_the_file(factor: float) -> None:
    ys, xs = np.mgrid[:53, :70].astype(np.float32)
    bump = np.exp(-((ys - 31) ** 2 + (xs - 18) ** 2) / 200)[None]
    back = to_native(to_network(bump, factor), (53, 70))
    assert back.shape == (1, 53, 70)
    assert back.dtype == np.float32
    y, x = np.unravel_index(back[0].argmax(), (53, 70))
    assert abs(y - 31) <= max(1, factor / 2)
    assert abs(x - 18) <= max(1, factor / 2)
    np.testing.assert_allclose(back, bump, atol=0.08)


def test_small_images_are_enlarged_linearly() -> None:
    step = np.array([[[0, 1]]], np.float32)
    np.testing.assert_allclose(
        to_network(step, 0.25)[0, 0], [0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1]
    )
    labels = np.array([[1, 0], [0, 2]], np.uint16)
    targets = to_targets(labels, (1, 2), 0.5)
    np.testing.assert_array_equal(targets[0], np.kron([[1, 0], [0, 0]], np.ones((2, 2))))
    np.testing.assert_array_equal(targets[1], np.kron([[0, 0], [0, 1]], np.ones((2, 2))))
