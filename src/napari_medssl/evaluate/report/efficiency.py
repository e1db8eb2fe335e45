"""What an experiment's scores come to, in sentences, tables and a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.evaluate.annotation_table import iqc_table
from napari_medssl.evaluate.label_efficiency import catches_up, lines_of, paired
from napari_medssl.evaluate.report.curves import curves
from napari_medssl.evaluate.text_table import TextTable
from napari_medssl.project.checkpoint import atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_medssl.evaluate.label_efficiency import Difference, Line
    from napari_medssl.evaluate.results import Row

__all__ = [
    "TUNED",
    "catching_up",
    "difference_table",
    "findings",
    "integrated_table",
    "score_tables",
    "scored",
    "units_text",
    "write_markdown",
]

TUNED = ("full", "frozen", "probe")
"""Ways to segment, what a user would take first."""
ONE = "undecided, as there is one draw,"
VERDICTS = ("ahead", "behind", "not told apart", ONE)


def scored(rows: Sequence[Row], *, on: str) -> str:
    """Say what was scored."""
    row = next(row for row in rows if row.scored_on == on)
    elsewhere = any(row.start == "file" for row in rows)
    weights = "; what the weights file was made from is not known" if elsewhere else ""
    return (
        f"Dice, mean ± standard deviation over draws of the annotated units (number of draws), on {row.units} units "
        f"({row.images} images) that no training of this experiment saw{weights}. A unit's Dice is that of all its "
        "pixels."
    )


def score_tables(lines: Sequence[Line]) -> Iterator[TextTable]:
    """Give the scores of what needs no annotations, and of what does."""
    fixed = [line for line in lines if list(line.scores) == [0]]
    if fixed:
        body = [[line.name, f"{line.mean(0):.3f}"] for line in fixed]
        yield TextTable(["without annotations", "Dice"], body)
    taught = _taught(lines)
    if taught:
        counts = _counts(taught)
        body = [[line.name, *(_score(line, k) for k in counts)] for line in taught]
        yield TextTable(["annotated units", *map(str, counts)], body)


def difference_table(lines: Sequence[Line]) -> TextTable | None:
    """Compare pretrained arms with what needs no pretraining; None where there is nothing to compare."""
    taught = _taught(lines)
    counts, body = _counts(taught), []
    for line in (line for line in taught if not line.plain):
        for reference in (line for line in taught if line.plain):
            if reference.downstream not in (line.downstream, "forest"):
                continue
            found = {d.k: d for d in paired(line, reference)}
            if found:
                cells = [_difference(found.get(k)) for k in counts]
                body.append([line.name, reference.name, *cells])
    if not body:
        return None
    text = "Paired differences of Dice (same annotated units) with 95% interval over draws:"
    return TextTable(["", "minus", *map(str, counts)], body, text)


def integrated_table(rows: Sequence[Row], *, on: str, pool: int | None) -> TextTable | None:
    """Give the table of IQC; None where no annotation rates were asked for, or nothing has an IQC."""
    return None if pool is None else iqc_table(rows, scored_on=on, pool=pool)


def catching_up(lines: Sequence[Line]) -> Iterator[str]:
    """Say with how many units what needs no pretraining is as good as a pretrained network with few."""
    taught = _taught(lines)
    kind = _kind(taught)
    references = [line for line in taught if line.plain and line.downstream in (kind, "forest")]
    for line in (line for line in taught if line.downstream == kind and not line.plain):
        k = 2 if 2 in line.scores else min(line.scores)
        reached = []
        for reference in references:
            count = catches_up(line, k=k, reference=reference)
            at = f"first with {count}" if count else f"with none up to {max(reference.scores)}"
            reached.append(f"by {reference.name} {at}")
        if reached:
            yield f"{line.name}, with {units_text([k])}, is reached {'; '.join(reached)}."


def findings(rows: Sequence[Row], *, scored_on: str) -> Iterator[str]:
    """Say which arm is best, and how each compares with random initialisation and the forest, in sentences.

    Parameters
    ----------
    rows : sequence of Row
        Finished cells of an experiment.
    scored_on : str
        ``test`` or ``validation``.
    """
    taught = _taught(lines_of(rows, scored_on=scored_on))
    counts = _counts(taught)
    for k in dict.fromkeys([*counts[:1], *counts[-1:]]):
        best = max((line for line in taught if k in line.scores), key=lambda line: line.mean(k))
        yield f"Best with {units_text([k])}: {best.name}, Dice {_score(best, k)}."
    kind = _kind(taught)
    own = [line for line in taught if line.downstream == kind]
    random = {row.arm for row in rows if not row.method and row.start == "none"}
    references = [line for line in own if line.arm in random]
    references += [line for line in taught if line.downstream == "forest"]
    for line in own:
        for reference in references:
            if line not in references and (found := paired(line, reference)):
                yield f"{line.name}, beside {reference.name}: {_verdict(found)}."


def write_markdown(
    rows: Sequence[Row],
    folder: Path,
    *,
    title: str,
    pool: int | None = None,
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
    pool : int, optional
        Units that there were to annotate, where annotation rates were asked for.
    """
    written, texts = [], []
    for on in dict.fromkeys(row.scored_on for row in rows):
        lines = lines_of(rows, scored_on=on)
        parts = [f"# {title}: scored on {on}", scored(rows, on=on)]
        parts += [table.markdown() for table in score_tables(lines)]
        if _taught(lines):
            picture = folder / f"dice-{on}.png"
            with atomic(picture) as temporary:
                curves(lines, title=title).savefig(temporary, format="png", dpi=120)
            written.append(picture)
            parts.append(f"![Dice against annotated units]({picture.name})")
        if (differences := difference_table(lines)) is not None:
            parts.append(differences.markdown())
            parts.append("\n".join(f"- {text}" for text in catching_up(lines)))
        if (integrated := integrated_table(rows, on=on, pool=pool)) is not None:
            parts.append(integrated.markdown())
        texts.append("\n\n".join(part for part in parts if part) + "\n")
    if texts:
        path = folder / "report.md"
        with atomic(path) as temporary:
            temporary.write_text("\n".join(texts), encoding="utf-8")
        written.append(path)
    return written


