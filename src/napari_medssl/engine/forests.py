"""Random forests on filtered images, fitted to annotated images: the filtered pixels are kept for the next forest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.forest import PixelForest, filtered_at
from napari_medssl.learn.finetune.annotated import annotated_pixels, pixels_per_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Forests"]


class Forests:
    """Fits random forests to sets of annotated images, of which many share images.

    Parameters
    ----------
    planes, labels : callable
        Read an image (C, Y, X) and its labels (Y, X), 0 = not annotated.
    sizes : mapping of str to int
        Image -> number of images of its group.
    values : sequence of int
        Label values of the classes, rising.
    """

    def __init__(
        self,
        planes: Callable[[str], NDArray[np.float32]],
        labels: Callable[[str], NDArray[np.uint16]],
        sizes: Mapping[str, int],
        values: Sequence[int] | NDArray[np.uint16],
    ) -> None:
        self._planes, self._labels, self._sizes = planes, labels, sizes
        self._values = np.array(values, dtype=np.uint16)
        self._pixels: dict[str, tuple[NDArray[np.float32], NDArray[np.intp]]] = {}

    def fit(self, names: Iterable[str], *, seed: int, threads: int) -> PixelForest:
        """Fit a forest to annotated images."""
        features, classes = zip(*(self._annotated(name) for name in names), strict=True)
        return PixelForest.fit(
            np.concatenate(features),
            np.concatenate(classes),
            n_classes=len(self._values),
            seed=seed,
            threads=threads,
        )

    def _annotated(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return filtered values (N, F) and class indices (N) of a sample of annotated pixels, always the same."""
        if name not in self._pixels:
            labels = self._labels(name)
            most = pixels_per_image(self._sizes[name])
            ys, xs = annotated_pixels(labels, most=most, rng=np.random.default_rng(0))
            classes = np.searchsorted(self._values, labels[ys, xs])
            self._pixels[name] = filtered_at(self._planes(name), ys, xs), classes
        return self._pixels[name]
