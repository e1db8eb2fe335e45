"""The report on a run: how good its predictions are, where they fail, and where it comes from."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np

from napari_medssl import __version__
from napari_medssl.evaluate.objects import MEASURES
from napari_medssl.evaluate.report import pictures
from napari_medssl.evaluate.report.features import tell_features
from napari_medssl.evaluate.report.page import Report
from napari_medssl.evaluate.report.parts import PART, densest
from napari_medssl.evaluate.report.pictures import short
from napari_medssl.evaluate.taught import lineage, taught
from napari_medssl.project.weights_header import descent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from napari_medssl.evaluate.class_scores import Labels
    from napari_medssl.evaluate.intervals import Interval
    from napari_medssl.evaluate.metrics import Evaluation, ImageScore
    from napari_medssl.project import Project, Run

__all__ = ["sentences", "write_report"]

WORST, BEST = 5, 2
"""Images that are shown."""
LISTED = 40
"""Images in the table; of more, the worst."""
RUNS = 3
"""Of the run's ancestry whose settings and curves are shown."""
CLOSE = 0.02
"""Precision and recall that differ by less are about the same."""


def write_report(
    evaluation: Evaluation,
    *,
    project: Project,
    run: Run,
    truth: Mapping[str, Labels],
    predicted: Callable[[str], Labels],
    path: Path,
) -> None:
    """Write one self-contained HTML file.

    Parameters
    ----------
    evaluation : Evaluation
        The scores.
    project : Project
        Whose images were scored.
    run : Run
        That predicted them; what it was assessed with (`read_assessments`) is told, too.
    truth : mapping
        Image -> labels (Y, X).
    predicted : callable
        Gives the predicted labels of an image.
    path : path
        The file.

    Raises
    ------
    MedsslError
        If the file cannot be written, or a prediction or image cannot be read.
    """
    labels = list(evaluation.mean)
    report = Report(f"How good is {run.name}?", lead=_lead(evaluation, project, run))
    report.points(list(sentences(evaluation)))
    warnings = list(_warnings(evaluation))
    if warnings:
        report.subsection("To keep in mind")
        report.points(warnings, warnings=True)
    report.section("Scores")
    _scores(report, evaluation)
    report.section("Image by image")
    _images(report, evaluation)
    report.section("Worst and best")
    order = _ordered(evaluation)
    shown = order if len(order) <= WORST + BEST else [*order[:WORST], *order[-BEST:]]
    value = None if len(labels) > 1 else _value(project, labels[0])
    for image in shown:
        known, found = truth[image.image], predicted(image.image)
        part = densest((known != found) & (known > 0))
        picture = pictures.displayed(project.planes(image.image)[:, *part])
        known, found = known[part], found[part]
        title = f"{short(image.image, 40)}\nDice {_dice(image):.3f}"
        row = [
            pictures.outlined(picture, np.zeros_like(known)),
            pictures.outlined(picture, known),
            pictures.overlay(picture, found, known, value),
        ]
        last = image is shown[-1]  # a figure each, so that no page ends within one
        report.figure(
            pictures.comparison(
                [(title, row)], ["image", "truth", "errors"], errors=last, cell=2.9
            ),
            caption="From the worst to the best. Right is light grey and plain, too much is orange and striped, missed "
            "is blue and dotted; where truth is not annotated the image stays as it is. Of larger images the "
            f"{PART} x {PART} pixels with the most errors."
            if last
            else "",
            alt=f"{image.image}, Dice {_dice(image):.3f}: the image, its true outlines, its errors.",
        )
    tell_features(report, run, project)
    _origin(report, run, project)
    report.write(path)


