"""What an experiment shows: Dice against the number of annotated units, and paired differences with intervals."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from scipy import stats

from napari_medssl.project.checkpoint import atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from napari_medssl.evaluate.results import Row

__all__ = [
    "Difference",
    "Line",
    "catches_up",
    "curves",
    "lines_of",
    "markdown_table",
    "paired",
    "report",
    "write_report",
]

KINDS = {
    "threshold": "no network",
    "zero-shot": "no annotation",
    "probe": "linear probe",
    "frozen": "frozen encoder",
    "full": "fine-tuned",
    "supervised": "all annotations, focal Tversky",
    "forest": "random forest",
}
MARKERS = "osD^vP*X<>hd"
# Told apart by colour-blind people too (Okabe and Ito); markers and dashes differ as well.
COLORS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f")


@dataclass(frozen=True)
class Line:
    """The scores of one arm with one way to segment: annotated units -> draw -> Dice."""

    arm: str
    downstream: str
    plain: bool
    """Whether it needs no self-supervised pretraining."""
    scores: dict[int, dict[int, float]]

    @property
    def name(self) -> str:
        """For tables and plots."""
        kind = KINDS[self.downstream]
        return self.arm if self.arm == kind else f"{self.arm}, {kind}"

    def mean(self, k: int) -> float:
        """Give the mean over draws."""
        return statistics.fmean(self.scores[k].values())

    def spread(self, k: int) -> float:
        """Give the standard deviation over draws; 0 where there is one."""
        values = list(self.scores[k].values())
        return statistics.stdev(values) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class Difference:
    """By how much one line is above another at some number of units, pairing equal draws."""

    k: int
    mean: float
    low: float
    """Lower end of the 95% interval (Student's t over draws); with a single pair not a number."""
    high: float
    pairs: int


def lines_of(rows: Iterable[Row], *, scored_on: str) -> list[Line]:
    """Group rows by arm and way to segment, in the order in which they were computed."""
    found: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
    plain = {}
    for row in rows:
        if row.scored_on == scored_on:
            by_k = found.setdefault((row.arm, row.downstream), {})
            by_k.setdefault(row.k, {})[row.draw] = row.dice
            plain[row.arm] = not row.method
    return [
        Line(arm, downstream, plain[arm], dict(sorted(scores.items())))
        for (arm, downstream), scores in found.items()
    ]


def paired(line: Line, reference: Line, *, level: float = 0.95) -> list[Difference]:
    """Give the differences at every number of units that both have, with an interval over draws."""
    differences = []
    for k in line.scores.keys() & reference.scores.keys():
        draws = sorted(line.scores[k].keys() & reference.scores[k].keys())
        if not draws:
            continue
        values = [line.scores[k][draw] - reference.scores[k][draw] for draw in draws]
        mean, half = statistics.fmean(values), float("nan")
        if len(values) > 1:
            error = statistics.stdev(values) / len(values) ** 0.5
            half = float(stats.t.ppf(0.5 + level / 2, len(values) - 1)) * error
        differences.append(Difference(k, mean, mean - half, mean + half, len(values)))
    return sorted(differences, key=lambda difference: difference.k)


def catches_up(line: Line, *, k: int, reference: Line) -> int | None:
    """Give the first number of units at which the reference's mean reaches that of `line` at `k`; None if at none."""
    target = line.mean(k)
    return next((n for n in sorted(reference.scores) if reference.mean(n) >= target), None)


def curves(lines: Sequence[Line], *, title: str) -> Figure:
    """Draw Dice against annotated units, a panel per way to segment, with the spread over draws."""
    panels = [
        kind for kind in ("probe", "frozen", "full") if any(x.downstream == kind for x in lines)
    ] or ["probe"]
    figure = Figure(figsize=(5.2 * len(panels) + 2.6, 4.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    arms = list(
        dict.fromkeys(x.arm for x in lines if x.downstream not in ("threshold", "zero-shot"))
    )
    for axis, kind in zip(axes, panels, strict=True):
        chosen = [x for x in lines if x.downstream in (kind, "forest")]
        for line in chosen:
            _draw(axis, line, arms.index(line.arm), count=len(chosen))
        for line in lines:
            if line.downstream == "threshold" and line.arm != "pseudo-label":
                axis.axhline(line.mean(0), color="#999999", linewidth=1, linestyle=":")
                axis.annotate(
                    line.arm,
                    (1, line.mean(0)),
                    xycoords=("axes fraction", "data"),
                    ha="right",
                    va="bottom",
                    fontsize=8,
                    color="#666666",
                )
        ticks = sorted({k for line in chosen for k in line.scores})
        axis.set_xscale("log", base=2)
        axis.set_xticks(ticks, [str(k) for k in ticks])
        axis.minorticks_off()
        axis.set_xlabel("annotated units")
        axis.set_title(KINDS[kind])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("Dice")
    handles = dict(
        pair
        for axis in axes
        for pair in zip(*reversed(axis.get_legend_handles_labels()), strict=True)
    )
    figure.legend(
        handles.values(), handles.keys(), loc="outside right upper", fontsize=8, frameon=False
    )
    figure.suptitle(title)
    return figure


def _draw(axis: Axes, line: Line, number: int, *, count: int) -> None:
    ks = list(line.scores)
    axis.errorbar(
        [k * (1 + 0.015 * (number - count / 2)) for k in ks],  # bars side by side, not in one place
        [line.mean(k) for k in ks],
        yerr=[line.spread(k) for k in ks],
        color=COLORS[number % len(COLORS)],
        marker=MARKERS[number % len(MARKERS)],
        linestyle=("-", "--", "-.")[number // len(COLORS) % 3],
        markersize=5,
        linewidth=1.4,
        capsize=2,
        label=line.arm,
    )


def report(rows: Sequence[Row], *, title: str, scored_on: str, figure: str) -> str:
    """Write the tables of an experiment as Markdown.

    Parameters
    ----------
    rows : sequence of Row
        Finished cells.
    title : str
        Heading.
    scored_on : str
        ``test`` or ``validation``.
    figure : str
        File name of the plot, to be shown.
    """
    lines = lines_of(rows, scored_on=scored_on)
    scored = next(row for row in rows if row.scored_on == scored_on)
    parts = [
        f"# {title}: scored on {scored_on}",
        f"Dice, mean ± standard deviation over draws of the annotated units (number of draws), on {scored.units} units "
        f"({scored.images} images) that neither pretraining nor annotation saw. A unit's Dice is that of all its "
        "pixels.",
    ]
    fixed = [line for line in lines if list(line.scores) == [0]]
    if fixed:
        body = [[line.name, f"{line.mean(0):.3f}"] for line in fixed]
        parts.append(markdown_table(["without annotations", "Dice"], body))
    taught = [line for line in lines if list(line.scores) != [0]]
    counts = sorted({k for line in taught for k in line.scores})
    if taught:
        body = [[line.name, *(_score(line, k) for k in counts)] for line in taught]
        parts.append(markdown_table(["annotated units", *map(str, counts)], body))
        parts.append(f"![Dice against annotated units]({figure})")
    parts += _differences(taught, counts)
    return "\n\n".join(parts) + "\n"


def _differences(lines: Sequence[Line], counts: Sequence[int]) -> list[str]:
    """Compare pretrained arms with what needs no pretraining."""
    references = [line for line in lines if line.plain]
    body = []
    for line in (line for line in lines if not line.plain):
        for reference in references:
            if reference.downstream not in (line.downstream, "forest", "full"):
                continue
            found = {d.k: d for d in paired(line, reference)}
            if found:
                cells = [_difference(found.get(k)) for k in counts]
                body.append([line.name, reference.name, *cells])
    if not body:
        return []
    head = ["", "minus", *map(str, counts)]
    text = "Paired differences of Dice (same annotated units) with 95% interval over draws:"
    return [text, markdown_table(head, body), *_catching_up(lines)]


def _catching_up(lines: Sequence[Line]) -> list[str]:
    """Say from how many units on what needs no pretraining is as good as a pretrained network with few."""
    said = []
    for line in (line for line in lines if not line.plain):
        k = 2 if 2 in line.scores else min(line.scores)
        for reference in (line for line in lines if line.plain):
            if reference.downstream not in ("full", "frozen", "forest"):
                continue
            reached = catches_up(line, k=k, reference=reference)
            where = f"first at {reached}" if reached else f"at none up to {max(reference.scores)}"
            said.append(f"- {line.name}, at {k}: {reference.name} is as good {where}.")
    return ["\n".join(said)] if said else []


def _score(line: Line, k: int) -> str:
    if k not in line.scores:
        return ""
    return f"{line.mean(k):.3f} ± {line.spread(k):.3f} ({len(line.scores[k])})"


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return ""
    if difference.pairs == 1:
        return f"{difference.mean:+.3f} (one draw)"
    return f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def markdown_table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Lay out a table as Markdown."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_report(
    rows: Sequence[Row], folder: Path, *, title: str, further: Mapping[str, str] | None = None
) -> list[Path]:
    """Write ``report.md`` and a plot for each of test and validation that was scored; gives the paths.

    Parameters
    ----------
    rows : sequence of Row
        Finished cells.
    folder : Path
        Where to.
    title : str
        Heading.
    further : mapping of str to str, optional
        ``test`` or ``validation`` -> Markdown that follows its tables.
    """
    written, texts = [], []
    for scored_on in dict.fromkeys(row.scored_on for row in rows):
        picture = folder / f"dice-{scored_on}.png"
        lines = lines_of(rows, scored_on=scored_on)
        if any(list(line.scores) != [0] for line in lines):
            with atomic(picture) as temporary:
                curves(lines, title=title).savefig(temporary, format="png", dpi=120)
            written.append(picture)
        texts.append(report(rows, title=title, scored_on=scored_on, figure=picture.name))
        if further and further.get(scored_on):
            texts.append(further[scored_on] + "\n")
    if texts:
        path = folder / "report.md"
        with atomic(path) as temporary:
            temporary.write_text("\n".join(texts), encoding="utf-8")
        written.append(path)
    return written
