"""The report on an experiment: which pretraining helps, by how much, and what it looks like."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medssl import __version__
from napari_medssl.evaluate.label_efficiency import KINDS, lines_of
from napari_medssl.evaluate.report import pictures
from napari_medssl.evaluate.report.curves import curves
from napari_medssl.evaluate.report.efficiency import (
    TUNED,
    catching_up,
    difference_table,
    findings,
    integrated_table,
    score_tables,
    scored,
    units_text,
)
from napari_medssl.evaluate.report.page import Report
from napari_medssl.evaluate.report.parts import PART, densest
from napari_medssl.project.weights_header import descent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_medssl.evaluate.class_scores import Labels
    from napari_medssl.evaluate.examples import Examples
    from napari_medssl.evaluate.results import Row
    from napari_medssl.evaluate.text_table import TextTable
    from napari_medssl.project import Project, Run

__all__ = ["Subject", "write_page"]

COLUMNS = 8
"""Pictures side by side."""
WIDTH = 9.6
"""Inches of a row of pictures."""
CURVES = 3
"""Loss curves side by side."""
LISTED = 30
"""Units that are named."""


@dataclass(frozen=True)
class Subject:
    """What a report on an experiment tells of, beside its scores."""

    title: str
    project: Project
    """The user's."""
    truth: Callable[[str], Labels]
    """Image -> labels (Y, X)."""
    plan: Mapping[str, Any]
    """Settings, those of the arms among them."""
    parts: Mapping[str, Sequence[str]]
    """What units are for -> their names."""
    pretrained: Mapping[str, Run]
    """Arm -> the run of its pretraining."""
    examples: Examples
    left: int = 0
    """Cells that are not finished."""
    pool: int | None = None
    """Units that there were to annotate, where annotation rates were asked for."""
    notes: Sequence[str] = ()
    """What to keep in mind, in sentences."""


def write_page(path: Path, rows: Sequence[Row], subject: Subject) -> None:
    """Write one self-contained HTML file.

    Parameters
    ----------
    path : path
        The file.
    rows : sequence of Row
        Finished cells.
    subject : Subject
        What they belong to.

    Raises
    ------
    MedsslError
        If the file cannot be written, or an image cannot be read.
    """
    several = len({row.scored_on for row in rows}) > 1
    report = Report(
        f"Which pretraining helps on {subject.project.path.name}?",
        lead=f"Experiment {subject.title}: networks that were pretrained in several ways, or not at all, taught with "
        "the same few annotated units, and scored on others.",
    )
    warnings = list(subject.notes)
    if subject.left:
        warnings.insert(
            0,
            f"{subject.left} of {len(rows) + subject.left} cells are not there yet: started again, the experiment "
            "computes them, and nothing else.",
        )
    for on in dict.fromkeys(row.scored_on for row in rows):
        if several:
            report.section(f"Scored on {on} units")
        _tell(report, rows, subject, on=on, warnings=warnings)
        _show_examples(report, rows, subject, on=on)
        warnings = []
    _pretrainings(report, subject)
    _origin(report, rows, subject)
    report.write(path)


def _tell(
    report: Report, rows: Sequence[Row], subject: Subject, *, on: str, warnings: Sequence[str]
) -> None:
    lines = lines_of(rows, scored_on=on)
    report.points([*findings(rows, scored_on=on), *catching_up(lines)])
    if warnings:
        report.subsection("To keep in mind")
        report.points(warnings, warnings=True)
    report.section("Dice against annotated units")
    if any(list(line.scores) != [0] for line in lines):
        report.figure(
            curves(lines, panel=3.6),
            caption="Mean and standard deviation over draws of the annotated units; dotted: without annotations.",
            alt="Dice against the number of annotated units, a line per arm; the figures stand in the table.",
        )
    report.note(scored(rows, on=on))
    for table in score_tables(lines):
        _table(report, table)
    if (differences := difference_table(lines)) is not None:
        report.subsection("Is the difference more than chance?")
        _table(report, differences)
        report.note(
            "An interval that holds 0 tells nothing apart. Draws share images, so that intervals are somewhat too "
            "narrow; with two or three draws they are wide."
        )
    if (integrated := integrated_table(rows, on=on, pool=subject.pool)) is not None:
        report.subsection("Over all annotation rates")
        _table(report, integrated)


def _table(report: Report, table: TextTable) -> None:
    if table.text:
        report.paragraph(table.text)
    report.table(table.head, [[_unparted(cell) for cell in row] for row in table.body])


def _unparted(cell: str) -> str:
    """Let lines end before a bracket, never within."""
    value, bracket, inside = cell.partition(" (" if " (" in cell else " [")
    return value + bracket + inside.replace(" ", "\N{NO-BREAK SPACE}")


# -- pictures ----------------------------------------------------------------------------------------


