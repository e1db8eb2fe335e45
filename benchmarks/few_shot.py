"""Dice of a folder with full truth: Otsu, all foreground, MedSASS without labels, and with k annotated images.

The test images are every sixth by name; annotated ones are drawn from the others. Pretraining sees all images
of the folder without labels, as a user's does. Scores are the mean over test images of the foreground's Dice.

    python benchmarks/few_shot.py IMAGES MASKS --work DIR --csv scores.csv [--k 4] [--draws 3]

Stop and start it as you like: finished rows of the CSV, and a finished pretraining in DIR, are not made again.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from skimage.filters import threshold_otsu

from napari_medssl import Project, Run, finetune, pretrain
from napari_medssl.engine.predicting import model_of
from napari_medssl.evaluate.metrics import dice
from napari_medssl.learn.predict import predict_labels
from napari_medssl.project import load_truth

COLUMNS = ["arm", "k", "draw", "dice", "seconds"]


def main() -> None:
    """Measure what is not in the CSV yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="of pretraining")
    parser.add_argument("--finetune-steps", type=int, default=150)
    parser.add_argument("--modes", nargs="*", default=["probe", "full", "scratch"])
    options = parser.parse_args()
    if (options.work / "project.json").is_file():
        project = Project.open(options.work)
    else:
        project = Project.create(options.images, project=options.work)
    found = load_truth(project, options.masks)
    names = sorted(project.images)
    test = names[::6]
    truth = {name: found[name] for name in names}
    done = _rows(options.csv)

    def add(arm: str, k: int, draw: int, score: float, began: float) -> None:
        row = dict(zip(COLUMNS, [arm, k, draw, score, time.monotonic() - began], strict=True))
        new = not options.csv.is_file()
        with options.csv.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)
        done.add((arm, k, draw))
        print(arm, k, draw, round(score, 4), flush=True)

    def score(run: Run) -> float:
        model = model_of(run)
        device = next(model.parameters()).device
        return statistics.fmean(
            dice(predict_labels(model, project.planes(name), device=device), truth[name])
            for name in test
        )

    def baseline(threshold: Callable[[np.ndarray], float]) -> float:
        return statistics.fmean(
            dice(
                np.where(project.grey(n) > threshold(project.grey(n)), 2, 1).astype(np.uint16),
                truth[n],
            )
            for n in test
        )

    began = time.monotonic()
    if ("otsu", 0, 0) not in done:
        add("otsu", 0, 0, baseline(threshold_otsu), began)
        add("all foreground", 0, 0, baseline(lambda grey: -np.inf), began)
    finished = [r for r in project.runs() if r.kind == "pretrain" and r.status == "done"]
    began = time.monotonic()
    start = finished[-1] if finished else pretrain(project, training={"steps": options.steps})
    if ("medsass zero-shot", 0, 0) not in done:
        add("medsass zero-shot", 0, 0, score(start), began)
    pool = [name for name in names if name not in set(test)]
    for draw in range(options.draws):
        chosen = np.random.default_rng(draw).choice(pool, options.k, replace=False).tolist()
        for name in chosen:
            project.annotations.write(name, truth[name], done=True)
        for mode in options.modes:
            arm = "full from scratch" if mode == "scratch" else f"medsass, {mode}"
            if (arm, options.k, draw) in done:
                continue
            began = time.monotonic()
            training = {} if mode == "probe" else {"steps": options.finetune_steps}
            run = finetune(
                project,
                from_run=None if mode == "scratch" else start.name,
                mode="full" if mode == "scratch" else mode,
                images=chosen,
                training=training,
                seed=draw,
            )
            add(arm, options.k, draw, score(run), began)
    _print(options.csv)


def _rows(path: Path) -> set[tuple[str, int, int]]:
    if not path.is_file():
        return set()
    with path.open(newline="") as file:
        return {(row["arm"], int(row["k"]), int(row["draw"])) for row in csv.DictReader(file)}


def _print(path: Path) -> None:
    arms: dict[tuple[str, str], list[float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            arms.setdefault((row["arm"], row["k"]), []).append(float(row["dice"]))
    print(f"{'arm':24} {'k':>3} {'n':>3} {'mean':>7} {'sd':>7}")
    for (arm, k), values in arms.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{arm:24} {k:>3} {len(values):>3} {statistics.fmean(values):7.4f} {spread:7.4f}")


if __name__ == "__main__":
    main()
