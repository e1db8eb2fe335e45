"""How well single objects were found: AJI+, panoptic quality, and F1 over thresholds of the overlap.

Instances are numbered in label images: 0 is background, every other value is one object, whatever
the numbers are. Two images that hold no object agree about it and score 1; where one of them alone
holds objects, the score is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    Instances = NDArray[np.integer[Any]]

__all__ = [
    "Detection",
    "Overlaps",
    "PanopticQuality",
    "aji_plus",
    "detection",
    "overlaps",
    "panoptic_quality",
]

THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""Overlaps from .5 to .95, at which detection is usually reported."""


@dataclass(frozen=True)
class Overlaps:
    """Which objects of truth and prediction share pixels; made by `overlaps`.

    Only pairs that overlap are kept, so that memory grows with the objects, not with their square.
    """

    truth_areas: NDArray[np.int64]
    """(T,): pixels of each true object."""
    prediction_areas: NDArray[np.int64]
    """(P,): pixels of each predicted object."""
    truth: NDArray[np.int64]
    """(K,): of each overlapping pair the true object, an index into `truth_areas`."""
    prediction: NDArray[np.int64]
    """(K,): of each overlapping pair the predicted object."""
    intersection: NDArray[np.int64]
    """(K,): pixels that both share; at least 1."""

    @property
    def union(self) -> NDArray[np.int64]:
        """(K,): pixels of either."""
        both: NDArray[np.int64] = (
            self.truth_areas[self.truth] + self.prediction_areas[self.prediction]
        )
        return both - self.intersection

    @property
    def iou(self) -> NDArray[np.float64]:
        """(K,): intersection over union, in (0, 1]."""
        return self.intersection / self.union

    @property
    def empty(self) -> bool:
        """Whether neither image holds an object."""
        return not len(self.truth_areas) and not len(self.prediction_areas)


class PanopticQuality(NamedTuple):
    """Panoptic quality and its two factors."""

    quality: float
    """`segmentation` times `recognition`."""
    segmentation: float
    """Mean IoU of the matched objects; 0 where none is matched."""
    recognition: float
    """F1 of the matching: TP / (TP + FP / 2 + FN / 2)."""


class Detection(NamedTuple):
    """Objects found at one threshold."""

    threshold: float
    """Overlap (IoU) from which on an object counts as found."""
    true_positives: int
    false_positives: int
    """Predicted objects without a true one."""
    false_negatives: int
    """True objects that were not found."""

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 where there is no object at all."""
        wrong = self.false_positives + self.false_negatives
        if not self.true_positives + wrong:
            return 1.0
        return 2 * self.true_positives / (2 * self.true_positives + wrong)


def overlaps(prediction: Instances, truth: Instances) -> Overlaps:
    """Count the pixels that objects share.

    Parameters
    ----------
    prediction, truth : ndarray of int, the same shape, (Y, X) or (Z, Y, X)
        Numbered objects; 0 is background.

    Raises
    ------
    MedsslError
        If the shapes differ.
    """
    if prediction.shape != truth.shape:
        raise MedsslError(
            f"The predicted objects have the shape {prediction.shape}, the true ones {truth.shape}.",
            advice="Compare each prediction with the truth of the same image.",
        )
    true_index, true_areas = _numbered(truth)
    predicted_index, predicted_areas = _numbered(prediction)
    both = (true_index >= 0) & (predicted_index >= 0)
    width = max(1, len(predicted_areas))
    pairs, counts = np.unique(true_index[both] * width + predicted_index[both], return_counts=True)
    return Overlaps(true_areas, predicted_areas, *np.divmod(pairs, width), counts)


def _numbered(labels: Instances) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give for each pixel (flat) the index of its object, -1 for none, and the areas of the objects."""
    numbers = np.unique(labels)
    numbers = numbers[numbers != 0]
    index = np.full(labels.size, -1)
    inside = np.flatnonzero(labels)
    index[inside] = np.searchsorted(numbers, labels.ravel()[inside])
    return index, np.bincount(index[inside], minlength=len(numbers))


