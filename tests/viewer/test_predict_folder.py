"""The Predict step: what is skipped, what is shown, the masks for other programs, and a run of another project."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as Picture
from safetensors.numpy import save_file

from napari_medssl.project import Project
from napari_medssl.widgets.layers import find_layer, marked
from napari_medssl.widgets.masks_dialog import MasksDialog


def save_weights(run, *, channels=("grey",), classes=("background", "foreground")) -> None:
    """Write a network's header, as far as the viewer reads it."""
    infos = [
        {"value": value, "name": name, "color": "#e69f00"}
        for value, name in enumerate(classes, start=1)
    ]
    spec = {"channels": channels, "classes": infos, "head": "network", "ancestry": [run.name]}
    tensors = {"x": np.full(1, len(run.name), np.float32)}
    save_file(tensors, run.best_path, metadata={"napari_medssl": json.dumps(spec)})


@pytest.fixture
def step(opened, until):
    """The step, in a project with a run that predicted the first image."""
    session = opened.session
    run = session.project.new_run("fake")
    run.write_job({"kind": "finetune"})
    save_weights(run)
    session.refresh_runs()
    until(lambda: session.current_run == run.name)
    opened.open_step("Predict")
    step = opened.steps["Predict"].content
    step.this.click()
    until(lambda: session.prediction_layer is not None)
    until(lambda: step.options.existing.isVisible())
    return step


def finished(session, until) -> None:
    until(lambda: session.active is not None)
    until(lambda: session.active is None)


def test_what_is_predicted_already_is_skipped_and_counted(opened, step, until):
    session = opened.session
    assert step.options.existing.itemText(0) == "Skip the 1 of 3 images predicted already"
    assert step.folder.text() == "Whole folder (2)"
    first = session.project.prediction_path(session.current_run, "a.png")
    before = first.stat().st_mtime_ns
    step.folder.click()
    finished(session, until)
    assert first.stat().st_mtime_ns == before
    until(lambda: step.images.model.rowCount() == 3)
    assert not step.folder.isEnabled()
    step.options.maps["uncertainty"].click()  # that no image has
    assert step.folder.text() == "Whole folder (3)"
    step.options.maps["uncertainty"].click()
    step.options.existing.setCurrentIndex(1)
    step.options.existing.activated.emit(1)
    assert step.folder.text() == "Whole folder (3)"
    assert opened.problems == []


def test_probability_and_uncertainty_are_made_for_the_open_image_and_shown(opened, step, until):
    session = opened.session
    labels = session.prediction_layer

    def show(text: str) -> None:
        index = step.shown.what.findText(text)
        step.shown.what.setCurrentIndex(index)
        step.shown.what.activated.emit(index)

    show("Probability of foreground")
    until(lambda: find_layer(session.viewer, "probability") is not None)
    layer = find_layer(session.viewer, "probability")
    np.testing.assert_allclose(layer.data, session.project.grey("a.png"), atol=1e-3)
    assert not labels.visible
    session.open_image("b.png")
    until(
        lambda: marked(find_layer(session.viewer, "probability") or labels).get("image") == "b.png"
    )
    show("Uncertainty")
    until(lambda: find_layer(session.viewer, "uncertainty") is not None)
    assert find_layer(session.viewer, "probability") is None
    show("Labels")
    assert find_layer(session.viewer, "uncertainty") is None
    assert labels.visible
    assert opened.problems == []


def test_masks_are_saved_for_other_programs(opened, step, until, tmp_path):
    session = opened.session
    step.masks.click()
    (dialog,) = step.findChildren(MasksDialog)
    dialog.format.setCurrentIndex(dialog.format.findData("png"))
    dialog.folder.setText(str(tmp_path / "masks"))
    dialog.save.click()
    finished(session, until)
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [
        "a.png",
        "b.png",
        "c.png",
    ]
    with Picture.open(tmp_path / "masks" / "c.png") as stored:
        assert set(np.unique(np.asarray(stored))) == {1, 2}


def test_a_run_of_another_project_is_applied_here(opened, step, until, tmp_path):
    session, folder = opened.session, tmp_path / "cells"
    own = session.current_run
    other = Project.create(folder, project=tmp_path / "other")
    run = other.new_run("fake")
    run.path.rename(run.path.with_name(own))  # of the same name as ours
    run = other.run(own)
    save_weights(run, classes=("background", "nuclei"))
    run.last_path.write_bytes(b"other weights")
    ours = session.project.prediction_path(own, "a.png").read_bytes()
    step.runs.apply_folder(run.path)
    until(lambda: session.predictions.foreign is not None)
    assert step.run.currentText() == f"{own} of other"
    assert "nuclei is none of this project" in step.runs.notes.text()
    assert "foreground" in step.runs.notes.text()
    step.folder.click()
    finished(session, until)
    until(lambda: session.prediction_layer is not None)
    name = marked(session.prediction_layer)["run"]
    assert name.startswith(f"{own}.")
    assert session.project.prediction_path(own, "a.png").read_bytes() == ours
    assert opened.problems == []
    save_weights(run, channels=("red", "green", "blue"))
    step.runs.apply_folder(run.path)
    until(lambda: bool(opened.problems))
    assert "was made for the channels red, green, blue" in opened.problems[0].sentence


def test_the_label_values_of_another_project_s_run_follow_the_classes_here(
    opened, step, until, tmp_path
):
    session, project = opened.session, opened.session.project
    other = Project.create(tmp_path / "cells", project=tmp_path / "other")
    run = other.new_run("fake")
    save_weights(run, classes=("background", "nuclei"))
    step.runs.apply_folder(run.path)
    until(lambda: session.predictions.foreign is not None)
    before = session.predictions.foreign
    assert "label 2, which is foreground here" in step.runs.notes.text()
    step.folder.click()
    finished(session, until)
    classes = [info.model_dump() for info in project.settings.classes]
    project.update(classes=[*classes, {"value": 3, "name": "nuclei", "color": "#56b4e9"}])
    session.project_changed.emit()
    until(lambda: session.predictions.foreign != before)
    found = session.predictions.foreign
    assert (found.name, [info.value for info in found.classes]) == (before.name, [1, 3])
    assert step.runs.notes.text() == ""
    assert step.run.currentText() == f"{run.name} of other"
    until(lambda: step.folder.text() == "Whole folder (3)")  # all of them have the old values
    step.masks.click()
    (dialog,) = step.findChildren(MasksDialog)
    assert dialog.meaning.text().endswith("1 background, 3 nuclei.")
    dialog.reject()
    assert opened.problems == []


def test_an_answer_for_a_project_that_was_left_counts_nowhere(opened, step, until):
    session, seen = opened.session, []
    session.saved_prediction.connect(lambda run, image: seen.append(image))
    step.this.click()
    assert session.predictions.asking
    session.close_project()
    until(lambda: not session.predictions.asking)
    assert seen == []
    assert opened.problems == []


def test_show_follows_the_layer_list(opened, step, until):
    session = opened.session
    session.prediction_layer.visible = False  # its eye
    assert not step.shown.on.isChecked()
    session.project_changed.emit()  # a class was renamed, say
    assert not session.prediction_layer.visible
    step.shown.on.click()
    assert session.prediction_layer.visible
