from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medssl import Project
from napari_medssl.errors import MedsslError

NAMES = ["DAPI", "GFP", "561", "actin", "phase"]


def fluorescence(path: Path, channels: int, *, names: bool = True) -> np.ndarray:
    """Write an OME-TIFF (C, Y, X) whose channels are noise around 1000, 2000, ..."""
    rng = np.random.default_rng(channels)
    values = rng.integers(0, 99, (channels, 24, 32), dtype=np.uint16)
    values += np.arange(1000, 1000 * channels + 1, 1000, dtype=np.uint16)[:, None, None]
    metadata = {"axes": "CYX"} | ({"Channel": {"Name": NAMES[:channels]}} if names else {})
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, values, ome=True, photometric="minisblack", metadata=metadata)
    return values


@pytest.mark.parametrize(
    ("counts", "channels", "indices"),
    [
        ([2, 2], ("DAPI", "GFP"), (0, 1)),
        ([3, 3], ("DAPI", "GFP", "561"), (0, 1, 2)),  # three that are no red, green and blue
        ([4, 4], ("DAPI", "GFP", "561", "actin"), (0, 1, 2, 3)),
        ([5, 5], ("DAPI",), (0,)),
        ([2, 4], ("DAPI",), (0,)),
    ],
)
def test_a_new_project_reads_all_channels_of_a_few_or_the_first(
    tmp_path: Path, counts: list[int], channels: tuple[str, ...], indices: tuple[int, ...]
) -> None:
    stored = [fluorescence(tmp_path / "i" / f"{k}.tif", n) for k, n in enumerate(counts)]
    for quick in (False, True):
        project = Project.create(tmp_path / "i", project=tmp_path / f"p{quick}", quick=quick)
        assert (project.settings.channels, project.settings.channel_indices) == (channels, indices)
        assert any(f"reads {', '.join(channels)}." in note for note in project.report.notes)
        for k, values in enumerate(stored):
            np.testing.assert_array_equal(project.read(f"{k}.tif"), values[list(indices)])
            expected = values[list(indices)].mean(axis=0)
            np.testing.assert_allclose(project.grey(f"{k}.tif"), expected, rtol=1e-6)
    assert project.stored_channels == tuple(NAMES[: min(counts)])
    assert project.channels_of("1.tif") == tuple(NAMES[: counts[1]])
    again = Project.open(project.path)
    assert again.settings == project.settings
    assert again.stored_channels == project.stored_channels


def test_other_channels_are_chosen_by_name_or_number_and_files_without_them_are_skipped(
    tmp_path: Path,
) -> None:
    wide = fluorescence(tmp_path / "i" / "wide.tif", 5)
    fluorescence(tmp_path / "i" / "slim.tif", 2)
    Image.new("L", (20, 20)).save(tmp_path / "i" / "grey.png")
    project = Project.create(tmp_path / "i", channels=[0])
    assert len(project.images) == 3
    planes = project.planes("wide.tif")
    assert project.stored_channels == ("grey",)  # all that the three files have in common
    with pytest.raises(MedsslError, match=r"no channel 'GFP'. Their channels: 0 \(grey\)"):
        project.update(channels=["GFP"])
    project.update(channels=("GFP", "phase"), channel_indices=(1, 4))
    assert project.images == ("wide.tif",)
    np.testing.assert_array_equal(project.read("wide.tif"), wide[[1, 4]])
    assert project.planes("wide.tif").shape == (2, *planes.shape[1:])
    assert {item.name: item.reason for item in project.report.skipped} == {
        "grey.png": "it has only 1 channel, but the project reads channel 4 (counted from 0)",
        "slim.tif": "it has only 2 channels, but the project reads channel 4 (counted from 0)",
    }
    assert Project.open(project.path).images == ("wide.tif",)
    project.update(channels=("any",), channel_indices=(0,))
    assert len(project.images) == 3


def test_a_number_is_a_name_first_and_the_shell_chooses_too(tmp_path: Path) -> None:
    fluorescence(tmp_path / "i" / "a.tif", 4)
    project = Project.create(tmp_path / "i", channels=["561", "0"])
    assert project.settings.channels == ("561", "DAPI")
    assert project.settings.channel_indices == (2, 0)
    project.update(channels=["actin"])
    assert project.settings.channel_indices == (3,)
    with pytest.raises(MedsslError, match="at most once"):
        project.update(channels=["actin", "actin"])
    with pytest.raises(MedsslError, match="no channel '4'"):
        Project.create(tmp_path / "i", project=tmp_path / "q", channels=["4"])
    assert not (tmp_path / "q").exists()


def test_a_grey_project_skips_files_of_several_channels_instead_of_guessing(folder: Path) -> None:
    project = Project.create(folder)
    fluorescence(folder / "late.tif", 3, names=False)
    opened = Project.open(project.path)
    assert opened.images == project.images
    (skipped,) = opened.report.skipped
    assert skipped.reason == "it has 3 channels, but the project reads grey or RGB"
    assert opened.channels_of("cell1.png") == ("grey",)


def test_axes_that_a_file_does_not_tell_can_be_told(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 999, (3, 20, 30), dtype=np.uint16)
    (tmp_path / "i").mkdir()
    path = tmp_path / "i" / "a.tif"
    tifffile.imwrite(path, values, photometric="minisblack", metadata=None)
    pages = Project.create(tmp_path / "i")
    assert pages.images == ("a.tif/p0", "a.tif/p1", "a.tif/p2")
    stored = pages.header("a.tif/p0").stored_axes
    pages.update(axes={stored: "CYX"}, channels=("a", "b", "c"), channel_indices=(0, 1, 2))
    assert pages.images == ("a.tif",)
    np.testing.assert_array_equal(pages.read("a.tif"), values)
    told = Project.create(tmp_path / "i", project=tmp_path / "q", axes={stored: "CYX"})
    assert told.settings.channels == ("channel 0", "channel 1", "channel 2")
    assert Project.open(told.path).images == ("a.tif",)
    with pytest.raises(MedsslError, match="QYX cannot be read as QQX"):
        told.update(axes={"QYX": "QQX"})
