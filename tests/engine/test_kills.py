"""SIGKILL loses nothing; `benchmarks/kill.py` does this many times, at random moments."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file

from napari_medssl import predict, pretrain, resume
from napari_medssl.engine.job import execute
from napari_medssl.project import Project, import_masks, read_labels

if TYPE_CHECKING:
    from pathlib import Path

ENGINE = [sys.executable, "-m", "napari_medssl.engine", "run"]
INIT = """
import sys
from napari_medssl.project import Project
print("ready", flush=True)
Project.create(sys.argv[1], masks=sys.argv[2], masks_as="instances")
"""


def kill_after(command: list[str], line: str, *, delay: float = 0.0) -> None:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
    ) as child:
        assert child.stdout is not None
        try:
            assert any(line in said for said in child.stdout), "it ended before it could be killed"
            time.sleep(delay)
        finally:
            child.kill()
    assert child.returncode != 0


def test_killed_training_resumes_to_the_same_weights(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    training = tiny_training | {"steps": 150, "validate_every": 75, "checkpoint_seconds": 1}
    job = {
        "kind": "pretrain",
        "project": str(project.path),
        "network": tiny_network,
        "training": training | {"channels_last": True},
        "threads": 1,
    }
    path = project.path / "job.json"
    path.write_text(json.dumps(job))
    kill_after([*ENGINE, str(path)], '"loss"', delay=0.3)
    run = Project.open(project.path).run("latest")
    assert run.status == "stopped"
    resume(project, run.name)
    for _ in execute(job):
        pass
    one, other = load_file(run.last_path), load_file(project.run("latest").last_path)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_killed_prediction_is_completed(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    run = pretrain(project, network=tiny_network, training=tiny_training)
    job = {"kind": "predict", "project": str(project.path), "run": run.name}
    path = project.path / "job.json"
    path.write_text(json.dumps(job))
    kill_after([*ENGINE, str(path)], '"saved"')
    project = Project.open(project.path)
    files = {name: project.prediction_path(run.name, name) for name in project.images}
    there = {name: read_labels(file) for name, file in files.items() if file.is_file()}
    assert there  # the one it had said, at least; each of them whole
    predict(project, run=run.name, overwrite=False)
    completed = {name: read_labels(file) for name, file in files.items()}
    predict(project, run=run.name)
    for name, file in files.items():
        np.testing.assert_array_equal(completed[name], read_labels(file))


def test_killed_init_leaves_nothing_or_a_project(nuclei_folder: Path) -> None:
    images, masks = nuclei_folder / "images", nuclei_folder / "masks"
    command = [sys.executable, "-c", INIT, str(images), str(masks)]
    kill_after(command, "ready", delay=0.03)
    path = nuclei_folder / "images-medssl"
    if (path / "project.json").is_file():
        project = Project.open(path)
        import_masks(project, masks, "instances")
    else:
        project = Project.create(images, masks=masks, masks_as="instances")
    assert project.annotations.annotated() == project.images
    for name in project.images:
        labels, ids = project.annotations.read(name), project.objects.read(name)
        assert set(np.unique(labels)) <= {1, 2}
        np.testing.assert_array_equal(ids > 0, labels == 2)
