"""The steps through their buttons, with the fake engine."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from qtpy.QtCore import QTimer

from napari_medssl.widgets.layers import marked
from napari_medssl.widgets.session import Session


def titles(workspace) -> list[str]:
    return [title for title, step in workspace.steps.items() if step.button.isEnabled()]


def train(workspace, until, *, steps=6, seconds=0.01, seed=0):
    """Start pretraining through the form."""
    step = workspace.steps["Pretrain"].content
    step.job_form.set_values(
        {"training": {"steps": steps, "seconds_per_step": seconds}, "seed": seed}
    )
    step.start.click()
    until(lambda: workspace.session.active is not None)
    return step


def paint(workspace, until):
    """Put a few labels of both classes on the open image."""
    layer = workspace.session.labels_layer
    layer.data_setitem((np.arange(20, 40), np.full(20, 30)), 2)
    layer.data_setitem((np.arange(40, 60), np.full(20, 60)), 1)
    until(lambda: len(workspace.session.overview.annotated.pixels) == 2)


def previewed(workspace):
    return [
        layer for layer in workspace.session.viewer.layers if marked(layer).get("role") == "preview"
    ]


def test_steps_open_as_they_become_possible(workspace, image_folder, until):
    assert titles(workspace) == ["Project"]
    assert workspace.steps["Pretrain"].state.text() == "needs a project"
    workspace.open_step("Predict")
    assert workspace.open_title == "Project"
    workspace.steps["Project"].content.use_folder(image_folder)
    until(lambda: workspace.session.image == "a.png")
    # a run of another project can predict before there is one of this project
    assert titles(workspace) == ["Project", "Pretrain", "Annotate", "Predict"]
    assert workspace.steps["Finetune"].state.text() == "annotate an image first"
    until(lambda: workspace.session.description is not None)
    train(workspace, until)
    until(lambda: workspace.session.current_run is not None)
    assert titles(workspace) == [t for t in workspace.steps if t != "Finetune"]
    until(lambda: workspace.session.labels_layer is not None)
    paint(workspace, until)
    assert titles(workspace) == list(workspace.steps)
    assert workspace.problems == []


def test_project_step_says_what_was_found(opened, until):
    step = opened.steps["Project"].content
    until(lambda: "3 images" in step.report.text())
    until(lambda: step.skipped.button.text() == "Skipped files (1)")
    assert step.skipped_table.files.rows[0].name == "broken.png"
    assert step.images.model.rowCount() == 3


def test_next_and_previous_walk_through_the_images(opened, until):
    images = opened.steps["Project"].content.images
    assert not images.previous.isEnabled()
    images.next.click()
    until(lambda: opened.session.image == "b.png")
    images.next.click()
    until(lambda: opened.session.image == "c.png")
    assert not images.next.isEnabled()
    assert opened.session.image_layer.data.shape == (90, 70)
    images.previous.click()
    until(lambda: opened.session.image == "b.png")
    layers = [
        layer for layer in opened.session.viewer.layers if marked(layer).get("role") == "image"
    ]
    assert len(layers) == 1


def test_a_folder_with_a_project_is_opened_again(opened, image_folder, until):
    session = opened.session
    session.close_project()
    assert not any(layer.visible for layer in session.viewer.layers)
    opened.steps["Project"].content.use_folder(image_folder)
    until(lambda: session.image == "a.png")
    assert opened.problems == []
    assert session.recent.projects() == [session.project.path]


def test_preview_shows_layers_and_removes_them(opened, until):
    step = opened.steps["Pretrain"].content
    step.preview_button.click()
    until(lambda: len(previewed(opened)) == 2)
    # nothing was chosen: the engine settles the scale and the patch
    assert step.preview.text.text().startswith("2 file pixels per network pixel, patch None")
    assert "Otsu" in step.preview.text.text()
    step.preview.close_button.click()
    assert previewed(opened) == []
    step.job_form.set_values({"scale": {"rule": "fit", "value": 30}})
    step.preview_button.click()
    until(lambda: "whole image at 30 px, patch 128" in step.preview.text.text())
    assert step.job()["scale"] == {"rule": "fit", "value": 30}
    assert opened.problems == []


def test_preview_pixels_lie_on_those_of_the_image(opened, until):
    """Edge on edge, wherever the image was moved; the method's own layers are in file pixels."""
    image = opened.session.image_layer
    image.scale, image.translate, image.rotate = (0.5, 0.25), (3, 4), 30
    opened.steps["Pretrain"].content.preview_button.click()
    until(lambda: len(previewed(opened)) == 2)
    seen, labels = previewed(opened)
    assert seen.data.shape == (32, 40, 3)
    assert (seen.interpolation2d, seen.blending) == ("nearest", "translucent")
    np.testing.assert_allclose(labels.data_to_world((7, 9)), image.data_to_world((7, 9)))
    for corner in ((0, 0), (32, 0), (0, 40), (32, 40)):
        there = np.array(corner) * 2 - 0.5
        np.testing.assert_allclose(
            seen.data_to_world(np.array(corner) - 0.5), image.data_to_world(there), atol=1e-6
        )


