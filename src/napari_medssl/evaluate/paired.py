"""Two evaluated runs compared image by image: differences are far surer than the means that they are of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.evaluated import read_evaluation
from napari_medssl.evaluate.intervals import Interval, bootstrap
from napari_medssl.evaluate.objects import MEASURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medssl.evaluate.metrics import Evaluation, ImageScore
    from napari_medssl.project import Run

__all__ = ["PAIRED", "Pair", "PairedDifference", "paired_difference", "scores_of"]

FEWEST = 3
"""Shared images: of fewer there is no telling how others would differ."""
FEW_UNITS = 10
"""Of fewer, percentile intervals hold clearly less than they say."""

PAIRED = {"dice": "Dice", "iou": "IoU", **MEASURES}
"""What can be compared -> how it is called."""


class Pair(Config):
    """One image, scored twice."""

    image: str
    before: float
    after: float

    @property
    def difference(self) -> float:
        """How much better the second is."""
        return self.after - self.before


class PairedDifference(Config):
    """How much better one run scores than another on the images that both were scored on."""

    before: str
    after: str
    """The runs: what is told is `after` less `before`."""
    measure: str
    """A key of `PAIRED`."""
    images: tuple[Pair, ...]
    """What gained least first."""
    interval: Interval
    """Mean of the differences, with its 95% bootstrap interval."""
    grouped: bool
    """Whether groups of images were drawn for it; else images."""
    left_out: dict[str, str]
    """Images that one of both was scored on, with the reason why they are not compared."""

    def sentence(self) -> str:
        """Say it."""
        found, units = self.interval, "groups of images" if self.grouped else "images"
        title = PAIRED[self.measure]
        if found.low > 0:
            verdict = f"{self.after} is better"
        elif found.high < 0:
            verdict = f"{self.before} is better"
        else:
            verdict = "neither is surely better"
        few = ", of so few too narrow" if found.units < FEW_UNITS else ""
        return (
            f"{title} of {self.after} less {self.before}: {found.mean:+.4f} on {len(self.images)} images (95% interval"
            f" {found.low:+.4f} to {found.high:+.4f}, bootstrap over {found.units} {units}{few}): {verdict}."
        )

    def lines(self) -> list[str]:
        """Lay it out for reading: the images that gained least first, then the sentence."""
        width = max(len(pair.image) for pair in self.images)
        rows = [
            f"{pair.image:{width}}  {pair.before:.4f}  {pair.after:.4f}  {pair.difference:+.4f}"
            for pair in self.images
        ]
        head = f"{'image':{width}}  {'before':6}  {'after':6}  difference"
        left_out = [f"not compared: {name} ({why})" for name, why in self.left_out.items()]
        return [head, *rows, "", self.sentence(), *left_out]


def scores_of(run: Run) -> Evaluation:
    """Read the newest scores of a run.

    Raises
    ------
    MedsslError
        If it was never evaluated, or the file is damaged.
    """
    found = read_evaluation(run)
    if found is None:
        raise MedsslError(
            f"{run.name} was not evaluated yet, so there is nothing to compare.",
            advice=f"First: medssl evaluate PROJECT --run {run.name}.",
        )
    return found


def paired_difference(
    before: Evaluation,
    after: Evaluation,
    *,
    measure: str = "dice",
    groups: Mapping[str, str] | None = None,
) -> PairedDifference:
    """Compare two evaluations on the images that both hold.

    Images whose truth differs between them (another number of true pixels of a class) are left out: one of both was
    scored before the annotation was changed, or with other masks.

    Parameters
    ----------
    before, after : Evaluation
        The scores of two runs.
    measure : str
        ``dice`` or ``iou`` (mean over the classes that both scored), or one of objects: ``aji_plus``,
        ``panoptic_quality``, ``f1``.
    groups : mapping of str to str, optional
        Image -> group (a patient), drawn as a whole for the interval; an image without one is a group of its own.

    Returns
    -------
    PairedDifference

    Raises
    ------
    MedsslError
        If there is no such measure in both, no class that both scored, or fewer than 3 images in common.
    """
    if measure not in PAIRED:
        raise MedsslError(f"measure = {measure!r}; allowed are {', '.join(PAIRED)}.")
    classes = [name for name in before.mean if name in after.mean]
    if not classes:
        raise MedsslError(
            f"{before.run} was scored for {', '.join(before.mean)}, {after.run} for {', '.join(after.mean)}:"
            " there is no class in common.",
            advice="Evaluate both again.",
        )
    first, second = ({row.image: row for row in found.images} for found in (before, after))
    left_out = {name: f"{after.run} was not scored on it" for name in first if name not in second}
    left_out |= {name: f"{before.run} was not scored on it" for name in second if name not in first}
    values = [_values(found, classes, measure) for found in (before, after)]
    shared = []
    for name in first:
        if name in second:
            if _true(first[name], classes) != _true(second[name], classes):
                left_out[name] = "its truth was another one"
            elif not all(name in own for own in values):
                left_out[name] = "its objects were not scored"
            else:
                shared.append(name)
    if len(shared) < FEWEST:
        raise MedsslError(
            f"{before.run} and {after.run} were scored on {len(shared)} images in common with the same truth;"
            f" a comparison needs {FEWEST}.",
            advice="Evaluate both on the same images, held out from both.",
        )
    pairs = [Pair(image=name, before=values[0][name], after=values[1][name]) for name in shared]
    units = [groups.get(pair.image, pair.image) for pair in pairs] if groups else None
    interval = bootstrap([pair.difference for pair in pairs], units)
    if interval is None:
        raise MedsslError(
            "All images in common are of one group (or file), which tells nothing of others.",
            advice="Evaluate both on images of several groups or files.",
        )
    return PairedDifference(
        before=before.run,
        after=after.run,
        measure=measure,
        images=tuple(sorted(pairs, key=lambda pair: pair.difference)),
        interval=interval,
        grouped=bool(groups),
        left_out=left_out,
    )


def _true(row: ImageScore, classes: list[str]) -> list[int]:
    """Give how many pixels of each class the truth has."""
    scores = [row.classes[name] for name in classes]
    return [score.true_positives + score.false_negatives for score in scores]


def _values(evaluation: Evaluation, classes: list[str], measure: str) -> dict[str, float]:
    if measure not in MEASURES:
        return {
            row.image: math.fsum(getattr(row.classes[name], measure) for name in classes)
            / len(classes)
            for row in evaluation.images
        }
    if evaluation.objects is None:
        raise MedsslError(
            f"{evaluation.run} was scored without objects, so there is no {PAIRED[measure]}.",
            advice="Compare by dice, or evaluate it with objects.",
        )
    return {row.image: getattr(row, measure) for row in evaluation.objects.images}
