"""The Evaluate step: what will be scored and why not all, the scores, the errors over the image, the features."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari.layers import Image
from PIL import Image as Picture
from qtpy.QtCore import Qt
from qtpy.QtGui import QDesktopServices

from napari_medssl.evaluate import Evaluation
from napari_medssl.evaluate.assessment import (
    Application,
    Assessment,
    CkaResult,
    Neighbourhood,
    Relatives,
)
from napari_medssl.evaluate.error_map import Outcome
from napari_medssl.evaluate.evaluated import EVALUATION
from napari_medssl.evaluate.objects import ObjectEvaluation
from napari_medssl.evaluate.truth import TruthSource
from napari_medssl.project import ClassInfo, write_tiff_labels
from napari_medssl.project.project import Project
from napari_medssl.widgets.engine_client import default_command
from napari_medssl.widgets.live import LivePredictor
from napari_medssl.widgets.placement import follow, transforms
from napari_medssl.widgets.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from qtpy.QtWidgets import QComboBox, QTableView

NONE, RIGHT, TOO_MUCH, MISSED, CONFUSED = Outcome
_SLOW = 300  # seconds; the machine may be busy


def labels_of(shape: tuple[int, int], *squares: tuple[int, int, int]) -> np.ndarray:
    """Make labels of background with squares of 10 pixels: (value, y, x)."""
    labels = np.ones(shape, np.uint16)
    for value, y, x in squares:
        labels[y : y + 10, x : x + 10] = value
    return labels


def choose(box: QComboBox, text: str) -> None:
    """Choose an entry as a user does."""
    box.setCurrentText(text)
    assert box.currentText() == text
    box.activated.emit(box.currentIndex())


def titles_of(table: QTableView) -> list[str]:
    """Read the headings."""
    model = table.model()
    return [model.headerData(n, Qt.Orientation.Horizontal) for n in range(model.columnCount())]


@pytest.fixture
def scored(opened, until):
    """A fine-tuned run of two classes; a.png taught it, b.png is scored and c.png is not annotated."""
    session = opened.session
    project = session.project
    green = ClassInfo(value=3, name="vessel", color="#009e73")
    project.update(classes=(*project.settings.classes, green))
    session.project_changed.emit()
    truth = {
        "a.png": labels_of((64, 80), (2, 0, 0)),
        "b.png": labels_of((64, 80), (2, 0, 0), (3, 30, 30)),
    }
    for name, labels in truth.items():
        project.annotations.write(name, labels)
    run = project.new_run("finetune-full")
    run.write_job({"kind": "finetune", "mode": "full", "images": ["a.png"]})
    run.best_path.write_bytes(b"weights")
    found = labels_of((64, 80), (2, 5, 0), (2, 30, 30))
    for name in ("a.png", "b.png"):
        path = project.prediction_path(run.name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tiff_labels(path, found, note={})
    scores = Evaluation.of(
        [("b.png", found, truth["b.png"])],
        classes={2: "foreground", 3: "vessel"},
        run=run.name,
        objects=ObjectEvaluation.of([("b.png", found == 2, truth["b.png"] == 2)]),
        skipped={"a.png": "the run was fine-tuned on it"},
        notes=["b.png is all but a copy of a.png, on which the run was fine-tuned."],
    )
    source = TruthSource.of(project, None)
    scores.model_copy(update={"truth": source}).to_json(run.path / EVALUATION)
    session.labels_changed.emit()
    session.refresh_runs()
    until(lambda: session.current_run == run.name)
    opened.open_step("Evaluate")
    return opened


def test_stored_scores_are_shown_with_the_errors_of_the_open_image(scored, until):
    session, step = scored.session, scored.steps["Evaluate"].content
    page = step.pages["Images"]
    until(lambda: page.table.numbers.rows == ["b.png"])
    until(lambda: step.truth.plan.text() != "Looking which images can be scored ...")
    assert step.truth.plan.text() == (
        "1 image will be scored; not 1 used for training and 1 that nobody annotated."
    )
    assert "all but a copy" in page.notes.text()
    assert "the run was fine-tuned on it" in page.why_not.text()  # a.png is open
    assert session.layer("errors") is None

    # a click opens the image, its errors lie where it lies, and other colours of classes are hidden
    until(lambda: session.labels_layer is not None)
    session.image_layer.scale, session.image_layer.translate = (2.0, 3.0), (5.0, 7.0)
    page.table.setCurrentIndex(page.table.model().index(0, 1))
    until(lambda: session.layer("errors") is not None)
    until(lambda: session.labels_layer is not None)
    assert session.image == "b.png"
    errors = session.layer("errors")
    assert errors.extent.world.tolist() == session.image_layer.extent.world.tolist()
    assert errors.data[7, 3] == RIGHT
    assert errors.data[12, 3] == TOO_MUCH
    assert errors.data[2, 3] == MISSED
    assert errors.data[35, 35] == CONFUSED
    assert np.count_nonzero(errors.data == NONE) == 64 * 80 - 250
    assert not session.labels_layer.visible

    # of one class, and without what is right
    choose(page.classes, "vessel")
    until(lambda: session.layer("errors").data[35, 35] == MISSED)
    assert np.count_nonzero(session.layer("errors").data) == 100
    assert page.table.model().index(0, 1).data() == "0.000"
    assert titles_of(page.table) == ["Image", "Dice", "IoU", "Precision", "Recall"]
    choose(
        page.classes, "foreground"
    )  # half of the square was hit, and as much again and another square beside it
    assert [page.table.model().index(0, n).data() for n in (3, 4)] == ["0.250", "0.500"]
    assert "pooled Dice: foreground 0.333, vessel 0.000; mean IoU with" in page.summary.text()
    choose(page.families, "Objects")
    assert titles_of(page.table) == ["Image", "AJI+", "PQ", "F1"]
    choose(page.classes, "vessel")
    until(lambda: session.layer("errors").data[35, 35] == MISSED)
    page.outcomes[Outcome.MISSED].click()
    assert session.layer("errors").colormap.map(MISSED)[3] == 0
    page.errors.click()
    assert not session.layer("errors").visible

    scored.open_step("Annotate")
    assert session.layer("errors") is None
    assert session.labels_layer.visible

    # scores of an annotation that was another one
    session.labels_layer.data[40:, :] = 3
    session.labels_layer.refresh()
    scored.open_step("Evaluate")
    until(lambda: "an image was annotated or predicted anew (b.png)" in page.notes.text())
    assert scored.problems == []


def test_live_prediction_waits_while_scores_are_looked_at(scored):
    live = LivePredictor.of(scored.session)
    scored.open_step("Annotate")
    live.set_on(True)
    scored.open_step("Evaluate")
    assert not live.on
    scored.open_step("Annotate")
    assert live.on
    live.set_on(False)
    scored.open_step("Evaluate")
    scored.open_step("Predict")
    assert not live.on


def test_a_run_that_learned_from_all_annotations_cannot_be_tested_on_them(scored, until, tmp_path):
    session, step = scored.session, scored.steps["Evaluate"].content
    session.project.run(session.current_run).write_job(
        {"kind": "finetune", "images": ["a.png", "b.png"]}
    )
    session.labels_changed.emit()
    until(lambda: "learned by heart" in step.truth.plan.text())
    assert not step.evaluate.isEnabled()
    (tmp_path / "masks").mkdir()
    Picture.fromarray(np.zeros((90, 70), np.uint8)).save(tmp_path / "masks" / "c.png")
    step.truth.use_folder(tmp_path / "masks")
    until(lambda: step.truth.plan.text() == "1 image will be scored; not 2 without a mask.")
    assert step.evaluate.isEnabled()
    assert not step.options.meaning.isHidden()


def test_what_the_errors_cover_comes_back_whatever_was_opened_meanwhile(
    scored, image_folder, until, tmp_path
):
    session, page = scored.session, scored.steps["Evaluate"].content.pages["Images"]
    until(lambda: page.table.numbers.rows == ["b.png"])
    shown = scored.steps["Predict"].content.shown
    scored.open_step("Predict")

    choose(shown.what, "Uncertainty")
    until(lambda: session.layer("uncertainty") is not None)
    scored.open_step("Evaluate")
    page.table.setCurrentIndex(page.table.model().index(0, 0))
    until(lambda: session.layer("errors") is not None and session.labels_layer is not None)
    until(lambda: session.image == "b.png" and session.layer("uncertainty") is not None)
    assert not session.layer("uncertainty").visible  # it was made for this image, and came last
    scored.open_step("Predict")
    assert session.layer("uncertainty").visible
    choose(shown.what, "Labels")
    scored.open_step("Evaluate")
    until(lambda: session.layer("errors") is not None)
    assert [session.labels_layer.visible, session.prediction_layer.visible] == [False, False]

    # a layer that was removed by hand can be had again
    session.viewer.layers.remove(session.layer("errors"))
    page.errors.click()
    page.errors.click()
    until(lambda: session.layer("errors") is not None)

    first = session.project
    shutil.copytree(image_folder, tmp_path / "others")
    session.create_project(tmp_path / "others")
    until(lambda: session.project is not first and session.image == "a.png")
    run = session.project.new_run("finetune-full")
    run.write_job({"kind": "finetune", "mode": "full", "images": ["a.png"]})
    run.best_path.write_bytes(b"weights")
    path = session.project.prediction_path(run.name, "a.png")
    path.parent.mkdir(parents=True)
    write_tiff_labels(path, labels_of((64, 80), (2, 0, 0)), note={})
    session.refresh_runs()
    scored.open_step("Annotate")
    until(lambda: session.labels_layer is not None and session.prediction_layer is not None)
    assert session.labels_layer.visible
    assert session.prediction_layer.visible
    assert session.predictions.visible
    assert scored.problems == []


def test_what_was_found_of_the_features_is_told(scored, until):
    session, project = scored.session, scored.session.project
    run = project.run(session.current_run)
    other = project.new_run("pretrain-fake")
    other.write_job({"kind": "pretrain", "method": "fake"})
    other.best_path.write_bytes(b"weights")
    found = Assessment(
        run=run.name,
        encoder="mobilenet_v2",
        images=3,
        side=64,
        neighbourhood=Neighbourhood(
            nqc=0.7, expected=0.4, expected_with_itself=0.55, images=3, classes=2
        ),
        relatives=(
            Relatives(
                image="a.png",
                label="ill",
                nearest="b.png",
                nearest_label="ill",
                farthest="gone.png",
                farthest_label="",
            ),
        ),
        application=Application(
            method="DiCoH",
            settings=4,
            parameters_added=2_340_000,
            batch_size=24,
            memory=3 * 2**30,
            steps=500,
            seconds=200.0,
            device="CPU, 2 threads",
        ),
    )
    cka = CkaResult(
        against=other.name,
        kind="unbiased",
        images=3,
        batches=1,
        stages=(0.9, 0.5),
        table=((0.9, 0.2), (0.1, 0.5)),
    )
    page = scored.steps["Evaluate"].content.open_page("Features")
    found.model_copy(update={"cka": cka}).write(run)
    paper = {"cka": cka.model_copy(update={"kind": "paper", "stages": (1.0,), "table": ()})}
    found.model_copy(update=paper).write(run)
    session.refresh_runs()
    until(lambda: len(session.usable_runs) == 2)
    session.choose_run(run.name)
    until(lambda: page.which.count() == 2)

    titles = {f"beside {other.name}", f"beside {other.name}, as in the paper"}
    assert {page.which.itemText(n) for n in range(2)} == titles
    choose(page.which, f"beside {other.name}")
    told = {
        page.table.item(row, 0).text(): page.table.item(row, 1).text()
        for row in range(page.table.rowCount())
    }
    expected = {
        "... chance, as in the paper": "0.550",
        "CKA, mean over stages": "0.700",
        "Parameters added": "2.3 M",
        "Batch": "24",
        "Memory": "3.0 GiB",
        "Time of training": "3 min",
    }
    assert expected.items() <= told.items()
    assert page.stages.item(1, 0).text() == "0.10"
    page.alike.set_open(True)
    page.relatives.setCurrentCell(0, 1)
    page.relatives.itemActivated.emit(page.relatives.currentItem())  # as Enter does
    until(lambda: session.image == "b.png")
    assert not page.relatives.item(0, 2).flags() & Qt.ItemFlag.ItemIsEnabled  # gone.png
    choose(page.which, f"beside {other.name}, as in the paper")
    assert not page.all_stages.isVisible()  # it has no such table

    options = page.options
    assert not options.kind.isEnabled()
    options.against.setCurrentText(other.name)
    choose(options.kind, "as in the paper")
    options.most.setValue(50)
    wanted = {"against": other.name, "cka": "paper", "most": 50}
    assert wanted.items() <= options.fields().items()
    assert scored.problems == []


def test_a_class_activation_map_lies_on_its_part_of_the_image(scored, until):
    session, features = scored.session, scored.steps["Evaluate"].content.open_page("Features")
    session.image_layer.scale = (2.0, 3.0)
    features.classes.setCurrentText("vessel")
    features.show_map.click()
    until(lambda: session.layer("activation") is not None)
    heat, picture = session.layer("activation"), session.image_layer
    assert np.unique(heat.data).tolist() == [3.0]
    assert heat.data_to_world((0, 0)) == picture.data_to_world((64 // 4, 80 // 4))
    picture.translate = (11.0, 7.0)  # it moves with the image
    assert heat.data_to_world((5, 5)) == picture.data_to_world((64 // 4 + 5, 80 // 4 + 5))
    session.open_image("b.png")
    until(lambda: session.image == "b.png" and session.layer("activation") is not None)
    assert session.layer("activation").metadata["medssl"]["image"] == "b.png"
    scored.open_step("Predict")
    assert session.layer("activation") is None
    assert not features.show_map.isChecked()
    assert scored.problems == []


def test_a_part_of_a_layer_lies_where_it_was_cut_out():
    whole = Image(
        np.zeros((40, 50)),
        scale=(2, 3),
        translate=(5, 7),
        rotate=30,
        affine=[[1, 0.2, 3], [0, 2, 1], [0, 0, 1]],
    )
    begin = (11, 13)
    part = Image(np.zeros((5, 6)), **transforms(whole, begin))
    for moved in (False, True):
        if moved:
            end = follow(whole, part, begin)
            whole.scale, whole.translate = (1, 4), (0, 2)
            end()
        for pixel in ((0, 0), (4, 5)):
            there = whole.data_to_world((pixel[0] + begin[0], pixel[1] + begin[1]))
            np.testing.assert_allclose(part.data_to_world(pixel), there)


@pytest.mark.timeout(600)
def test_the_real_engine(make_napari_viewer, image_folder: Path, tmp_path, monkeypatch, until):
    from napari_medssl.widgets.workspace import Workspace

    masks = tmp_path / "masks"
    masks.mkdir()
    for name, shape in (("a", (64, 80)), ("b", (64, 80)), ("c", (90, 70))):
        truth = np.zeros(shape, np.uint8)
        truth[20:40, 20:40] = 255
        Picture.fromarray(truth).save(masks / f"{name}.png")
    taught = tmp_path / "taught"
    taught.mkdir()
    (masks / "a.png").rename(taught / "a.png")
    project = Project.create(image_folder, masks=taught)
    monkeypatch.setattr(Session, "engine_command", default_command())
    monkeypatch.setattr(Session, "home", tmp_path / "home")
    opened: list[str] = []
    monkeypatch.setattr(
        QDesktopServices, "openUrl", lambda url: bool(opened.append(url.toLocalFile())) or True
    )
    viewer = make_napari_viewer(show=True)
    workspace = Workspace(viewer)
    viewer.window.add_dock_widget(workspace)
    session, problems = workspace.session, []
    session.problem.connect(problems.append)
    session.open_project(project.path)
    until(lambda: session.image == "a.png")
    training = {"steps": 6, "batch_size": 2, "patch_size": 32}
    session.start_job(
        {
            "kind": "finetune",
            "project": str(project.path),
            "mode": "full",
            "network": {"encoder": "mobilenet_v2", "encoder_depth": 3},
            "training": training,
            "threads": 1,
        }
    )
    until(lambda: session.active is None and session.current_run is not None, _SLOW)

    workspace.open_step("Evaluate")
    step = workspace.steps["Evaluate"].content
    step.truth.use_folder(masks)
    until(step.evaluate.isEnabled)
    step.options.boundary.setChecked(True)
    step.options.masks_as.setCurrentText("numbers of objects")
    step.options.objects.setCurrentText("each connected area is one")
    offered = {step.options.objects.itemData(n) for n in range(step.options.objects.count())}
    until(lambda: session.description is not None)
    assert offered == set(session.description.jobs["evaluate"]["properties"]["objects"]["enum"])
    step.evaluate.click()
    until(lambda: session.active is not None)
    assert step.progress.isVisible()
    page = step.pages["Images"]
    until(lambda: len(page.table.numbers.rows) == 2, _SLOW)
    until(lambda: session.active is None)
    assert [page.families.itemText(n) for n in range(3)] == ["Pixels", "Objects", "Outlines"]
    values = [float(page.table.model().index(row, 1).data()) for row in range(2)]
    assert values == sorted(values)
    page.report.click()
    page.folder.click()
    run = project.run(session.current_run)
    assert opened == [str(run.path / "report.html"), str(run.path)]
    page.table.setCurrentIndex(page.table.model().index(0, 0))
    until(lambda: session.layer("errors") is not None)

    features = step.open_page("Features")
    features.assess.click()
    until(lambda: session.active is not None)
    until(lambda: features.table.isVisible() and features.table.rowCount() > 0, _SLOW)
    titles = [features.table.item(row, 0).text() for row in range(features.table.rowCount())]
    assert any(title.startswith("Spread of the") for title in titles)
    until(lambda: session.active is None)
    assert problems == []
    session.shut_down()
