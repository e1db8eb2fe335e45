"""What an experiment comes to: Dice against the number of annotated units, and paired differences with intervals."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_medssl.evaluate.results import Row

__all__ = ["KINDS", "Difference", "Line", "catches_up", "lines_of", "paired"]

KINDS = {
    "threshold": "no network",
    "zero-shot": "no annotation",
    "probe": "linear probe",
    "frozen": "frozen encoder",
    "full": "fine-tuned",
    "supervised": "all annotations, focal Tversky",
    "forest": "random forest",
}
"""How networks segment, in words."""


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
