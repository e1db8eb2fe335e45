"""The job of kind assess, on real networks that were hardly trained."""

from __future__ import annotations

import csv
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from napari_medssl import Project, Run, finetune, pretrain
from napari_medssl.engine.job import execute
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.assessment import read_assessments
from napari_medssl.evaluate.representation import mass_inside
from napari_medssl.events import Done, Saved
from napari_medssl.learn.control import Control
from napari_medssl.project import PatternRule
from napari_medssl.synthetic import nuclei

NETWORK = {"encoder": "mobilenet_v2", "encoder_depth": 3}
TRAINING = {"steps": 6, "batch_size": 2, "patch_size": 32, "validate_every": 3}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Six annotated images, three of the class a and three of b."""
    folder = tmp_path_factory.mktemp("assess")
    rng = np.random.default_rng(7)
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for name in ("a_0", "a_1", "a_2", "b_0", "b_1", "b_2"):
        field = nuclei(rng, shape=(64, 64))
        cv2.imwrite(str(folder / "images" / f"{name}.png"), field.image)
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), field.labels)
    return Project.create(
        folder / "images",
        masks=folder / "masks",
        masks_as="instances",
        image_labels=PatternRule(pattern="^[ab]"),
    )


@pytest.fixture(scope="module")
def tuned(project: Project) -> Run:
    return finetune(project, mode="full", network=NETWORK, training=TRAINING, device="cpu")


def assess(project: Project, run: Run, **changes: Any) -> list[Any]:
    job = {"kind": "assess", "project": str(project.path), "run": run.name, "device": "cpu"}
    return list(execute(job | changes))


def test_everything_that_a_project_allows(project: Project, tuned: Run) -> None:
    run = pretrain(
        project,
        "pix2rep",
        config={"dimension": 16},
        network=NETWORK,
        training=TRAINING,
        device="cpu",
    )
    events = assess(project, run, against=tuned.name, rivals=[tuned.name])
    assert isinstance(events[-1], Done)
    (found,) = read_assessments(run)
    assert [event.path for event in events if isinstance(event, Saved)] == [
        str(run.path / "assessments" / f"unbiased-{tuned.name}.{kind}") for kind in ("json", "csv")
    ]
    assert found.neighbourhood is not None
    assert found.neighbourhood.expected == pytest.approx(0.4)  # two of the five others are alike
    assert found.classification is not None
    assert set(found.classification.recalls) == {"a", "b"}
    assert found.classification.chance == 0.5
    assert {pair.image for pair in found.relatives} == set(project.images)
    assert all(pair.image != pair.nearest for pair in found.relatives)
    assert found.spread is not None
    assert found.spread.positive > found.spread.negative
    assert found.likeness is not None
    assert found.likeness.images == 6
    assert found.activations == ()  # it learned features, not classes
    assert any("features, not classes" in note for note in found.notes)
    assert found.cka is not None
    assert len(found.cka.stages) == 3
    assert found.cka.stages == tuple(np.diagonal(found.cka.table))
    assert found.application is not None
    assert found.application.steps == 6
    assert found.application.parameters_added > 0
    assert {time.run for time in found.settling} == {run.name, tuned.name}
    with (run.path / "assessments" / f"unbiased-{tuned.name}.csv").open() as file:
        rows = {(row["measure"], row["of"]): float(row["value"]) for row in csv.DictReader(file)}
    assert rows["cka", "mean over stages"] == pytest.approx(np.mean(found.cka.stages))


def test_a_run_with_itself(project: Project, tuned: Run) -> None:
    assess(project, tuned, against=tuned.name)
    (found,) = read_assessments(tuned)
    assert found.cka is not None
    assert found.cka.stages == pytest.approx([1, 1, 1])
    assert len(found.activations) == 6
    for activation in found.activations:
        mask = project.annotations.read(activation.image) == 2
        assert activation.area == pytest.approx(mask.mean())
        stored = tifffile.imread(tuned.path / activation.file)
        assert activation.inside == pytest.approx(mass_inside(stored, mask))
    with pytest.raises(MedsslError, match="batches of 12 images and more; there are 6"):
        assess(project, tuned, against=tuned.name, cka="paper")


def test_stop_leaves_nothing(project: Project, tuned: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in tuned.path.rglob("*.json")}
    control = Control()
    job = {"kind": "assess", "project": str(project.path), "run": tuned.name, "device": "cpu"}
    events = []
    for event in execute(job, control=control):
        events.append(event)
        control.stop()
    assert events[-1].stopped
    assert {path: path.stat().st_mtime_ns for path in tuned.path.rglob("*.json")} == before
