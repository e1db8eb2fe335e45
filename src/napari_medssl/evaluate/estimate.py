"""Leave-one-out estimates: how good what was learned is on new images, and which of it to hand back."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from pydantic import Field

from napari_medssl.config import Config
from napari_medssl.plan import Answer
from napari_medssl.project.checkpoint import read_json, write_json
from napari_medssl.project.method_comparison import mean_and_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from napari_medssl.project import Run

__all__ = [
    "ANSWERS",
    "MOST_FOLDS",
    "Choice",
    "Estimate",
    "choose_alone",
    "choose_answer",
    "folds_of",
]

MOST_FOLDS = 4
USABLE_FOREST = 0.5
"""Dice on annotations that a random forest did not learn from, from which on it has a say (docs: measurements)."""
ANSWERS: dict[Answer, str] = {
    "network": "the network",
    "forest": "the random forest on filtered images",
    "mean": "the mean of network and random forest",
}


class Estimate(Config):
    """Dice on annotated images that taught nothing, each group of images in its turn."""

    scores: dict[str, dict[Answer, float]] = Field(default_factory=dict)
    """Group of images (or the image that is a group of its own) -> Dice of each answer."""
    done: tuple[int, ...] = ()
    """Folds that are finished."""

    def mean(self, answer: Answer) -> float:
        """Return the mean Dice of an answer over the groups."""
        return statistics.fmean(score[answer] for score in self.scores.values())

    def difference(self, first: Answer, second: Answer) -> tuple[float, float]:
        """Return the mean difference of two answers, paired by group, and its standard error."""
        pairs = [score[first] - score[second] for score in self.scores.values()]
        return mean_and_error(pairs)

    @classmethod
    def read(cls, run: Run) -> Estimate:
        """Read what a run has; empty where it has nothing yet.

        Raises
        ------
        MedsslError
            If the file is damaged.
        """
        path = path_of(run)
        if not path.is_file():
            return cls()
        found: Estimate = cls.parse(read_json(path), where=str(path))
        return found

    def write(self, run: Run) -> None:
        """Keep it in the run's folder."""
        write_json(path_of(run), self.model_dump(mode="json"))


class Choice(Config):
    """What predicts from now on, and why."""

    answer: Answer
    why: str
    """In a sentence."""
    score: float | None = None
    """Its estimated Dice; None where there is none to give."""


def path_of(run: Run) -> Path:
    """Return where a run keeps its estimate."""
    return run.path / "estimate.json"


def folds_of(
    images: Iterable[str], groups: Mapping[str, str], *, most: int = MOST_FOLDS
) -> list[list[str]]:
    """Divide images into folds of whole groups, as even as the groups allow.

    Parameters
    ----------
    images : iterable of str
        Annotated images.
    groups : mapping of str to str
        Image -> the group it belongs to; one without is a group of its own.
    most : int
        Largest number of folds.

    Returns
    -------
    list of list of str
        Empty where all images are of one group: there is nothing to leave out.

    Examples
    --------
    >>> folds_of(["a", "b", "c"], {"a": "1", "b": "1"})
    [['a', 'b'], ['c']]
    """
    members: dict[str, list[str]] = {}
    for image in images:
        members.setdefault(groups.get(image, image), []).append(image)
    folds: list[list[str]] = [[] for _ in range(min(most, len(members)))]
    if len(folds) < 2:
        return []
    for group in sorted(members.values(), key=len, reverse=True):
        min(folds, key=len).extend(group)
    return folds


def choose_answer(estimate: Estimate, *, independent: bool = True) -> Choice:
    """Choose what predicts: the highest estimate, or the mean of both where it is within one standard error.

    Parameters
    ----------
    estimate : Estimate
        With scores.
    independent : bool
        Whether the groups are such. Images of one volume, film or patient may choose, but what they say of new images
        flatters, so no score is told.
    """
    means = {answer: estimate.mean(answer) for answer in ANSWERS}
    best = max(means, key=lambda answer: means[answer])
    told = ", ".join(f"{ANSWERS[answer]} {value:.3f}" for answer, value in means.items())
    chosen = best
    if best != "mean":
        ahead, error = estimate.difference(best, "mean")
        if ahead <= error:
            chosen = "mean"
    reason = "the highest" if chosen == best else "no other is ahead of it by a standard error"
    what = ANSWERS[chosen][0].upper() + ANSWERS[chosen][1:]
    if not independent:
        return Choice(
            answer=chosen,
            why=f"{what} predicts: {reason} on left-out images of the one annotated group. How good it is on other"
            " groups is not known.",
        )
    return Choice(
        answer=chosen,
        why=f"Leave-one-out Dice on {len(estimate.scores)} annotated images or groups: {told}. {what} predicts"
        f" ({reason}); its estimate is optimistic, for it also chose.",
        score=means[chosen],
    )


def choose_alone(forest: float, *, otherwise: str) -> Choice:
    """Choose what predicts where there is no estimate: the mean, unless the forest is no use.

    Parameters
    ----------
    forest : float
        Dice of the forest on annotations that it did not learn from.
    otherwise : str
        Why there is no estimate, to begin a sentence with.
    """
    if forest >= USABLE_FOREST:
        return Choice(answer="mean", why=f"{otherwise}, so {ANSWERS['mean']} predicts.")
    return Choice(
        answer="network",
        why=f"{otherwise}. The random forest fails on annotations that it did not learn from (Dice {forest:.2f}), so"
        f" {ANSWERS['network']} alone predicts.",
    )
