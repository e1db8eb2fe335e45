"""What the table of images shows: the facts of each image, which are wanted, and in which order. No Qt."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

__all__ = ["Column", "Facts", "Predicted", "Scored", "Wanted", "arranged"]

Predicted = Literal["current", "other", "none"]

_STATUSES = ("none", "partial", "done")
_PREDICTED = ("none", "other", "current")


class Column(IntEnum):
    """In the order in which they are shown."""

    IMAGE = 0
    ANNOTATION = 1
    PREDICTION = 2
    UNCERTAINTY = 3
    SCORE = 4


@dataclass(frozen=True)
class Scored:
    """How a stored prediction compares with the annotation of an image that is done.

    Parameters
    ----------
    classes : mapping of str to float
        Dice by class name, over the annotated pixels; classes that are in neither are left out.
    failure : str
        Why it cannot be told, as a sentence; empty if it can.
    """

    classes: Mapping[str, float]
    failure: str = ""

    @property
    def dice(self) -> float | None:
        """The mean over the classes; 1 where neither holds any, None where it cannot be told."""
        if self.failure:
            return None
        return math.fsum(self.classes.values()) / len(self.classes) if self.classes else 1.0


@dataclass(frozen=True)
class Facts:
    """What is known of the images of a project.

    Parameters
    ----------
    statuses : mapping of str to str
        none, partial or done.
    changed : set of str
        Images whose file changed since they were annotated.
    run : str, optional
        The run that predicts and is scored.
    predicted, predicted_by_others : set of str
        Images with a stored prediction by that run, and by any other one.
    uncertainty : mapping of str to float
        0 to 1, for the images of which it is known.
    scores : mapping of str to Scored
        For images that are done and predicted.
    taught : set of str, optional
        Images whose annotations the run has learned from; None where that cannot be told.
    remark : str
        What to keep in mind of all scores of the run, as a sentence; may be empty.
    """

    statuses: Mapping[str, str] = field(default_factory=dict)
    changed: AbstractSet[str] = frozenset()
    run: str | None = None
    predicted: AbstractSet[str] = frozenset()
    predicted_by_others: AbstractSet[str] = frozenset()
    uncertainty: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, Scored] = field(default_factory=dict)
    taught: AbstractSet[str] | None = frozenset()
    remark: str = ""

    def status(self, name: str) -> str:
        """Tell how far an image is annotated."""
        return self.statuses.get(name, "none")

    def prediction(self, name: str) -> Predicted:
        """Tell whether an image is predicted, by the current run or by others only."""
        if name in self.predicted:
            return "current"
        return "other" if name in self.predicted_by_others else "none"

    def flatters(self, name: str) -> bool:
        """Tell whether the score of an image is no honest test: the run has learned from it, or may have."""
        return self.taught is None or name in self.taught

    def dice(self, name: str) -> float | None:
        """Give the score of an image, if it has one."""
        scored = self.scores.get(name)
        return scored.dice if scored is not None else None


@dataclass(frozen=True)
class Wanted:
    """Which images are to be shown.

    Parameters
    ----------
    status : str
        none, partial or done; empty for any.
    prediction : str
        current, other or none; empty for any.
    text : str
        Part of the name, upper or lower case; ``*`` stands for any letters, ``?`` for one.
    """

    status: str = ""
    prediction: str = ""
    text: str = ""

    @property
    def all(self) -> bool:
        """Whether no image is left out."""
        return self == Wanted()

    def test(self, facts: Facts) -> Callable[[str], bool]:
        """Give a function that tells whether an image of this name is wanted."""
        tests: list[Callable[[str], bool]] = []
        if self.status:
            tests.append(lambda name: facts.status(name) == self.status)
        if self.prediction:
            tests.append(lambda name: facts.prediction(name) == self.prediction)
        if self.text:
            letters = {"*": ".*", "?": "."}
            pattern = "".join(letters.get(letter) or re.escape(letter) for letter in self.text)
            found = re.compile(pattern, re.IGNORECASE).search
            tests.append(lambda name: found(name) is not None)
        return lambda name: all(test(name) for test in tests)


def arranged(
    names: Sequence[str], facts: Facts, wanted: Wanted, column: Column, *, descending: bool = False
) -> list[str]:
    """Give the images that are wanted, sorted by a column.

    Images that are equal in it keep the project's order; those of which it says nothing come last either way.

    Parameters
    ----------
    names : sequence of str
        All images, in the project's order.
    facts : Facts
        What is known of them.
    wanted : Wanted
        Which are shown.
    column : Column
        What to sort by; the names are in the project's order.
    descending : bool
        The largest first.
    """
    shown = list(names) if wanted.all else list(filter(wanted.test(facts), names))
    if column is Column.IMAGE:
        return shown[::-1] if descending else shown
    key: Callable[[str], float | None]
    if column is Column.ANNOTATION:
        key = lambda name: _STATUSES.index(facts.status(name))  # noqa: E731
    elif column is Column.PREDICTION:
        key = lambda name: _PREDICTED.index(facts.prediction(name))  # noqa: E731
    else:
        key = facts.uncertainty.get if column is Column.UNCERTAINTY else facts.dice
    keys = {name: value for name in shown if (value := key(name)) is not None}
    known = [name for name in shown if name in keys]
    known.sort(key=keys.__getitem__, reverse=descending)  # stable, reversed too
    return known + [name for name in shown if name not in keys]
