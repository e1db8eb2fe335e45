"""Weights leave through the step Predict."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_medssl.widgets.export_dialog import ExportDialog


def export_as(step, part: str, until) -> None:
    """Press the button, choose, and press the dialog's own."""
    step.export.click()
    until(lambda: bool(step.findChildren(ExportDialog)))
    dialog = step.findChildren(ExportDialog)[-1]
    dialog.form.field("part").set_value(part)
    dialog.export.click()


def test_a_run_is_exported_and_no_file_replaced_that_was_not_asked_about(
    opened, until, tmp_path, monkeypatch
):
    session = opened.session
    pretrain = opened.steps["Pretrain"].content
    pretrain.job_form.field("training", "steps").set_value(3)
    pretrain.start.click()
    until(lambda: session.active is None and session.current_run is not None)
    opened.open_step("Predict")
    step = opened.steps["Predict"].content
    until(lambda: step.export.isEnabled())

    asked: list[str] = []

    def choose(_parent, _title: str, suggestion: str, _filter: str) -> tuple[str, str]:
        asked.append(Path(suggestion).name)
        return str(tmp_path / "weights"), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", choose)
    export_as(step, "whole", until)
    until(lambda: "whole of" in step.text.text())
    written = (tmp_path / "weights.safetensors").read_bytes()
    assert written == session.runs[0].best_path.read_bytes()
    assert asked == [f"{session.current_run}-whole.safetensors"]
    assert session.current_run in step.text.text()
    assert len(session.runs) == 1  # an export is no run
    assert opened.problems == []

    # "weights" was asked about, "weights.safetensors" was not: the engine is told to leave it
    until(lambda: step.export.isEnabled())
    (tmp_path / "weights.safetensors").write_bytes(b"precious")
    export_as(step, "encoder", until)
    until(lambda: bool(opened.problems))
    assert (tmp_path / "weights.safetensors").read_bytes() == b"precious"


def test_a_run_tells_in_its_tooltip_what_it_descends_from(opened, until):
    import json

    import numpy as np
    from safetensors.numpy import save_file

    session = opened.session
    run = session.project.new_run("fake")
    run.write_job({"kind": "pretrain", "method": "fake"})
    spec = {"ancestry": ["imagenet (hub)", "20260101-medsass-01", run.name]}
    tensors = {"x": np.zeros(1, np.float32)}
    save_file(tensors, run.best_path, metadata={"napari_medssl": json.dumps(spec)})
    session.refresh_runs()
    until(lambda: session.current_run == run.name)
    shown = opened.steps["Predict"].content.run.itemData(0, Qt.ItemDataRole.ToolTipRole)
    assert shown == "Descends from imagenet (hub), then 20260101-medsass-01."
