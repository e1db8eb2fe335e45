"""What Explore costs: a heat map, the ranking of a folder, the disk of the store and what its size loses.

    python benchmarks/explore.py heat [--side 1024] [--repeats 50] [--threads 2]
    python benchmarks/explore.py rank [--images 500] [--dimensions 64]
    python benchmarks/explore.py store PROJECT TRUTH --run RUN [--test 60] [--train 8]

`heat` and `rank` use features of random numbers, whose values do not matter. `store` fits a linear probe on a few
annotated images with the stored features, upsampled, and with the full ones (stride 1, 64 dimensions), and scores both
on other images; patients, the part of a name given by --group, are never on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # before numpy is loaded, which reads it once
    _threads = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv else "2"
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[_name] = _threads

import cv2
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from napari_medssl import Project, embed
from napari_medssl.engine.embedding import decoded_bytes, embedded, open_source
from napari_medssl.engine.predicting import model_of
from napari_medssl.evaluate.metrics import dice
from napari_medssl.explore.ranking import ranked, search
from napari_medssl.explore.similarity import PixelEmbedding, Prototypes
from napari_medssl.explore.store import EmbeddingStore, Entry, Index, file_of
from napari_medssl.project import load_truth


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    kinds = parser.add_subparsers(dest="kind", required=True)
    heat = kinds.add_parser("heat")
    heat.add_argument("--side", type=int, default=1024)
    heat.add_argument("--repeats", type=int, default=50)
    rank = kinds.add_parser("rank")
    rank.add_argument("--images", type=int, default=500)
    rank.add_argument("--side", type=int, default=256)
    rank.add_argument("--dimensions", type=int, default=64)
    rank.add_argument("--repeats", type=int, default=5)
    store = kinds.add_parser("store")
    store.add_argument("project", type=Path)
    store.add_argument("truth", type=Path)
    store.add_argument("--run", required=True)
    store.add_argument("--train", type=int, default=8)
    store.add_argument("--test", type=int, default=60)
    store.add_argument("--draws", type=int, default=3)
    store.add_argument("--group", default=r"SC-[A-Z]+-[A-Z0-9]*-?\d+", help="pattern in a name")
    store.add_argument(
        "--grids", nargs="*", default=[], help="also STRIDExDIMENSIONS, such as 4x16"
    )
    for part in (heat, rank, store):
        part.add_argument("--threads", type=int, default=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    result = {"heat": _heat, "rank": _rank, "store": _store}[options.kind](options)
    result["threads"] = options.threads
    for name, value in result.items():
        print(f"{name:34} {value:.3f}" if isinstance(value, float) else f"{name:34} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


def _heat(options: argparse.Namespace) -> dict[str, object]:
    rng = np.random.default_rng(0)
    side = options.side
    shape = (side, side)
    result: dict[str, object] = {}
    coarse = rng.normal(size=(side // 4, side // 4, 64)).astype(np.float16)
    stored = PixelEmbedding(coarse, stride=4, shape=shape)
    times = _times(lambda: stored.similarity([_pixel(rng, side)]), options.repeats)
    result |= {"stored_ms_median": _median(times), "stored_ms_p95": _p95(times)}
    times = _times(lambda: PixelEmbedding(coarse, stride=4, shape=shape).similarity([(5, 5)]), 10)
    result["stored_with_opening_ms_median"] = _median(times)
    full = PixelEmbedding(
        rng.standard_normal((side, side, 64), dtype=np.float32), stride=1, shape=shape
    )
    values = full._unit
    asked, passes = [], []
    for _ in range(options.repeats):  # in turn, so that a busy moment falls on both
        asked += _times(lambda: full.similarity([_pixel(rng, side)]), 1)
        passes += _times(values.sum, 1)
    result |= {
        "full_ms_median": _median(asked),
        "full_ms_p95": _p95(asked),
        "one_pass_ms_median": _median(passes),
        "full_over_one_pass": _median(asked) / _median(passes),
    }
    return result


def _rank(options: argparse.Namespace) -> dict[str, object]:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "store"
        folder.mkdir()
        shape = (options.side, options.side)
        cells = options.side // 4
        images = {
            f"{n:04}.png": Entry(shape=shape, sha256="", size=0, mtime=0)
            for n in range(options.images)
        }
        for name in images:
            features = rng.standard_normal((cells, cells, options.dimensions), dtype=np.float32)
            np.save(file_of(folder, name), features.astype(np.float16))
        index = Index(
            run="r", source="mix", stride=4, dimensions=options.dimensions,
            weights_sha256="", weights_size=0, weights_mtime=0, images=images,
        )  # fmt: skip
        first, whole = [], []
        for number in range(options.repeats):
            began = time.perf_counter()
            store = EmbeddingStore(folder, index, images)
            asked = store.pixels(f"{number:04}.png").at(40, 40)[None]
            matches = search(store, Prototypes(asked, asked[:0]))
            found = [next(matches) for _ in range(12)]
            ranked(found)
            first.append(1e3 * (time.perf_counter() - began))
            found += matches
            best = ranked(found)
            whole.append(1e3 * (time.perf_counter() - began))
            assert best[0].image == f"{number:04}.png"
        return {
            "images": options.images,
            "store_MB": store.nbytes / 1e6,
            "first_12_ranked_ms_median": _median(first),
            "first_12_ranked_ms_max": max(first),
            "all_ranked_ms_median": _median(whole),
            "all_ranked_ms_max": max(whole),
        }


def _store(options: argparse.Namespace) -> dict[str, object]:
    project = Project.open(options.project)
    truth = load_truth(project, options.truth)
    rng = np.random.default_rng(0)
    groups = {name: _group(options.group, name) for name in project.images}
    ids = sorted(set(groups.values()))
    tested = set(rng.permutation(ids)[: max(1, len(ids) // 3)].tolist())
    held_out = [name for name in project.images if groups[name] in tested]
    test = rng.permutation(held_out)[: options.test].tolist()
    pool = [n for n in project.images if groups[n] not in tested]
    draws = [
        np.random.default_rng(d).choice(pool, options.train, replace=False).tolist()
        for d in range(options.draws)
    ]
    result: dict[str, object] = {"decoded_MB": decoded_bytes(project) / 1e6}
    needed = [*test, *dict.fromkeys(name for draw in draws for name in draw)]
    for name in ("mix", "mix.json"):  # defaults are chosen anew, not kept from another measurement
        place = project.path / "embeddings" / f"{project.run(options.run).name}.{name}"
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    for grid in (None, *options.grids):
        stride, dimensions = (None, None) if grid is None else map(int, grid.split("x"))
        store = embed(
            project,
            run=options.run,
            stride=stride,
            dimensions=dimensions,
            images=None if grid is None else needed,
            device="cpu",
        )
        key = f"{store.stride}x{store.dimensions}"
        if grid is None:
            result |= {"defaults": key, "store_MB": store.nbytes / 1e6}
        result[f"dice_{key}"] = _probe(partial(_enlarged, store), truth, draws, test)
    model = model_of(project.run(options.run))
    device = torch.device("cpu")
    source = open_source("mix", project.run(options.run), project, model, device, tell=print)
    result["dice_full"] = _probe(
        lambda name: embedded(source, project.planes(name), stride=1, device=device),
        truth,
        draws,
        test,
    )
    return result


def _probe(
    features: Callable[[str], np.ndarray],
    truth: Mapping[str, np.ndarray],
    draws: list[list[str]],
    test: list[str],
) -> float:
    """Fit a linear probe on the images of each draw; give the mean foreground Dice on the test images."""
    probes = []
    for number, draw in enumerate(draws):
        rng = np.random.default_rng(number)
        pixels, targets = [], []
        for name in draw:
            rows = rng.choice(truth[name].size, 5000, replace=False)
            found = features(name)
            pixels.append(found.reshape(-1, found.shape[-1])[rows])
            targets.append((truth[name] >= 2).ravel()[rows])
        x, y = np.concatenate(pixels), np.concatenate(targets)
        mean, scale = x.mean(0), x.std(0) + 1e-6
        fit = LogisticRegression(class_weight="balanced", max_iter=300).fit((x - mean) / scale, y)
        weight = fit.coef_[0] / scale
        heights = np.sort(x @ weight)[:: max(1, len(x) // 500)]
        # rare classes: the cut that is best on the annotated images, not the one between equal classes
        best = max(heights, key=lambda cut: dice(_labels(x @ weight > cut), _labels(y)))
        probes.append((weight, -best))
    scores = []
    for name in test:
        found = features(name)
        for weight, bias in probes:
            scores.append(dice(_labels(found @ weight + bias > 0), truth[name]))
    return statistics.fmean(scores)


def _labels(foreground: np.ndarray) -> np.ndarray:
    return np.where(foreground, 2, 1).astype(np.uint16)


def _enlarged(store: EmbeddingStore, name: str) -> np.ndarray:
    """Interpolate stored features to every pixel."""
    cells = store.read(name).astype(np.float32)
    size = (cells.shape[1] * store.stride, cells.shape[0] * store.stride)
    fine = np.stack(
        [cv2.resize(np.ascontiguousarray(part), size) for part in np.moveaxis(cells, -1, 0)], -1
    )
    y, x = store.shape(name)
    return fine[:y, :x]


def _group(pattern: str, name: str) -> str:
    found = re.search(pattern, name)
    return found[0] if found else name


def _times(work: Callable[[], object], repeats: int) -> list[float]:
    """Milliseconds of each repeat."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - began))
    return times


def _pixel(rng: np.random.Generator, side: int) -> tuple[int, int]:
    y, x = rng.integers(0, side, 2).tolist()
    return y, x


def _median(times: list[float]) -> float:
    return float(statistics.median(times))


def _p95(times: list[float]) -> float:
    return float(np.percentile(times, 95))


if __name__ == "__main__":
    main()
