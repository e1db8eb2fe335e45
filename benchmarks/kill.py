"""What is lost by SIGKILL at random moments of making a project, painting, pretraining, fine-tuning and predicting.

After every kill the project must open with all of its labels. What was being done is then taken up again and killed
again, until it has come to its end; the end is compared with that of the same work done without a kill: labels
imported, tensors of ``last.safetensors`` bit for bit (by SHA-256), pixels of every prediction. On one CPU thread.

    python benchmarks/kill.py [--kills 20] [--parts init pretrain finetune predict] [--images FOLDER --masks FOLDER]
                              [--work DIR] [--csv FILE]

Every kill is a row of the CSV. Started again with the same --work and --csv, it goes on where it was (it may itself be
killed). The part "paint" needs a display, for example ``xvfb-run -a python benchmarks/kill.py --parts paint``.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from safetensors import safe_open

from napari_medssl.project import Project, import_masks, read_labels

DATA = Path(os.environ.get("MEDSSL_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
IMAGES = 36
"""Of the image folder, so that every part takes seconds."""
SECONDS = {"pretrain": 6.0, "finetune": 6.0, "predict": 3.0}
"""A kill comes at most so long after the work began; a fifth of them while the engine starts."""
INIT = """
import sys
from napari_medssl.project import Project
print("ready", flush=True)
Project.create(sys.argv[1], project=sys.argv[2], masks=sys.argv[3], masks_as="instances")
"""


@dataclass(frozen=True)
class Row:
    """What one kill did."""

    part: str
    kill: int
    seconds: float
    """From the begin of the work to the kill; below 0 while the engine was starting."""
    at: str
    """How far the work had come."""
    opens: bool
    labels: bool
    """Whether all labels were there, unchanged."""
    whole: str
    """Of the kill that the work's end followed: whether that was equal to the undisturbed one; else empty."""


def killed(command: list[str], *, ready: str, delay: float) -> tuple[float, bool]:
    """Run a command and kill it `delay` seconds after it said `ready`; before that, if the delay is negative.

    Returns
    -------
    seconds : float
        The delay, or less where the command ended before.
    alive : bool
        Whether it was still at work.
    """
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    )
    assert child.stdout is not None
    if delay >= 0:
        next((line for line in child.stdout if ready in line), None)
        began = time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(delay)
        seconds = time.monotonic() - began
    else:
        time.sleep(-delay)
        seconds = delay
    alive = child.poll() is None
    if alive:
        child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    if not alive and child.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed by itself ({child.returncode})")
    return seconds, alive


def environment() -> dict[str, str]:
    """Give an environment in which nothing computes with more than one thread."""
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def engine(job: dict[str, Any], work: Path) -> list[str]:
    """Give the command that carries out a job, its file written."""
    path = work / "job.json"
    path.write_text(json.dumps(job))
    return [sys.executable, "-m", "napari_medssl.engine", "run", str(path)]


def carry_out(job: dict[str, Any], work: Path) -> None:
    """Do a job without any disturbance."""
    subprocess.run(
        engine(job, work),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )


def tensors(path: Path) -> str:
    """Give the SHA-256 of all tensors of a file: names, shapes and bits."""
    digest = hashlib.sha256()
    with safe_open(path, framework="numpy") as file:
        for name in sorted(file.keys()):
            tensor = file.get_tensor(name)
            digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
            digest.update(tensor.tobytes())
    return digest.hexdigest()


def labels(project: Project) -> dict[str, str]:
    """Give the SHA-256 of the pixels of all annotations by image name."""
    return {
        name: hashlib.sha256(project.annotations.read(name).tobytes()).hexdigest()
        for name in project.annotations.annotated()
    }


