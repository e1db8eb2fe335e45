"""What is lost or computed twice where an experiment is killed (SIGKILL) and started again.

A small experiment on synthetic nuclei is carried out once without disturbance. The same one is then killed in the
middle of a pretraining, of a fine-tuning, while its table is being written, and at random moments, with one process
and with two workers (of which all must end with the one that was killed). At the end its table is compared with the
undisturbed one, and every row that was there at a kill with itself: its time would differ had it been computed again.

    python benchmarks/kill_and_resume.py [--kills 12] [--workers 1 2] [--csv FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil

from napari_medssl.engine.experiment.plan import standard_arms
from napari_medssl.project import Project
from napari_medssl.project.checkpoint import TEMPORARY_PREFIX
from napari_medssl.synthetic import nuclei

MOMENTS = ("pretraining", "fine-tuning", "writing the table", "any")
LONGEST = 8.0
"""A random moment comes at most so many seconds after the first cell was begun."""


@dataclass(frozen=True)
class Kill:
    """What one kill did."""

    workers: int
    moment: str
    seconds: float
    """Since the process was started."""
    finished: int
    """Cells in the table then."""
    changed: int
    """Of the rows that were there at the kill before, those that are not the same any more."""
    left_alive: int
    """Workers that outlived it by more than three seconds."""


def make(folder: Path) -> None:
    """Make a project of 10 images with full truth beside it."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for number in range(10):
        scene = nuclei(rng, shape=(64, 64))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), scene.image)
        mask = (scene.labels > 0).astype(np.uint8) * 255
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
    Project.create(folder / "images", project=folder / "project")


def job_of(folder: Path, name: str, workers: int) -> Path:
    """Write the job of an experiment, and give its file."""
    training = {"batch_size": 4, "patch_size": 32, "checkpoint_seconds": 1}
    job: dict[str, Any] = {
        "kind": "experiment",
        "project": str(folder / "project"),
        "truth": str(folder / "masks"),
        "name": name,
        "arms": [arm.model_dump() for arm in standard_arms(("medsass", "pix2rep"), ())],
        "units": (1, 2),
        "draws": 2,
        "tune_units": (2,),
        "tune_draws": 2,
        "pretraining": training | {"steps": 60},
        "finetuning": training | {"steps": 20},
        "network": {"encoder": "mobilenet_v2", "encoder_depth": 3},
        "threads": 1,
        "workers": workers,
        "device": "cpu",
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(job))
    return path


def started(job: Path) -> subprocess.Popen[bytes]:
    """Start an engine on a job; its events go into a file beside the job's."""
    with job.with_suffix(".jsonl").open("wb") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "napari_medssl.engine", "run", str(job)],
            stdout=said,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def rows(folder: Path) -> dict[tuple[str, ...], dict[str, str]]:
    """Read a table: cell -> its whole row, time included."""
    path = folder / "results.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {
            tuple(row[key] for key in ("arm", "downstream", "k", "draw")): row
            for row in csv.DictReader(file)
        }


def come(child: subprocess.Popen[bytes], moment: str, job: Path, own: Path, delay: float) -> None:
    """Wait for the moment, or until the experiment has ended."""
    said = job.with_suffix(".jsonl")
    word = {"any": "started", "writing the table": ""}.get(moment, f": {moment}")
    if moment == "fine-tuning":
        word = " fine-tuning, k"
    while child.poll() is None:
        if moment == "writing the table":
            if any(own.glob(f"{TEMPORARY_PREFIX}*.csv")):
                return
            time.sleep(0.0005)
        elif word in said.read_text(encoding="utf-8"):
            time.sleep(delay)
            return
        else:
            time.sleep(0.02)


def kill(child: subprocess.Popen[bytes]) -> int:
    """Kill a process, and give how many of its own outlived it."""
    workers = psutil.Process(child.pid).children(recursive=True)
    child.kill()
    child.wait()
    return len(psutil.wait_procs(workers, timeout=3)[1])


def disturbed(folder: Path, workers: int, kills: int) -> tuple[list[Kill], bool]:
    """Kill an experiment again and again, then let it come to its end.

    Returns
    -------
    list of Kill
        What each did.
    bool
        Whether the table at the end is the undisturbed one.
    """
    name, rng = f"killed-{workers}", random.Random(workers)
    job, own = job_of(folder, name, workers), folder / "project" / "experiments" / name
    before: dict[tuple[str, ...], dict[str, str]] = {}
    found = []
    for number in range(kills):
        moment, began = MOMENTS[number % len(MOMENTS)], time.monotonic()
        with started(job) as child:
            delay = rng.uniform(0, LONGEST) if moment == "any" else rng.uniform(0.3, 1.5)
            come(child, moment, job, own, delay)
            if child.poll() is not None:
                break  # nothing was left to do
            alive = kill(child)
        now = rows(own)
        changed = sum(now.get(cell) != row for cell, row in before.items())
        seconds = round(time.monotonic() - began, 1)
        found.append(Kill(workers, moment, seconds, len(now), changed, alive))
        print(found[-1], flush=True)
        before = now
    started(job).wait()
    end, whole = rows(own), rows(folder / "project" / "experiments" / "whole")
    kept = all(end[cell] == row for cell, row in before.items())
    timeless = [[row | {"seconds": ""} for row in table.values()] for table in (end, whole)]
    runs = [run.kind for run in Project.open(own / "project").runs()]
    print(f"{workers} workers: {len(end)} cells, runs left: {runs}", flush=True)
    return found, bool(end) and kept and timeless[0] == timeless[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        make(folder)
        started(job_of(folder, "whole", 1)).wait()
        every = []
        for workers in options.workers:
            found, same = disturbed(folder, workers, options.kills)
            every += found
            print(
                f"{workers} workers, killed {len(found)} times: the same table: {same}; rows computed again: "
                f"{sum(kill.changed for kill in found)}; workers left alive: {sum(kill.left_alive for kill in found)}"
            )
    if options.csv is not None:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Kill)])
            writer.writeheader()
            writer.writerows(asdict(kill) for kill in every)


if __name__ == "__main__":
    main()