def _taught(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if list(line.scores) != [0]]


def _kind(lines: Sequence[Line]) -> str | None:
    """Give the way to segment that a user would take, of those that pretrained networks were scored with."""
    own = {line.downstream for line in lines if not line.plain} or {x.downstream for x in lines}
    return next((kind for kind in TUNED if kind in own), None)


def _counts(lines: Sequence[Line]) -> list[int]:
    return sorted({k for line in lines for k in line.scores})


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


def _verdict(found: Sequence[Difference]) -> str:
    """Say where a line is ahead of another one, where behind, and by how much."""
    by_verdict: dict[str, list[Difference]] = {}
    for difference in found:
        if difference.pairs == 1:
            verdict = ONE
        elif difference.low > 0:
            verdict = "ahead"
        elif difference.high < 0:
            verdict = "behind"
        else:
            verdict = "not told apart"
        by_verdict.setdefault(verdict, []).append(difference)
    parts = []
    for verdict in VERDICTS:
        if own := by_verdict.get(verdict):
            means = sorted(difference.mean for difference in own)
            by = f"{means[0]:+.3f}" + (f" to {means[-1]:+.3f}" if len(own) > 1 else "")
            sure = {"one draw": "how sure that is, cannot be told from one draw,"}.get(
                verdict, verdict
            )
            parts.append(f"{sure} with {units_text([difference.k for difference in own])} ({by})")
    return "; ".join(parts)


def units_text(counts: Sequence[int]) -> str:
    """Say how many annotated units."""
    listed = (
        ", ".join(map(str, counts[:-1])) + (" and " if len(counts) > 1 else "") + str(counts[-1])
    )
    return f"{listed} annotated unit{'' if list(counts) == [1] else 's'}"