def sentences(evaluation: Evaluation) -> Iterator[str]:
    """Say what scores come to."""
    count = len(evaluation.images)
    for label, mean in evaluation.mean.items():
        interval = evaluation.intervals.get(label, {}).get("dice")
        units = "groups" if evaluation.grouped else "images"
        sure = (
            f" (95% interval {_range(interval)}, over {interval.units} {units})" if interval else ""
        )
        yield (
            f"{label}: Dice {mean['dice']:.3f}{sure} as the mean of {count} image{'s' if count > 1 else ''}; "
            f"{evaluation.pooled[label].dice:.3f} with all pixels pooled."
        )
        precision, recall = mean["precision"], mean["recall"]
        if abs(precision - recall) < CLOSE:
            errors = "It misses about as much as it adds"
        else:
            errors = (
                "It misses more than it adds"
                if precision > recall
                else "It adds more than it misses"
            )
        yield f"{label}: {errors} (precision {precision:.3f}, recall {recall:.3f})."
    order = _ordered(evaluation)
    if count > 1:
        middle = statistics.median(_dice(image) for image in order)
        yield (
            f"Half of the images score {middle:.3f} or more; the worst is {short(order[0].image, 40)} "
            f"({_dice(order[0]):.3f}), the best {short(order[-1].image, 40)} ({_dice(order[-1]):.3f})."
        )
    if evaluation.objects is not None:
        found = evaluation.objects.mean
        yield (
            f"Objects: AJI+ {found['aji_plus']:.3f}, panoptic quality {found['panoptic_quality']:.3f}, F1 "
            f"{found['f1']:.3f}."
        )
    if evaluation.volumes is not None:
        yield (
            f"{len(evaluation.volumes.volumes)} whole volumes: mean 3-D Dice {evaluation.volumes.mean_dice:.3f}, "
            f"background {'' if evaluation.volumes.background else 'not '}counted."
        )


def _lead(evaluation: Evaluation, project: Project, run: Run) -> str:
    count, truth = len(evaluation.images), evaluation.truth
    compared = "masks" if truth is not None and truth.folder is not None else "annotations"
    as_known = ", as far as is known" if taught(project, run).unknown else ""
    return (
        f"Its predictions compared with the {compared} of {count} image{'s' if count > 1 else ''} of the project "
        f"{project.path.name}, on {'none of which' if count > 1 else 'which'} it was {'' if count > 1 else 'not '}"
        f"fine-tuned{as_known}."
    )


def _warnings(evaluation: Evaluation) -> Iterator[str]:
    yield from evaluation.notes
    reasons: dict[str, int] = {}
    for why in evaluation.skipped.values():
        reasons[why] = reasons.get(why, 0) + 1
    for why, number in reasons.items():
        yield f"Not scored: {number} image{'s' if number > 1 else ''} ({why})."


def _scores(report: Report, evaluation: Evaluation) -> None:
    rows = []
    for label, mean in evaluation.mean.items():
        intervals = evaluation.intervals.get(label, {})
        rows.append(
            [
                label,
                *(
                    cell
                    for name in ("dice", "iou")
                    for cell in (f"{mean[name]:.3f}", _range(intervals.get(name)))
                ),
                f"{mean['precision']:.3f}",
                f"{mean['recall']:.3f}",
                f"{evaluation.pooled[label].dice:.3f}",
            ]
        )
    head = ["class", "Dice", "95% interval", "IoU", "95% interval", "precision", "recall"]
    report.table([*head, "Dice, pooled"], rows)
    note = (
        "Means over images: Dice is 2 TP / (2 TP + FP + FN), IoU is TP / (TP + FP + FN), with TP the pixels that have "
        "the class in both, FP in the prediction alone, FN in the truth alone. Intervals: bootstrap over "
        f"{'groups of images' if evaluation.grouped else 'images'}."
    )
    if evaluation.iou_with_background is not None:
        note += (
            f" Mean IoU with background as one more class: {evaluation.iou_with_background:.3f}."
        )
    report.note(note)
    if (outlines := evaluation.outlines) is not None:
        report.subsection("Outlines")
        rows = []
        for label, near in outlines.surface_dice.items():
            median = outlines.median_hd95[label]
            rows.append(
                [
                    label,
                    f"{near:.3f}",
                    _range(outlines.intervals.get(label)),
                    "" if median is None else f"{median:.1f}",
                    str(outlines.undefined[label]),
                    str(outlines.absent.get(label, 0)),
                ]
            )
        head = ["class", "surface Dice", "95% interval", "median distance"]
        report.table([*head, "one alone has it", "neither has it"], rows)
        report.note(
            f"Surface Dice: share of both outlines within {outlines.tolerance:g} pixels of the other one; 1 where "
            "neither prediction nor truth has the class. Distance: Hausdorff, 95th percentile, pixels; the median is "
            "over the images where both have the class, the last columns count those where one alone or neither has."
        )
    if (volumes := evaluation.volumes) is not None:
        report.subsection("Volumes")
        labels = list(volumes.mean)
        rows = [
            [
                volume.group,
                str(len(volume.images)),
                *(f"{volume.classes[x].dice:.3f}" for x in labels),
            ]
            for volume in sorted(volumes.volumes, key=lambda volume: volume.dice)
        ]
        rows.append(["mean", "", *(f"{volumes.mean[x]:.3f}" for x in labels)])
        rows.append(["95% interval", "", *(_range(volumes.intervals.get(x)) for x in labels)])
        report.table(["group", "images", *(f"3-D Dice, {x}" for x in labels)], rows)
    if (objects := evaluation.objects) is not None:
        report.subsection("Objects")
        rows = [
            [title, f"{objects.mean[name]:.3f}", _range(objects.intervals.get(name))]
            for name, title in MEASURES.items()
        ]
        report.table(["mean over images", "score", "95% interval"], rows)
        report.note(
            "Objects are matched by their outlines whatever their class, so panoptic quality (PQ) is that of all "
            "objects as one class, not the mean over classes."
        )
        report.figure(
            pictures.detection(objects.f1_over),
            caption="F1 of the objects found, the mean over images; the table has it at an overlap of .5.",
            alt="; ".join(f"overlap {at:.2f}: F1 {f1:.3f}" for at, f1 in objects.f1_over.items()),
        )


