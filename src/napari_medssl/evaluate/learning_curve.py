"""What annotated images are worth, measured: linear probes that learn from more and more of them.

All that is needed is at hand in a project with four annotated images: a probe on the features of a network learns from
some of them and is scored on the others. It takes seconds, and no training; what fine-tuning makes of as many images
is mostly more, but the shape of its curve is alike.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.class_scores import FIRST_CLASS, ClassScore
from napari_medssl.evaluate.evaluated import read_evaluation
from napari_medssl.evaluate.extrapolation import Score
from napari_medssl.evaluate.taught import lineage, taught
from napari_medssl.explore.linear import fit_linear
from napari_medssl.explore.live_probe import LiveConfig
from napari_medssl.explore.one_thread import one_thread
from napari_medssl.explore.probe_pixels import ProbePixels, chosen_pixels, probe_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medssl.project import Project, Run

__all__ = [
    "FEWEST",
    "EvaluatedRun",
    "Untaught",
    "evaluated_runs",
    "probe_image",
    "probe_scores",
    "untaught",
]

FEWEST = 4
"""Annotated images (or groups of them): fewer do not give three numbers to learn from and others to be scored on."""
DRAWS = 8
"""Sets of images for each number of them, as long as there are so many."""
STEPS = 6
"""Numbers of images that are tried, at most."""
HELD_OUT = 0.2
"""Share of the images that the largest sets leave to be scored."""
CONFIG = LiveConfig(pixels_per_image=2000, pixels=12_000)


class Untaught(NamedTuple):
    """A network that has not learned from the annotated images."""

    run: Run
    at_start: bool
    """Whether it is the one before the first step of the run."""

    @property
    def title(self) -> str:
        """Its name for people."""
        return f"{self.run.name}, before training" if self.at_start else self.run.name


def untaught(project: Project, run: Run) -> Untaught:
    """Go back from a run to the newest network that has not learned from what is annotated now.

    Features of a fine-tuned network would know the images that a probe on them is scored on. A run of another project
    that it descends from is not asked itself, but as the start of a run of this one.

    Parameters
    ----------
    project : Project
        Whose annotations.
    run : Run
        One of its runs.

    Raises
    ------
    MedsslError
        If every network that it descends from has learned from them.
    """
    annotated = set(project.annotations.annotated())
    newer: Run | None = None
    for name, ancestor in lineage(run):
        own = ancestor is not None and ancestor.path.parent == run.path.parent
        if ancestor is not None and not annotated & taught(project, ancestor).annotated:
            if own:
                return Untaught(ancestor, at_start=False)
            if newer is not None:
                return Untaught(newer, at_start=True)
        if not own:
            raise MedsslError(
                f"{run.name} descends from {name}, which has learned from the annotated images or cannot be looked at,"
                " so they cannot test its features.",
                advice="Choose a run that was pretrained without annotations.",
            )
        newer = ancestor
    assert newer is not None  # a lineage begins with the run itself
    return Untaught(newer, at_start=True)


class ProbeImage(NamedTuple):
    """An annotated image, as probes learn from it and are scored on it."""

    seen: ProbePixels
    weights: NDArray[np.float64]
    """(N,): how many annotated pixels each stands for."""


def probe_image(
    name: str,
    labels: NDArray[np.integer],
    cells: NDArray[np.floating],
    stride: int,
) -> ProbeImage:
    """Draw the pixels of an image that are learned from and scored: of each class as many, as far as there are any.

    Parameters
    ----------
    name : str
        Of the image.
    labels : ndarray of integers, (Y, X)
        0 is not annotated.
    cells : ndarray of float, (Y / stride, X / stride, D)
        Features of a network.
    stride : int
        Pixels per cell and axis.

    Raises
    ------
    EmbeddingError
        If the features are not of the labels' size.
    """
    chosen = chosen_pixels(labels, most=CONFIG.pixels_per_image, balanced=CONFIG.balanced)
    seen = probe_pixels(name, chosen, cells, stride)
    there = np.bincount(labels.ravel())
    drawn = np.maximum(np.bincount(seen.values, minlength=len(there)), 1)
    return ProbeImage(seen, (there / drawn)[seen.values])


def probe_scores(
    images: Mapping[str, ProbeImage],
    *,
    groups: Mapping[str, str] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """Fit probes on 1, 2, ... of the images, several draws of each, and score them on the others.

    The score of an image is its Dice, the mean over the classes that are annotated anywhere, as its drawn pixels let
    it be estimated. Where there are groups, images of one are learned from together, and none of a group that taught
    is scored. The largest sets leave a fifth of the images, or as many as a group usually has.

    Parameters
    ----------
    images : mapping of str to ProbeImage
        The annotated images.
    groups : mapping of str to str, optional
        Image -> group (a patient); an image without one is a group of its own.
    seed : int
        Which images are drawn.
    progress : callable, optional
        Called with (done, total) probes; what it raises ends the work.

    Returns
    -------
    list of Score
        For `forecast`.

    Raises
    ------
    MedsslError
        If there are fewer than 4 images (or groups), or fewer than two classes are annotated.
    """
    names = list(images)
    group = {name: (groups or {}).get(name, name) for name in names}
    if len(set(group.values())) < FEWEST:
        what = "groups of annotated images" if groups else "annotated images"
        raise MedsslError(
            f"It takes {FEWEST} {what} to learn from some and score the others; there are"
            f" {len(set(group.values()))}.",
            advice="Annotate more images.",
        )
    present = np.unique(np.concatenate([image.seen.values for image in images.values()]))
    classes = [int(value) for value in present if value >= FIRST_CLASS]
    if len(present) < 2 or not classes:
        raise MedsslError(
            "Only one class is annotated, so there is nothing to tell apart.",
            advice="Paint some background and some of each class.",
        )
    rng = np.random.default_rng(seed)
    plan = [
        (count, draw, taught_by, held_out)
        for count in _counts(group)
        for draw, (taught_by, held_out) in enumerate(_draws(names, group, count, rng))
    ]
    scores = []
    for done, (count, draw, taught_by, held_out) in enumerate(plan):
        if progress is not None:
            progress(done, len(plan))
        with one_thread():
            classify = _fitted([images[name] for name in taught_by])
            scores += [
                Score(count, draw, name, _dice(classify, images[name], classes))
                for name in held_out
            ]
    return scores


def _counts(group: Mapping[str, str]) -> list[int]:
    """Give the numbers of images to learn from, in steps that grow; `group` is that of each image."""
    sizes = Counter(group.values()).values()
    left = max(HELD_OUT * len(group), statistics.median(sizes))  # a whole group, to be scored
    most = len(group) - math.ceil(left)
    return sorted({round(count) for count in np.geomspace(1, most, STEPS)})


def _draws(
    names: Sequence[str], group: Mapping[str, str], count: int, rng: np.random.Generator
) -> Iterator[tuple[list[str], list[str]]]:
    """Give different sets of images to learn from, and to be scored on; every image is scored as often, about.

    Round a circle of all images, shuffled by group, whatever lies outside of a window is learned from.
    """
    total, held = len(names), len(names) - count
    wanted = min(math.comb(total, count), max(DRAWS, math.ceil(total / held)))
    seen: set[frozenset[str]] = set()
    for _ in range(wanted * DRAWS):  # groups allow fewer sets than single images would
        place = {own: rng.random() for own in sorted(set(group.values()))}
        within = rng.permutation(total)
        circle = [
            names[i]
            for i in sorted(range(total), key=lambda i: (place[group[names[i]]], within[i]))
        ]
        for start in range(0, total, held):
            turned = circle[start:] + circle[:start]
            chosen = turned[held:]
            known = {group[name] for name in chosen}
            rest = [name for name in turned[:held] if group[name] not in known]
            if rest and frozenset(chosen) not in seen:
                seen.add(frozenset(chosen))
                yield chosen, rest
        if len(seen) >= wanted:
            return


def _fitted(
    images: Sequence[ProbeImage],
) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
    """Learn from some images; gives what tells the label values (N,) of pixels (N, D)."""
    share = max(1, CONFIG.pixels // len(images))
    values = np.concatenate([image.seen.values[:share] for image in images])
    if (values == values[0]).all():  # a network that has seen one class knows no other
        return lambda pixels: np.full(len(pixels), values[0])
    layer = fit_linear(
        np.concatenate([image.seen.pixels[:share] for image in images]),
        values,
        scale=np.mean([image.seen.spread for image in images], axis=0) + np.float32(1e-6),
        l2=CONFIG.l2,
        balanced=CONFIG.balanced,
    )
    return lambda pixels: layer.values[layer.logits(pixels).argmax(1)]


def _dice(
    classify: Callable[[NDArray[np.float32]], NDArray[np.int64]],
    image: ProbeImage,
    classes: Sequence[int],
) -> float:
    predicted, true = classify(image.seen.pixels), image.seen.values

    def pixels(which: NDArray[np.bool_]) -> int:
        return round(float(image.weights[which].sum()))

    return math.fsum(
        ClassScore.of(
            pixels((predicted == value) & (true == value)),
            pixels((predicted == value) & (true != value)),
            pixels((predicted != value) & (true == value)),
        ).dice
        for value in classes
    ) / len(classes)


class EvaluatedRun(NamedTuple):
    """A fine-tuned run with its newest scores."""

    run: str
    annotated: int
    """Images of the project that it has learned from, itself or by what it started from."""
    dice: float
    """The mean over the classes and images that were scored."""
    images: frozenset[str]
    """Those."""


def evaluated_runs(project: Project) -> tuple[EvaluatedRun, ...]:
    """Give the fine-tuned runs of a project that were evaluated, the newest first.

    Raises
    ------
    MedsslError
        If the scores or the job of one are damaged.
    """
    found = []
    for run in project.runs():
        evaluation = read_evaluation(run) if run.kind == "finetune" else None
        if evaluation is not None:
            annotated = len(taught(project, run).annotated)
            images = frozenset(row.image for row in evaluation.images)
            found.append(EvaluatedRun(run.name, annotated, evaluation.mean_dice, images))
    return tuple(found)