def test_monitor_pause_continue_stop_resume(opened, until):
    session = opened.session
    step = train(opened, until, steps=400)
    opened.open_step("Pretrain")
    monitor = step.monitor
    until(lambda: session.active.step > 3)
    assert monitor.title.text() == "Pretrain on 3 images"
    assert session.device.label == "CPU, 2 threads"
    monitor.pause.click()
    until(lambda: session.active.state == "paused")
    until(lambda: monitor.pause.text() == "Continue")
    at = session.active.step
    monitor.pause.click()
    until(lambda: session.active.step > at)
    monitor.stop.click()
    until(lambda: session.active is None)
    until(lambda: monitor.resume.isEnabled())
    assert "Kept after" in monitor.text.text()
    stopped_at = int(session.runs[0].state_path.read_text().split()[1])
    monitor.resume.click()
    until(lambda: session.active is not None and session.active.step > stopped_at)
    assert session.active.run == session.runs[0].name
    until(lambda: monitor.curves.choice.currentText() == "loss")
    assert session.active.metrics["loss"][0][0] == 1  # the steps before the stop are there as well
    session.stop()
    until(lambda: session.active is None)
    assert len(session.runs) == 1
    assert opened.problems == []


def test_finetune_then_the_open_image_is_predicted(opened, until):
    session = opened.session
    until(lambda: session.labels_layer is not None)
    paint(opened, until)
    opened.open_step("Finetune")
    step = opened.steps["Finetune"].content
    assert step.mode == "full"
    assert step.start_from.currentText() == "New network (ImageNet)"
    assert all(button.isEnabled() for button in step.mode_buttons.values())
    step.mode_buttons["frozen"].click()
    step.start_from.setCurrentIndex(1)
    assert step.mode == "full"  # random features are not worth keeping
    assert step.job()["network"]["encoder_weights"] == "none"
    step.start_from.setCurrentIndex(0)
    assert step.mode == "frozen"
    job = step.job()
    assert (job["network"]["encoder_weights"], job["scale"], job["answer"]) == (
        "imagenet",
        None,
        None,
    )
    assert "patch_size" not in job["training"]  # it follows from the scale
    step.preview_button.click()
    until(lambda: len(previewed(opened)) == 1)
    assert step.preview.text.text().endswith("patch None, run none.")
    assert "1 image annotated" in step.have.text()
    assert not step.missing.isVisible()
    train(opened, until)
    until(lambda: session.active is None and bool(session.usable_runs))
    step.start_from.setCurrentIndex(0)
    job = step.job()
    assert job["from_run"] == session.runs[0].name
    assert "network" not in job
    step.preview_button.click()
    until(lambda: session.runs[0].name in step.preview.text.text())
    assert "patch 128" in step.preview.text.text()
    step.train.click()
    until(lambda: session.active is not None)
    assert previewed(opened) == []
    until(lambda: session.active.doing == "Estimating quality")
    assert max(point[0] for point in session.active.metrics["loss"]) == 40  # none of the folds
    until(lambda: step.monitor.text.text().startswith("Estimating quality: step "))
    assert step.monitor.bar.maximum() == 80
    until(lambda: session.active is None)
    until(lambda: session.prediction_layer is not None)
    layer = session.prediction_layer
    assert marked(layer)["image"] == "a.png"
    assert set(np.unique(layer.data)) == {1, 2}
    assert layer.colormap.color_dict[1][3] == 0  # the image shows through the background
    assert session.viewer.layers.index(layer) < session.viewer.layers.index(session.labels_layer)
    assert session.current_run == session.runs[0].name
    assert opened.problems == []


def test_predict_the_folder_and_look_through_it(opened, until):
    session = opened.session
    train(opened, until)
    until(lambda: session.active is None and session.current_run is not None)
    opened.open_step("Predict")
    step = opened.steps["Predict"].content
    step.folder.click()
    until(lambda: session.active is not None)
    until(lambda: session.active is None)
    until(lambda: step.images.model.rowCount() == 3)
    assert step.text.text() == "3 images predicted."
    step.images.next.click()
    until(lambda: session.image == "b.png")
    until(lambda: session.prediction_layer is not None)
    assert marked(session.prediction_layer)["image"] == "b.png"
    step.shown.on.click()
    assert not session.prediction_layer.visible


def test_a_failure_is_a_sentence_with_the_log_behind_a_button(opened, until):
    train(opened, until, seed=13)
    until(lambda: opened.session.active is None)
    banner = opened.banner
    assert banner.isVisible()
    assert banner.sentence.text() == "The batch does not fit into memory."
    assert banner.advice.text() == "Make the batch smaller."
    banner.details.click()
    assert "CUDA out of memory" in banner.dialog.text.toPlainText()
    banner.dialog.close()
    banner.dismiss.click()
    assert not banner.isVisible()


def test_a_killed_engine_is_a_sentence_too(opened, until):
    train(opened, until, seed=66)
    until(lambda: opened.session.active.state == "running")
    os.kill(opened.session.active.process.pid, signal.SIGKILL)
    until(lambda: opened.session.active is None)
    assert "killed" in opened.banner.sentence.text()
    assert opened.steps["Pretrain"].content.start.isEnabled()


