"""What features are worth before anything was fine-tuned: neighbours, clusters, spread, attention.

How well a straight line separates classes is in `napari_medssl.explore.separability`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score

from napari_medssl.errors import MedsslError
from napari_medssl.explore.neighbours import Folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medssl.explore.labelled import LabelledCells

    Features = NDArray[np.floating[Any]]

__all__ = [
    "PairSimilarity",
    "expected_nqc",
    "feature_std",
    "mass_inside",
    "nqc",
    "pair_similarity",
    "silhouette",
]

TIED = 1e-9
"""Distances that differ by less than this share of the features' length are equal but for rounding."""


class PairSimilarity(NamedTuple):
    """Mean cosines; good features have the first high and the second low."""

    positive: float
    """Of what shows the same place."""
    negative: float
    """Of what shows different images."""


def nqc(features: Features, classes: Sequence[str], groups: Sequence[str] | None = None) -> float:
    """Give the share of images whose nearest neighbour is of the same class (neighbourhood quality criterion).

    Distances are Euclidean in the first 10 principal components. An image is not its own neighbour.
    Where several images are equally near, each counts by its share; so features that are the same
    for all images get just what chance gives, `expected_nqc`.

    Parameters
    ----------
    features : ndarray of float, (N, D)
        One vector per image: the mean over its pixels of the last features.
    classes : sequence of str, (N,)
        The class of each image. An image that is alone in its class never scores.
    groups : sequence of str, (N,), optional
        The group of each (a patient): images of its own group are then no neighbours of an image, for slices of one
        patient are near each other and of one class whatever the features. At least two groups. Not of the paper.

    Returns
    -------
    float
        In [0, 1]; 1 where there is a single class.

    Raises
    ------
    MedsslError
        If there are fewer than 2 images or groups, or not as many classes or groups as images.

    References
    ----------
    The evaluation paper on self-supervised learning (Rettenberger, Schilling et al.), section III-C.
    """
    labels = np.unique(_checked(classes), return_inverse=True)[1]
    if len(labels) != len(features):
        raise MedsslError(f"There are {len(features)} images, but {len(labels)} classes of images.")
    own = _own(groups, len(labels))
    points = Folder(tuple(map(str, range(len(labels)))), features).points
    tie = TIED * float(np.abs(np.asarray(features, np.float64)).max())
    scores = np.empty(len(points))
    for i, point in enumerate(points):
        distances = cdist(point[None], points)[0]
        distances[own == own[i]] = np.inf
        nearest = distances <= distances.min() + tie
        scores[i] = (labels[nearest] == labels[i]).mean()
    return float(scores.mean())


def expected_nqc(
    classes: Sequence[str], groups: Sequence[str] | None = None, *, with_itself: bool = False
) -> float:
    """Give the NQC that features without any meaning have on average.

    With l images, n_c of them of class c: ``sum n_c (n_c - 1) / (l (l - 1))``, as an image is not its
    own neighbour.

    Parameters
    ----------
    classes : sequence of str, (N,)
        The class of each image.
    groups : sequence of str, (N,), optional
        The group of each, where `nqc` is given them: the mean over images of the share of their class among the images
        of other groups.
    with_itself : bool
        Give the paper's ``sum (n_c / l)^2`` (its equation 2) instead, which counts an image among its
        own neighbours and is a little higher.

    Raises
    ------
    MedsslError
        If there are fewer than 2 images or groups, or not as many groups as images.
    """
    if groups is not None:
        labels = np.unique(_checked(classes), return_inverse=True)[1]
        other = (own := _own(groups, len(labels)))[:, None] != own
        alike = (labels[:, None] == labels) & other
        return float((alike.sum(1) / other.sum(1)).mean())
    counts = np.unique(_checked(classes), return_counts=True)[1].astype(np.float64)
    total = counts.sum()
    if with_itself:
        return float(((counts / total) ** 2).sum())
    return float((counts * (counts - 1)).sum() / (total * (total - 1)))


def silhouette(cells: LabelledCells, *, sample: int = 2000, seed: int = 0) -> float | None:
    """Give how much nearer pixels are to their own class than to the next one.

    The mean over pixels of ``(b - a) / max(a, b)``: a is the mean Euclidean distance to the other
    pixels of the class, b that to those of the nearest other class. 0 for a pixel that is alone in
    its class.

    Parameters
    ----------
    cells : LabelledCells
        Features of annotated pixels.
    sample : int
        At most so many of them are drawn: distances are measured between all pairs.
    seed : int
        Which.

    Returns
    -------
    float or None
        In [-1, 1]; 0 for features that are the same everywhere. None where there are not two classes.

    References
    ----------
    Rousseeuw, Journal of Computational and Applied Mathematics 20, 1987.
    """
    chosen = np.random.default_rng(seed).permutation(len(cells.values))[:sample]
    features, values = cells.features[chosen], cells.values[chosen]
    classes = len(np.unique(values))
    if classes < 2:
        return None
    if classes == len(values):
        return 0.0  # every pixel is alone in its class
    return float(silhouette_score(features.astype(np.float64), values))


