"""AJI+ of a folder whose masks number objects: a map of distances, the classes, and Otsu's threshold.

The folder is divided as an experiment divides it (`engine.experiment.split`, seed 0): annotated images are drawn from
its pool, and those held for testing score. For each draw two networks are fine-tuned from the same run, with the same
images, steps and seed: one learns the map of distances beside the classes, one the classes alone. Objects are found

- ``distance``: in the map of distances,
- ``connected``, ``separate``: in the classes of the same network, as connected areas, and parted at their necks,
- ``alone + connected``, ``alone + separate``: the same of the network that learned the classes alone,
- ``otsu + connected``, ``otsu + separate``: the same of Otsu's threshold, which learns nothing.

Scores are means over images.

    python benchmarks/objects.py IMAGES MASKS --run RUN --work DIR --csv docs/results/objects.csv [--draws 3]

Stop and start it as you like: finished rows of the CSV are not made again.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from napari_medssl import Project, Run, finetune
from napari_medssl.engine.experiment.split import divide
from napari_medssl.engine.predicting import model_of
from napari_medssl.evaluate.instances import aji_plus, detection, overlaps, panoptic_quality
from napari_medssl.evaluate.metrics import dice
from napari_medssl.instances.finding import How, find_objects
from napari_medssl.learn.predict import Maps, labels_of, predict_maps
from napari_medssl.project import load_truth, read_json, write_json

if TYPE_CHECKING:
    from napari_medssl.learn.networks import SegmentationModel

COLUMNS = ["arm", "k", "draw", "images", "aji_plus", "pq", "f1", "dice", "seconds"]
Found = tuple[NDArray[np.uint16], NDArray[np.int32]]


def main() -> None:
    """Measure what is not in the CSV yet, then print the means over draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--run", type=Path, required=True, help="run folder to start from")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--csv", type=Path, required=True)
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--on", choices=("test", "validation"), default="test")
    options = parser.parse_args()
    torch.set_num_threads(1)
    project = (
        Project.open(options.work)
        if (options.work / "project.json").is_file()
        else Project.create(
            options.images, project=options.work, masks=options.masks, masks_as="instances"
        )
    )
    truth = load_truth(project, options.masks, masks_as="instances")
    split = divide(project.images, {}, test=0.3, validation=0.2, seed=0)
    scored = split.images(split.test if options.on == "test" else split.validation)
    done = {(row["arm"], int(row["k"]), int(row["draw"])) for row in _rows(options.csv)}

    def add(arm: str, draw: int, found: Callable[[str], Found], began: float) -> None:
        """Score objects, and write the row down."""
        k = options.k if draw >= 0 else 0
        values = np.array([_scores(*found(n), truth[n], truth.objects(n)) for n in scored]).mean(0)
        row = [arm, k, draw, len(scored), *values.round(4), round(time.monotonic() - began, 1)]
        _append(options.csv, dict(zip(COLUMNS, row, strict=True)))
        print(*row, flush=True)

    def missing(draw: int, *arms: str) -> list[str]:
        k = options.k if draw >= 0 else 0
        return [arm for arm in arms if (arm, k, draw) not in done]

    training = {"steps": options.steps, "batch_size": 8, "patch_size": 128, "patience": 0}

    def otsu(how: How, name: str) -> Found:
        grey = project.grey(name)
        labels = np.where(grey > threshold_otsu(grey), 2, 1).astype(np.uint16)
        return labels, find_objects(labels, None, how)

    def trained(objects: bool, draw: int) -> Run:
        """Fine-tune, or take what an earlier call of this program finished."""
        place = options.work / "trained.json"
        names = read_json(place) if place.is_file() else {}
        key = f"objects={objects} k={options.k} draw={draw} steps={options.steps}"
        if key not in names:
            run = finetune(
                project,
                from_run=options.run,
                mode="full",
                images=split.images(split.drawn(options.k, draw)),
                training=training | {"objects": objects},
                seed=draw,
            )
            names[key] = run.name
            write_json(place, names)
        return project.run(names[key])

    plain: tuple[How, ...] = ("connected", "separate")
    for how in plain:
        for arm in missing(-1, f"otsu + {how}"):
            add(arm, -1, partial(otsu, how), time.monotonic())
    both: dict[How, str] = {
        "distance": "distance",
        "connected": "connected",
        "separate": "separate",
    }
    alone: dict[How, str] = {"connected": "alone + connected", "separate": "alone + separate"}
    for objects, arms in ((True, both), (False, alone)):
        for draw in range(options.draws):
            ways = {way: arm for way, arm in arms.items() if missing(draw, arm)}
            if not ways:
                continue
            began = time.monotonic()
            run = trained(objects, draw)
            model = model_of(run)
            maps = {
                name: predict_maps(model, project.planes(name), device=torch.device("cpu"))
                for name in scored
            }
            for way, arm in ways.items():
                add(arm, draw, partial(_found, model, maps, way), began)
    _print_means(_rows(options.csv))


def _found(model: SegmentationModel, maps: Mapping[str, Maps], how: How, name: str) -> Found:
    labels = labels_of(model, maps[name].chances)
    return labels, find_objects(labels, maps[name].distance, how)


def _scores(
    labels: NDArray[np.uint16],
    objects: NDArray[np.int32],
    truth: NDArray[np.uint16],
    true_objects: NDArray[np.integer],
) -> tuple[float, ...]:
    shared = overlaps(objects, true_objects)
    (found,) = detection(shared, [0.5])
    return aji_plus(shared), panoptic_quality(shared).quality, found.f1, dice(labels, truth)


def _append(path: Path, row: dict[str, object]) -> None:
    new = not path.is_file()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(row)


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _print_means(rows: Iterable[dict[str, str]]) -> None:
    by_arm: dict[str, list[list[float]]] = {}
    for row in rows:
        by_arm.setdefault(row["arm"], []).append([float(row[c]) for c in COLUMNS[4:8]])
    for arm, values in by_arm.items():
        mean, low, high = (f(np.array(values), axis=0) for f in (np.mean, np.min, np.max))
        told = "  ".join(
            f"{name} {m:.3f} ({lo:.3f} to {hi:.3f})"
            for name, m, lo, hi in zip(COLUMNS[4:8], mean, low, high, strict=True)
        )
        print(f"{arm:22} {told}")


if __name__ == "__main__":
    main()