def _show_examples(report: Report, rows: Sequence[Row], subject: Subject, *, on: str) -> None:
    """Show the same images of all arms, with the fewest and with the most annotated units."""
    here = [row for row in rows if row.scored_on == on and row.k > 0]
    kind = next((kind for kind in TUNED if any(row.downstream == kind for row in here)), None)
    if kind is None:
        return
    kept = [(row, subject.examples.of(row.cell)) for row in here if row.downstream == kind]
    kept = [(row, found) for row, found in kept if found]
    counts = sorted({row.k for row, _ in kept})
    if counts:
        report.section("What it looks like")
    for k in dict.fromkeys([*counts[:1], *counts[-1:]]):
        draws = Counter(row.draw for row, _ in kept if row.k == k)
        draw = min(draws, key=lambda number: (-draws[number], number))  # that of most arms
        own = [(row, found) for row, found in kept if (row.k, row.draw) == (k, draw)]
        report.subsection(f"{KINDS[kind].capitalize()}, {units_text([k])}")
        _side_by_side(
            report,
            subject,
            {row.arm: found for row, found in own},
            {row.arm: row.dice for row, _ in own},
            draw,
        )


def _side_by_side(
    report: Report,
    subject: Subject,
    found: Mapping[str, Mapping[str, Labels]],
    dice: Mapping[str, float],
    draw: int,
) -> None:
    names = next(iter(found.values()))
    settings = subject.project.settings
    value = settings.classes[1].value if len(settings.classes) == 2 else None
    groups = _groups(found, COLUMNS - 1)
    for number, arms in enumerate(groups):
        grid = []
        for name in names:
            known = subject.truth(name)
            part = densest(known > 1)
            picture = pictures.displayed(subject.project.planes(name)[:, *part])
            row = [pictures.outlined(picture, known[part])]
            row += [
                pictures.overlay(picture, found[arm][name][part], known[part], value)
                for arm in arms
            ]
            grid.append((pictures.short(name, 18), row))
        titles = [f"{pictures.short(arm, 20)}\nDice {dice[arm]:.3f}" for arm in arms]
        last = number == len(groups) - 1
        report.figure(
            pictures.comparison(
                grid, ["truth", *titles], errors=last, cell=min(1.9, WIDTH / (len(arms) + 1))
            ),
            caption=f"The same images for every arm (draw {draw}), of evenly chosen units that score that with most "
            "foreground; Dice is that of all that score. Right is light grey and plain, too much is orange and "
            f"striped, missed is blue and dotted. Of larger images the {PART} x {PART} pixels with most foreground."
            if last
            else "",
            alt=f"Errors of {', '.join(arms)} on {len(names)} images.",
        )


def _groups(names: Iterable[str], size: int) -> list[list[str]]:
    """Part names into rows."""
    listed = list(names)
    return [listed[start : start + size] for start in range(0, len(listed), size)]


# -- where it comes from -----------------------------------------------------------------------------


def _pretrainings(report: Report, subject: Subject) -> None:
    if not subject.pretrained:
        return
    report.section("How the features were learned")
    body, losses = [], {}
    for arm, run in subject.pretrained.items():
        points = run.metrics().get("loss", [])
        weights = run.weights()
        before = descent(weights)[:-1] if weights is not None else ()
        last = f"{points[-1][1]:.3f}" if points else ""
        steps = str(points[-1][0]) if points else ""
        method = str(run.job.get("method", ""))
        body.append([arm, method, ", ".join(before) or "random numbers", steps, last])
        if points:
            losses[arm] = points
    report.table(["arm", "method", "began with", "steps", "last loss"], body, text=True)
    for names in _groups(losses, CURVES):
        last_one = names[-1] == list(losses)[-1]
        report.figure(
            pictures.loss_curves({name: losses[name] for name in names}),
            caption="Loss of every step (faint) and its moving mean. Losses of different methods cannot be compared."
            if last_one
            else "",
            alt=f"Loss curves of {', '.join(names)}.",
        )


def _origin(report: Report, rows: Sequence[Row], subject: Subject) -> None:
    report.section("Where it comes from")
    body = []
    for purpose, units in subject.parts.items():
        named = ", ".join(units[:LISTED]) + (", ..." if len(units) > LISTED else "")
        body.append([purpose, str(len(units)), named])
    report.table(["units", "", "which"], body, text=True)
    report.subsection("Settings")
    plan = {
        key: value
        for key, value in subject.plan.items()
        if key not in ("arms", "project", "kind", "name") and value is not None
    }
    report.settings({"experiment": plan})
    report.subsection("Arms")
    arms = list(subject.plan["arms"])
    report.settings({arm["name"]: {k: v for k, v in arm.items() if k != "name"} for arm in arms})
    hours = sum(row.seconds for row in rows) / 3600
    report.note(
        f"napari-medssl {__version__}, {time.strftime('%Y-%m-%d %H:%M')}; project {subject.project.path.name}, "
        f"channels {', '.join(subject.project.settings.channels)}. Segmenting and fine-tuning took {hours:.1f} hours "
        "of one worker, pretraining not counted. All scores: results.csv, beside this file."
    )