def test_a_number_that_is_none_is_refused_before_the_start(opened):
    step = opened.steps["Pretrain"].content
    step.job_form.field("training", "learning_rate").magic.value = "quick"
    step.start.click()
    assert opened.session.active is None
    assert "Learning rate = 'quick'" in opened.banner.sentence.text()


def test_a_missing_engine_is_told(make_napari_viewer, tmp_path, monkeypatch, until):
    from napari_medssl.widgets.workspace import Workspace

    monkeypatch.setattr(Session, "engine_command", ["/nowhere/python"])
    monkeypatch.setattr(Session, "home", tmp_path / "home")
    viewer = make_napari_viewer()
    workspace = Workspace(viewer)
    viewer.window.add_dock_widget(workspace)
    until(lambda: workspace.banner.problem is not None)
    assert "could not be started" in workspace.banner.sentence.text()
    workspace.session.shut_down()


def test_the_activity_dock_knows_of_the_run(opened, until):
    window = opened.session.viewer.window
    train(opened, until, steps=400)
    until(lambda: opened.session.active.step > 3)
    until(lambda: window._task_status_manager.is_busy())
    opened.session.stop()
    until(lambda: opened.session.jobs.quiet)
    until(lambda: not window._task_status_manager.is_busy())


def test_the_dock_can_be_closed_and_opened_again_while_a_run_is_active(opened, until, qtbot):
    from napari_medssl.widgets.workspace import Workspace

    session = opened.session
    viewer = session.viewer
    train(opened, until, steps=300)
    until(lambda: session.active.step > 3)
    viewer.window.remove_dock_widget(opened)
    opened.deleteLater()
    qtbot.wait(300)  # events of the run arrive meanwhile
    viewer.theme = "light"
    again = Workspace(viewer)
    viewer.window.add_dock_widget(again, name="again")
    assert again.session is session
    again.open_step("Pretrain")
    monitor = again.steps["Pretrain"].content.monitor
    until(lambda: "Step" in monitor.text.text())
    monitor.stop.click()
    until(lambda: session.active is None)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme_changes_reach_plot_and_style(opened, theme):
    opened.session.viewer.theme = theme
    curves = opened.steps["Pretrain"].content.monitor.curves
    color = curves.plot.backgroundBrush().color()
    assert (color.lightness() > 128) == (theme == "light")


def test_every_control_has_a_name(opened):
    from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit

    nameless = []
    for step in opened.steps.values():
        for kind in (QAbstractButton, QComboBox, QAbstractSpinBox, QLineEdit):
            for widget in step.content.findChildren(kind):
                inside = any(
                    isinstance(widget.parent(), outer) for outer in (QAbstractSpinBox, QComboBox)
                )
                text = widget.text() if hasattr(widget, "text") else ""
                named = widget.accessibleName() or widget.toolTip() or text
                if not named and not inside and not widget.objectName().startswith("qt_"):
                    nameless.append((step.info.title, type(widget).__name__, widget.parent()))
    assert nameless == []


class TestCloseGuard:
    """The window asks before it leaves a run alone."""

    def answer(self, workspace, text: str) -> list[str]:
        said: list[str] = []

        def press() -> None:
            box = workspace.session._guard.box
            if box is None:
                QTimer.singleShot(50, press)
                return
            said.append(box.text())
            next(button for button in box.buttons() if button.text() == text).click()

        QTimer.singleShot(50, press)
        return said

    def test_staying_keeps_the_run(self, opened, until, close_window):
        train(opened, until, steps=400)
        until(lambda: opened.session.active.step > 0)
        said = self.answer(opened, "Stay")
        close_window(int(opened.session.viewer.window._qt_window.winId()))
        until(lambda: bool(said))
        assert said == ["Pretrain on 3 images is still running."]
        assert opened.session.active is not None
        assert opened.session.viewer.window._qt_window.isVisible()
        opened.session.stop()
        until(lambda: opened.session.active is None)

    def test_leaving_stops_and_keeps(self, opened, until, close_window):
        session = opened.session
        run_name = None
        train(opened, until, steps=4000)
        until(lambda: session.active.step > 0)
        run_name, project = session.active.run, session.project
        pid = session.active.process.pid
        window = session.viewer.window._qt_window
        self.answer(opened, "Stop, keep and close")
        close_window(int(opened.session.viewer.window._qt_window.winId()))
        until(lambda: not is_open(window))
        del session.viewer.window._qt_window  # what napari's own Window.close does
        assert project.run(run_name).status == "stopped"
        assert project.run(run_name).weights() is not None
        assert not alive(pid)

    def test_a_program_that_closes_the_viewer_is_not_asked(self, opened, until):
        session = opened.session
        train(opened, until, steps=4000)
        until(lambda: session.active.step > 0)
        run, pid, project = session.active.run, session.active.process.pid, session.project
        session.viewer.close()
        assert not alive(pid)
        assert project.run(run).status == "stopped"


def is_open(window) -> bool:
    try:
        return window.isVisible()
    except RuntimeError:  # deleted
        return False


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
