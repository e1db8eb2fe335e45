"""What a report says of a run's features, where it was assessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tifffile

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.assessment import read_assessments
from napari_medssl.evaluate.report import pictures

if TYPE_CHECKING:
    from napari_medssl.evaluate.assessment import Assessment
    from napari_medssl.evaluate.report.page import Report
    from napari_medssl.project import Project, Run

__all__ = ["tell_features"]

MAPS = 8
"""Activation maps that are shown."""
TOGETHER = 2
"""Rows of pictures that a page must not part."""


def tell_features(report: Report, run: Run, project: Project) -> None:
    """Add what the run's assessments found; where there is none, how to make one.

    Parameters
    ----------
    report : Report
        Gets a section.
    run : Run
        The run.
    project : Project
        Whose images it was assessed on.
    """
    report.section("What its features are worth")
    try:
        found = read_assessments(run)
    except MedsslError as error:  # the scores above are worth a page all the same
        report.note(f"Its assessments cannot be shown: {error}")
        return
    if not found:
        report.note(
            f"Not assessed yet: medssl assess {project.path.name} --run {run.name} measures neighbours, activation "
            "maps and the separability of classes; --against RUN compares it with another run."
        )
        return
    newest = found[0]
    report.points(newest.text().splitlines()[1:])
    if newest.relatives:
        _relatives(report, newest, project)
    if newest.activations:
        _activations(report, newest, run, project)
    for own in found:
        if own.cka is not None and own.cka.table:
            report.subsection(f"Beside {own.cka.against}")
            report.figure(
                pictures.alignment(own.cka.table, rows=own.run, columns=own.cka.against),
                caption="Centred kernel alignment (CKA) of every stage of both encoders, 1 is the finest. 1.00: alike "
                "up to rotation and scale; about 0: independent.",
                alt=f"CKA of equal stages: {', '.join(f'{value:.2f}' for value in own.cka.stages)}",
            )


def _relatives(report: Report, found: Assessment, project: Project) -> None:
    rows = []
    lost: dict[str, str] = {}
    for own in found.relatives:
        shown = []
        for what, name, label in (
            ("image", own.image, own.label),
            ("nearest", own.nearest, own.nearest_label),
            ("farthest", own.farthest, own.farthest_label),
        ):
            mark = ""
            if what != "image" and label and own.label:
                mark = " (same class)" if label == own.label else " (other class)"
            title = f"{what}\n{pictures.short(name)}" + (f"\n{label}{mark}" if label else "")
            if name not in project.images:
                break  # it has gone since
            try:
                planes = project.planes(name)
            except (OSError, MedsslError) as error:
                lost[name] = str(error)
                break
            shown.append((title, pictures.displayed(planes)))
        if len(shown) == 3:
            rows.append(shown)
    if not rows and not lost:
        return
    report.subsection("The most and the least similar images")
    for name, why in lost.items():
        report.note(f"{name} cannot be shown beside its relatives: {why}")
    for start in range(0, len(rows), TOGETHER):
        last = start + TOGETHER >= len(rows)
        report.figure(
            pictures.relatives(rows[start : start + TOGETHER]),
            caption="By the encoder's last output, averaged over the image: Euclidean distance in ten principal "
            "components."
            if last
            else "",
            alt="Images beside the most and the least similar one.",
        )


def _activations(report: Report, found: Assessment, run: Run, project: Project) -> None:
    shown = []
    for own in found.activations[:MAPS]:
        try:
            activation = tifffile.imread(run.path / own.file)
            planes = project.planes(own.image)
            labels = project.annotations.read(own.image)
        except (OSError, ValueError, MedsslError) as error:
            report.note(f"The activation map of {own.image} cannot be shown: {error}")
            continue
        part = (
            slice(own.top, own.top + activation.shape[0]),
            slice(own.left, own.left + activation.shape[1]),
        )
        value = next(
            (info.value for info in project.settings.classes if info.name == own.label), None
        )
        told = "empty" if own.inside is None else f"{own.inside:.2f} inside"
        title = f"{pictures.short(own.image)}\n{told}, area {own.area:.2f}"
        shown.append(
            (title, pictures.displayed(planes[:, *part]), activation, labels[part] == value)
        )
    if shown:
        report.subsection("What decisions rest on")
        report.figure(
            pictures.activations(shown),
            caption="Class activation maps (Grad-CAM) of the encoder's last block, bright where a decision for the "
            "class rests on; the white line is the annotated class. Inside: share of the map's mass within it; without "
            "focus that is its share of the area. A map that is dark all over: nothing in this block speaks for the "
            "class, finer ones decide.",
            alt="Class activation maps over their images.",
        )
