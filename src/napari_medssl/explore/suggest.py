"""What to annotate next, why, and where in it.

Before there is a model, images that stand for the folder: either those that most others are like (k-means++ seeding),
or those that are least like what is annotated (farthest first). With a model, images that it is uncertain about and
that are unlike what is annotated. Images that are nearly the same as an annotated one come last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.explore.uncertainty import Box, highest_box

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from numpy.typing import NDArray

    from napari_medssl.explore.neighbours import Folder
    from napari_medssl.explore.store import EmbeddingStore
    from napari_medssl.explore.uncertainty import Uncertain

__all__ = ["Diversity", "Suggestion", "nearest_distances", "suggest", "unusual_box"]

Diversity = Literal["typical", "farthest"]

NEAR = 0.1
"""Images nearer to each other than this are nearly the same; 1 is the typical distance from the folder's centre."""
UNLIKE = 0.5
"""From this distance on an uncertain image is said to be unlike the others."""
TRIALS = 64
"""Images that compete for each place of the k-means++ seeding."""
REFERENCE_CELLS = 2000
"""Cells of annotated images that unusual ones are compared with."""
_BLOCK = 1024
"""Images or cells that are compared at once."""


class Suggestion(NamedTuple):
    """An image to annotate."""

    image: str
    score: float
    """How much it is worth; comparable within one list only."""
    why: str
    """In words: "31 others are more like it than like the 3 annotated images"."""
    box: Box
    """Where to look first, pixels."""


class _Pick(NamedTuple):
    place: int
    score: float
    why: str


def suggest(
    store: EmbeddingStore,
    folder: Folder,
    *,
    annotated: Collection[str],
    count: int = 5,
    uncertain: Mapping[str, Uncertain] | None = None,
    diversity: Diversity = "typical",
    candidates: Iterable[str] | None = None,
    near: float = NEAR,
    seed: int = 0,
) -> list[Suggestion]:
    """Choose images to annotate next, the best first; each takes those before it for annotated.

    Parameters
    ----------
    store : EmbeddingStore
        The folder; the features of annotated and suggested images are read, to find the boxes.
    folder : Folder
        The same, every image as a point.
    annotated : collection of str
        Images with annotations; those that are not in the store count for nothing.
    count : int
        How many to choose; fewer where there are no more.
    uncertain : mapping of str to Uncertain, optional
        What a model says (`uncertain_images`). Only these images are suggested then, by uncertainty times distance to
        what is annotated; up to the typical distance, so that outliers do not win.
    diversity : {"typical", "farthest"}
        Without `uncertain`: images that stand for many others, or the ones that are least like any annotated one.
    candidates : iterable of str, optional
        Images to choose from; by default all that are not annotated.
    near : float
        Distance below which images are nearly the same, see `NEAR`; they are suggested when there are no others.
    seed : int
        Of ``typical``: which images compete. The same seed gives the same suggestions.

    Raises
    ------
    MedsslError
        If `count` is below 1.
    EmbeddingError
        If the features of an image cannot be read.

    References
    ----------
    Farthest first: Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", ICLR
    2018 (k-center greedy). Typical: Arthur and Vassilvitskii, "k-means++", SODA 2007, the variant that tries several
    candidates and keeps the one that lowers the sum of squared distances most.
    """
    if count < 1:
        raise MedsslError(f"count = {count} must be at least 1.")
    places = {name: index for index, name in enumerate(folder.names)}
    known = [name for name in folder.names if name in set(annotated)]
    wanted = places.keys() if candidates is None else places.keys() & set(candidates)
    wanted = wanted - set(known)
    values = None
    if uncertain is not None:
        wanted &= uncertain.keys()
        values = np.zeros(len(places))
        for name in wanted:
            values[places[name]] = uncertain[name].value
    free = np.array([name in wanted for name in folder.names])
    choice = _Choice(folder.points, [places[name] for name in known], free, near=near, seed=seed)
    picks: list[_Pick] = []
    while len(picks) < count and choice.free.any():
        picks.append(choice.diverse(diversity) if values is None else choice.uncertain(values))
    if uncertain is not None:
        boxes = [uncertain[folder.names[pick.place]].box for pick in picks]
    else:
        reference = _reference(store, known, seed=seed)
        boxes = [unusual_box(store, folder.names[pick.place], reference) for pick in picks]
    return [
        Suggestion(folder.names[pick.place], pick.score, pick.why, box)
        for pick, box in zip(picks, boxes, strict=True)
    ]


