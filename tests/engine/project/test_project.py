from __future__ import annotations

import errno
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medssl import Project
from napari_medssl.errors import MedsslError
from napari_medssl.project import ClassInfo, scan
from napari_medssl.project.images import FOREIGN_EXTENSIONS


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("name", "count", "dtype", "channels", "masks_as"),
    [
        ("dsb2018_fluo", 210, "uint8", "grey stored as RGB", "instances"),
        ("sunnybrook_lv", 526, "uint8", "grey stored as RGB", "binary"),
        ("usiigaci_phase", 18, "uint16", "grey", "instances"),
    ],
)
def test_real_folder_with_masks(
    real_data: Path,
    tmp_path: Path,
    name: str,
    count: int,
    dtype: str,
    channels: str,
    masks_as: str,
) -> None:
    images = real_data / name / "images"
    before = snapshot(real_data / name)
    calls: list[tuple[int, int]] = []
    project = Project.create(
        images,
        project=tmp_path / "project",
        masks=images.parent / "masks",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1] == (count, count)
    assert (project.report.n_images, project.report.dtypes) == (count, {dtype: count})
    assert project.report.channels == channels
    assert project.report.decoded == (200 if count > 500 else count)
    assert project.settings.channels == ("grey",)
    assert not project.report.skipped
    assert project.imported is not None
    assert project.imported.masks_as == masks_as
    assert len(project.imported.imported) == count
    assert set(project.annotations.statuses().values()) == {"done"}
    first = project.images[0]
    planes = project.planes(first)
    assert planes.dtype == np.float32
    assert planes.shape == (1, *project.shape(first))
    assert (planes.min(), planes.max()) == (0, 1)
    np.testing.assert_array_equal(project.grey(first), project.read(first)[0])
    assert snapshot(real_data / name) == before


def test_report_tells_what_was_found_and_what_was_skipped(folder: Path) -> None:
    (folder / "empty.png").write_bytes(b"")
    (folder / "stack.nd2").write_bytes(b"123")
    (folder / "plate.png").mkdir()
    (folder / "(layers)").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "table.csv").write_text("")
    (folder / "notes.txt").write_text("")
    (folder / ".hidden.png").write_bytes(b"123")
    (folder / ".thumbs").mkdir()
    (folder / ".thumbs" / "a.png").write_bytes(b"123")
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    (folder / "circle.tif").symlink_to(folder / "circle.tif")
    (folder / "elsewhere").symlink_to(folder / "nowhere")
    (folder / "more" / "loop").symlink_to(folder)
    bad = np.full((16, 16), np.nan, np.float32)
    tifffile.imwrite(folder / "nan.tif", bad)
    Image.new("L", (1, 1)).save(folder / "dot.png")
    report = scan(folder)
    assert report.n_images == 12
    assert report.sizes == ((32, 40, 11), (24, 48, 1))
    assert report.n_others == 2
    assert {item.name: item.reason for item in report.skipped} == {
        "(layers)": "this name is reserved for layers added in napari; rename the folder",
        "circle.tif": f"cannot be reached ({os.strerror(errno.ELOOP)})",
        "dot.png": "too small (1 x 1 pixels)",
        "elsewhere": "cannot be reached (No such file or directory)",
        "empty.png": "the file is empty",
        "gone.png": "cannot be reached (No such file or directory)",
        "nan.tif": "256 of its values are NaN or infinite",
        "pipe.png": "not a file but a device or a pipe",
        "plate.png": "a folder that is named like an image",
        "stack.nd2": FOREIGN_EXTENSIONS[".nd2"],
    }
    text = report.text()
    assert text.startswith("12 images: 11 of 32 x 40, 1 of 24 x 48; uint8; grey.")
    assert "2 other files ignored." in text


def test_images_are_in_natural_order_and_flat_leaves_folders_out(folder: Path) -> None:
    project = Project.create(folder, recursive=False)
    assert project.images == tuple(f"cell{i}.png" for i in range(1, 11))


