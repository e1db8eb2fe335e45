"""A whole folder predicted: what is kept, what counts as done, and the files for other programs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from napari_medssl import Project, finetune, predict
from napari_medssl.engine.job import execute
from napari_medssl.engine.predictor import find_run
from napari_medssl.errors import MedsslError
from napari_medssl.events import Note, Saved
from napari_medssl.project import Run, read_labels
from napari_medssl.project.checkpoint import read_ids, read_labels_note
from napari_medssl.project.images import decode
from napari_medssl.project.prediction_table import (
    prediction_name,
    read_prediction_table,
    replaced_images,
)
from napari_medssl.project.unfinished import Unfinished
from napari_medssl.synthetic import nuclei

STACK = "movie.tif"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An annotated project with a run; copied by each test."""
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(7)
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for number in range(4):
        field = nuclei(rng, shape=(64, 64))
        cv2.imwrite(str(folder / "images" / f"field_{number}.png"), field.image)
        cv2.imwrite(str(folder / "masks" / f"field_{number}.png"), field.labels)
    project = Project.create(
        folder / "images", project=folder / "project", masks=folder / "masks", masks_as="instances"
    )
    network = {"encoder": "mobilenet_v2", "encoder_depth": 3}
    training = {"steps": 4, "batch_size": 2, "patch_size": 32}
    finetune(
        project, mode="frozen", network=network, training=training, answer="network", estimate=False
    )
    return folder


@pytest.fixture
def annotated_project(trained: Path, tmp_path: Path) -> Project:
    shutil.copytree(trained, tmp_path / "copy")
    return Project.open(tmp_path / "copy" / "project")


@pytest.fixture
def run(annotated_project: Project) -> Run:
    return annotated_project.run("latest")


@pytest.fixture
def stack_project(tmp_path: Path) -> Project:
    """Two time points of three slices, and an image whose sides are no multiples of anything."""
    folder = tmp_path / "stacks"
    folder.mkdir()
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (2, 3, 40, 300), dtype=np.uint8)
    tifffile.imwrite(folder / STACK, pixels, metadata={"axes": "TZYX"}, imagej=False, ome=True)
    cv2.imwrite(str(folder / "flat.png"), rng.integers(0, 255, (53, 41), dtype=np.uint8))
    return Project.create(folder)


def events(project: Project, run: Run, **settings: Any) -> list[Any]:
    job = {"kind": "predict", "project": str(project.path), "run": str(run.path), "device": "cpu"}
    return list(execute(job | settings))


def predicted(seen: list[Any]) -> list[str]:
    return [e.image for e in seen if isinstance(e, Saved) and e.what == "prediction"]


def test_table_and_maps_say_what_was_predicted(annotated_project: Project, run: Run) -> None:
    project = annotated_project
    events(project, run, probabilities=True, uncertainty=True)
    table = read_prediction_table(project, run.name)
    assert tuple(table) == project.images
    name = project.images[3]
    labels = read_labels(project.prediction_path(run.name, name))
    chances = tifffile.imread(project.predicted_map_path(run.name, name, "probability"))
    assert chances.shape == (2, 64, 64)
    assert chances.dtype == np.float16
    clear = chances[1] != chances[0]  # as they were rounded
    assert clear.mean() > 0.99
    np.testing.assert_array_equal((labels == 2)[clear], (chances[1] > chances[0])[clear])
    entropy = -(chances * np.log2(np.maximum(chances, 1e-7, dtype=np.float32))).sum(0)
    uncertainty = tifffile.imread(project.predicted_map_path(run.name, name, "uncertainty"))
    np.testing.assert_allclose(uncertainty, entropy, atol=5e-3)
    assert table[name].uncertainty == pytest.approx(entropy.mean(), abs=2e-3)
    assert table[name].shares["foreground"] == pytest.approx((labels == 2).mean(), abs=1e-5)
    assert sum(table[name].shares.values()) == pytest.approx(1)


