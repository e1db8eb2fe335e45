"""Training again after some more annotation, with real runs: from where, how long, and what predicts."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from napari_medssl import Project, finetune, pretrain
from napari_medssl.engine.job import execute
from napari_medssl.project.next_training import STEPS_ON, next_training
from napari_medssl.synthetic import nuclei

TRAINING = {"steps": 3, "batch_size": 2, "patch_size": 32}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project: a pretrained run, and one fine-tuned from it on five of six images."""
    folder = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(7)
    (folder / "images").mkdir()
    for number in range(6):
        picture = nuclei(rng, shape=(64, 64)).image
        cv2.imwrite(str(folder / "images" / f"{number}.png"), picture)
    project = Project.create(folder / "images", project=folder / "project")
    for name in project.images[:5]:
        annotate(project, name)
    network = {"encoder": "mobilenet_v2", "encoder_depth": 3}
    training = {"steps": 2, "batch_size": 2, "patch_size": 32}
    before = pretrain(project, network=network, training=training, device="cpu")
    finetune(
        project, from_run=before, training=TRAINING, answer="network", estimate=False, device="cpu"
    )
    return folder


@pytest.fixture
def taught(trained: Path, tmp_path: Path) -> Project:
    """A copy of that project, to be changed."""
    shutil.copytree(trained, tmp_path / "copy")
    return Project.open(tmp_path / "copy" / "project")


def annotate(project: Project, name: str) -> None:
    labels = np.ones(project.shape(name), np.uint16)
    labels[20:40, 20:40] = 2
    time.sleep(0.02)  # clocks of file systems are coarse
    project.annotations.write(name, labels)


def test_a_run_is_gone_on_from_while_little_was_added(taught: Project) -> None:
    last, pretrained = taught.runs()
    same = next_training(taught, taught.runs())
    assert (same.from_run, same.steps) == (pretrained.name, None)
    assert same.why == f"From {pretrained.name} (pretrained): no image was added since {last.name}."

    new = taught.images[-1]
    annotate(taught, new)
    plan = next_training(taught, taught.runs())
    assert plan.why == f"Goes on from {last.name}: 1 image was added since."
    assert (plan.from_run, plan.goes_on, plan.answer) == (last.name, True, "network")
    assert plan.job(taught)["training"] == {"steps": STEPS_ON}
    assert next_training(taught, taught.runs(), anew=True).from_run == pretrained.name

    job = plan.job(taught)
    assert (job["answer"], job["estimate"]) == ("network", False)  # that was settled before
    assert "answer" not in same.job(taught)
    assert same.job(taught)["estimate"] is False
    list(execute(job | {"training": TRAINING, "device": "cpu"}))
    after = taught.runs()[0]
    assert after.status == "done"
    assert after.job["from_run"] == last.name
    assert set(after.job["images"]) == set(taught.images)


def test_a_run_is_not_gone_on_from_where_much_differs(taught: Project) -> None:
    last = taught.runs()[0]
    annotate(taught, taught.images[-1])
    for name in taught.images[:2]:
        annotate(taught, name)
    much = next_training(taught, taught.runs())
    assert much.why.endswith(f"1 image was added and 2 changed since {last.name}, of 6.")
    assert not much.goes_on

    taught.annotations.clear(taught.images[3])
    assert "annotations that are gone" in next_training(taught, taught.runs()).why
    first = taught.images[0]
    ids = np.zeros(taught.shape(first), np.int32)
    ids[20:40, 20:39] = 1  # the rest of that area may belong to it
    taught.objects.write(first, ids)
    half = next_training(taught, taught.runs())
    assert half.why_objects.startswith("Learns classes alone: no drawn object")
    assert half.job(taught)["training"] == {}
    ids[20:40, 39] = 2
    taught.objects.write(first, ids)
    drawn = next_training(taught, taught.runs())
    assert drawn.why_objects == ""
    assert drawn.why.endswith("did not learn objects.")
    assert drawn.job(taught)["training"] == {"objects": True}
    classes = taught.settings.classes
    taught.update(classes=(*classes, classes[-1].model_copy(update={"value": 3, "name": "new"})))
    assert "has other classes" in next_training(taught, taught.runs()).why
    assert next_training(taught, []).from_run is None
