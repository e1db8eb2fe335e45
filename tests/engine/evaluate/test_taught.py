"""Runs are written as the engine writes them; nothing is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from napari_medssl.evaluate.remarks import remarks, taken_over
from napari_medssl.evaluate.taught import taught
from napari_medssl.explore.store import Entry, Index, file_of, index_path, store_path
from napari_medssl.project import PatternRule, Project, Run
from napari_medssl.project.listing import identity_of

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
        ("full", {"mean_teacher": False}, False),
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
    assert remarks(project, gone, names[1:]) == (
        "It is not known whether 20200101-medsass-01 learned from these images, or copies of them, so the scores may"
        " flatter.",
    )


def test_a_run_of_another_project_on_the_same_files(
    project: Project, names: tuple[str, ...], nuclei_folder: Path, tmp_path: Path
) -> None:
    same = Project.create(nuclei_folder / "images", project=tmp_path / "same")
    assert taught(project, make(same, "finetune", images=[names[1]])).annotated == {names[1]}
    shutil.copytree(nuclei_folder / "images", tmp_path / "copies")
    other = Project.create(tmp_path / "copies", project=tmp_path / "other")
    run = make(other, "finetune", images=[names[1]])
    found = taught(project, run)
    assert found.annotated == found.seen == set()
    assert found.unknown == (run.name,)  # for all that is known, these are other images


def test_remarks_name_copies_and_pretraining(nuclei_folder: Path, names: tuple[str, ...]) -> None:
    folder = nuclei_folder / "images"
    shutil.copy(folder / names[0], folder / "again.png")
    turned = np.rot90(cv2.imread(str(folder / names[0]), cv2.IMREAD_UNCHANGED))[:, ::-1]
    cv2.imwrite(str(folder / "turned.png"), np.ascontiguousarray(turned))
    project = Project.create(folder, project=nuclei_folder / "second")
    before = make(project, "pretrain")
    run = make(project, "finetune", images=[names[0]], from_run=before.name)
    told = remarks(project, run, ["again.png", names[1], "turned.png"])
    assert told == (
        f"again.png is all but a copy of {names[0]}, on which the run was fine-tuned.",
        f"turned.png is all but a copy of {names[0]}, on which the run was fine-tuned.",
        "3 of 3 scored images were seen, without annotation, in training.",
    )


def test_remarks_on_images_of_a_group_that_taught_and_on_a_probe(nuclei_folder: Path) -> None:
    project = Project.create(nuclei_folder / "images", groups=PatternRule(pattern="(field_)[012]"))
    run = make(project, "finetune", images=["field_0.png"], mode="probe")
    told = remarks(project, run, ["field_1.png", "field_3.png"])
    assert told[0] == (
        "1 of 2 scored images are of a group or file that the run was fine-tuned on, so the scores flatter."
    )
    assert "standardised on up to 32 images" in told[1]


def test_remarks_name_images_that_are_the_same_to_the_network(project: Project) -> None:
    """Features of six images, of which the last is all but that of the first."""
    learned, tested = list(project.images[:3]), list(project.images[3:])
    run = make(project, "finetune", images=learned)
    run.best_path.write_bytes(b"weights")
    rows = np.random.default_rng(0).normal(size=(6, 8))
    rows[5] = rows[0] + 0.01
    folder, entries = store_path(project, run.name, "mix"), {}
    for name, row in zip(project.images, rows, strict=True):
        path = file_of(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.broadcast_to(row, (16, 16, 8)).astype(np.float16))
        size, mtime = identity_of(project.image_path(name))
        entries[name] = Entry(shape=(64, 64), sha256="", size=size, mtime=mtime)
    size, mtime = identity_of(run.best_path)

    def keep(images: dict[str, Entry]) -> None:
        Index(
            run=run.name,
            source="mix",
            stride=4,
            dimensions=8,
            weights_sha256="",
            weights_size=size,
            weights_mtime=mtime,
            images=images,
        ).write(index_path(folder))

    keep(entries)
    assert remarks(project, run, tested) == (
        f"To the network {tested[2]} is all but the same as {learned[0]}, on which the run was fine-tuned.",
    )
    keep({name: entry for name, entry in entries.items() if name != tested[2]})
    (told,) = remarks(project, run, tested)
    assert told.startswith("By features, 1 of 3 scored images were not compared")
    keep({name: entry for name, entry in entries.items() if name not in learned[:2]})
    (told,) = remarks(project, run, tested)
    assert "those of 1 images that taught (3 are needed)" in told


def test_annotations_that_began_as_a_prediction_of_the_tested_run_are_counted(
    project: Project,
) -> None:
    first, second, third = project.images[:3]
    before = make(project, "finetune", images=[first])
    run = make(project, "finetune", images=[first], from_run=before.name)
    for name, origin in ((second, before.name), (third, "20200101-finetune-01")):
        project.annotations.take_from(name, origin)
        project.annotations.write(name, np.ones((64, 64), np.uint16))
    (told,) = taken_over(project, run, [second, third])
    assert told.startswith("1 of 2 scored annotations began")
    assert list(taken_over(project, run, [third])) == []
