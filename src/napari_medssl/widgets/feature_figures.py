"""The figures of an assessment as lines of a table, each with what it means."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari_medssl.widgets.run_monitor import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medssl.evaluate.assessment import Application, Assessment

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
_PAPER_CHANCE = (
    "What the evaluation paper gives for features without meaning: it counts an image among its own neighbours, so it"
    " is higher."
)
_GROUPS = "The same with neighbours of other groups (patients) alone, as images of one group are alike anyway."
_RECALL = "Macro recall of a linear classifier of whole images on the features, tested on other groups than it saw."
_SPREAD = (
    "Standard deviation of the normalised output of the projector, where the run has one, or else of the encoder. Far"
    " below full, the projector's has collapsed: everything looks alike."
)
_POSITIVE = "Mean cosine of cells that show the same place in two views: should be high."
_NEGATIVE = "Mean cosine of cells of different images: should be low."
_ACCURACY = (
    "Balanced accuracy of a linear classifier that tells annotated pixels apart by their features, always tested on"
    " images of other groups (patients) than it was fitted on."
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
_CKA_KIND = {
    "unbiased": "The unbiased estimate, over whole stages.",
    "paper": "As in the evaluation paper: biased, in batches of 12 images, the mean over the layers of a stage; it"
    " calls small sets of images alike.",
}
_RQC = (
    "Time of training until the loss had settled, over that of the fastest run: 1 is the fastest."
)

_SETTINGS = "Settings of the method that are shown first: what one would tune."
_ADDED = "Parameters that pretraining adds to the encoder; they are not needed afterwards."
_BATCH = "Patches per step."
_MEMORY = "That pretraining with this batch is expected to take on a CPU."
_TIME = "Time of pretraining, pauses left out."


def figures(found: Assessment) -> Iterator[Figure]:
    """Give the lines of all that was measured."""
    if (near := found.neighbourhood) is not None:
        beside = f"chance {near.expected:.3f}"
        yield Figure("Neighbourhood (NQC)", f"{near.nqc:.3f}", beside, _NQC)
        yield Figure(
            "... chance, as in the paper", f"{near.expected_with_itself:.3f}", "", _PAPER_CHANCE
        )
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
        yield Figure(
            f"Spread of the {spread.of}'s output", f"{spread.feature_std:.4f}", beside, _SPREAD
        )
        yield Figure("Same place, two views", f"{spread.positive:.3f}", "high is good", _POSITIVE)
        yield Figure("Different images", f"{spread.negative:.3f}", "low is good", _NEGATIVE)
    for focus in found.focus():
        meaning = _CAM
        if focus.empty:
            meaning += f" Left out: {focus.empty} of {focus.maps} maps that are 0 everywhere."
        if focus.inside is None:
            yield Figure(f"Map inside {focus.label}", "none", "maps are empty", meaning)
        else:
            beside = f"area {focus.area:.3f}"
            yield Figure(f"Map inside {focus.label}", f"{focus.inside:.3f}", beside, meaning)
    if (cka := found.cka) is not None:
        how = _CKA_KIND[cka.kind]
        meaning = f"The mean of the figures below. {how}"
        yield Figure("CKA, mean over stages", f"{cka.mean:.3f}", "1 is alike", meaning)
        for number, value in enumerate(cka.stages, start=1):
            yield Figure(f"CKA, stage {number}", f"{value:.3f}", "1 is alike", f"{_CKA} {how}")
    for time in found.settling:
        beside = f"{time.seconds:.0f} s"
        yield Figure(f"RQC, {time.run}", f"{time.rqc:.2f}", beside, _RQC)
    if (cost := found.application) is not None:
        yield from _application(cost)


def _application(cost: Application) -> Iterator[Figure]:
    """Give what a pretraining asks for: table II of the evaluation paper."""
    yield Figure("Settings to choose", str(cost.settings), cost.method, _SETTINGS)
    yield Figure(
        "Parameters added", f"{cost.parameters_added / 1e6:.1f} M", "to the encoder", _ADDED
    )
    yield Figure("Batch", str(cost.batch_size), "patches", _BATCH)
    yield Figure("Memory", f"{cost.memory / 2**30:.1f} GiB", "on a CPU", _MEMORY)
    meaning = f"{_TIME} It ran on {cost.device}." if cost.device else _TIME
    yield Figure("Time of training", duration(cost.seconds), f"{cost.steps} steps", meaning)