class _Choice:
    """Picks images one after the other.

    Distances are given in units of the typical one, the root mean square of those from the folder's centre.
    """

    def __init__(
        self,
        points: NDArray[np.float64],
        annotated: list[int],
        free: NDArray[np.bool_],
        *,
        near: float,
        seed: int,
    ) -> None:
        self.free = free.copy()
        centred = points - points.mean(0)
        typical = float(np.sqrt((centred**2).sum(1).mean()))
        self._points = centred / (
            typical or 1.0
        )  # of images that are all the same, every distance is 0
        self._annotated = len(annotated)
        self._suggested = 0
        self._candidates = int(np.count_nonzero(free))
        self._near = near
        self._rng = np.random.default_rng(seed)
        self._distances = nearest_distances(self._points, self._points[annotated])

    def diverse(self, how: Diversity) -> _Pick:
        """Pick an image that stands for others, or the farthest; without anything to compare with, the middle one."""
        allowed = self._allowed()
        if not allowed.any():
            return self._duplicate()
        if not self._annotated + self._suggested:
            index = int(np.where(allowed, np.linalg.norm(self._points, axis=1), np.inf).argmin())
            return self._take(index, 1.0, f"the most typical of {self._candidates} images")
        if how == "farthest":
            index = int(np.where(allowed, self._distances, -1).argmax())
            return self._take(index, float(self._distances[index]), f"least like {self._those()}")
        index = self._representative(allowed)
        own = self._from(index)
        gain = (self._distances**2 - np.minimum(own, self._distances) ** 2).mean()
        count = int(np.count_nonzero(own < self._distances)) - 1
        others = {0: "no other image is", 1: "another image is"}.get(count, f"{count} others are")
        why = f"{others} more like it than like {self._those()}"
        return self._take(index, float(gain), why)

    def uncertain(self, values: NDArray[np.float64]) -> _Pick:
        """Pick the image with the highest product of uncertainty and distance to what is annotated."""
        allowed = self._allowed()
        if not allowed.any():
            return self._duplicate()
        reach = np.minimum(self._distances, 1.0)
        index = int(np.where(allowed, values * reach, -1).argmax())
        rank = int(np.count_nonzero(values > values[index])) + 1
        why = f"most uncertain ({values[index]:.2f})"
        if rank > 1:
            why = f"uncertain ({values[index]:.2f}, number {rank} of {self._candidates})"
        if UNLIKE <= self._distances[index] < np.inf:
            why += f", unlike {self._those()}"
        return self._take(index, float(values[index] * reach[index]), why)

    def _representative(self, allowed: NDArray[np.bool_]) -> int:
        """Draw images by their squared distance, and give the one that lowers its sum over the folder most."""
        squares = self._distances**2
        drawn = np.flatnonzero(allowed)
        if len(drawn) > TRIALS:
            chances = squares[drawn] / squares[drawn].sum()
            drawn = np.sort(self._rng.choice(drawn, TRIALS, replace=False, p=chances))
        own = (self._points**2).sum(1)
        to_drawn = own[:, None] - 2 * self._points @ self._points[drawn].T + own[drawn]
        return int(drawn[np.minimum(to_drawn, squares[:, None]).sum(0).argmin()])

    def _allowed(self) -> NDArray[np.bool_]:
        """Give the free images that are not nearly the same as one that is taken."""
        allowed: NDArray[np.bool_] = self.free & (self._distances > self._near)
        return allowed

    def _duplicate(self) -> _Pick:
        """Pick the least alike of images that are all nearly the same as one that is taken."""
        index = int(np.where(self.free, self._distances, -1).argmax())
        why = f"like all that are left, nearly the same as one of {self._those()}"
        return self._take(index, float(self._distances[index]), why)

    def _take(self, index: int, score: float, why: str) -> _Pick:
        self._distances = np.minimum(self._distances, self._from(index))
        self.free[index] = False
        self._suggested += 1
        return _Pick(index, score, why)

    def _from(self, index: int) -> NDArray[np.float64]:
        distances: NDArray[np.float64] = np.linalg.norm(self._points - self._points[index], axis=1)
        return distances

    def _those(self) -> str:
        """Name what an image is compared with."""
        parts = []
        if self._annotated:
            parts.append(
                f"the {self._annotated} annotated images"
                if self._annotated > 1
                else "the annotated image"
            )
        if self._suggested:
            parts.append(
                f"the {self._suggested} suggested before"
                if self._suggested > 1
                else "the one suggested before"
            )
        return " and ".join(parts)


def nearest_distances(
    points: NDArray[np.floating], references: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Give the Euclidean distance of every point to the nearest reference.

    Parameters
    ----------
    points : ndarray of float, (N, D)
        The points.
    references : ndarray of float, (R, D)
        May be none.

    Returns
    -------
    ndarray of float, (N,)
        Infinite where there is no reference.
    """
    nearest = np.full(len(points), np.inf)
    own = np.einsum("nd,nd->n", points, points)
    for start in range(0, len(references), _BLOCK):
        some = references[start : start + _BLOCK]
        squares = np.einsum("nd,nd->n", some, some)
        for first in range(0, len(points), _BLOCK):
            part = slice(first, first + _BLOCK)
            distances = own[part, None] - 2 * (points[part] @ some.T) + squares
            nearest[part] = np.minimum(nearest[part], distances.min(1))
    root: NDArray[np.float64] = np.sqrt(np.maximum(nearest, 0))
    return root


def unusual_box(store: EmbeddingStore, image: str, reference: NDArray[np.float32]) -> Box:
    """Find the box of an image whose cells are least like any reference cell.

    Parameters
    ----------
    store : EmbeddingStore
        The folder.
    image : str
        The image.
    reference : ndarray of float32, (R, D)
        Cells to compare with.

    Raises
    ------
    EmbeddingError
        If the features cannot be read.
    """
    shape = store.read(image).shape[:2]
    distances = nearest_distances(store.flat(image), reference).reshape(shape)
    return highest_box(distances, stride=store.stride, shape=store.shape(image))


def _reference(store: EmbeddingStore, annotated: list[str], *, seed: int) -> NDArray[np.float32]:
    """Give cells of the annotated images; without any, the folder's mean alone."""
    if not annotated:
        middle: NDArray[np.float32] = store.sample(REFERENCE_CELLS, seed=seed).mean(
            0, keepdims=True
        )
        return middle
    return store.sample(REFERENCE_CELLS, seed=seed, names=annotated)