def aji_plus(found: Overlaps) -> float:
    """Score with the aggregated Jaccard index of one-to-one matches.

    True and predicted objects are matched one to one such that the sum of their IoU is largest
    (Hungarian method on -IoU, pairs that do not overlap left out). The score is the sum of the
    matches' intersections over the sum of their unions and of the areas of all unmatched objects.

    Parameters
    ----------
    found : Overlaps
        Of one image.

    Returns
    -------
    float
        In [0, 1]; 1 where there is no object at all, 0 where only truth or prediction holds any.

    References
    ----------
    The index: Kumar et al., IEEE TMI 36(7), 2017, algorithm 1. One-to-one matching ("AJI+"): Graham
    et al., HoVer-Net, Medical Image Analysis 58, 2019, section 4.2.
    """
    if found.empty:
        return 1.0
    pairs = np.array(list(_best_pairs(found)), np.int64)
    shared = int(found.intersection[pairs].sum())
    matched = int(found.union[pairs].sum())
    lost = int(found.truth_areas.sum() - found.truth_areas[found.truth[pairs]].sum())
    invented = int(
        found.prediction_areas.sum() - found.prediction_areas[found.prediction[pairs]].sum()
    )
    return shared / (matched + lost + invented)


def _best_pairs(found: Overlaps) -> Iterator[int]:
    """Give the pairs (indices into K) of the matching with the largest sum of IoU.

    Objects that are not connected by overlaps cannot compete, so each connected set is solved alone:
    the whole table of a slide with 20,000 nuclei would not fit into memory.
    """
    iou, total = found.iou, len(found.truth_areas)
    nodes = total + len(found.prediction_areas)
    graph = coo_array((np.ones(len(iou)), (found.truth, found.prediction + total)), (nodes, nodes))
    component = connected_components(graph, directed=False)[1][found.truth]
    order = np.argsort(component, kind="stable")
    starts = np.flatnonzero(np.diff(component[order])) + 1
    for members in np.split(order, starts):
        if len(members) < 2:
            yield from members.tolist()
            continue
        rows, row = np.unique(found.truth[members], return_inverse=True)
        columns, column = np.unique(found.prediction[members], return_inverse=True)
        table = np.zeros((len(rows), len(columns)))
        table[row, column] = iou[members]
        which = np.full(table.shape, -1)
        which[row, column] = members
        chosen = which[linear_sum_assignment(table, maximize=True)]
        yield from chosen[chosen >= 0].tolist()


def panoptic_quality(found: Overlaps) -> PanopticQuality:
    """Score with the panoptic quality of objects that are taken for one class.

    Objects match where their IoU is above .5, which at most one pair of each object can be.

    Parameters
    ----------
    found : Overlaps
        Of one image; or of a whole set, if all its objects are numbered apart.

    References
    ----------
    Kirillov et al., "Panoptic segmentation", CVPR 2019, equations 1 and 2. There it is computed for every class and
    averaged over classes: of objects of several classes, give the overlaps of one class at a time.
    """
    if found.empty:
        return PanopticQuality(1.0, 1.0, 1.0)
    matched = found.iou[found.iou > 0.5]
    objects = len(found.truth_areas) + len(found.prediction_areas)
    segmentation = float(matched.mean()) if len(matched) else 0.0
    recognition = 2 * len(matched) / objects
    return PanopticQuality(segmentation * recognition, segmentation, recognition)


def detection(found: Overlaps, thresholds: Iterable[float] = THRESHOLDS) -> tuple[Detection, ...]:
    """Count the objects that were found, at several thresholds of the overlap.

    At each threshold, as many objects as possible are matched one to one whose IoU is at least the
    threshold.

    Parameters
    ----------
    found : Overlaps
        Of one image.
    thresholds : iterable of float
        In (0, 1].

    Raises
    ------
    MedsslError
        If a threshold is outside (0, 1].

    References
    ----------
    Caicedo et al., "Evaluation of deep learning strategies for nucleus segmentation in fluorescence
    images", Cytometry A 95(9), 2019.
    """
    return tuple(_detection(found, threshold) for threshold in thresholds)


def _detection(found: Overlaps, threshold: float) -> Detection:
    if not 0 < threshold <= 1:
        raise MedsslError(f"The threshold of the overlap is {threshold}; it lies in (0, 1].")
    shape = (len(found.truth_areas), len(found.prediction_areas))
    hits = 0
    enough = found.iou >= threshold
    if enough.any():
        where = (found.truth[enough], found.prediction[enough])
        graph = coo_array((np.ones(len(where[0]), np.int8), where), shape).tocsr()
        hits = int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())
    return Detection(threshold, hits, shape[1] - hits, shape[0] - hits)
