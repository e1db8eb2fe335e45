"""What to annotate next, and training from the loop: by button and key, in a real viewer with the fake engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.layers import find_layer
from napari_medssl.widgets.learn_bar import LearnBar
from napari_medssl.widgets.suggest_bar import SuggestBar

if TYPE_CHECKING:
    from napari_medssl.widgets.workspace import Workspace

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def pretrained(opened: Workspace, until) -> Workspace:
    """The step Annotate of a project of three images with a run."""
    session = opened.session
    run = session.project.new_run("fake")
    run.write_job({"kind": "pretrain", "method": "fake"})
    run.best_path.write_bytes(b"weights")
    session.refresh_runs()
    until(lambda: session.current_run == run.name)
    opened.open_step("Annotate")
    until(lambda: Annotator.of(session).layer is not None)
    return opened


def press(workspace: Workspace, key: Qt.Key, modifier=Qt.KeyboardModifier.NoModifier) -> None:
    viewer = workspace.session.viewer
    viewer.layers.selection.active = find_layer(viewer, "image")
    QTest.keyClick(viewer.window._qt_viewer.canvas.native, key, modifier)


def store_features(workspace: Workspace, until) -> SuggestBar:
    """Make what suggestions need, by the button that offers it."""
    bar = workspace.findChild(SuggestBar)
    until(lambda: bar.store.isVisible() and bar.store.isEnabled())
    assert bar.text.text() == "No features are stored yet."
    assert not bar.next.isEnabled()
    QTest.mouseClick(bar.store, LEFT)
    until(lambda: bar.suggestions.stand == "ready" and workspace.session.active is None)
    return bar


def paint(workspace: Workspace, until) -> None:
    """Paint two classes, and have them saved."""
    annotator = Annotator.of(workspace.session)
    until(lambda: annotator.layer is not None)
    layer = annotator.layer
    layer.data_setitem(np.nonzero(np.ones((10, 30))), 1)
    layer.data_setitem((np.arange(24, 36), np.arange(24, 36)), 2)
    annotator.save()
    name = workspace.session.image
    until(lambda: workspace.session.overview.annotated.statuses.get(name) == "partial")


def test_suggestions_say_which_image_why_and_where(pretrained: Workspace, until) -> None:
    session, viewer = pretrained.session, pretrained.session.viewer
    bar = store_features(pretrained, until)
    suggestions = bar.suggestions
    assert len(suggestions.list) == 3
    assert suggestions.uncertainty == {}
    assert session.image == suggestions.list[0].image == "a.png"  # it was open before
    assert bar.text.text() == "This image: the most typical of 3 images."
    best = suggestions.best
    assert best is suggestions.list[1]
    assert bar.next.toolTip().startswith(f"Open {best.image}: {best.why}.")
    assert len(bar.others.popup.actions()) == 1
    press(pretrained, Qt.Key.Key_G)
    until(lambda: session.image == best.image)
    until(lambda: bar.where.isEnabled())
    zoom = viewer.scene.camera.zoom
    press(pretrained, Qt.Key.Key_H)
    drawn = find_layer(viewer, "where")
    y0, x0, y1, x1 = suggestions.box(best.image)
    np.testing.assert_allclose(drawn.data[0].min(0), (y0 - 0.5, x0 - 0.5))
    np.testing.assert_allclose(drawn.data[0].max(0), (y1 - 0.5, x1 - 0.5))
    assert not drawn.editable
    assert viewer.layers.selection.active is find_layer(viewer, "image")
    assert viewer.scene.camera.zoom >= zoom
    press(pretrained, Qt.Key.Key_H)
    assert find_layer(viewer, "where") is None

    paint(pretrained, until)  # from now on a probe is asked; the image drops out
    press(pretrained, Qt.Key.Key_G)
    until(lambda: session.image != best.image and suggestions.stand == "ready")
    until(lambda: set(suggestions.uncertainty) == set(session.project.images))
    assert best.image not in [item.image for item in suggestions.list]
    assert "more like it" in suggestions.list[0].why  # one annotated image is too few to go by that
    assert "by uncertainty later" in bar.text.toolTip()
    assert all(0 <= value <= 1 for value in suggestions.uncertainty.values())
    assert pretrained.problems == []


def test_train_and_show_next(pretrained: Workspace, until) -> None:
    session = pretrained.session
    store_features(pretrained, until)
    learn = pretrained.findChild(LearnBar)
    assert not learn.train.isEnabled()
    assert learn.text.text() == "Paint some background and some of each class first."
    paint(pretrained, until)
    pretrained_run = session.current_run
    until(learn.train.isEnabled)
    assert (
        learn.text.text() == f"From {pretrained_run} (pretrained): nothing was fine-tuned before."
    )
    first = session.image
    press(pretrained, Qt.Key.Key_T, Qt.KeyboardModifier.ShiftModifier)
    until(lambda: learn.loop.job is not None and learn.stop.isVisible())
    until(lambda: session.image != first and session.prediction_layer is not None)
    run = session.project.run(session.current_run)
    assert (run.kind, run.job["mode"], run.job["from_run"]) == (
        "finetune",
        "full",
        pretrained_run,
    )
    said = f"Trained. {run.name}: Kept after"
    assert learn.text.text().startswith(said)
    # its features are not stored: the loop goes on with those of the pretrained run
    assert learn.loop.plan is not None
    suggestions = pretrained.findChild(SuggestBar).suggestions
    until(lambda: suggestions.stand == "ready" and suggestions.run == pretrained_run)

    paint(pretrained, until)  # whoever paints while it trains is not taken to another image
    until(learn.train.isEnabled)
    QTest.mouseClick(learn.train, LEFT)
    until(lambda: learn.loop.job is not None)
    here, annotator = session.image, Annotator.of(session)
    annotator.layer.data_setitem((np.arange(40, 50), np.arange(40, 50)), 2)
    until(lambda: session.active is None)
    until(lambda: session.current_run not in (run.name, pretrained_run))
    until(lambda: session.prediction_layer is not None)
    assert session.image == here
    assert pretrained.problems == []
