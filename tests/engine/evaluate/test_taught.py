"""Runs are written as the engine writes them; nothing is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from napari_medssl.evaluate.taught import remarks, taught
from napari_medssl.project import Project, Run

NETWORK = {"encoder_weights": "none", "weights_file": None}


def make(project: Project, kind: str, **job: Any) -> Run:
    run = project.new_run(kind)
    run.write_job({"kind": kind, "network": NETWORK, "from_run": None, **job})
    return run


@pytest.fixture
def names(project: Project) -> tuple[str, ...]:
    return project.images


def test_the_whole_ancestry_counts(project: Project, names: tuple[str, ...]) -> None:
    first = make(project, "finetune", images=list(names[:1]))
    second = make(project, "finetune", images=list(names[2:4]), from_run=first.name)
    found = taught(project, second)
    assert found.annotated == {names[0], names[2], names[3]}
    assert found.seen == set()
    assert found.unknown == ()
    pretrained = make(project, "pretrain", from_run=str(second.path))
    assert taught(project, pretrained).annotated == found.annotated
    assert taught(project, pretrained).seen == set(names)


@pytest.mark.parametrize(
    ("mode", "training", "all_seen"),
    [
        ("full", {"mean_teacher": True}, True),
        ("frozen", {"batch_norm": "reestimated"}, True),
        ("full", {"mean_teacher": False, "batch_norm": "auto"}, False),
        ("probe", {"mean_teacher": True}, False),  # it means nothing to a probe
    ],
)
def test_a_finetune_may_see_images_without_annotation(
    project: Project, names: tuple[str, ...], mode: str, training: dict[str, Any], all_seen: bool
) -> None:
    run = make(project, "finetune", images=[names[0]], mode=mode, training=training)
    found = taught(project, run)
    assert found.annotated == {names[0]}
    assert found.seen == (set(names) if all_seen else set())


def test_what_is_not_known_is_said(
    project: Project, names: tuple[str, ...], tmp_path: Path
) -> None:
    gone = make(project, "finetune", images=list(names[:1]), from_run="20200101-medsass-01")
    assert taught(project, gone).unknown == ("20200101-medsass-01",)
    weights = {"encoder_weights": "file", "weights_file": "moco.safetensors"}
    foreign = make(project, "finetune", images=list(names[:1]), network=weights)
    assert taught(project, foreign).unknown == ("moco.safetensors",)
    copied = Run(shutil.copytree(foreign.path, tmp_path / "from-the-cluster"))
    assert taught(project, copied).unknown == ("from-the-cluster",)
    told = remarks(project, taught(project, gone), names[1:])
    assert told == (
        "It is not known what 20200101-medsass-01 learned from, so the scores may flatter.",
    )


def test_a_run_of_another_project_on_the_same_files(
    project: Project, names: tuple[str, ...], nuclei_folder: Path, tmp_path: Path
) -> None:
    same = Project.create(nuclei_folder / "images", project=tmp_path / "same")
    assert taught(project, make(same, "finetune", images=[names[1]])).annotated == {names[1]}
    shutil.copytree(nuclei_folder / "images", tmp_path / "copies")
    other = Project.create(tmp_path / "copies", project=tmp_path / "other")
    assert taught(project, make(other, "finetune", images=[names[1]])).annotated == set()


def test_remarks_name_copies_and_pretraining(nuclei_folder: Path, names: tuple[str, ...]) -> None:
    folder = nuclei_folder / "images"
    shutil.copy(folder / names[0], folder / "again.png")
    turned = np.rot90(cv2.imread(str(folder / names[0]), cv2.IMREAD_UNCHANGED))[:, ::-1]
    cv2.imwrite(str(folder / "turned.png"), np.ascontiguousarray(turned))
    project = Project.create(folder, project=nuclei_folder / "second")
    before = make(project, "pretrain")
    run = make(project, "finetune", images=[names[0]], from_run=before.name)
    told = remarks(project, taught(project, run), ["again.png", names[1], "turned.png"])
    assert told == (
        f"again.png is all but a copy of {names[0]}, on which the run was fine-tuned.",
        f"turned.png is all but a copy of {names[0]}, on which the run was fine-tuned.",
        "3 of 3 scored images were seen, without annotation, in training.",
    )
