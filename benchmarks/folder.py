"""How long a large image folder takes to list, to open and to check, and how much memory.

Makes a folder of small PNG files (different pictures, a few of them damaged, copied or constant), then measures in a
process of its own: making a project quickly, opening it quickly (nothing known, then all known), the whole check, and
what the process grew by.

    python benchmarks/folder.py [--files 20000] [--folder DIR]

Prints a table and, with --json, writes the figures.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil

from napari_medssl.project import Project

DAMAGED, CONSTANT, COPIED = 40, 30, 20


def make_folder(folder: Path, count: int, *, seed: int = 0) -> None:
    """Write `count` grey PNG files of 64 x 64 pixels into folders of a thousand, the last ones with faults."""
    rng = np.random.default_rng(seed)
    content = b""
    for number in range(count):
        path = folder / f"plate{number // 1000:02d}" / f"field_{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        left = count - number
        if left > COPIED:
            picture = rng.integers(0, 256, (64, 64), dtype=np.uint8)
            picture[32:] = number % 256 if left <= COPIED + CONSTANT else 7
            if left <= COPIED + CONSTANT:
                picture[:] = number % 256
            content = cv2.imencode(".png", picture)[1].tobytes()
        damaged = COPIED + CONSTANT < left <= COPIED + CONSTANT + DAMAGED
        path.write_bytes(content[: len(content) // 2] if damaged else content)


def measure(folder: Path, answers: multiprocessing.SimpleQueue[dict[str, float]]) -> None:
    """Take every step once, in a fresh process, and put the figures into `answers`."""
    process = psutil.Process()
    place = folder.parent / "project"
    figures: dict[str, float] = {"rss_before_mb": _megabytes(process)}
    began = time.perf_counter()
    Project.create(folder, project=place, quick=True)
    figures["create_seconds"] = time.perf_counter() - began
    began = time.perf_counter()
    project = Project.open(place, quick=True)
    figures["open_unknown_seconds"] = time.perf_counter() - began
    began = time.perf_counter()
    project.report.text()
    figures["report_seconds"] = time.perf_counter() - began
    figures["rss_open_mb"] = _megabytes(process)
    began = last = time.perf_counter()
    longest = 0.0
    peak = figures["rss_open_mb"]
    for _ in project.check():
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
        peak = max(peak, _megabytes(process))
    figures["check_seconds"] = time.perf_counter() - began
    figures["longest_silence_seconds"] = longest
    figures["rss_peak_mb"] = peak
    began = time.perf_counter()
    project = Project.open(place, quick=True)
    figures["open_known_seconds"] = time.perf_counter() - began
    began = time.perf_counter()
    project = Project.open(place)
    figures["open_whole_seconds"] = time.perf_counter() - began
    report = project.report
    figures |= {
        "files": float(len(project.images) + len(report.skipped)),
        "images": float(len(project.images)),
        "skipped": float(len(report.skipped)),
        "unchecked": float(project.unchecked),
    }
    print("\n".join(note for note in report.notes))
    answers.put(figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument(
        "--folder", type=Path, help="where to make the files; kept (default: temporary)"
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    place = options.folder or Path(tempfile.mkdtemp(prefix="medssl-folder-"))
    try:
        images = place / "images"
        if not images.is_dir():
            make_folder(images, options.files)
        shutil.rmtree(place / "project", ignore_errors=True)
        context = multiprocessing.get_context("spawn")
        answers: multiprocessing.SimpleQueue[dict[str, float]] = context.SimpleQueue()
        child = context.Process(target=measure, args=(images, answers))
        child.start()
        child.join()
        if child.exitcode:
            raise SystemExit("the measurement failed; its reason stands above")
        figures = answers.get()
    finally:
        if options.folder is None:
            shutil.rmtree(place)
    for name, value in figures.items():
        print(f"{name:26s} {value:10.2f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def _megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


if __name__ == "__main__":
    main()
