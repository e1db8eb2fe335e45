from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medssl import Project
from napari_medssl.errors import MedsslError


class Lazy:
    """An array that gives single pages only, and counts them: as dask and zarr do, never whole."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.largest, self.pages = values, 0, 0
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        page = self.values[key]
        self.largest, self.pages = max(self.largest, page.size), self.pages + 1
        return page


def test_a_layer_becomes_planes_with_its_place_and_outlives_the_session(project: Project) -> None:
    before = project.images
    values = np.random.default_rng(0).integers(0, 9000, (4, 3, 20, 30), dtype=np.uint16)
    calls: list[tuple[int, int]] = []
    data = Lazy(values)
    names = project.add_layer(
        data,
        name="my/movie: 1.tif",
        axes="TZYX",
        scale=(0.5, 0.25),
        translate=(10, -3),
        progress=lambda done, total: calls.append((done, total)),
    )
    assert data.largest == 600  # one page at a time
    assert data.pages == 12
    assert calls[-1] == (12, 12)
    assert names[0] == "(layers)/my movie 1.tif.tif/t0_z0"
    assert len(names) == 12
    assert set(project.images) == {*before, *names}
    opened = Project.open(project.path)
    assert opened.images == project.images
    np.testing.assert_array_equal(opened.read(names[7])[0], values[2, 1])
    assert opened.placement(names[7]) == ((0.5, 0.25), (10, -3))
    assert opened.placement("cell1.png") == ((1, 1), (0, 0))
    opened.annotations.write(names[7], np.full((20, 30), 2))
    assert opened.annotations.annotated() == (names[7],)
    (second,) = opened.add_layer(values[0, 0], name="my/movie: 1.tif", axes="YX")
    assert second == "(layers)/my movie 1.tif 2.tif"
    assert opened.placement(second) == ((1, 1), (0, 0))


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("bool", "uint8"), ("float64", "float32"), ("float16", "float32"), ("int64", "int32")],
)
def test_values_that_tiff_lacks_are_stored_as_others(
    project: Project, dtype: str, stored: str
) -> None:
    values = (np.arange(20 * 30).reshape(20, 30) % 2).astype(dtype)
    (name,) = project.add_layer(values, name="x", axes="YX")
    assert project.header(name).dtype == stored
    np.testing.assert_array_equal(project.read(name)[0], values.astype(np.float32))


def test_colour_and_channels_come_along(folder: Path, tmp_path: Path) -> None:
    project = Project.create(folder, channels=["grey"])
    colour = np.zeros((16, 24, 4), np.uint8)
    colour[..., 0], colour[..., 3] = 100, 255
    (name,) = project.add_layer(colour, name="stained", axes="YXS")
    assert project.channels_of(name) == ("red", "green", "blue")
    np.testing.assert_allclose(project.read(name), 29.9, rtol=1e-6)
    two = np.random.default_rng(0).integers(0, 99, (16, 24, 2), dtype=np.uint16)
    with pytest.raises(MedsslError, match=r"cannot be used in this project: it has 2 channels"):
        project.add_layer(two, name="two", axes="YXC", channel_names=["DAPI", "GFP"])
    assert sorted(path.name for path in (project.path / "layers").iterdir()) == [
        "stained.json",
        "stained.tif",
    ]
    project.update(channels=["first"], channel_indices=[0])
    (name,) = project.add_layer(two, name="two", axes="YXC", channel_names=["DAPI", "GFP"])
    assert project.channels_of(name) == ("DAPI", "GFP")
    np.testing.assert_array_equal(project.read(name)[0], two[..., 0])


@pytest.mark.parametrize(
    ("values", "axes", "message"),
    [
        (np.zeros((16, 16), complex), "YX", "no grey value"),
        (np.zeros((3, 16, 16)), "YX", "cannot be read with the axes YX"),
        (np.zeros((3, 16, 16)), "QYX", "cannot be read with the axes QYX"),
        (np.zeros((3, 16)), "TY", "no axes Y and X"),
        (np.full((16, 16), 2**40), "YX", "too large"),
        (np.zeros((0, 16)), "YX", "is empty"),
        (np.full((16, 16), np.nan), "YX", "cannot be used in this project: 256 of its values"),
        (np.zeros((4, 4)), "YX", "cannot be used in this project: too small"),
    ],
)
def test_what_cannot_be_an_image_is_refused_and_leaves_nothing(
    project: Project, values: np.ndarray, axes: str, message: str
) -> None:
    with pytest.raises(MedsslError, match=message):
        project.add_layer(values, name="../../x", axes=axes)
    assert not list((project.path / "layers").glob("*"))
    assert len(project.images) == 12


def test_the_first_layer_of_a_project_without_images_settles_its_channels(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    project = Project.create(tmp_path / "images", empty=True)
    two = np.random.default_rng(0).integers(0, 99, (2, 16, 24), dtype=np.uint16)
    (name,) = project.add_layer(two, name="x", axes="CYX", channel_names=["DAPI", "GFP"])
    opened = Project.open(project.path)
    assert opened.settings.channels == ("DAPI", "GFP")
    np.testing.assert_array_equal(opened.read(name), two)