def test_only_what_is_complete_and_of_these_weights_counts_as_done(
    annotated_project: Project, run: Run
) -> None:
    project = annotated_project
    first, second, third, fourth = project.images
    events(project, run)
    assert predicted(events(project, run, overwrite=False)) == []
    paths = {name: project.prediction_path(run.name, name) for name in project.images}
    paths[first].unlink()
    paths[second].write_bytes(paths[second].read_bytes()[:200])
    table = paths[first].with_name("images.csv")
    lines = table.read_text().splitlines()
    torn = [line for line in lines if not line.startswith(third)]
    table.write_text("\n".join(torn) + "\n" + lines[3][:20])  # killed while it wrote that row
    assert predicted(events(project, run, overwrite=False)) == [first, second, third]
    assert read_labels(paths[second]).shape == (64, 64)
    asked = events(project, run, overwrite=False, images=[third, fourth], uncertainty=True)
    assert predicted(asked) == [third, fourth]  # they had no such map
    with safe_open(run.best_path, framework="np") as file:
        metadata = file.metadata()
    tensors = {
        name: np.asarray(tensor * tensor.dtype.type(2))
        for name, tensor in load_file(run.best_path).items()
    }
    save_file(tensors, run.best_path, metadata)  # as when the training went on
    assert predicted(events(project, run, overwrite=False)) == list(project.images)


def test_an_image_that_was_replaced_counts_as_not_predicted(
    annotated_project: Project, run: Run, tmp_path: Path
) -> None:
    project = annotated_project
    first, second = project.images[:2]
    to_folder: dict[str, Any] = {"overwrite": False, "out": str(tmp_path / "masks")}
    events(project, run, **to_folder)
    path = project.image_path(first)
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(path), 255 - picture)
    project.image_path(second).touch()  # copied elsewhere, say: the same pixels
    rows = read_prediction_table(project, run.name)
    assert replaced_images(Project.open(project.path), rows) == {first}
    assert predicted(events(project, run, overwrite=False)) == [first]
    assert predicted(events(project, run, overwrite=False)) == []
    masks = [e.image for e in events(project, run, **to_folder) if isinstance(e, Saved)]
    assert masks == [first, second]  # of the latter only the time is known
    assert not any(isinstance(e, Saved) for e in events(project, run, **to_folder))


def test_png_and_tiff_hold_the_labels_of_the_project(
    annotated_project: Project, run: Run, tmp_path: Path
) -> None:
    project = annotated_project
    name = project.images[0]
    out = tmp_path / "png"
    events(project, run, images=[name])
    seen = events(project, run, overwrite=False, out=str(out), out_format="png")
    assert predicted(seen) == list(project.images[1:])  # the first one's file came from its labels
    with Image.open(out / "field_0.png") as stored:
        assert stored.mode == "L"
        found = np.asarray(stored)
    np.testing.assert_array_equal(found, read_labels(project.prediction_path(run.name, name)))
    (out / "field_2.png").write_bytes((out / "field_2.png").read_bytes()[:60])
    again = events(project, run, overwrite=False, out=str(out), out_format="png")
    assert [e.image for e in again if isinstance(e, Saved)] == ["field_2.png"]


def test_ome_zarr_is_one_volume_a_stack_that_our_own_reader_opens(
    stack_project: Project, run: Run, tmp_path: Path
) -> None:
    project, out = stack_project, tmp_path / "zarr"
    seen = events(project, run, out=str(out), out_format="ome-zarr")
    assert len([e for e in seen if isinstance(e, Saved) and e.what == "mask"]) == 2
    name = prediction_name(project, run)
    volume = out / "movie.ome.zarr"
    for t, z in np.ndindex(2, 3):
        labels = read_labels(project.prediction_path(name, f"{STACK}/t{t}_z{z}"))
        np.testing.assert_array_equal(decode(volume, (t, z))[0], labels)
    group = zarr.open_group(volume, mode="r")
    ome = group.attrs["ome"]
    assert [axis["name"] for axis in ome["multiscales"][0]["axes"]] == ["t", "z", "y", "x"]
    assert ome["image-label"]["colors"][1]["label-value"] == 2
    np.testing.assert_array_equal(group["1"][:], group["0"][:, :, ::2, ::2])
    assert decode(out / "flat.ome.zarr").shape == (1, 53, 41)
    # killed while it wrote: what is there has another name and goes, and the volume comes whole
    (out / ".tmp-0123" / "volume").mkdir(parents=True)
    other = Unfinished(out)  # of a process that still writes
    project.prediction_path(name, f"{STACK}/t1_z2").unlink()
    again = events(project, run, overwrite=False, out=str(out), out_format="ome-zarr")
    assert [e.image for e in again if isinstance(e, Saved)] == [f"{STACK}/t1_z2"]
    assert set(out.glob(".tmp-*")) == {other.path}
    other.end()
    np.testing.assert_array_equal(decode(volume, (0, 1))[0], group["0"][0, 1])


