"""Segmentations that need no network: thresholds, and the random forest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.engine.experiment.probing import annotated_pixels
from napari_medssl.learn.forest import PixelForest, filtered, filtered_at
from napari_medssl.learn.pretext.medsass import MedSASSConfig, foreground_is_dark, pseudo_label
from napari_medssl.learn.thresholds import bright_side, otsu_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medssl.project import Project

__all__ = ["GRID", "Forests", "threshold_masks"]

GRID = 2
"""The forest's pixels are scored on every second row and column: it is slow, and Dice hardly depends on it."""
KEPT_BYTES = 2 * 2**30
"""Filtered images that are kept; beyond, images are filtered anew for every forest."""


def threshold_masks(
    project: Project,
) -> Callable[[NDArray[np.float32]], dict[str, NDArray[np.bool_]]]:
    """Give what makes the foreground masks (Y, X) of a grey image: all of it, Otsu's, MedSASS's pseudo-label.

    Parameters
    ----------
    project : Project
        Its images vote on the polarity of the pseudo-label.
    """
    config = MedSASSConfig()
    dark = foreground_is_dark(config, project)

    def masks(grey: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
        return {
            "all foreground": np.ones(grey.shape, dtype=bool),
            "Otsu": bright_side(grey, otsu_threshold(grey)) == 1,
            "pseudo-label": pseudo_label(config, grey, dark=dark) == 1,
        }

    return masks


class Forests:
    """Random forests on filtered images, which are kept for the next forest as far as there is room.

    Parameters
    ----------
    planes, truth : callable
        Read an image (C, Y, X) and its labels (Y, X).
    sizes : mapping of str to int
        Image -> number of images of its unit.
    values : sequence of int
        Label values of the classes, background first.
    """

    def __init__(
        self,
        planes: Callable[[str], NDArray[np.float32]],
        truth: Callable[[str], NDArray[np.uint16]],
        sizes: Mapping[str, int],
        values: Sequence[int],
    ) -> None:
        self._planes, self._truth, self._sizes = planes, truth, sizes
        self._values = np.array(values, dtype=np.uint16)
        self._index = np.zeros(int(np.iinfo(np.uint16).max) + 1, dtype=np.int64)
        self._index[self._values] = np.arange(len(values))
        self._taught: dict[str, tuple[NDArray[np.float32], NDArray[np.uint16]]] = {}
        self._seen: dict[str, NDArray[np.float32]] = {}
        self._bytes = 0

    def fit(self, names: Iterable[str], *, seed: int, threads: int) -> PixelForest:
        """Fit a forest to annotated images."""
        features, labels = zip(*(self._pixels(name) for name in names), strict=True)
        return PixelForest.fit(
            np.concatenate(features),
            self._index[np.concatenate(labels)],
            n_classes=len(self._values),
            seed=seed,
            threads=threads,
        )

    def segment(
        self, forest: PixelForest, name: str, *, threads: int
    ) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Give predicted and true labels of an image, both on every `GRID`-th row and column."""
        features = self._seen.get(name)
        if features is None:
            features = filtered(self._planes(name))[::GRID, ::GRID]
            if self._bytes + features.nbytes <= KEPT_BYTES:
                self._seen[name] = features = np.ascontiguousarray(features)
                self._bytes += features.nbytes
        flat = features.reshape(-1, features.shape[-1])
        labels = self._values[forest.predict_proba(flat, threads=threads).argmax(1)]
        return labels.reshape(features.shape[:2]), self._truth(name)[::GRID, ::GRID]

    def _pixels(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
        if name not in self._taught:
            truth, rng = self._truth(name), np.random.default_rng(0)
            ys, xs = annotated_pixels(truth, images=self._sizes[name], rng=rng)
            self._taught[name] = filtered_at(self._planes(name), ys, xs), truth[ys, xs]
        return self._taught[name]
