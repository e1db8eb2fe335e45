"""Experiments over annotation rates: the integrated quality criterion (IQC) of every arm, and ranks over projects."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.annotation_rates import average_ranks, better, iqc
from napari_medssl.evaluate.label_efficiency import Line, lines_of
from napari_medssl.evaluate.text_table import TextTable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_medssl.evaluate.results import Downstream, Row

__all__ = ["Iqc", "iqc_table", "iqcs", "mean_ranks"]


class Iqc(NamedTuple):
    """The integrated quality criterion of one arm with one way to segment."""

    line: Line
    scores: dict[int, float]
    """Draw -> IQC."""
    full: float
    """Mean Dice with everything annotated."""
    p: float | None
    """Of a one-tailed t-test against random initialisation, taught in the same way; unset for that itself, and where
    one of the two has fewer than two draws."""
    undefined: int = 0
    """Further draws, that score 0 with everything annotated: there is nothing to divide by."""

    @property
    def mean(self) -> float:
        """The mean over draws."""
        return statistics.fmean(self.scores.values())

    @property
    def spread(self) -> float:
        """The standard deviation over draws; 0 where there is one."""
        values = list(self.scores.values())
        return statistics.stdev(values) if len(values) > 1 else 0.0


def iqcs(rows: Sequence[Row], *, scored_on: str, pool: int) -> list[Iqc]:
    """Integrate Dice over annotation rates, draw by draw, for all that was taught with every unit, too.

    Parameters
    ----------
    rows : sequence of Row
        Finished cells of an experiment.
    scored_on : str
        ``test`` or ``validation``.
    pool : int
        Units that there were to annotate: a cell with so many is the one with everything annotated.

    Returns
    -------
    list of Iqc
        In the order of the experiment. Arms that lack the cell with everything annotated, have fewer than two other
        rates, or score 0 with everything in every draw are left out; so are draws that are not complete. Single draws
        that score 0 with everything have no IQC either and are counted: the mean over the others flatters.

    References
    ----------
    The evaluation paper on self-supervised learning (Rettenberger, Schilling et al.), section III-C.
    """
    return [own for own in _integrated(rows, scored_on=scored_on, pool=pool) if own.scores]


def _integrated(rows: Sequence[Row], *, scored_on: str, pool: int) -> list[Iqc]:
    """Give what `iqcs` does, and beside it what has no IQC in any draw, with no scores."""
    random = {row.arm for row in rows if not row.method and row.start == "none"}
    found = []
    for line in lines_of(rows, scored_on=scored_on):
        counts = [k for k in line.scores if 0 < k < pool]
        if len(counts) < 2:
            continue
        full = {
            draw: top
            for draw, top in line.scores.get(pool, {}).items()
            if all(draw in line.scores[k] for k in counts)
        }
        if full:
            scores = {
                draw: iqc({k / pool: line.scores[k][draw] for k in counts}, top)
                for draw, top in full.items()
                if top > 0
            }
            mean = statistics.fmean(full[draw] for draw in scores or full)
            found.append(Iqc(line, scores, mean, None, len(full) - len(scores)))
    references = {own.line.downstream: own for own in found if own.line.arm in random}
    return [own._replace(p=_p(own, references.get(own.line.downstream))) for own in found]


def _p(own: Iqc, reference: Iqc | None) -> float | None:
    if reference is None or reference is own or min(len(own.scores), len(reference.scores)) < 2:
        return None
    return better(list(own.scores.values()), list(reference.scores.values()))


def iqc_table(rows: Sequence[Row], *, scored_on: str, pool: int) -> TextTable | None:
    """Give the table of `iqcs`, the best first, at the end what has no IQC in any draw; None where there is nothing."""
    found = _integrated(rows, scored_on=scored_on, pool=pool)
    if not found:
        return None
    found.sort(key=lambda own: -own.mean if own.scores else math.inf)
    body = [
        [
            own.line.name,
            f"{own.mean:.3f} ± {own.spread:.3f} ({len(own.scores)})" if own.scores else "none",
            f"{own.full:.3f}",
            "" if own.p is None else f"{own.p:.3f}",
        ]
        for own in found
    ]
    rates = sorted({k for own in found for k in own.line.scores if 0 < k < pool})
    text = (
        f"IQC: the mean Dice over annotation rates ({', '.join(map(str, rates))} of {pool} units), over the Dice "
        "with all units annotated; mean ± standard deviation over draws. p: one-tailed t-test (Welch) against random "
        "initialisation taught in the same way."
    )
    if lost := [own for own in found if own.undefined]:
        told = (
            f"{own.line.name} ({own.undefined} of {own.undefined + len(own.scores)})"
            for own in lost
        )
        text += (
            " Left out, as their Dice with all units is 0 and nothing can be divided by it, are draws of "
            f"{', '.join(told)}: the mean over the others flatters."
        )
    head = ["", "IQC", "Dice, all units", "p"]
    return TextTable(head, body, text)


def mean_ranks(
    projects: Mapping[str, Iterable[Row]],
    *,
    downstream: Downstream,
    scored_on: str = "test",
    pools: Mapping[str, int] | None = None,
) -> dict[str, float]:
    """Give each arm's mean rank over projects, 1 being the best.

    Parameters
    ----------
    projects : mapping of str to iterable of Row
        Name of a project -> finished cells of its experiment.
    downstream : str
        The way to segment that is compared.
    scored_on : str
        ``test`` or ``validation``.
    pools : mapping of str to int, optional
        Project -> units that there were to annotate; arms are then ranked by IQC, else by the mean of Dice over the
        numbers of units that all of them have in this project.

    Raises
    ------
    MedsslError
        If the projects have not the same arms, or one has nothing to rank.
    """
    scores: dict[str, dict[str, float]] = {}
    for project, given in projects.items():
        rows = list(given)
        if pools is not None:
            found = iqcs(rows, scored_on=scored_on, pool=pools[project])
            scores[project] = {x.line.arm: x.mean for x in found if x.line.downstream == downstream}
        else:
            lines = [x for x in lines_of(rows, scored_on=scored_on) if x.downstream == downstream]
            common = set.intersection(*(set(line.scores) for line in lines)) if lines else set()
            scores[project] = {
                line.arm: statistics.fmean(line.mean(k) for k in common) for line in lines if common
            }
        if not scores[project]:
            raise MedsslError(
                f"The results of {project} have nothing to rank by ({downstream}, scored on {scored_on}).",
                advice="Choose another way to segment, or rank by Dice.",
            )
    return average_ranks(scores)
