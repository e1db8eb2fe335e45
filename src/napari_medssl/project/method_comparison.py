"""What a comparison of pretraining methods found on a project's own annotations; kept in ``comparisons/``."""

from __future__ import annotations

import math
import statistics
import time
from typing import TYPE_CHECKING, Any

from pydantic import Field

from napari_medssl.config import Config
from napari_medssl.plan import Answer
from napari_medssl.project.checkpoint import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medssl.plan import Start
    from napari_medssl.project.project import Project

__all__ = [
    "Candidate",
    "MethodComparison",
    "comparisons_of",
    "mean_and_error",
    "newest_comparison",
]

FILE = "comparison.json"
HEAD = ("fine-tuned from", "network", "forest", "mean of both", "network, difference", "minutes")


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Compute the mean and its standard error, which a single value leaves infinite."""
    if len(values) < 2:
        return values[0], math.inf
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))


class Candidate(Config):
    """What fine-tuning from one start gave."""

    method: str | None
    """Key of the pretext method; None for the start alone."""
    title: str
    """For people."""
    runs: tuple[str, ...]
    """Pretraining, if there is one, and fine-tuning."""
    scores: dict[str, dict[Answer, float]]
    """Group of images (or the image that is a group of its own) -> leave-one-out Dice of each answer."""
    seconds: float
    """That both took."""

    def dice(self, answer: Answer) -> tuple[float, float]:
        """Compute the mean Dice of an answer over the groups, and its standard error."""
        return mean_and_error([score[answer] for score in self.scores.values()])


class MethodComparison(Config):
    """Pretraining methods against the start alone, each fine-tuned and estimated by leave-one-out."""

    asked: dict[str, Any]
    """What was asked for, and the annotated images."""
    folds: int
    """Parts in which the annotated images are left out."""
    trainings: dict[str, dict[str, Any]]
    """Method -> its pretraining job, and ``finetune`` -> the job of every fine-tuning, without their starts."""
    expected: dict[str, float]
    """Training -> seconds that it was expected to take."""
    candidates: tuple[Candidate, ...] = ()
    """Those that are finished; the start alone comes first."""
    written: float = Field(default_factory=time.time)
    """Seconds since the epoch."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Keys of the methods that are compared."""
        return tuple(name for name in self.trainings if name != "finetune")

    @property
    def finished(self) -> bool:
        """Whether all candidates are there."""
        return len(self.candidates) == 1 + len(self.methods)

    @property
    def leader(self) -> Candidate:
        """The method whose network has the highest estimate; the start alone takes no part."""
        return max(self.candidates[1:], key=lambda candidate: candidate.dice("network")[0])

    @property
    def best(self) -> Candidate | None:
        """What to fine-tune from; None where the annotations show no difference beyond a standard error."""
        ahead, error = self.difference(self.leader)
        if abs(ahead) <= error:
            return None
        return self.leader if ahead > 0 else self.candidates[0]

    def begins_from(self, encoder: str, start: Start) -> bool:
        """Whether all candidates have this encoder, and it started from there."""
        network = self.asked["network"]
        return (network["encoder"], network["encoder_weights"]) == (encoder, start)

    def difference(self, candidate: Candidate) -> tuple[float, float]:
        """Compute how far a candidate's network is ahead of the start alone, paired by group, and its error."""
        alone = self.candidates[0].scores
        return mean_and_error(
            [
                score["network"] - alone[group]["network"]
                for group, score in candidate.scores.items()
            ]
        )

    def verdict(self) -> str:
        """Say in a sentence or two what the comparison found."""
        alone, leader = self.candidates[0], self.leader
        figures = (
            f"leave-one-out Dice of the network on {len(alone.scores)} annotated images or groups:"
            f" {leader.title} {leader.dice('network')[0]:.3f}, {alone.title} {alone.dice('network')[0]:.3f},"
            f" difference {_told(self.difference(leader), sign='+')}"
        )
        if self.best is None:
            return f"There is no difference that these annotations can show ({figures})."
        return f"{self.best.title} is ahead ({figures})."

    def rows(self) -> list[list[str]]:
        """Lay out the candidates as a table under `HEAD`."""
        return [
            [
                candidate.title,
                *(_told(candidate.dice(answer)) for answer in ("network", "forest", "mean")),
                "" if candidate.method is None else _told(self.difference(candidate), sign="+"),
                f"{candidate.seconds / 60:.1f}",
            ]
            for candidate in self.candidates
        ]

    def write(self, folder: Path) -> None:
        """Keep it in its folder."""
        write_json(folder / FILE, self.model_dump(mode="json"))


def comparisons_of(project: Project) -> dict[Path, MethodComparison]:
    """Read the comparisons of a project, folder by folder, the newest first.

    Raises
    ------
    MedsslError
        If one is damaged.
    """
    found: dict[Path, MethodComparison] = {
        path.parent: MethodComparison.parse(read_json(path), where=str(path))
        for path in (project.path / "comparisons").glob(f"*/{FILE}")
    }
    return dict(sorted(found.items(), key=lambda item: item[1].written, reverse=True))


def newest_comparison(project: Project) -> MethodComparison | None:
    """Read the newest comparison that is finished; None where there is none."""
    return next((found for found in comparisons_of(project).values() if found.finished), None)


def _told(value: tuple[float, float], *, sign: str = "") -> str:
    mean, error = value
    return f"{mean:{sign}.3f} ± {error:.3f}"