class Bench:
    """The folders that are worked in, and the rows that are known."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.work: Path = options.work
        self.csv: Path = options.csv
        self.kills: int = options.kills
        self.masks: Path = self.work / "masks"
        self.images: Path = self.work / "images"
        if not self.images.is_dir():
            self._copy(options.images, options.masks)
        self.rows: list[Row] = self._read() if self.csv.is_file() else []
        path = self.work / "project"
        if not (path / "project.json").is_file():
            shutil.rmtree(path, ignore_errors=True)
            Project.create(self.images, project=path, masks=self.masks, masks_as="instances")
        self.project = Project.open(path)
        self.reference_labels = labels(self.project)

    def _copy(self, images: Path, masks: Path) -> None:
        """Take a few small images, with their masks, into a folder of our own."""
        pairs = [
            (path, masks / path.name)
            for path in sorted(images.iterdir())
            if (masks / path.name).is_file()
        ]
        self.masks.mkdir(parents=True, exist_ok=True)
        partial = self.work / "images.partial"
        partial.mkdir(parents=True, exist_ok=True)
        for image, mask in pairs[:: max(1, len(pairs) // IMAGES)][:IMAGES]:
            shutil.copy(image, partial)
            shutil.copy(mask, self.masks)
        partial.rename(self.images)

    def _read(self) -> list[Row]:
        with self.csv.open(newline="") as file:
            return [
                Row(
                    part=row["part"],
                    kill=int(row["kill"]),
                    seconds=float(row["seconds"]),
                    at=row["at"],
                    opens=row["opens"] == "True",
                    labels=row["labels"] == "True",
                    whole=row["whole"],
                )
                for row in csv.DictReader(file)
            ]

    def done(self, part: str) -> int:
        """Give the number of kills of a part that are known."""
        return sum(row.part == part for row in self.rows)

    def add(self, part: str, *, seconds: float, at: str, opens: bool, kept: bool) -> None:
        """Write a row down at once."""
        self.rows.append(
            Row(part, self.done(part) + 1, round(seconds, 2), at, opens, kept, whole="")
        )
        self.write()

    def conclude(self, part: str, *, whole: bool) -> None:
        """Say of the last kill of a part how the work ended after it."""
        index = max(i for i, row in enumerate(self.rows) if row.part == part)
        self.rows[index] = Row(**{**asdict(self.rows[index]), "whole": str(whole)})
        self.write()

    def write(self) -> None:
        """Replace the CSV."""
        temporary = self.csv.with_suffix(".partial")
        self.csv.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Row)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in self.rows)
        temporary.replace(self.csv)
        row = self.rows[-1]
        print(
            f"{row.part} {row.kill}: {row.seconds:.2f} s, {row.at}; opens {row.opens}, "
            f"labels {row.labels}{', end equal ' + row.whole if row.whole else ''}",
            flush=True,
        )

    def look(self) -> tuple[Project | None, bool]:
        """Open the project as a user would, and compare its labels."""
        try:
            project = Project.open(self.work / "project")
        except Exception as error:  # noqa: BLE001 (any failure at all is what is counted)
            print(f"does not open: {error!r}")
            return None, False
        return project, labels(project) == self.reference_labels


def delay_of(part: str, rng: random.Random) -> float:
    """Draw a moment: a fifth of the kills come while the engine starts."""
    return -rng.uniform(0.2, 4) if rng.random() < 0.2 else rng.uniform(0, SECONDS[part])


def training_job(bench: Bench, part: str) -> dict[str, Any]:
    """Describe a training of about a minute."""
    job: dict[str, Any] = {
        "kind": part,
        "project": str(bench.project.path),
        "network": {"encoder": "mobilenet_v2", "encoder_depth": 3},
        "threads": 1,
        "device": "cpu",
        "training": {
            "steps": 400,
            "batch_size": 4,
            "patch_size": 64,
            "validate_every": 50,
            "patience": 0,
            "checkpoint_seconds": 1,
            "channels_last": True,
        },
    }
    if part == "finetune":
        job["mode"] = "full"
    return job


def kill_training(bench: Bench, part: str) -> None:
    """Kill one training after the other until there were enough kills and the last one has ended."""
    kept = bench.work / f"{part}.json"
    state = json.loads(kept.read_text()) if kept.is_file() else {"reference": "", "run": ""}
    job = training_job(bench, part)
    if not state["reference"]:
        carry_out(job, bench.work)
        state["reference"] = bench.project.run("latest").name
        kept.write_text(json.dumps(state))
    reference = tensors(bench.project.run(state["reference"]).last_path)
    while True:
        rng = random.Random(f"{part} {bench.done(part)}")
        enough = bench.done(part) >= bench.kills
        run = bench.project.run(state["run"]) if state["run"] else None
        if run is not None and run.status == "done":
            last = next((row for row in reversed(bench.rows) if row.part == part), None)
            if last is not None and not last.whole:
                bench.conclude(part, whole=tensors(run.last_path) == reference)
            state["run"] = ""
            kept.write_text(json.dumps(state))
            continue
        if (
            run is not None and not run.job
        ):  # killed before its job was written: nothing to go on with
            run, state["run"] = None, ""
        if enough and run is None:
            return
        going_on = {"kind": "resume", "project": str(bench.project.path), "device": "cpu"}
        now = job if run is None else going_on | {"run": run.name}
        if enough:
            carry_out(now, bench.work)
            continue
        known = {r.name for r in bench.project.runs()}
        seconds, alive = killed(
            engine(now, bench.work), ready='"started"', delay=delay_of(part, rng)
        )
        project, intact = bench.look()
        if project is not None and not state["run"]:
            state["run"] = next((r.name for r in project.runs() if r.name not in known), "")
            kept.write_text(json.dumps(state))
        if alive:
            at = "before the run was made"
            if project is not None and state["run"]:
                steps = project.run(state["run"]).metrics().get("loss", [])
                at = f"after step {steps[-1][0]}" if steps else "before the first step"
            bench.add(part, seconds=seconds, at=at, opens=project is not None, kept=intact)


def kill_init(bench: Bench) -> None:
    """Kill the making of a project with masks; what is there must open, and the rest can be added."""
    path = bench.work / "made"
    command = [sys.executable, "-c", INIT, str(bench.images), str(path), str(bench.masks)]
    shutil.rmtree(path, ignore_errors=True)
    seconds, _ = killed(command, ready="ready", delay=600)  # undisturbed: how long it takes
    reference = labels(Project.open(path))
    while bench.done("init") < bench.kills:
        rng = random.Random(f"init {bench.done('init')}")
        shutil.rmtree(path, ignore_errors=True)
        after, alive = killed(command, ready="ready", delay=rng.uniform(0, seconds))
        if not alive:
            seconds = min(seconds, after)
            continue
        opens, intact, at = True, True, "before project.json"
        if (path / "project.json").is_file():
            try:
                project = Project.open(path)
                found = labels(project)
                at = f"{len(found)} of {len(reference)} masks"
                intact = found.items() <= reference.items()
                import_masks(project, bench.masks, "instances")
            except Exception as error:  # noqa: BLE001 (any failure at all is what is counted)
                print(f"does not open: {error!r}")
                opens = False
        else:
            project = Project.create(
                bench.images, project=path, masks=bench.masks, masks_as="instances"
            )
        bench.add("init", seconds=after, at=at, opens=opens, kept=intact)
        bench.conclude("init", whole=opens and labels(Project.open(path)) == reference)


def kill_predicting(bench: Bench) -> None:
    """Kill the prediction of all images, each time going on with those that are not there yet."""
    run = next((r for r in bench.project.runs() if r.status == "done"), None)
    if run is None:
        carry_out(training_job(bench, "pretrain"), bench.work)
        run = bench.project.run("latest")
    job = {"kind": "predict", "project": str(bench.project.path), "run": run.name, "device": "cpu"}
    names = bench.project.images
    out = bench.work / "predicted"
    if not out.is_dir():
        carry_out({**job, "out": str(out.with_suffix(".partial"))}, bench.work)
        out.with_suffix(".partial").rename(out)

    def right() -> tuple[int, bool]:
        """Count the predictions, and say whether each is whole and the right one."""
        there = [name for name in names if bench.project.prediction_path(run.name, name).is_file()]
        equal = all(
            (
                read_labels(bench.project.prediction_path(run.name, name))
                == read_labels(out / Path(name).with_suffix(".tif"))
            ).all()
            for name in there
        )
        return len(there), equal

    folder = bench.project.prediction_path(run.name, names[0]).parent
    again = {**job, "overwrite": False}
    while True:
        enough = bench.done("predict") >= bench.kills
        rng = random.Random(f"predict {bench.done('predict')}")
        count, _ = right()
        if count == len(names):
            shutil.rmtree(folder)
            if enough:
                return
            count = 0
        if enough and count == 0:
            return
        if enough:
            carry_out(again, bench.work)
        else:
            seconds, alive = killed(
                engine(again, bench.work), ready='"started"', delay=delay_of("predict", rng)
            )
            count, equal = right()
            if alive:
                project, intact = bench.look()
                at = f"{count} of {len(names)} images"
                bench.add(
                    "predict",
                    seconds=seconds,
                    at=at,
                    opens=project is not None and equal,
                    kept=intact,
                )
        count, equal = right()
        if count == len(names):
            bench.conclude("predict", whole=equal)


def kill_painting(bench: Bench) -> None:
    """Kill a viewer while it paints; `kill_painting.py` does the work and says what was lost."""
    from kill_painting import ALLOWED, kill_once  # needs a display, and the viewer's libraries

    folder = bench.work / "painting"
    folder.mkdir(exist_ok=True)
    while bench.done("paint") < bench.kills:
        seed = bench.done("paint")
        shutil.rmtree(folder / f"kill-{seed}", ignore_errors=True)  # of a benchmark that was ended
        kill = kill_once(folder, seed=seed)
        at = f"{kill.pixels} pixels, the oldest one lost was painted {kill.lost:.1f} s before"
        bench.add("paint", seconds=kill.painting, at=at, opens=True, kept=kill.lost <= ALLOWED)


PARTS: dict[str, Callable[[Bench], None]] = {
    "init": kill_init,
    "paint": kill_painting,
    "pretrain": lambda bench: kill_training(bench, "pretrain"),
    "finetune": lambda bench: kill_training(bench, "finetune"),
    "predict": kill_predicting,
}


def table(rows: list[Row]) -> Iterator[str]:
    """Sum up, a line for each part."""
    yield "| part | kills | project opens | labels as they were | ends equal to an undisturbed one |"
    yield "| --- | --- | --- | --- | --- |"
    for part in PARTS:
        of = [row for row in rows if row.part == part]
        if of:
            ends = [row.whole == "True" for row in of if row.whole]
            yield (
                f"| {part} | {len(of)} | {sum(row.opens for row in of)} | "
                f"{sum(row.labels for row in of)} | {sum(ends)} of {len(ends)} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=list(PARTS),
        default=[part for part in PARTS if part != "paint"],
    )
    parser.add_argument("--images", type=Path, default=DATA / "dsb2018_fluo" / "images")
    parser.add_argument("--masks", type=Path, default=DATA / "dsb2018_fluo" / "masks")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "medssl-kill")
    parser.add_argument("--csv", type=Path, default=Path(__file__).parent / "results" / "kill.csv")
    options = parser.parse_args()
    bench = Bench(options)
    for part in options.parts:
        PARTS[part](bench)
    print("\n".join(table(bench.rows)))


if __name__ == "__main__":
    main()
