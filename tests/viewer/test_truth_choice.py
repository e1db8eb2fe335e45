"""What the Evaluate step says about the images that it would score, and the way to score more of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def stack(workspace, tmp_path: Path, until):
    """A project of one stack of four planes; a run learned from the first, two more are annotated."""
    folder = tmp_path / "stack"
    folder.mkdir()
    planes = np.random.default_rng(0).integers(0, 255, (4, 64, 64), np.uint8)
    tifffile.imwrite(folder / "s.tif", planes, imagej=True, metadata={"axes": "ZYX"})
    workspace.steps["Project"].content.use_folder(folder)
    session = workspace.session
    until(lambda: session.image is not None and session.description is not None)
    project = session.project
    labels = np.ones((64, 64), np.uint16)
    for name in project.images[:2]:
        project.annotations.write(name, labels)
    labels[:32] = 0
    project.annotations.write(project.images[2], labels)
    run = project.new_run("finetune-full")
    run.write_job({"kind": "finetune", "mode": "full", "images": [project.images[0]]})
    run.best_path.write_bytes(b"weights")
    session.labels_changed.emit()
    session.refresh_runs()
    until(lambda: session.current_run == run.name)
    workspace.open_step("Evaluate")
    return workspace


def test_other_planes_of_a_stack_that_taught_are_scored_by_a_click(stack, until, monkeypatch):
    session, step = stack.session, stack.steps["Evaluate"].content
    choice = step.truth
    until(lambda: "same group or file as all 2 images" in choice.plan.text())
    assert not step.evaluate.isEnabled()
    assert choice.related.isVisible()
    choice.related.click()
    until(lambda: choice.plan.text().startswith("2 images will be scored"))
    assert choice.plan.text() == (
        "2 images will be scored; not 1 used for training and 1 that nobody annotated. 1 of them is only partly"
        " annotated: pixels without a label do not count. 2 of them are of a group or file used for training: their"
        " scores flatter."
    )
    started: list[dict[str, object]] = []
    monkeypatch.setattr(session, "start_job", started.append)
    step.evaluate.click()
    until(lambda: bool(started))
    assert started[0]["units"] == "image"
    choice.related.click()
    until(lambda: not choice.possible and "same group or file" in choice.plan.text())
    assert stack.problems == []


def test_a_run_that_learned_from_no_other_plane_offers_nothing(stack, until):
    session, choice = stack.session, stack.steps["Evaluate"].content.truth
    session.project.run(session.current_run).write_job({"kind": "finetune", "images": []})
    session.labels_changed.emit()
    until(lambda: choice.plan.text().startswith("3 images will be scored; not 1 that nobody"))
    assert not choice.related.isVisible()
