from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medssl import Project
from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.project import Checked


def stack(path: Path, values: NDArray[Any]) -> None:
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": "ZYX"})


def told(steps: list[Checked]) -> list[tuple[int, int]]:
    return [(step.done, step.total) for step in steps]


def test_a_project_made_quickly_lists_every_file_and_opens_almost_none(
    folder: Path, tmp_path: Path
) -> None:
    one = (folder / "cell1.png").read_bytes()
    for number in range(200):
        (folder / f"many{number}.png").write_bytes(one[: 40 if number == 150 else None])
    project = Project.create(folder, project=tmp_path / "p", quick=True)
    assert len(project.images) == 212
    assert project.report.n_images == 212
    assert "Not opened yet: 188." in project.report.text()
    again = Project.open(project.path, quick=True)
    assert again.images == project.images
    assert again.shape("many9.png") == (32, 40)  # looked at when it is asked for
    with pytest.raises(MedsslError, match=r"many150\.png cannot be used: "):
        again.planes("many150.png")
    assert "many150.png" not in again.images


def test_a_check_finds_what_only_pixels_and_bytes_tell(folder: Path) -> None:
    content = (folder / "cell1.png").read_bytes()
    (folder / "more" / "copy.png").write_bytes(content)
    (folder / "cut.png").write_bytes(content[:-200])
    Image.new("L", (40, 40), 9).save(folder / "flat.png")
    # No size of any other file, so that no copy is looked for.
    values = np.zeros((16, 17), np.float32)
    values[3, 4] = np.nan
    tifffile.imwrite(folder / "nan.tif", values)
    project = Project.create(folder, quick=True)
    steps = list(project.check())
    assert told(steps)[-1] == (16, 16)
    assert project.unchecked == 0
    report = project.report
    assert report.n_images == report.decoded == 14
    assert [item.name for item in report.skipped] == ["cut.png", "nan.tif"]
    assert "1 image has the same value everywhere." in report.notes
    assert "more/copy.png and cell1.png are the same file." in report.notes
    opened = Project.open(project.path, quick=True)
    assert opened.unchecked == 0
    assert opened.report == report


def test_a_check_can_be_stopped_and_goes_on_where_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_medssl.project.catalogue.TELL_FILES", 4)
    for number in range(60):
        Image.new("L", (20, 20 + number)).save(folder / f"more{number}.png")
    project = Project.create(folder, quick=True)
    before = project.unchecked
    steps = project.check()
    next(steps)
    steps.close()
    left = project.unchecked
    assert 0 < left < before
    assert Project.open(project.path, quick=True).unchecked == left
    stop = threading.Event()
    stop.set()
    list(project.check(stop.is_set))
    assert project.unchecked == left
    assert told(list(project.check()))[-1] == (72, 72)
    assert project.unchecked == 0


def test_a_file_that_turns_out_to_be_a_stack_becomes_its_planes(folder: Path) -> None:
    values = np.random.default_rng(0).integers(0, 999, (3, 12, 20, 30), dtype=np.uint16)
    tifffile.imwrite(folder / "movie.tif", values, imagej=True, metadata={"axes": "TZYX"})
    project = Project.create(folder)
    assert "movie.tif: 3 x 12 planes (T x Z), 1 channel." in project.report.notes
    assert project.report.n_images == len(project.images) == 12 + 36
    assert project.images[10:12] == ("more/cell1.png", "more/wide.png")
    assert project.images[12:14] == ("movie.tif/t0_z00", "movie.tif/t0_z01")
    name = "movie.tif/t2_z11"
    assert project.shape(name) == (20, 30)
    np.testing.assert_array_equal(project.read(name)[0], values[2, 11])
    np.testing.assert_array_equal(project.grey(name), values[2, 11])
    assert (project.planes(name).min(), project.planes(name).max()) == (0, 1)
    project.annotations.write(name, np.full((20, 30), 2), done=True)
    assert project.annotations.path(name) == project.path / "labels/movie.tif/t2_z11.tif"
    assert project.annotations.annotated() == (name,)
    for wrong in ("movie.tif", "movie.tif/t3_z00", "movie.tif/t2_z1", "movie.tif/z11_t2"):
        with pytest.raises(MedsslError, match=r"has no image|is a stack, whose planes are"):
            project.planes(wrong)

    quick = Project.open(project.path, quick=True)
    assert quick.images == project.images
    (project.path / "derived" / "scan.json").unlink()
    unknown = Project.open(project.path, quick=True)
    assert "movie.tif" in unknown.images
    assert unknown.planes_in("movie.tif") == project.images[12:]
    assert unknown.images == project.images
    # The annotation of a plane whose file is there is no vanished one.
    assert unknown.report.notes == project.report.notes


