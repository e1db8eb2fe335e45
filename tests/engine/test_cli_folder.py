"""What the command line says of image folders: channels, axes, the whole check, a folder that was moved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medssl import Project
from napari_medssl.cli import main


@pytest.fixture
def stacks(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        values = rng.integers(0, 999, (2, 20, 30), dtype=np.uint16)
        tifffile.imwrite(folder / f"{number}.tif", values, photometric="minisblack", metadata=None)
    return folder


def test_init_takes_axes_and_channels(
    stacks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(tmp_path / "p")
    stored = Project.create(stacks).header("0.tif/p0").stored_axes
    axes = f"{stored}=CYX"
    assert main(["init", str(stacks), "--project", place, "--axes", axes, "--channels", "1"]) == 0
    assert "the project reads channel 1." in capsys.readouterr().out
    project = Project.open(place)
    assert project.images == ("0.tif", "1.tif", "2.tif")
    assert (project.settings.channels, project.settings.channel_indices) == (("channel 1",), (1,))
    for wrong in (["--axes", "CYX"], ["--axes", f"{stored}=CYQ"], ["--channels", "5"]):
        assert main(["init", str(stacks), "--project", str(tmp_path / "q"), *wrong]) != 0
        assert not (tmp_path / "q").exists()
    assert "STORED=MEANT" in capsys.readouterr().err


def test_check_tells_what_pixels_tell_and_finds_a_moved_folder(
    stacks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project.create(stacks, quick=True)
    project.annotations.write("0.tif/p1", np.full((20, 30), 2))
    (stacks / "copy.tif").write_bytes((stacks / "1.tif").read_bytes())
    Image.new("L", (16, 16)).save(stacks / "flat.png")
    values = np.zeros((2, 20, 30), np.uint16)
    tifffile.imwrite(stacks / "0.tif", values, photometric="minisblack", metadata=None)
    moved = stacks.rename(tmp_path / "elsewhere")
    capsys.readouterr()
    assert main(["check", str(project.path)]) == 2
    assert "medssl check PROJECT --images FOLDER" in capsys.readouterr().err
    assert main(["check", str(project.path), "--images", str(moved)]) == 0
    out = capsys.readouterr().out
    assert "copy.tif and 1.tif are the same file." in out
    assert "3 images have the same value everywhere." in out
    assert "Changed since they were annotated: 0.tif/p1." in out
    assert main(["check", str(project.path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["data"]["changed"] == ["0.tif/p1"]
    assert result["data"]["unchecked"] == 0