def test_objects_are_exported_as_they_are_kept(
    annotated_project: Project, run: Run, tmp_path: Path
) -> None:
    project, out = annotated_project, tmp_path / "out"
    name = project.images[0]
    wanted = {"images": [name], "out": str(out), "out_objects": True, "overwrite": False}
    with pytest.raises(MedsslError, match="does not tell objects apart"):
        events(project, run, **wanted)
    events(project, run, images=[name], out=str(out))  # its classes, under the same name
    events(project, run, objects="separate", **wanted)
    kept = read_ids(project.predicted_objects_path(run.name, name))
    assert kept.max() > 0
    np.testing.assert_array_equal(tifffile.imread(out / "field_0.tif"), kept)
    for out_format, read in (("png", "field_0.png"), ("ome-zarr", "field_0.ome.zarr")):
        seen = events(project, run, objects="separate", **wanted | {"out_format": out_format})
        assert predicted(seen) == []
        np.testing.assert_array_equal(decode(out / read)[0], kept)
    events(project, run, **wanted | {"out_objects": False})
    labels = read_labels(project.prediction_path(run.name, name))
    np.testing.assert_array_equal(tifffile.imread(out / "field_0.tif"), labels)


@pytest.mark.parametrize("out_format", ["tiff", "png", "ome-zarr"])
def test_what_others_made_is_never_written_over(
    annotated_project: Project, run: Run, tmp_path: Path, out_format: str
) -> None:
    project, name = annotated_project, annotated_project.images[0]
    wanted = {"images": [name], "out_format": out_format}
    truth = tmp_path / "truth"
    extension = {"tiff": "tif", "png": "png", "ome-zarr": "ome.zarr"}[out_format]
    drawn = truth / f"field_0.{extension}"
    truth.mkdir()
    if out_format == "ome-zarr":
        zarr.save(drawn, np.ones((4, 4)))
    else:
        cv2.imwrite(str(drawn), np.full((64, 64), 3, np.uint8))
    for overwrite in (True, False):
        with pytest.raises(MedsslError, match="is there already"):
            events(project, run, out=str(truth), overwrite=overwrite, **wanted)
    assert drawn.exists()
    assert predicted(events(project, run, overwrite=False)) == list(project.images)
    with pytest.raises(MedsslError, match="in the project"):
        events(project, run, out=str(project.path / "labels"), **wanted)


def test_masks_are_written_again_where_objects_are_found_in_another_way(
    annotated_project: Project, run: Run, tmp_path: Path
) -> None:
    project, name = annotated_project, annotated_project.images[0]
    wanted = {"images": [name], "out": str(tmp_path), "out_objects": True, "overwrite": False}
    for objects in ("connected", "separate"):
        events(project, run, objects=objects, **wanted)
        kept = read_ids(project.predicted_objects_path(run.name, name))
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "field_0.tif"), kept)
        note = read_labels_note(tmp_path / "field_0.tif")
        assert note is not None
        assert note["found"] == objects


def test_run_of_another_project_keeps_its_own_place(
    annotated_project: Project, run: Run, stack_project: Project
) -> None:
    classes = [info.model_dump() for info in stack_project.settings.classes]
    classes[1]["name"] = "debris"
    classes.append({"value": 3, "name": "foreground", "color": "#56b4e9"})
    stack_project.update(classes=classes)
    written = predict(stack_project, run=run, images=["flat.png"])
    assert written == [
        stack_project.prediction_path(prediction_name(stack_project, run), "flat.png")
    ]
    assert written[0].parent.name.startswith(f"{run.name}.")
    assert set(np.unique(read_labels(written[0]))) <= {
        1,
        3,
    }  # the same class has another value here
    classes[2]["name"] = "nuclei"
    stack_project.update(classes=classes)
    (note,) = [
        e.text for e in events(stack_project, run, images=["flat.png"]) if isinstance(e, Note)
    ]
    assert "foreground" in note
    assert "label 2, which is debris here" in note
    # another label value for the same class: what the same weights predicted is not skipped
    classes.append({"value": 4, "name": "foreground", "color": "#56b4e9"})
    stack_project.update(classes=classes)
    again = events(stack_project, run, images=["flat.png"], overwrite=False)
    assert predicted(again) == ["flat.png"]
    assert set(np.unique(read_labels(written[0]))) <= {1, 4}
    assert predicted(events(stack_project, run, images=["flat.png"], overwrite=False)) == []


def test_own_run_comes_before_a_folder_of_its_name(
    annotated_project: Project, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / run.name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_run(run.name, annotated_project).path == run.path