def test_a_project_moved_with_its_images_opens_and_one_moved_alone_says_where_it_looked(
    project: Project, tmp_path: Path
) -> None:
    labels = np.full(project.shape("more/wide.png"), 2)
    project.annotations.write("more/wide.png", labels)
    for name in ("images", "images-medssl"):
        shutil.copytree(tmp_path / name, tmp_path / "elsewhere" / "deep" / name)
    moved = Project.open(tmp_path / "elsewhere" / "deep" / "images-medssl" / "project.json")
    assert moved.image_root == tmp_path / "elsewhere" / "deep" / "images"
    assert moved.annotations.statuses()["more/wide.png"] == "partial"

    alone = tmp_path / "alone" / "project"
    shutil.move(moved.path, alone)
    with pytest.raises(MedsslError, match=str(tmp_path / "alone" / "images")):
        Project.open(alone)
    (tmp_path / "others").mkdir()
    Image.new("L", (20, 20)).save(tmp_path / "others" / "other.png")
    with pytest.raises(MedsslError, match="none of the 12 images"):
        Project.open(alone, images=tmp_path / "others")
    Project.open(alone, images=tmp_path / "images")
    again = Project.open(alone)
    assert again.image_root == tmp_path / "images"
    assert not json.loads((alone / "project.json").read_text())["image_root"].startswith("/")


def test_new_changed_and_deleted_images_are_noticed(project: Project, folder: Path) -> None:
    Image.new("L", (50, 60)).save(folder / "cell3.png")
    Image.new("L", (50, 60)).save(folder / "cell11.png")
    (folder / "cell1.png").unlink()
    opened = Project.open(project.path)
    assert opened.shape("cell3.png") == (60, 50)
    assert opened.images[8:10] == ("cell10.png", "cell11.png")
    assert "cell1.png" not in opened.images
    with pytest.raises(MedsslError, match=r"cell1\.png.*no longer there"):
        project.planes("cell1.png")
    with pytest.raises(MedsslError, match=r"Did you mean cell2\.png"):
        project.planes("cell2.pgn")


def test_a_project_that_cannot_be_written_still_opens_and_says_so(
    project: Project, folder: Path
) -> None:
    shutil.rmtree(project.path / "derived")
    (project.path / "derived").write_text("in the way, as nothing stops root from writing")
    opened = Project.open(project.path)
    assert opened.images == project.images
    assert any("Nothing can be stored" in note for note in opened.report.notes)


def test_create_refuses_places_that_are_taken(project: Project, folder: Path) -> None:
    with pytest.raises(MedsslError, match="Open it instead"):
        Project.create(folder)
    with pytest.raises(MedsslError, match="is itself a project"):
        Project.create(project.path)
    with pytest.raises(MedsslError, match="in the image folder itself"):
        Project.create(folder, project=folder)
    with pytest.raises(MedsslError, match="holds other things"):
        Project.create(folder, project=folder.parent)
    with pytest.raises(MedsslError, match=r"is a file.*Choose the folder"):
        Project.create(folder / "cell1.png", project=folder.parent / "new")
    (folder.parent / "empty").mkdir()
    with pytest.raises(MedsslError, match="no usable image"):
        Project.create(folder.parent / "empty")
    assert not (folder.parent / "empty-medssl").exists()


def test_a_project_within_the_image_folder_is_no_image(folder: Path) -> None:
    inner = Project.create(folder, project=folder / "project")
    inner.annotations.write("cell1.png", np.ones((32, 40), int))
    assert len(Project.open(inner.path).images) == 12
    assert scan(folder).n_images == 12


def test_a_newer_schema_is_refused_and_nothing_changes(project: Project) -> None:
    file = project.path / "project.json"
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "schema_version": 99, "future": True}))
    before = snapshot(project.path)
    with pytest.raises(MedsslError, match=r"newer napari-medssl \(schema 99"):
        Project.open(project.path, images=project.image_root)
    assert snapshot(project.path) == before
    file.write_text("{")
    with pytest.raises(MedsslError, match="is damaged"):
        Project.open(project.path)


