"""Memory, disks and images that run short while training: told, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import psutil
import pytest
import torch
from safetensors.torch import load_file

from napari_medssl import resume
from napari_medssl.engine.job import execute
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Event, Note, Paused, Progress, Resumed, Saved, Started
from napari_medssl.learn.control import Control
from napari_medssl.learn.memory import MemoryShortageError
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.patches import step_rng
from napari_medssl.learn.pretext.medsass import MedSASS
from napari_medssl.learn.task import PretrainingConfig
from napari_medssl.project import Project, UnreadableImageError, read_labels
from napari_medssl.project.checkpoint import WriteError

if TYPE_CHECKING:
    from napari_medssl.project import Run

resource = pytest.importorskip("resource")  # limits of a process; Windows has none of these


@pytest.fixture
def job(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> dict[str, Any]:
    return {
        "kind": "pretrain",
        "project": str(project.path),
        "network": tiny_network,
        "training": tiny_training,
        "threads": 1,
    }


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def same_weights(a: Run, b: Run) -> bool:
    first, second = load_file(a.last_path), load_file(b.last_path)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


class Hungry(MedSASS, key="hungry", title="Hungry"):
    """A method whose batches of more than two samples are too much from the fifth step on."""

    limit = 2

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.calls += self.training
        losses = super().forward(batch)
        if self.calls > 4 and len(batch["image"]) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return losses


def test_out_of_memory_halves_the_batch_tells_and_resumes_alike(
    project: Project, job: dict[str, Any]
) -> None:
    job |= {"method": "hungry", "training": job["training"] | {"batch_size": 8}}
    seen = list(execute(job))
    reference = project.run("latest")
    assert isinstance(seen[-1], Done)
    told = [text for text in notes(seen) if "need more than is free" in text]
    assert [("of 8" in text, "have 4" in text) for text in told] == [(True, True), (False, False)]
    assert "Steps 1 to 5 are made again" in told[0]
    assert "have 2" in told[1]
    steps = [step for step, _ in reference.metrics()["loss"]]
    assert steps == list(range(1, 7))

    control = Control()
    for event in execute(job, control=control):
        if isinstance(event, Note) and "have 2" in event.text:
            control.stop()
    stopped = project.run("latest")
    assert stopped.status == "stopped"
    events: list[Event] = []
    resume(project, stopped.name, on_event=events.append)
    assert same_weights(stopped, reference)
    assert not [
        text for text in notes(events) if "need more" in text
    ]  # it starts with the small batch


def test_out_of_memory_with_the_smallest_batch_fails_in_words(
    project: Project, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hungry, "limit", 0)
    with pytest.raises(MemoryShortageError, match=r"even for batches of 2.*Lower patch_size"):
        list(execute(job | {"method": "hungry"}))
    assert project.run("latest").status == "failed"
    assert project.run("latest").weights("last") is not None


def test_training_that_cannot_fit_is_refused_before_it_starts(
    project: Project, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit on the address space: what `ulimit -v` sets."""
    job["training"] |= {"batch_size": 4096, "patch_size": 128}
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * 2**30, hard))
    try:
        with pytest.raises(MemoryShortageError, match=r"batches of 4096 needs about \d+") as error:
            list(execute(job))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, hard))
    fits = int(error.value.advice.split("batch_size to ")[1].split()[0])
    assert 8 < fits < 1000


