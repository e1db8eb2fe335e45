"""How long a stroke takes to become a prediction: a new label, the fit on all annotated images, the open image anew.

    python benchmarks/live_probe.py [--side 512] [--images 1 5 20] [--repeats 30] [--threads 2] [--json FILE]

Every repetition adds a stroke to the open image; the other annotated images are known already. Features are random
numbers around a pattern: their values matter to the fit alone, which is reported. "work" is the median of the process's
own time, which tells on a busy machine too; what it learns from and how well: `live_quality.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

if __name__ == "__main__":  # before numpy is loaded, which reads it once
    _threads = sys.argv[sys.argv.index("--threads") + 1] if "--threads" in sys.argv else "2"
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[_name] = _threads

import cv2
import numpy as np

from napari_medssl.explore.live_probe import Annotated, LiveProbe
from napari_medssl.synthetic import Field, nuclei

DIMENSIONS = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--images", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument(
        "--full", action="store_true", help="whole images are annotated, not strokes"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    fields = [
        nuclei(np.random.default_rng(n), shape=(options.side, options.side))
        for n in range(min(4, max(options.images)))
    ]
    result = {f"{count} images": _measure(fields, count, options) for count in options.images}
    print(
        f"{options.side} x {options.side}, stride {options.stride}, {options.threads} threads; ms"
    )
    for name, row in result.items():
        print(name, "  ".join(f"{key} {value:.1f}" for key, value in row.items()))
    if options.json:
        kept = {key: value for key, value in vars(options).items() if key != "json"}
        options.json.write_text(json.dumps({"options": kept, **result}, indent=1) + "\n")


def _measure(fields: list[Field], count: int, options: argparse.Namespace) -> dict[str, float]:
    rng = np.random.default_rng(0)
    truth = [np.where(field.labels > 0, 2, 1).astype(np.uint16) for field in fields]
    planes = [(field.image / 4095).astype(np.float32)[None] for field in fields]
    grids = [_features(values, options.stride, rng) for values in truth]
    strokes = [
        values.copy() if options.full else _stroke(np.zeros_like(values), values, rng, times=12)
        for values in (truth[n % len(truth)] for n in range(count))
    ]
    probe = LiveProbe(
        lambda name: (grids[int(name) % len(grids)], options.stride),
        lambda name: planes[int(name) % len(planes)],
    )
    known = [Annotated(str(n), 0, lambda n=n: strokes[n]) for n in range(1, count)]
    times, work, dice = [], [], []
    for repeat in range(options.repeats + 1):
        _stroke(strokes[0], truth[0], rng, times=1)
        began, before = time.perf_counter(), time.process_time()
        found = probe.predict([Annotated("0", repeat, lambda: strokes[0]), *known], "0")
        times.append(1e3 * (time.perf_counter() - began))
        work.append(1e3 * (time.process_time() - before))
        both = np.count_nonzero((found.labels == 2) & (truth[0] == 2))
        dice.append(
            2 * both / (np.count_nonzero(found.labels == 2) + np.count_nonzero(truth[0] == 2))
        )
    first, later = times[0], times[1:]
    return {
        "first": first,
        "median": statistics.median(later),
        "p95": float(np.percentile(later, 95)),
        "max": max(later),
        "work": statistics.median(work[1:]),
        "pixels": found.pixels,
        "dice_last": dice[-1],
    }


def _features(truth: np.ndarray, stride: int, rng: np.random.Generator) -> np.ndarray:
    """Features whose spread falls from component to component, the first of which knows the truth."""
    cells = -(-truth.shape[0] // stride)
    coarse = cv2.resize(
        (truth == 2).astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA
    )
    spread = np.geomspace(1, 0.02, DIMENSIONS)
    features = rng.normal(size=(cells, cells, DIMENSIONS)) * spread
    features[..., 0] = 2 * coarse + 0.5 * features[..., 0]
    return features.astype(np.float16)


def _stroke(
    labels: np.ndarray, truth: np.ndarray, rng: np.random.Generator, *, times: int
) -> np.ndarray:
    """Paint strokes of 9 pixels' width with what is true under them, in place."""
    for _ in range(times):
        drawn = np.zeros(labels.shape, np.uint8)
        ends = rng.integers(0, labels.shape[0], (2, 2))
        ends[1] = ends[0] + (ends[1] - ends[0]) // 4
        cv2.line(drawn, ends[0].tolist(), ends[1].tolist(), 1, thickness=9)
        labels[drawn > 0] = truth[drawn > 0]
    return labels


if __name__ == "__main__":
    main()