def test_a_damaged_plane_is_left_out_and_the_others_stay(folder: Path) -> None:
    values = np.ones((4, 16, 16), np.float32)
    values[2, 5, 5] = np.inf
    stack(folder / "stack.tif", values)
    project = Project.create(folder)
    names = [name for name in project.images if name.startswith("stack")]
    assert names == ["stack.tif/z0", "stack.tif/z1", "stack.tif/z3"]
    (skipped,) = project.report.skipped
    assert (skipped.name, skipped.reason) == (
        "stack.tif/z2",
        "1 of its values are NaN or infinite",
    )
    with pytest.raises(MedsslError, match=r"stack\.tif/z2 cannot be used: 1 of its values"):
        project.planes("stack.tif/z2")
    assert Project.open(project.path).images == project.images
    # Who waits for the names of the planes does not wait for all of their pixels.
    quick = Project.create(folder, project=folder.parent / "quick", quick=True)
    (quick.path / "derived" / "scan.json").unlink()
    quick = Project.open(quick.path, quick=True)
    assert len(quick.planes_in("stack.tif")) == 4
    with pytest.raises(MedsslError, match=r"stack\.tif/z2\) cannot be read: 1 of its values"):
        quick.read("stack.tif/z2")
    list(quick.check())
    assert quick.images == project.images


def test_planes_whose_labels_would_lie_in_the_way_of_others_are_refused(folder: Path) -> None:
    stack(folder / "cell1.png.tif", np.zeros((3, 16, 16), np.uint8))
    project = Project.create(folder)
    (skipped,) = project.report.skipped
    assert "the labels of its planes would lie where those of cell1.png do" in skipped.reason


def test_images_can_be_read_while_a_check_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_medssl.project.catalogue.TELL_FILES", 1)
    for number in range(40):
        values = np.zeros((2, 16, 16), np.uint8) + number
        stack(folder / f"s{number}.tif", values)
    project = Project.create(folder, quick=True)
    errors: list[BaseException] = []
    finished = threading.Event()

    def read() -> None:
        try:
            for number in itertools.cycle(range(40)):
                for name in project.planes_in(f"s{number}.tif"):
                    assert project.read(name)[0, 0, 0] == number
                assert len(project.report.notes) > 0
                if finished.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    steps = list(project.check())
    finished.set()
    reader.join()
    assert not errors
    assert any(step.images_changed for step in steps)
    assert len(project.images) == 12 + 80


def test_a_file_of_another_time_is_another_file_be_it_older_or_newer(folder: Path) -> None:
    project = Project.create(folder)
    Image.new("L", (99, 50)).save(folder / "cell2.png")
    project.rescan(quick=True)
    assert project.shape("cell2.png") == (50, 99)
    for size, shift in ((60, -3e8), (70, 3e8)):  # a clock that was set back, or forward
        Image.new("L", (size, size)).save(folder / "cell3.png")
        moment = time.time() + shift
        os.utime(folder / "cell3.png", (moment, moment))
        assert Project.open(project.path).shape("cell3.png") == (size, size)