def test_out_of_memory_while_predicting_halves_the_tiles_and_tells_once(
    project: Project, job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    list(execute(job))
    run = project.run("latest")
    rng = np.random.default_rng(0)
    for name in ("large_1.png", "large_2.png"):
        large = rng.integers(0, 255, (100, 120), dtype=np.uint8)
        cv2.imwrite(str(project.image_root / name), large)
    forward = SegmentationModel.forward

    def hungry(model: SegmentationModel, images: torch.Tensor) -> torch.Tensor:
        if max(images.shape[-2:]) > 64:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(model, images)

    monkeypatch.setattr(SegmentationModel, "forward", hungry)
    seen = list(execute({"kind": "predict", "project": str(project.path), "run": run.name}))
    assert isinstance(seen[-1], Done)
    (told,) = notes(seen)
    assert "from here on images are computed in tiles of 64 x 64" in told
    project = Project.open(project.path)
    assert read_labels(project.prediction_path(run.name, "large_2.png")).shape == (100, 120)


def limit_files(size: int) -> None:
    """Let no file grow beyond this, which is met as a full disk is: by an error of every write."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def test_a_full_disk_while_training_is_told_and_nothing_is_missing(
    project: Project, job: dict[str, Any]
) -> None:
    for _ in execute(job):
        pass
    reference = project.run("latest")
    control = Control()
    seen = []
    try:
        for event in execute(job, control=control):
            seen.append(event)
            if isinstance(event, Saved) and event.step == 0:
                limit_files(100)
                control.pause()  # makes it write a checkpoint
            if isinstance(event, Paused):
                limit_files(resource.RLIM_INFINITY)
                control.resume()
    finally:
        limit_files(resource.RLIM_INFINITY)
    run = project.run("latest")
    assert run.status == "done"
    assert same_weights(run, reference)
    told = notes(seen)
    for what in ("Checkpoints", "The run's log"):
        (begin,) = [text for text in told if text.startswith(f"{what} cannot be written")]
        assert "tries again" in begin
        assert [text for text in told if text.startswith(f"{what} could be written again")]
    logged = {type(event) for event in run.events()}
    assert {Started, Paused, Resumed, Progress, Done} <= logged
    assert [step for step, _ in run.metrics()["loss"]] == list(range(1, 7))


def test_a_disk_that_stays_full_fails_in_words_and_the_run_resumes(
    project: Project, job: dict[str, Any]
) -> None:
    for _ in execute(job):
        pass
    reference = project.run("latest")

    def train_on_a_full_disk() -> None:
        for event in execute(job):
            if isinstance(event, Saved) and event.step == 0:
                limit_files(20_000)

    try:
        with pytest.raises(WriteError, match=r"weights of step 6 cannot be saved.*resume the run"):
            train_on_a_full_disk()
    finally:
        limit_files(resource.RLIM_INFINITY)
    run = project.run("latest")
    assert run.status == "failed"
    resume(project, run.name)
    assert same_weights(run, reference)


def test_images_that_vanish_are_told_and_the_others_go_on(
    project: Project, job: dict[str, Any]
) -> None:
    gone = project.images[1:3]
    seen = []
    for event in execute(job):
        seen.append(event)
        if isinstance(event, Started):
            for name in gone:
                (project.image_root / name).unlink()
    assert isinstance(seen[-1], Done)
    told = [text for text in notes(seen) if "cannot be read any more" in text]
    assert sorted(text.split()[0] for text in told) == sorted(gone)


class Blind(MedSASS, key="blind", title="Blind"):
    """A method whose held-out images have gone."""

    def validate(self) -> dict[str, float]:
        raise UnreadableImageError("held_out.png: the file is no longer there.")


def test_a_validation_whose_images_vanished_is_left_out_and_told(job: dict[str, Any]) -> None:
    seen = list(
        execute(job | {"method": "blind", "training": job["training"] | {"validate_every": 3}})
    )
    assert isinstance(seen[-1], Done)
    assert "No validation at step 3: held_out.png: the file is no longer there." in notes(seen)


def test_when_every_image_has_vanished_training_fails_in_words(project: Project) -> None:
    spec = ModelSpec(
        network=NetworkConfig(encoder_depth=3),
        channels=project.settings.channels,
        classes=MedSASS.output_classes(project),
        normalisation=project.settings.normalisation,
    )
    task = MedSASS(
        config=MedSASS.config_type(),
        model=SegmentationModel(spec),
        project=project,
        training=PretrainingConfig(batch_size=2, patch_size=32),
        seed=0,
    )
    for name in project.images:
        (project.image_root / name).unlink()
    with pytest.raises(MedsslError, match=r"Not one of the images.*then resume"):
        task.batch(step_rng(0, 0))
    assert len(list(task.told())) == len(project.images)


def test_a_run_that_cannot_be_written_is_refused_in_words(
    project: Project, job: dict[str, Any]
) -> None:
    list(execute(job))
    run = project.run("latest")
    for path in (*run.path.iterdir(), run.path):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for folder in (run.path, *run.path.parents):
        if folder != Path("/") and folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o555)
    reader, writer = os.pipe()
    child = os.fork()  # as root nothing is read-only: the child becomes somebody else
    if child == 0:
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            with run.lock():
                os.write(writer, b"locked")
        except MedsslError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    said = os.read(reader, 10_000).decode()
    os.close(reader)
    for path in (run.path, *run.path.iterdir()):
        path.chmod(0o755)
    assert "cannot be worked on: Permission denied. Make its folder writable" in said
