"""What the product hands back from few annotations, against a random forest: one CSV row per candidate.

For each set, number of annotated images (patients) and repeat, a project is made of the images that may be annotated,
the drawn ones are annotated in full, and a fine-tuning is started with nothing set. Scored at native resolution: what
is handed back ("default"), the network alone, the random forest, their mean, the mean mask of the annotated images,
Otsu's threshold, everything foreground; with the leave-one-out estimate and the time that each part took.

    python benchmarks/learner.py --data ../shared/data --out docs/results/learner.csv --sets dsb2018_fluo --units 1 4

Finished rows are kept: started again, it goes on. Choose with ``--score-on validation``; score the test images once.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medssl.engine.job import execute
from napari_medssl.engine.predicting import model_of
from napari_medssl.evaluate.estimate import Estimate
from napari_medssl.learn.predict import mean_of, network_maps
from napari_medssl.learn.thresholds import bright_side, otsu_threshold
from napari_medssl.project import Project, load_truth, table_rule
from napari_medssl.project.working_scale import ScaledImages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

COLUMNS = [
    "set",
    "scored_on",
    "k",
    "repeat",
    "start",
    "candidate",
    "dice",
    "estimate",
    "answer",
    "seconds",
    "estimate_seconds",
]
MASKS = {"dsb2018_fluo": "instances", "usiigaci_phase": "instances"}
GROUPS = {"sunnybrook_lv": "patient", "isbi2012_em": "block"}
"""Column of LIST.tsv that says which images belong together."""
MOST_SCORED = 24
"""Groups that score at most while settings are chosen."""


@dataclass(frozen=True)
class Split:
    """Groups of a set: image names by group, and which groups are for what."""

    members: Mapping[str, list[str]]
    pool: list[str]
    validation: list[str]
    test: list[str]


def split_of(folder: Path, names: list[str]) -> Split:
    """Divide a set by group: 30% test, 20% validation; the blocks of sections as its page says."""
    lines = (folder / "LIST.tsv").read_text().splitlines()
    head, *rows = (line.split("\t") for line in lines)
    table = {Path(row[0]).stem: dict(zip(head, row, strict=True)) for row in rows}
    of = {name: table.get(Path(name).stem, {}) for name in names}
    if (
        "block" in head
    ):  # sections of one volume are annotated one by one, and scored far from there
        a, b, c = ([name for name in names if of[name]["block"] == block] for block in "abc")
        return Split({name: [name] for name in names}, a, b, c)
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(of[name].get(GROUPS.get(folder.name, ""), name), []).append(name)
    groups = sorted(members)
    order = [groups[i] for i in np.random.default_rng((0, 0)).permutation(len(groups))]
    tests, validations = max(1, round(0.3 * len(order))), max(1, round(0.2 * len(order)))
    return Split(
        members,
        order[tests + validations :],
        order[tests : tests + validations],
        order[:tests],
    )


def drawn(pool: list[str], k: int, repeat: int) -> list[str]:
    """Return the annotated groups of a repeat; those of a smaller k are among them."""
    return [pool[i] for i in np.random.default_rng((0, 1, repeat)).permutation(len(pool))[:k]]


def dice_of(masks: Mapping[str, NDArray[np.bool_]], truth: Mapping[str, Any], groups: Any) -> float:
    """Return the mean over groups of the Dice of all pixels of a group."""
    scores = []
    for names in groups:
        both = sum(int((masks[n] & (truth[n] > 1)).sum()) for n in names)
        total = sum(int(masks[n].sum()) + int((truth[n] > 1).sum()) for n in names)
        scores.append(2 * both / total if total else 1.0)
    return float(np.mean(scores))


def events_of(job: dict[str, Any]) -> Iterator[tuple[float, Any]]:
    for event in execute(job):
        yield time.monotonic(), event


def one(
    options: argparse.Namespace, name: str, k: int, repeat: int, start: str
) -> list[dict[str, Any]]:
    """Train once, and score every candidate."""
    folder = options.data / name
    scratch = Path(tempfile.mkdtemp(prefix="learner-"))
    try:
        whole = Project.create(folder / "images", project=scratch / "whole")
        truth = load_truth(whole, folder / "masks", masks_as=MASKS.get(name, "binary"))
        split = split_of(folder, list(whole.images))
        chosen = split.test if options.score_on == "test" else split.validation
        every = max(1, len(chosen) // MOST_SCORED) if options.score_on == "validation" else 1
        groups = [split.members[group] for group in chosen[::every]]
        (scratch / "images").mkdir()
        for group in split.pool:
            for image in split.members[group]:
                (scratch / "images" / image).symlink_to((folder / "images" / image).resolve())
        project = Project.create(scratch / "images", project=scratch / "project")
        taught = [image for group in drawn(split.pool, k, repeat) for image in split.members[group]]
        for image in taught:
            project.annotations.write(image, truth[image], done=True)
        if name in GROUPS:
            project.update(groups=table_rule(folder / "LIST.tsv", column=GROUPS[name]))
        common = {"project": str(project.path), "device": options.device}
        if options.threads:
            common["threads"] = options.threads
        began = time.monotonic()
        job: dict[str, Any] = {**common, "kind": "finetune", "seed": repeat}
        if start not in ("default", "none"):
            method = {**common, "kind": "pretrain", "method": start, "seed": repeat}
            for _, event in events_of(method | _settings(options.set_pretraining)):
                if event.event == "done":
                    job["from_run"] = event.run
        if start == "none":
            job["network"] = {"encoder_weights": "none"}
        job |= {"estimate": options.estimate} | _settings(options.set)
        pretrained = time.monotonic()
        trained, estimate_began = pretrained, 0.0
        for at, event in events_of(job):
            if event.event == "note":
                print(f"    {event.text}", flush=True)
                if event.text.startswith("Estimating"):
                    estimate_began = at
            trained = at
        run = project.run("latest")
        estimate_seconds = trained - estimate_began if estimate_began else 0.0
        scores, answer = _scored(whole, run, truth, groups, taught, options)
        known = Estimate.read(run)
        rows = []
        for candidate, dice in scores.items():
            estimated = ""
            if known.scores and candidate in ("network", "forest", "mean", "default"):
                estimated = f"{known.mean(answer if candidate == 'default' else candidate):.4f}"
            rows.append(
                {
                    "set": name,
                    "scored_on": options.score_on,
                    "k": k,
                    "repeat": repeat,
                    "start": start,
                    "candidate": candidate,
                    "dice": f"{dice:.4f}",
                    "estimate": estimated,
                    "answer": answer,
                    "seconds": f"{trained - pretrained - estimate_seconds:.0f}",
                    "estimate_seconds": f"{estimate_seconds:.0f}",
                }
            )
        print(
            f"  {name} k={k} r={repeat} {start}: answer {answer}, "
            + ", ".join(f"{c} {v:.3f}" for c, v in scores.items())
            + f" ({pretrained - began:.0f} + {trained - pretrained:.0f} s)",
            flush=True,
        )
        return rows
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _settings(pairs: list[str]) -> dict[str, Any]:
    """Turn ``training.steps=100`` into a part of a job."""
    job: dict[str, Any] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        at = job
        *outer, last = key.split(".")
        for part in outer:
            at = at.setdefault(part, {})
        at[last] = _value(value)
    return job


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _scored(
    project: Project,
    run: Any,
    truth: Mapping[str, Any],
    groups: list[list[str]],
    taught: list[str],
    options: argparse.Namespace,
) -> tuple[dict[str, float], str]:
    model = model_of(run)
    scaled = ScaledImages(project, model.spec.scale)
    device = torch.device("cpu" if options.device == "auto" else options.device)
    names = [name for group in groups for name in group]
    masks: dict[str, dict[str, NDArray[np.bool_]]] = {}
    shape = truth[taught[0]].shape
    mean_mask = None
    if all(truth[name].shape == shape for name in [*taught, *names]):
        mean_mask = np.mean([truth[name] > 1 for name in taught], axis=0) > 0.5
    for name in names:
        planes, grey = project.planes(name), project.grey(name)
        network = network_maps(model, planes, factor=scaled.factor(name), device=device).chances
        forest = model.pixel_forest.probabilities(planes, threads=torch.get_num_threads())
        found = {
            "network": network,
            "forest": forest,
            "mean": mean_of(network, forest),
        }
        for candidate, chances in found.items():
            masks.setdefault(candidate, {})[name] = chances.argmax(0) > 0
        masks.setdefault("Otsu", {})[name] = bright_side(grey, otsu_threshold(grey)) == 1
        masks.setdefault("all foreground", {})[name] = np.ones(grey.shape, bool)
        if mean_mask is not None:
            masks.setdefault("mean mask", {})[name] = mean_mask
    scores = {candidate: dice_of(found, truth, groups) for candidate, found in masks.items()}
    return {"default": scores[model.spec.answer]} | scores, model.spec.answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["dsb2018_fluo"])
    parser.add_argument("--units", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--repeats", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--starts", nargs="+", default=["default"], help="default, none, or a method"
    )
    parser.add_argument("--score-on", choices=("validation", "test"), default="validation")
    parser.add_argument("--no-estimate", dest="estimate", action="store_false")
    parser.add_argument(
        "--set", nargs="*", default=[], help="of the fine-tuning job: training.steps=100"
    )
    parser.add_argument("--set-pretraining", nargs="*", default=[])
    parser.add_argument("--label", default="", help="put behind the start's name in the table")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    done = set()
    if options.out.is_file():
        with options.out.open() as file:
            for row in csv.DictReader(file):
                done.add(
                    (row["set"], row["scored_on"], int(row["k"]), int(row["repeat"]), row["start"])
                )
    for repeat in options.repeats:
        for k in options.units:
            for name in options.sets:
                for start in options.starts:
                    label = start + options.label
                    if (name, options.score_on, k, repeat, label) in done:
                        continue
                    rows = one(options, name, k, repeat, start)
                    fresh = not options.out.is_file()
                    with options.out.open("a", newline="") as file:
                        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                        if fresh:
                            writer.writeheader()
                        writer.writerows(row | {"start": label} for row in rows)


if __name__ == "__main__":
    main()
