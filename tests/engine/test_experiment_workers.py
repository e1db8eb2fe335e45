"""Experiments by several workers: the same table as by one, whoever computes it, dies or is told to stop."""

from __future__ import annotations

import csv
import sys
import threading
import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import psutil
import pytest

from napari_medssl import Project
from napari_medssl.engine.experiment.crew import ORDERS
from napari_medssl.engine.experiment.orders import Orders
from napari_medssl.engine.experiment.plan import standard_arms
from napari_medssl.engine.job import execute
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.results import Row, Table
from napari_medssl.events import Done, Note, Paused, Progress, Resumed
from napari_medssl.learn.control import Control
from napari_medssl.synthetic import nuclei

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medssl.events import Event

STEPS = {"steps": 2, "batch_size": 2, "patch_size": 32}
CELLS = 3 + 1 + 2 + 2
"""Thresholds, one zero-shot, a probe and a fine-tuned network of both arms."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of 8 images with full truth beside it, and its experiment as one worker carries it out."""
    folder = tmp_path_factory.mktemp("workers")
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for number in range(8):
        scene = nuclei(rng, shape=(64, 64))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), scene.image)
        mask = (scene.labels > 0).astype(np.uint8) * 255
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
    Project.create(folder / "images", project=folder / "project")
    list(execute(job_of(folder, "alone")))
    return folder


@pytest.fixture
def dask() -> Iterator[str]:
    """A Dask cluster in this process."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    with distributed.LocalCluster(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def job_of(place: Path, name: str, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "experiment",
        "project": str(place / "project"),
        "truth": str(place / "masks"),
        "name": name,
        "arms": [arm.model_dump() for arm in standard_arms(("medsass",), ())],
        "units": (1,),
        "draws": 1,
        "tune_units": (1,),
        "tune_draws": 1,
        "forest": False,
        "pretraining": STEPS,
        "finetuning": STEPS,
        "network": {"encoder": "mobilenet_v2", "encoder_depth": 3},
        "threads": 1,
        **changes,
    }


def folder_of(place: Path, name: str) -> Path:
    return place / "project" / "experiments" / name


def scores(place: Path, name: str) -> list[dict[str, str]]:
    """Read a table in its order, without times."""
    with (folder_of(place, name) / "results.csv").open(newline="") as file:
        return [{**row, "seconds": ""} for row in csv.DictReader(file)]


def texts(events: list[Event]) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Note))


def test_processes_give_the_table_of_one_even_after_one_was_killed(place: Path) -> None:
    """Its second start finds the pretraining begun, and perhaps some cells finished."""
    job = job_of(place, "two", workers=2)
    workers: list[psutil.Process] = []

    def interrupted() -> None:
        for event in execute(job):
            if isinstance(event, Note) and event.text == "medsass: pretraining, draw 0":
                workers.extend(
                    child
                    for child in psutil.Process().children()
                    if "spawn_main" in " ".join(child.cmdline())
                )
                workers[0].kill()

    with pytest.raises(MedsslError, match="worker's process ended in the middle of its work"):
        interrupted()
    assert not [worker for worker in workers if worker.is_running()]
    events = list(execute(job))
    assert scores(place, "two") == scores(place, "alone")
    assert len(scores(place, "two")) == CELLS
    assert "2 worker processes, each with 1 thread." in texts(events)
    steps = [event.step for event in events if isinstance(event, Progress)]
    assert steps == sorted(steps)
    assert not (folder_of(place, "two") / "reports").exists()
    assert '"workers":' not in (folder_of(place, "two") / "plan.json").read_text()


def test_a_dask_cluster_gives_the_same_table(place: Path, dask: str) -> None:
    events = list(execute(job_of(place, "dask", dask=dask)))
    assert scores(place, "dask") == scores(place, "alone")
    assert f"{dask} has 1 worker now." in texts(events)


def test_pause_and_stop_reach_the_workers(place: Path, dask: str) -> None:
    control, tuning = Control(), False
    folder = folder_of(place, "stopped") / "project"

    def resume_once_paused() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and not any(
            isinstance(event, Paused)
            for run in Project.open(folder).runs()
            for event in run.events()
        ):
            time.sleep(0.05)
        control.resume()

    longer = {"finetuning": STEPS | {"steps": 4000}, "dask": dask}
    for event in execute(job_of(place, "stopped", **longer), control=control):
        tuning |= isinstance(event, Note) and "fine-tuning" in event.text
        if tuning and isinstance(event, Progress) and event.metrics:
            control.pause()
            tuning = False
        elif isinstance(event, Paused):
            threading.Thread(target=resume_once_paused).start()
        elif isinstance(event, Resumed):
            control.stop()
        last = event
    assert isinstance(last, Done)
    assert last.stopped
    assert "are left" in last.summary
    (tuned,) = (run for run in Project.open(folder).runs() if run.kind == "finetune")
    assert tuned.status == "stopped"
    assert any(isinstance(event, Paused) for event in tuned.events())


def test_a_worker_that_lost_its_orders_is_told_of(place: Path, dask: str) -> None:
    def started_elsewhere() -> None:
        for event in execute(job_of(place, "lost", dask=dask)):
            if isinstance(event, Note) and event.text == "medsass: pretraining, draw 0":
                Orders(folder_of(place, "lost") / ORDERS)

    with pytest.raises(MedsslError, match="A worker stopped, for it could no longer read"):
        started_elsewhere()


def test_a_method_that_cannot_be_pretrained_costs_its_own_cells_alone(place: Path) -> None:
    arms = [arm.model_dump() for arm in standard_arms(("medsass",), ("none", "file"))]
    arms = [arm for arm in arms if arm["name"] != "file"]
    (place / "broken.safetensors").write_text("these are no weights")
    broken = {"weights_file": str(place / "broken.safetensors"), "arms": arms}
    events = list(execute(job_of(place, "failing", **broken)))
    (text,) = (line for line in texts(events).splitlines() if "No result" in line)
    assert text.startswith(
        "No result for medsass from file, which could not be pretrained for draw 0:"
    )
    assert "3 failed" in events[-1].summary
    assert scores(place, "failing") == scores(place, "alone")


def test_a_cell_that_two_processes_finish_counts_once(tmp_path: Path) -> None:
    """A worker of a session that was killed may still finish what the next one has begun anew."""
    values = {"project": "p", "arm": "none", "method": "", "start": "none", "downstream": "forest"}
    scores = {field.name: 0.5 for field in fields(Row) if field.type == "float"}
    counts = {field.name: 1 for field in fields(Row) if field.type == "int"}
    row = Row(**{"scored_on": "test", **values, **scores, **counts})
    first, second = (Table(tmp_path / "results.csv") for _ in range(2))
    first.add([row, replace(row, k=4)])
    second.add([row])
    assert [(row.k, row.draw) for row in Table(first.path).rows] == [(4, 1), (1, 1)]


def test_without_dask_it_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MedsslError, match=r"pip install .napari-medssl\[cluster\]"):
        list(execute(job_of(place, "nowhere", dask="tcp://127.0.0.1:1")))
    with pytest.raises(MedsslError, match="workers = 2 are processes of this computer"):
        list(execute(job_of(place, "nowhere", dask="tcp://127.0.0.1:1", workers=2)))
