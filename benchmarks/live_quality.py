"""What live prediction is best made of: classifiers on filters, on stored features, on both, taught by scribbles.

For each set and repeat, k images (of k patients where there are) get a few thin scribbles in foreground and background.
Each candidate learns from their pixels alone and is scored twice at the files' own resolution: on the scribbled images
("own") and on images that nobody has touched, one of each patient ("validation", from which to choose, and "test").
Features are those of a network at its start from ImageNet, at the working scale that is chosen for the folder.

    python benchmarks/live_quality.py --data ../shared/data --out docs/results/live_probe.csv

Seconds are of the process, on one thread, of the first repeat alone: the fit, and applying it to 512 x 512 pixels whose
filters and features are at hand, as they are from the second stroke in an image on.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if __name__ == "__main__":  # before numpy is loaded, which reads it once
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[_name] = "1"

import cv2
import numpy as np
import torch
from learner import MASKS, drawn, split_of
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from napari_medssl.engine.embedding import embedded, usual_stride
from napari_medssl.explore.linear import fit_linear
from napari_medssl.explore.live_probe import LiveConfig
from napari_medssl.explore.probe_features import features_at, spread_of
from napari_medssl.forest import PixelForest, filtered
from napari_medssl.learn.features import calibrate
from napari_medssl.learn.networks import ModelSpec, NetworkConfig
from napari_medssl.learn.scale_choice import choose_scale
from napari_medssl.learn.sources import FeatureSource
from napari_medssl.learn.transfer import build_model
from napari_medssl.project import Project, load_truth
from napari_medssl.project.working_scale import ScaledImages

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SETS = ("dsb2018_fluo", "sunnybrook_lv", "usiigaci_phase", "isbi2012_em")
COLUMNS = ["set", "scored_on", "k", "repeat", "candidate", "pixels", "dice", "seconds"]
ASKED = 10_000
"""Pixels of an image that are scored, about: every so many-th of every so many-th row."""
TESTED = 8
STROKES, LENGTH, WIDTH = 5, 30, 3
"""Scribbles of each class in an image, how far they reach to either side at most, and how wide they are."""
TIMED = 512**2
TWO_WIDTHS = [0, 1, 4, 5]
"""Of the filters of a grey image: brightness and gradient at sigma 1 and 2."""
Map = dict[str, "NDArray[np.float32]"]


class Pixels(NamedTuple):
    """Pixels of one image."""

    columns: Map
    """Kind of column -> (N, D)."""
    spread: Map
    """Kind of column -> (D,), of the whole image."""
    truth: NDArray[np.bool_]


class Images:
    """A set of images with truth, and what classifiers look at."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.project = Project.create(folder / "images", project=scratch / folder.name)
        self.truth = load_truth(
            self.project, folder / "masks", masks_as=MASKS.get(folder.name, "binary")
        )
        settings = self.project.settings
        spec = ModelSpec(
            network=NetworkConfig(),
            channels=settings.channels,
            classes=settings.classes,
            normalisation=settings.normalisation,
            trained_stages=0,
            head="none",
            scale=choose_scale(self.project).rule,
        )
        model = build_model(spec, note=print).eval()
        calibrate(model, self.project, device=torch.device("cpu"))
        self._source = FeatureSource(
            model.feature_maps, model.feature_mean, model.feature_basis, stride=model.stride
        )
        self._scaled = ScaledImages(self.project, spec.scale)
        print(folder.name, spec.scale.text(), settings.channels, flush=True)

    def shows(self, name: str) -> bool:
        """Whether there is foreground, and an annotation of it."""
        return name in self.truth and bool((self.truth[name] > 1).any())

    def pixels(self, name: str, ys: NDArray[np.intp], xs: NDArray[np.intp]) -> Pixels:
        """Read what is seen at some pixels."""
        cells, stride, bank = self._whole(name)
        eye = bank[..., TWO_WIDTHS]
        columns = {
            "net": features_at(cells, stride, ys, xs),
            "eye": eye[ys, xs],
            "bank": bank[ys, xs],
        }
        spread = {"net": spread_of(cells), "eye": eye.std((0, 1)), "bank": bank.std((0, 1))}
        return Pixels(columns, spread, self.truth[name][ys, xs] > 1)

    @cache  # noqa: B019 - one set at a time
    def _whole(self, name: str) -> tuple[Any, ...]:
        planes = self.project.planes(name)
        stride = usual_stride(planes.shape[1:])
        cells = embedded(
            self._source,
            planes,
            factor=self._scaled.factor(name),
            stride=stride,
            device=torch.device("cpu"),
        )
        return cells.astype(np.float16), stride, filtered(planes)

    @cache  # noqa: B019
    def grid(self, name: str) -> Pixels:
        """Read the pixels that are scored."""
        height, width = self.truth[name].shape
        every = max(1, round((height * width / ASKED) ** 0.5))
        ys, xs = np.mgrid[every // 2 : height : every, every // 2 : width : every]
        return self.pixels(name, ys.ravel(), xs.ravel())


def scribbles(truth: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Give where is painted (Y, X): from places drawn at random along the longest way within."""
    painted = np.zeros(truth.shape, bool)
    for inside in (~truth, truth):
        places = np.flatnonzero(inside)
        for place in rng.choice(places, STROKES):
            start = np.array(np.unravel_index(place, truth.shape))
            ends = max(
                (_ends(inside, start, angle) for angle in np.linspace(0, np.pi, 8, endpoint=False)),
                key=lambda pair: float(np.abs(pair[0] - pair[1]).max()),
            )
            drawn = np.zeros(truth.shape, np.uint8)
            cv2.line(drawn, *(end[::-1].tolist() for end in ends), 1, thickness=WIDTH)
            painted |= (drawn > 0) & inside
    return painted


def _ends(
    inside: NDArray[np.bool_], start: NDArray[np.intp], angle: float
) -> list[NDArray[np.intp]]:
    """Walk from a place both ways until it is outside."""
    found = []
    for sign in (1, -1):
        steps = sign * np.arange(LENGTH)[:, None] * [np.sin(angle), np.cos(angle)]
        way = start + np.rint(steps).astype(int)
        fits = ((way >= 0) & (way < inside.shape)).all(1)
        fits[fits] = inside[tuple(way[fits].T)]
        found.append(way[np.argmin(fits) - 1 if not fits.all() else -1])
    return found


# -- candidates: each gives, from what was scribbled, what tells the probability of foreground (N,) --------------------


def linear(kinds: tuple[str, ...]) -> Callable[[list[Pixels]], Any]:
    """Fit the linear layer of live prediction."""

    def fit(taught: list[Pixels]) -> Any:
        config = LiveConfig()
        scale = np.concatenate(
            [np.mean([item.spread[kind] for item in taught], axis=0) for kind in kinds]
        )
        layer = fit_linear(
            np.concatenate([_joined(item.columns, kinds) for item in taught]),
            np.concatenate([item.truth for item in taught]).astype(int),
            scale=scale + np.float32(1e-6),
            l2=config.l2,
            balanced=True,
        )
        return lambda columns: layer.probabilities(_joined(columns, kinds))[:, 1]

    return fit


def trees(kind: Any, kinds: tuple[str, ...], **options: Any) -> Callable[[list[Pixels]], Any]:
    """Fit a forest."""

    def fit(taught: list[Pixels]) -> Any:
        pixels = np.concatenate([_joined(item.columns, kinds) for item in taught])
        settings = {"n_estimators": 50, "max_depth": 20, "random_state": 0} | options
        forest = kind(**settings).fit(pixels, np.concatenate([item.truth for item in taught]))

        def classify(columns: Map) -> NDArray[np.float32]:
            pixels = _joined(columns, kinds)
            found = [tree.tree_.predict(pixels)[:, 1] for tree in forest.estimators_]
            return np.mean(found, axis=0)

        return classify

    return fit


def live_forest(taught: list[Pixels]) -> Any:
    """Fit the forest of live prediction."""
    config = LiveConfig()
    forest = PixelForest.fit(
        np.concatenate([item.columns["bank"] for item in taught]),
        np.concatenate([item.truth for item in taught]).astype(int),
        n_classes=2,
        seed=0,
        threads=None,
        trees=config.trees,
        pixels_per_tree=config.pixels_per_tree,
    )
    return lambda columns: forest.predict_proba(columns["bank"])[:, 1]


def _joined(columns: Map, kinds: tuple[str, ...]) -> NDArray[np.float32]:
    return np.concatenate([columns[kind] for kind in kinds], axis=1)


RF, ET = RandomForestClassifier, ExtraTreesClassifier
BOTH = ("net", "bank")
PARTS = {
    "linear: features + 2 widths": linear(("net", "eye")),
    "linear: 2 widths": linear(("eye",)),
    "linear: features": linear(("net",)),
    "random forest, 100 trees: 5 widths": trees(RF, ("bank",), n_estimators=100),
    "random forest: 5 widths": live_forest,  # as live prediction has it
    "extra trees: 5 widths": trees(ET, ("bank",)),
    "random forest: features + 5 widths": trees(RF, BOTH),
    "extra trees: features + 5 widths": trees(ET, BOTH),
}
"""What is fitted."""
MEANS = [
    ("linear: features + 2 widths", "random forest: 5 widths"),
    ("linear: features + 2 widths", "extra trees: 5 widths"),
    ("linear: features", "random forest: 5 widths"),
    ("linear: features", "extra trees: 5 widths"),
    ("linear: features + 2 widths", "random forest: features + 5 widths"),
    ("linear: 2 widths", "random forest: 5 widths"),
]
"""Parts of whose probabilities the mean is taken."""


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return the Dice of two masks."""
    return float(2 * (found & truth).sum() / max(1, found.sum() + truth.sum()))


def rows(images: Images, folder: Path, k: int, repeat: int) -> list[dict[str, Any]]:
    """Teach and score every candidate."""
    split = split_of(folder, [name for name in images.project.images if images.shows(name)])
    pick = {
        group: names[int(np.random.default_rng((1, repeat)).integers(len(names)))]
        for group, names in split.members.items()
    }
    own = [pick[group] for group in drawn(split.pool, k, repeat)]
    rng = np.random.default_rng((2, repeat))
    taught = []
    for name in own:
        taught.append(images.pixels(name, *np.nonzero(scribbles(images.truth[name] > 1, rng))))
    scored = {
        "own": own,
        "validation": [split.members[group][0] for group in split.validation[:TESTED]],
        "test": [split.members[group][0] for group in split.test[:TESTED]],
    }
    timed = images.grid(own[0]).columns
    timed = {kind: np.resize(part, (TIMED, part.shape[1])) for kind, part in timed.items()}
    seconds: dict[str, float] = {}
    maps: dict[str, dict[str, list[NDArray[np.float32]]]] = {}
    for part, fit in PARTS.items():
        began = time.process_time()
        classify = fit(taught)
        if repeat == 0:
            classify(timed)
        seconds[part] = time.process_time() - began
        maps[part] = {
            on: [classify(images.grid(name).columns) for name in names]
            for on, names in scored.items()
        }
    for one, other in MEANS:
        name = f"mean of {one}, {other}"
        seconds[name] = seconds[one] + seconds[other]
        maps[name] = {
            on: [(a + b) / 2 for a, b in zip(maps[one][on], maps[other][on], strict=True)]
            for on in scored
        }
    found = []
    for candidate, on in ((candidate, on) for candidate in maps for on in scored):
        values = [
            dice(chance > 0.5, images.grid(name).truth)
            for chance, name in zip(maps[candidate][on], scored[on], strict=True)
        ]
        found.append(
            {
                "set": folder.name,
                "scored_on": on,
                "k": k,
                "repeat": repeat,
                "candidate": candidate,
                "pixels": sum(len(item.truth) for item in taught),
                "dice": round(float(np.mean(values)), 4),
                "seconds": round(seconds[candidate], 3) if repeat == 0 else "",
            }
        )
    return found


def table(lines: list[dict[str, Any]], on: str) -> None:
    """Print mean and standard deviation of Dice for each set and k."""
    sets, counts = (sorted({row[key] for row in lines}) for key in ("set", "k"))
    heads = [f"{name[:6]} {k}" for name in sets for k in counts]
    print(f"\n{on}\n| candidate | s | {' | '.join(heads)} |")
    for candidate in dict.fromkeys(row["candidate"] for row in lines):
        own = [row for row in lines if row["candidate"] == candidate and row["scored_on"] == on]
        cells = []
        for name in sets:
            for k in counts:
                values = [float(r["dice"]) for r in own if r["set"] == name and r["k"] == k]
                cells.append(f"{np.mean(values):.3f} ± {np.std(values):.3f}")
        slowest = max(float(row["seconds"]) for row in own if row["seconds"] != "")
        print(f"| {candidate} | {slowest:.2f} | {' | '.join(cells)} |")


def main() -> None:
    """Measure, write the CSV, print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--k", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=4)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.sets:
            images = Images(options.data / name, Path(scratch))
            for repeat in range(options.repeats):
                for k in options.k:
                    lines += rows(images, options.data / name, k, repeat)
                    print(name, repeat, k, f"{time.process_time():.0f} s", flush=True)
            with options.out.open("w", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(lines)
    for on in ("own", "validation", "test"):
        table(lines, on)


if __name__ == "__main__":
    main()
