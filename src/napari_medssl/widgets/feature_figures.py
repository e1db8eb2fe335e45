"""The figures of an assessment as lines of a table, each with what it means."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medssl.evaluate.assessment import Assessment

__all__ = ["Figure", "figures"]


class Figure(NamedTuple):
    """One line."""

    title: str
    value: str
    beside: str
    """What to hold it against, in words; may be empty."""
    meaning: str


_NQC = (
    "Neighbourhood quality (NQC): how often the image most like another one has its class. 1 is best; features without"
    " meaning give what chance gives."
)
_GROUPS = "The same with neighbours of other groups (patients) alone, as images of one group are alike anyway."
_RECALL = "Macro recall of a linear classifier of whole images on the features, tested on other groups than it saw."
_SPREAD = (
    "Standard deviation of the normalised cells of the encoder's last output. Far below full, the features have"
    " collapsed: everything looks alike."
)
_POSITIVE = "Mean cosine of cells that show the same place in two views: should be high."
_NEGATIVE = "Mean cosine of cells of different images: should be low."
_ACCURACY = (
    "Balanced accuracy of a linear classifier that tells annotated pixels apart by their features, always tested on"
    " other images than it was fitted on."
)
_SILHOUETTE = (
    "Whether pixels of a class lie closer to each other than to other classes: from -1 to 1."
)
_CAM = (
    "Share of the class activation map's mass inside the true class. The share of the area is what a map without focus"
    " would have."
)
_CKA = (
    "How alike this encoder and the other one see images, at this depth: 1 up to rotation and scale, about 0 for"
    " independent ones. Stage 1 is the finest."
)
_RQC = (
    "Time of training until the loss had settled, over that of the fastest run: 1 is the fastest."
)


def figures(found: Assessment) -> Iterator[Figure]:
    """Give the lines of all that was measured."""
    if (near := found.neighbourhood) is not None:
        beside = f"chance {near.expected:.3f}"
        yield Figure("Neighbourhood (NQC)", f"{near.nqc:.3f}", beside, _NQC)
        if near.between_groups is not None:
            chance = near.expected_between_groups
            beside = "" if chance is None else f"chance {chance:.3f}"
            yield Figure("... of another group", f"{near.between_groups:.3f}", beside, _GROUPS)
    if (told := found.classification) is not None:
        beside = f"chance {told.chance:.2f}"
        each = ", ".join(f"{name} {recall:.2f}" for name, recall in told.recalls.items())
        meaning = f"{_RECALL} By class: {each}."
        yield Figure("Image classes told apart", f"{told.recall:.3f}", beside, meaning)
    if (like := found.likeness) is not None:
        beside = f"chance {like.chance:.2f}"
        yield Figure("Pixel classes told apart", f"{like.balanced_accuracy:.3f}", beside, _ACCURACY)
        if like.silhouette is not None:
            yield Figure("Silhouette of pixels", f"{like.silhouette:.3f}", "", _SILHOUETTE)
    if (spread := found.spread) is not None:
        beside = f"full {spread.full:.4f}"
        yield Figure("Spread of features", f"{spread.feature_std:.4f}", beside, _SPREAD)
        yield Figure("Same place, two views", f"{spread.positive:.3f}", "high is good", _POSITIVE)
        yield Figure("Different images", f"{spread.negative:.3f}", "low is good", _NEGATIVE)
    for label in dict.fromkeys(item.label for item in found.activations):
        own = [item for item in found.activations if item.label == label]
        inside, area = (
            math.fsum(getattr(item, key) for item in own) / len(own) for key in ("inside", "area")
        )
        yield Figure(f"Map inside {label}", f"{inside:.3f}", f"area {area:.3f}", _CAM)
    if (cka := found.cka) is not None:
        for number, value in enumerate(cka.stages, start=1):
            yield Figure(f"CKA, stage {number}", f"{value:.3f}", "1 is alike", _CKA)
    for time in found.settling:
        beside = f"{time.seconds:.0f} s"
        yield Figure(f"RQC, {time.run}", f"{time.rqc:.2f}", beside, _RQC)