def test_update_keeps_what_another_process_changed_and_refuses_nonsense(project: Project) -> None:
    other = Project.open(project.path)
    classes = (*project.settings.classes, ClassInfo(value=3, name="debris", color="#123456"))
    project.update(classes=classes)
    other.update(channels=("red", "green", "blue"))
    assert other.settings.classes == classes
    assert other.planes("cell1.png").shape == (3, 32, 40)
    np.testing.assert_allclose(other.grey("cell1.png"), project.read("cell1.png")[0])
    with pytest.raises(MedsslError, match="channels"):
        project.update(channels=("cyan",))
    with pytest.raises(MedsslError, match="rising values"):
        project.update(classes=(classes[0], classes[2], classes[1]))
    project.annotations.write("cell1.png", np.full((32, 40), 3))
    with pytest.raises(MedsslError, match="'debris' cannot go"):
        project.update(classes=classes[:2])
    assert Project.open(project.path).settings.classes == classes


def test_a_class_that_is_removed_leaves_its_value_to_no_other(project: Project) -> None:
    background, cell = project.settings.classes
    debris = ClassInfo(value=3, name="debris", color="#123456")
    project.update(classes=(background, cell, debris))
    project.update(classes=(background, debris))
    opened = Project.open(project.path)
    assert [item.value for item in opened.settings.classes] == [1, 3]
    assert opened.settings.removed_classes == (cell,)
    opened.annotations.write("cell1.png", np.full((32, 40), 3))
    with pytest.raises(
        MedsslError, match=r"the value 2; this project has 0 \(not annotated\) and 1, 3"
    ):
        opened.annotations.write("cell1.png", np.full((32, 40), 2))
    opened.update(classes=(background, cell, debris))  # an import of masks may bring it back
    assert opened.settings.removed_classes == ()
    with pytest.raises(MedsslError, match="follow from classes"):
        opened.update(removed_classes=())


def test_colour_is_decided_by_the_pixels(folder: Path) -> None:
    colour = np.zeros((20, 20, 3), np.uint8)
    colour[:10, :, 0], colour[10:, :, 1] = 200, 100
    Image.fromarray(colour).save(folder / "colour.png")
    project = Project.create(folder)
    assert project.settings.channels == ("red", "green", "blue")
    assert "1 image of 13 looked at has colour, the others are grey." in project.report.notes
    grey = project.read("cell1.png")
    assert grey.shape == (3, 32, 40)
    assert (grey[0] == grey[2]).all()
    expected = np.where(np.arange(20)[:, None] < 10, 0.299 * 200, 0.587 * 100)
    np.testing.assert_allclose(
        project.grey("colour.png"), np.broadcast_to(expected, (20, 20)), rtol=1e-6
    )
    project.update(channels=("grey",))
    np.testing.assert_allclose(project.read("colour.png")[0], project.grey("colour.png"))
    assert any("turned to grey" in note for note in project.report.notes)


def test_planes_may_be_read_from_many_threads(project: Project) -> None:
    alone = {name: project.planes(name) for name in project.images}
    fresh = Project.open(project.path)
    names = [*project.images] * 20
    with ThreadPoolExecutor(8) as pool:
        for name, planes in zip(names, pool.map(fresh.planes, names), strict=True):
            np.testing.assert_array_equal(planes, alone[name])


def test_derived_values_are_computed_once(project: Project) -> None:
    calls: list[int] = []

    def vote() -> dict[str, list[int]]:
        calls.append(1)
        return {"bright": [1, 2]}

    assert project.derived("polarity", vote) == {"bright": [1, 2]}
    assert Project.open(project.path).derived("polarity", vote) == {"bright": [1, 2]}
    assert len(calls) == 1
    with pytest.raises(MedsslError, match="cannot be the key"):
        project.derived("../x", vote)


def test_five_thousand_images_are_looked_into_once(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "one.png")
    content = (tmp_path / "one.png").read_bytes()
    for number in range(5000):
        (folder / f"{number}.png").write_bytes(content)
    (folder / "4321.png").write_bytes(content[:2000])  # not in the sample, found all the same
    start = time.process_time()
    project = Project.create(folder)
    first = time.process_time() - start
    assert len(project.images) == 4999
    assert [item.name for item in project.report.skipped] == ["4321.png"]
    start = time.process_time()
    opened = Project.open(project.path)
    again = time.process_time() - start
    assert opened.images == project.images
    assert opened.report == project.report
    assert again < first / 2  # measured: .20 s and 2.8 s
