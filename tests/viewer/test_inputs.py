"""What comes into a project: files looked at while one works, stacks, channels, layers, changed images."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import dask.array
import numpy as np
import pytest
import tifffile
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_medssl.project import Project
from napari_medssl.widgets.doctor_dialog import DoctorDialog
from napari_medssl.widgets.layers import marked

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys
from napari_medssl.project import Project
lock = Project.open(sys.argv[1]).lock_for_viewer()
print("held", flush=True)
sys.stdin.read()
"""


def noise(shape, seed=0, dtype=np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def open_folder(workspace, until, folder: Path, image: str) -> None:
    workspace.steps["Project"].content.use_folder(folder)
    until(lambda: workspace.session.image == image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    return made


def test_a_project_is_open_in_one_viewer_only(workspace, image_folder, until) -> None:
    path = Project.create(image_folder).path
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"held\n"
    step = workspace.steps["Project"].content
    step.use_folder(image_folder)
    until(lambda: workspace.banner.problem is not None)
    assert f"process {other.pid}" in workspace.banner.sentence.text()
    assert "Close it there first" in workspace.banner.advice.text()
    assert workspace.session.project is None
    other.send_signal(signal.SIGKILL)
    other.communicate()
    open_folder(workspace, until, image_folder, "a.png")
    step.use_folder(image_folder)  # it is ours: opening it again is no quarrel
    until(lambda: not workspace.session.working)
    assert len(workspace.problems) == 1
    workspace.session.close_project()
    until(lambda: not (path / "viewer.json").exists())
    Project.open(path).lock_for_viewer().release()


def test_files_are_looked_at_while_one_works(workspace, folder, until) -> None:
    for number in range(300):
        Image.fromarray(noise((40, 40), number)).save(folder / f"{number:03d}.png")
    whole = (folder / "150.png").read_bytes()
    (folder / "150.png").write_bytes(whole[: len(whole) // 2])
    (folder / "000.png").write_bytes(whole[:200])  # the first cannot be shown
    step = workspace.steps["Project"].content
    told: list[str] = []
    opening = workspace.session.opening
    opening.checking_changed.connect(lambda: told.append(step.checking.text()))
    open_folder(workspace, until, folder, "001.png")
    assert step.images.model.rowCount() >= 298
    until(lambda: opening.checking is None and not step.checking.isVisible())
    assert any(text.endswith("of 300") for text in told), told
    assert step.images.model.rowCount() == 298
    until(lambda: step.skipped.button.text() == "Skipped files (2)")
    assert workspace.session.image == "001.png"
    assert step.images.place.text() == "1 of 298"
    assert workspace.problems == []


def test_closing_ends_the_check(workspace, folder, until) -> None:
    Image.fromarray(noise((1500, 1500))).save(folder / "000.png")
    for number in range(1, 400):
        (folder / f"{number:03d}.png").hardlink_to(folder / "000.png")
    open_folder(workspace, until, folder, "000.png")
    project = workspace.session.project
    workspace.session.viewer.close()
    assert project.unchecked > 0
    assert Project.open(project.path, quick=True).images[0] == "000.png"


def test_a_stack_becomes_its_planes(workspace, folder, until) -> None:
    tifffile.imwrite(folder / "movie.tif", noise((4, 50, 60)), ome=True, metadata={"axes": "TYX"})
    open_folder(workspace, until, folder, "movie.tif/t0")
    step = workspace.steps["Project"].content
    until(lambda: step.images.model.rowCount() == 4)
    until(lambda: workspace.session.labels_layer is not None)
    workspace.session.labels_layer.paint((10, 10), 2)
    step.images.next.click()
    until(lambda: workspace.session.image == "movie.tif/t1")
    annotations = workspace.session.project.annotations
    until(lambda: annotations.status("movie.tif/t0") == "partial")
    assert workspace.problems == []


def test_channels_are_chosen(workspace, folder, until) -> None:
    names = {"axes": "CYX", "Channel": {"Name": ["DAPI", "actin"]}}
    for number in range(2):
        path = folder / f"{number}.ome.tif"
        tifffile.imwrite(path, noise((2, 50, 60), number), ome=True, metadata=names)
    open_folder(workspace, until, folder, "0.ome.tif")
    options = workspace.steps["Project"].content.options
    assert workspace.session.image_layer.rgb  # both, in two colours
    assert [options.channels.item(row).text() for row in range(2)] == ["DAPI", "actin"]
    assert not options.apply.isEnabled()
    options.channels.item(0).setCheckState(Qt.CheckState.Unchecked)
    assert options.apply.isEnabled()
    options.channels.item(1).setCheckState(Qt.CheckState.Unchecked)
    assert not options.apply.isEnabled()
    assert "At least one" in options.hint.text()
    options.channels.item(1).setCheckState(Qt.CheckState.Checked)
    options.apply.click()
    until(lambda: not workspace.session.image_layer.rgb)
    settings = workspace.session.project.settings
    assert (settings.channels, settings.channel_indices) == (("actin",), (1,))
    stored = tifffile.imread(folder / "0.ome.tif")
    np.testing.assert_array_equal(workspace.session.image_layer.data, stored[1])
    assert workspace.problems == []


def test_an_axis_that_is_not_known_is_said(workspace, folder, until) -> None:
    tifffile.imwrite(folder / "what.tif", noise((2, 50, 60)), photometric="minisblack")
    open_folder(workspace, until, folder, "what.tif/p0")
    options = workspace.steps["Project"].content.options
    (choice,) = options.axes.values()
    assert choice.currentText() == "pages"
    choice.setCurrentIndex(choice.findText("channels"))
    options.apply.click()
    until(lambda: workspace.session.image == "what.tif")
    assert workspace.session.project.images == ("what.tif",)
    assert workspace.problems == []


LAYERS = {
    "numpy": (lambda: noise((60, 70)), {}, 1),
    "multiscale": (lambda: [noise((80, 90)), noise((40, 45))], {}, 1),
    "dask": (lambda: dask.array.from_array(noise((3, 60, 70)), (1, 60, 70)),
             {"axis_labels": ("time", "y", "x")}, 3),
    "RGB": (lambda: noise((60, 70, 3)), {"rgb": True}, 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_enters_the_project(opened, until, kind) -> None:
    make, options, planes = LAYERS[kind]
    session = opened.session
    data = make()
    ndim = (data[0] if kind == "multiscale" else data).ndim - (kind == "RGB")
    layer = session.viewer.add_image(
        data,
        name="mine",
        scale=(1,) * (ndim - 2) + (0.5, 0.25),
        translate=(0,) * (ndim - 2) + (10, -20),
        multiscale=kind == "multiscale",
        **options,
    )
    before = len(session.project.images)
    opened.steps["Project"].content.layer.click()
    until(lambda: (session.image or "").startswith("(layers)/mine.tif"))
    assert len(session.project.images) == before + planes
    until(lambda: session.labels_layer is not None)
    for ours in (session.image_layer, session.labels_layer):
        np.testing.assert_allclose(ours.scale, (0.5, 0.25))
        np.testing.assert_allclose(ours.translate, (10, -20))
    finest = data[0] if kind == "multiscale" else data
    plane = np.asarray(finest[0] if kind == "dask" else finest)
    shown = session.image_layer.data
    assert shown.shape[:2] == plane.shape[:2]
    if kind != "RGB":  # the project is grey
        np.testing.assert_array_equal(shown, plane)
    session.open_image("a.png")  # a file lies where files lie
    until(lambda: session.image == "a.png")
    np.testing.assert_allclose(session.image_layer.scale, (1, 1))
    assert layer in session.viewer.layers
    assert opened.problems == []


def test_axes_that_a_layer_does_not_name_are_asked_for(opened, until) -> None:
    session, step = opened.session, opened.steps["Project"].content
    session.viewer.add_image(noise((2, 3, 60, 70)), name="mine")
    step.layer.click()
    dialog = step.dialog
    assert [choice.currentText() for choice in dialog.choices.values()] == [
        "time, or pages",
        "depth",
    ]
    dialog.choices[1].setCurrentIndex(0)
    assert not dialog.ok.isEnabled()  # time twice
    dialog.choices[1].setCurrentIndex(1)
    dialog.ok.click()
    until(lambda: session.image == "(layers)/mine.tif/t0_z0")
    assert len(session.project.images) == 3 + 6


def test_a_layer_may_be_the_first_image(workspace, folder, until, monkeypatch) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    session, step = workspace.session, workspace.steps["Project"].content
    assert not step.layer.isEnabled()
    session.viewer.add_image(noise((60, 70, 3)), name="mine", rgb=True)
    step.layer.click()
    until(lambda: session.image == "(layers)/mine.tif")
    assert session.project.settings.channels == ("red", "green", "blue")
    assert session.image_layer.rgb
    assert not step.layer.isEnabled() or marked(session.viewer.layers.selection.active) == {}
    assert workspace.problems == []


def test_an_image_that_changed_is_told_until_it_is_accepted(workspace, image_folder, until) -> None:
    project = Project.create(image_folder)
    labels = np.full((64, 80), 2, np.uint16)
    project.annotations.write("a.png", labels)
    project.annotations.write("b.png", labels)
    Image.fromarray(noise((64, 80), 5)).save(image_folder / "b.png")
    os.utime(image_folder / "b.png", ns=(0, 0))  # whatever the clock says
    open_folder(workspace, until, image_folder, "a.png")
    session, banner = workspace.session, workspace.banner
    step = workspace.steps["Project"].content
    until(lambda: "1 image changed" in step.checking.text())
    assert banner.problem is None  # a.png did not
    session.open_image("b.png")
    until(lambda: banner.problem is not None)
    assert banner.sentence.text() == "b.png changed since it was annotated."
    until(lambda: session.labels_layer is not None)
    session.open_image("a.png")
    until(lambda: banner.problem is None)
    session.open_image("b.png")
    until(lambda: banner.problem is not None)
    banner.problem.actions[0].do()
    until(lambda: banner.problem is None)
    assert "changed" not in step.checking.text()
    assert session.project.annotations.changed_images() == ()
    assert session.project.annotations.read("b.png").min() == 2


def test_a_project_that_cannot_be_written_is_said_at_once(workspace, image_folder, until) -> None:
    path = Project.create(image_folder).path
    (path / "viewer.lock").mkdir()  # a folder that is read-only would not stop a superuser
    open_folder(workspace, until, image_folder, "a.png")
    assert "cannot be written" in workspace.banner.sentence.text()
    assert "can be saved" in workspace.banner.advice.text()


def test_the_doctor_behind_the_button(opened, until, monkeypatch) -> None:
    monkeypatch.setattr(DoctorDialog, "command", [sys.executable, "-c", "print('torch works')"])
    step = opened.steps["Project"].content
    step.doctor.click()
    dialog = step.dialog
    until(lambda: dialog.copy.isEnabled())
    assert dialog.text.toPlainText() == "torch works"
    dialog.close()
    monkeypatch.setattr(DoctorDialog, "command", ["/nowhere/python"])
    step.doctor.click()
    until(lambda: step.dialog.copy.isEnabled())
    assert "could not be started" in step.dialog.heading.text()
    step.dialog.close()