def _images(report: Report, evaluation: Evaluation) -> None:
    labels = list(evaluation.mean)
    means = {}
    for label, mean in evaluation.mean.items():
        interval = evaluation.intervals.get(label, {}).get("dice")
        ends = (interval.low, interval.high) if interval else (math.nan, math.nan)
        means[label] = (mean["dice"], *ends)
    report.figure(
        pictures.spread(
            {x: [image.classes[x].dice for image in evaluation.images] for x in labels},
            means,
            label="Dice; every dot is an image, the diamond their mean with its 95% interval",
        ),
        caption="How the scores are spread.",
        alt="; ".join(f"{x}: mean Dice {mean[0]:.3f}" for x, mean in means.items()),
    )
    order = _ordered(evaluation)
    columns = [(x, name) for x in labels for name in ("dice", "precision", "recall")]
    rows = [
        [short(image.image, 48), *(f"{getattr(image.classes[x], name):.3f}" for x, name in columns)]
        for image in order[:LISTED]
    ]
    titles = {"dice": "Dice"}
    head = [f"{x} {titles.get(name, name)}" for x, name in columns]
    report.table(["image, the worst first", *head], rows)
    if len(order) > LISTED:
        report.note(
            f"The worst {LISTED} of {len(order)}; all are in the tables that stand beside this file."
        )


def _origin(report: Report, run: Run, project: Project) -> None:
    """Tell what the run descends from, how it was trained, and with what settings."""
    report.section("Where it comes from")
    weights = run.weights()
    line = descent(weights) if weights is not None else ()
    if line:
        report.paragraph(f"Ancestry, the oldest first: {' → '.join(line)}.")
    runs = [found for _, found in lineage(run) if found is not None][:RUNS]
    curves = {found.name: found.metrics().get("loss", []) for found in runs}
    if any(curves.values()):
        report.figure(
            pictures.loss_curves({name: points for name, points in curves.items() if points}),
            caption="Loss of every step (faint) and its moving mean.",
            alt="Loss curves of the trainings.",
        )
    for found in runs:
        scores = found.metrics().get("validation/dice", [])
        if scores:
            step, best = max(scores, key=lambda point: point[1])
            report.note(f"{found.name}: best validation Dice {best:.3f}, at step {step}.")
        if "estimate/dice" in found.outcome:
            report.note(f"{found.name}: leave-one-out Dice {found.outcome['estimate/dice']:.3f}.")
    report.subsection("Settings")
    report.settings(
        {found.name: {k: v for k, v in found.job.items() if k != "project"} for found in runs}
    )
    report.note(
        f"napari-medssl {__version__}, {time.strftime('%Y-%m-%d %H:%M')}; project {project.path.name}, channels "
        f"{', '.join(project.settings.channels)}."
    )


def _ordered(evaluation: Evaluation) -> list[ImageScore]:
    """Sort images by their mean Dice over classes, the worst first."""
    return sorted(evaluation.images, key=_dice)


def _dice(image: ImageScore) -> float:
    return math.fsum(score.dice for score in image.classes.values()) / len(image.classes)


def _value(project: Project, label: str) -> int:
    return next(info.value for info in project.settings.classes if info.name == label)


def _range(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"
