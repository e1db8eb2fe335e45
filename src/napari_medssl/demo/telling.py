"""From what the demo gave to its report."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING

from napari_medssl import __version__
from napari_medssl.cli.display import duration
from napari_medssl.demo.steps import (
    ALL_FOREGROUND,
    OTSU,
    PRETRAINED,
    UNTRAINED,
    ZERO_SHOT,
    Played,
    Step,
)
from napari_medssl.evaluate.report import pictures
from napari_medssl.evaluate.report.page import Report
from napari_medssl.events import Started

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_medssl.evaluate import ClassScore, Evaluation

__all__ = ["tell"]

_TUNED = (
    "The demo's steps, patch sizes and rates were settled by looking at these very scores, so they "
    "show how the loop works, not how well it does elsewhere."
)
_ROWS = 3
"""Images shown of each case."""
_SHORT = {OTSU: "Otsu", ZERO_SHOT: "MedSASS,\nno annotation"}


def tell(cases: Sequence[Played], steps: Sequence[Step], path: Path, *, seconds: float) -> str:
    """Write the report.

    Parameters
    ----------
    cases : sequence of Played
        What the demo gave.
    steps : sequence of Step
        The command lines that gave it.
    path : Path
        The HTML file.
    seconds : float
        How long the demo took.

    Returns
    -------
    str
        The outcome in a few lines, for the terminal.
    """
    report = Report(
        "napari-medssl, the whole loop",
        lead="Pretrained on images alone, fine-tuned with a few annotated ones, scored on others, "
        f"and asked what it finds alike. {duration(seconds)} on {_device(cases[0])}.",
    )
    _headline(report, [played for played in cases if played.evaluations])
    outcome = [_case(report, played) for played in cases]
    report.section("The command lines")
    report.paragraph(
        "Everything above was made by these, one after the other; they run as they stand, in any "
        "shell. The same buttons are in napari under Plugins > MedSSL."
    )
    report.commands([f"{step.command}   # {duration(step.seconds)}" for step in steps])
    report.note(
        f"napari-medssl {__version__}, Python {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {time.strftime('%Y-%m-%d %H:%M')}."
    )
    report.write(path)
    return "\n".join(outcome)


def _headline(report: Report, cases: Sequence[Played]) -> None:
    """Put the scores of all cases into one table, a row for each."""
    ends = {
        "Otsu's threshold": OTSU,
        "MedSASS, no annotation": ZERO_SHOT,
        "annotations, ImageNet alone": f", {UNTRAINED}",
        "annotations, pretrained": f", {PRETRAINED}",
    }
    rows = []
    for played in cases:
        row = [played.case.title]
        for end in ends.values():
            found = [e for way, e in played.evaluations.items() if way.endswith(end)]
            row.append(f"{found[0].mean_dice:.3f}" if found else "")
        rows.append(row)
    if rows:
        report.table(["Dice of images that taught nothing", *ends], rows)


def _case(report: Report, played: Played) -> str:
    case = played.case
    report.section(case.title)
    report.paragraph(case.intro)
    outcome = f"{case.title}: nothing to score."
    if played.evaluations:
        outcome = _scores(report, played)
    _segmentations(report, played)
    if played.heats:
        report.subsection("What the pretrained network finds alike")
        shown = [
            (pictures.displayed(case.project.planes(click.image)), heat, click.at, click.what)
            for click, heat in played.heats
        ]
        report.figure(
            pictures.similarity(shown),
            caption="Cosine similarity of every pixel's features to those of the clicked one. "
            "Colours run from the lowest values of the map to 1.",
            alt="Similarity maps beside their images, the clicked pixel marked.",
        )
    report.subsection("Training")
    report.figure(
        pictures.loss_curves({k: v for k, v in played.losses.items() if v}),
        caption="Loss of every step (faint) and its moving mean.",
        alt="Loss curves of the trainings.",
    )
    _settings(report, played)
    return outcome


def _scores(report: Report, played: Played) -> str:
    case, scores = played.case, played.evaluations
    ways = list(scores)
    best = max(range(len(ways)), key=lambda index: scores[ways[index]].mean_dice)
    rows = [
        [way, f"{e.mean_dice:.3f}", f"{e.mean_iou:.3f}", f"{_pooled(e):.3f}"]
        for way, e in scores.items()
    ]
    head = ["segmented by", "Dice", "IoU", "Dice, pixels pooled"]
    report.table(head, rows, best=best)
    report.note(
        f"Mean over {len(case.names)} images that taught nothing; foreground only. "
        f"{case.truth_note} Both fine-tunings had the same annotations, steps and settings. "
        "One run of each: small differences mean nothing. " + ("" if case.key == "own" else _TUNED)
    )
    dots = {
        way: (e.mean_dice, [_image_dice(row.classes) for row in e.images])
        for way, e in scores.items()
    }
    report.figure(
        pictures.bars(dots, label="Dice; every dot is an image", best=best),
        caption="The same scores, image by image.",
        alt="; ".join(f"{row[0]}: Dice {row[1]}" for row in rows),
    )
    values = {way: f"{e.mean_dice:.3f}" for way, e in scores.items() if way != ALL_FOREGROUND}
    return f"{case.title}: Dice " + ", ".join(f"{v} {way}" for way, v in values.items())


def _segmentations(report: Report, played: Played) -> None:
    case = played.case
    report.subsection("Segmentations")
    ways = [way for way in played.segmentations if way != ALL_FOREGROUND]
    rows = []
    for name in case.names[:_ROWS]:
        picture = pictures.displayed(case.scored.planes(name))
        truth = case.truth.get(name)
        row = [picture]
        if truth is not None:
            row.append(pictures.overlay(picture, truth, truth))
        for way in ways:
            labels = played.segmentations[way][name]
            row.append(pictures.overlay(picture, labels, labels if truth is None else truth))
        rows.append((name, row))
    columns = ["image", *(["truth"] if case.truth else [])]
    columns += [_SHORT.get(way, way.replace(", ", ",\n")) for way in ways]
    report.figure(
        pictures.comparison(rows, columns, errors=bool(case.truth)),
        caption="Foreground in light grey where it is right, orange and striped where there is too much, blue "
        "and dotted where it was missed."
        if case.truth
        else "Foreground in light grey.",
        alt="Images beside their segmentations, with errors in colour.",
    )


def _settings(report: Report, played: Played) -> None:
    jobs = {
        title: {key: value for key, value in run.job.items() if key != "project"}
        for title, run in zip(played.losses, played.runs, strict=True)
    }
    report.subsection("Settings")
    report.settings(jobs)


def _pooled(evaluation: Evaluation) -> float:
    return sum(score.dice for score in evaluation.pooled.values()) / len(evaluation.pooled)


def _image_dice(classes: Mapping[str, ClassScore]) -> float:
    return sum(score.dice for score in classes.values()) / len(classes)


def _device(played: Played) -> str:
    started = [event for event in played.runs[0].events() if isinstance(event, Started)]
    return started[0].device.label if started else "an unknown device"
