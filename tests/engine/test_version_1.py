"""A project of the version before working scales goes on as it was."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from napari_medssl import Project, finetune, predict, resume
from napari_medssl.learn import thresholds
from napari_medssl.learn.weights import load_model
from napari_medssl.project import read_labels
from napari_medssl.project.working_scale import ScaleRule


@pytest.fixture
def old(tmp_path: Path) -> Project:
    """Four images, and a pretraining (MedSASS) that was interrupted at step 17 of 60."""
    with zipfile.ZipFile(Path(__file__).parent / "stored" / "version-1.zip") as stored:
        stored.extractall(tmp_path)
    return Project.open(tmp_path / "project")


def test_an_interrupted_pretraining_goes_on_to_the_same_loss(
    old: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thresholds, "clipped", np.copy)  # that version did not clip outliers first
    run = old.run("latest")
    before = dict(run.metrics()["loss"])
    assert run.status == "stopped"
    assert resume(old, "latest") == run
    assert run.status == "done"
    losses = dict(run.metrics()["loss"])
    assert max(losses) == 60
    assert losses[60] == pytest.approx(0.3554, abs=1e-3)  # measured with that version
    assert before.items() <= losses.items()
    spec = load_model(run.last_path).spec
    assert spec.scale == ScaleRule(rule="fixed", value=1)
    assert spec.schema_version == 2
    tuned = finetune(
        old,
        from_run=run.name,
        images=old.images[:2],
        training={"steps": 3, "batch_size": 2, "patch_size": 32},
    )
    model = load_model(tuned.best_path).spec
    assert (model.scale, model.network) == (spec.scale, spec.network)
    assert model.ancestry == (*spec.ancestry, tuned.name)
    (path,) = predict(old, run=tuned.name, images=[old.images[3]])
    assert read_labels(path).shape == old.shape(old.images[3])