def feature_std(features: Features) -> float:
    """Give the standard deviation of features on the unit sphere: near 0, they have collapsed.

    Of each of the D entries over the N normalised vectors (with N - 1), averaged over entries.
    Vectors that fill the sphere have about ``1 / sqrt(D)``.

    Parameters
    ----------
    features : ndarray of float, (N, D)
        One vector per image or pixel.

    Raises
    ------
    MedsslError
        If there are fewer than 2 vectors.

    References
    ----------
    DiCoH, table 5, which calls it variance.
    """
    if len(features) < 2:
        raise MedsslError(f"{len(features)} vectors have no spread; at least 2.")
    return float(_unit(features).std(0, ddof=1).mean())


def pair_similarity(
    first: Features, second: Features, images: Sequence[str] | None = None
) -> PairSimilarity:
    """Give the mean cosine of matching vectors, and of vectors of different images.

    Parameters
    ----------
    first, second : ndarray of float, (N, D)
        Row i of both shows the same place in two views. A vector of length 0 has cosine 0 to any.
    images : sequence of str, (N,), optional
        The image of each row: two rows of one image, which may well be alike, are no negatives. By
        default each row is of an image of its own.

    Raises
    ------
    MedsslError
        If the shapes differ, or there are not two images.

    References
    ----------
    DiCoH, table 7.
    """
    if first.shape != second.shape or first.ndim != 2:
        raise MedsslError(f"Features of two views have one shape; {first.shape}, {second.shape}.")
    own = np.arange(len(first)) if images is None else np.unique(images, return_inverse=True)[1]
    count = int(own.max()) + 1 if len(own) else 0
    if len(own) != len(first) or count < 2:
        raise MedsslError(
            f"Negatives are between two images; {len(first)} rows are of {count} images."
        )
    a, b = _unit(first), _unit(second)
    # The sum of all cosines between two sets is the product of their sums: no table of N x N.
    sums = [np.zeros((count, a.shape[1])) for _ in range(2)]
    for total, vectors in zip(sums, (a, b), strict=True):
        np.add.at(total, own, vectors)
    within = float((sums[0] * sums[1]).sum())
    everything = float(sums[0].sum(0) @ sums[1].sum(0))
    pairs = len(own) ** 2 - int((np.bincount(own).astype(np.int64) ** 2).sum())
    return PairSimilarity(float((a * b).sum(1).mean()), (everything - within) / pairs)


def mass_inside(activation: ArrayLike, mask: NDArray[np.bool_]) -> float | None:
    """Give the share of a class activation map that lies inside a mask.

    Parameters
    ----------
    activation : array of float, (Y, X)
        At least 0 everywhere.
    mask : ndarray of bool, (Y, X)
        The true objects; their share of the image is what a map without focus scores.

    Returns
    -------
    float or None
        In [0, 1]; None for a map that is 0 everywhere: it looks at nothing, neither inside nor outside.

    Raises
    ------
    MedsslError
        If the shapes differ, or a value is negative or not finite.
    """
    mass = np.asarray(activation, np.float64)
    if mass.shape != mask.shape or not np.isfinite(mass).all() or (mass < 0).any():
        raise MedsslError(
            f"An activation map has values of 0 or more and the mask's shape; {mass.shape}, {mask.shape}."
        )
    total = float(mass.sum())
    return float(mass[mask.astype(bool)].sum()) / total if total > 0 else None


def _checked(classes: Sequence[str]) -> NDArray[Any]:
    if len(classes) < 2:
        raise MedsslError(f"{len(classes)} images have no neighbours; at least 2.")
    return np.asarray(classes)


def _own(groups: Sequence[str] | None, count: int) -> NDArray[np.int64]:
    """Give the number of each image's group; without groups, every image is one of its own."""
    if groups is None:
        return np.arange(count)
    found: NDArray[np.int64] = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    if len(found) != count or found.max() < 1:
        raise MedsslError(
            f"Neighbours in other groups need at least two of them; {found.max() + 1} are given of {len(found)} of "
            f"{count} images."
        )
    return found


def _unit(features: Features) -> NDArray[np.float64]:
    vectors = np.asarray(features, np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float64] = np.divide(
        vectors, norms, out=np.zeros_like(vectors), where=norms > 0
    )
    return unit
