"""Live prediction: what follows the brush, fitted anew after every stroke.

A random forest on filters of the image knows brightness, edges and texture, and needs nothing but the image. Where
there are features of a network, a linear layer on them knows what a pixel is part of; the prediction is the mean of
both. They are stored on a coarse grid: as the layer is linear, it is applied to the cells before these are enlarged.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.explore.linear import Linear, fit_linear
from napari_medssl.explore.one_thread import one_thread
from napari_medssl.explore.probe_features import probability_maps
from napari_medssl.explore.probe_pixels import Chosen, ProbePixels, chosen_pixels, probe_pixels
from napari_medssl.explore.uncertainty import entropy
from napari_medssl.forest import Filtered, PixelForest

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

__all__ = ["Annotated", "LiveConfig", "LivePrediction", "LiveProbe"]

_NOTHING = np.empty(0, np.int64)
_KEPT = 2**22
"""Pixels times channels of an open image up to which its filters are kept from stroke to stroke: 80 bytes each."""


class LiveConfig(Config):
    """How live prediction learns."""

    trees: int = Field(50, ge=1, le=1000)
    """Trees of the forest."""
    pixels_per_tree: int = Field(1000, ge=2)
    """Annotated pixels that each tree draws at most."""
    l2: float = Field(0.003, ge=0, le=1000)
    """Strength of the penalty on the weights of the linear layer."""
    balanced: bool = True
    """Every class has the same say in the linear layer; and of an image as many pixels of each are drawn, as far as
    there are any."""
    pixels_per_image: int = Field(4000, ge=2)
    """Annotated pixels of an image that are learned from at most."""
    pixels: int = Field(40_000, ge=2)
    """The same of all images together."""


class _Superseded(Exception):  # noqa: N818 - no error: a newer request has come
    """Ends the answer to a request that nobody waits for any more."""


@dataclass(frozen=True)
class Annotated:
    """An image with strokes."""

    name: str
    version: Hashable
    """Changes whenever the labels do: only then they are read again."""
    labels: Callable[[], NDArray[np.integer]]
    """Gives (Y, X); 0 is not annotated."""


@dataclass(frozen=True)
class LivePrediction:
    """What is seen in an image."""

    image: str
    values: tuple[int, ...]
    """The label value of each class."""
    probabilities: NDArray[np.float32]
    """(K, Y, X)."""
    labels: NDArray[np.uint16]
    """(Y, X): the most probable label value."""
    uncertainty: NDArray[np.float32]
    """(Y, X): the entropy of the probabilities, 0 to 1."""
    pixels: int
    """Annotated pixels that it learned from."""
    by_features: bool
    """Whether features of a network had their say."""


@dataclass
class _Read:
    """What was read of an annotated image, as far as it was asked for."""

    version: Hashable
    chosen: Chosen
    """N annotated pixels of it."""
    filters: NDArray[np.float32] | None = None
    """(N, F)."""
    features: ProbePixels | None = None
    """None also where none are stored yet."""


class LiveProbe:
    """Learns from all annotated images and predicts one; each call knows what the last one read.

    Safe to call from several threads: the newest request wins, and those before it end as soon as they notice.

    Parameters
    ----------
    grid : callable
        Gives the stored features of an image by its name, ``(Y / stride, X / stride, D)``, and the stride; None where
        there are none: `EmbeddingStore.grid`.
    planes : callable
        Gives an image by its name, ``(C, Y, X)``, values in [0, 1]: `Project.planes`.
    config : LiveConfig, optional
        How it learns.
    """

    def __init__(
        self,
        grid: Callable[[str], tuple[NDArray[np.floating], int] | None],
        planes: Callable[[str], NDArray[np.float32]],
        config: LiveConfig | None = None,
    ) -> None:
        self.config = config or LiveConfig()
        self._grid = grid
        self._planes = planes
        self._known: dict[str, _Read] = {}
        self._shown: tuple[str, Filtered] | None = None
        self._last: Linear | None = None
        self._counting = threading.Lock()
        self._newest = 0

    def predict(self, images: Sequence[Annotated], shown: str) -> LivePrediction | None:
        """Learn from what is painted, and predict an image.

        Parameters
        ----------
        images : sequence of Annotated
            All annotated images; what was known of others is forgotten.
        shown : str
            The image to predict, annotated or not.

        Returns
        -------
        LivePrediction or None
            None if a newer request, or `cancel`, came meanwhile.

        Raises
        ------
        EmbeddingError
            If stored features do not fit their image.
        MedsslError
            If there are strokes of fewer than two classes, or an image or its labels cannot be read.
        """
        ticket = self._next_ticket()

        def check() -> None:
            if self._newest != ticket:
                raise _Superseded

        with one_thread():
            try:
                check()
                return self._predict(images, shown, check)
            except _Superseded:
                return None

    def cancel(self) -> None:
        """End the request that is being answered, if there is one."""
        self._next_ticket()

    def fit_features(self, images: Sequence[Annotated]) -> Linear:
        """Fit the linear layer on stored features alone, which applies to the cells of any image of the store.

        Raises
        ------
        MedsslError
            As for `predict`, and if no annotated image has stored features.
        """
        with one_thread():
            layer = self._layer(self._read(images))
        if layer is None:
            raise MedsslError(
                "There are no strokes of two classes in images with stored features.",
                advice="Paint some background and some of each class.",
            )
        return layer

    def _next_ticket(self) -> int:
        with self._counting:
            self._newest += 1
            return self._newest

    def _predict(
        self, images: Sequence[Annotated], shown: str, check: Callable[[], None]
    ) -> LivePrediction:
        known = self._read(images, check)
        forest, values = self._forest(known, check)
        check()
        picture = self._picture(shown)
        probabilities = forest.seen_in(picture)
        check()
        grid = self._grid(shown)
        layer = self._layer(known, check) if grid is not None else None
        # a class that is painted only in images without features is one that it does not know
        by_features = layer is not None and np.array_equal(layer.values, values)
        if grid is not None and layer is not None and by_features:
            self._last = layer
            probabilities += probability_maps(layer, *grid, picture.shape)
            probabilities /= 2
        check()
        return LivePrediction(
            image=shown,
            values=tuple(values.tolist()),
            probabilities=probabilities,
            labels=values.astype(np.uint16)[probabilities.argmax(0)],
            uncertainty=entropy(probabilities),
            pixels=sum(map(len, self._shares([item.chosen.values for item in known.values()]))),
            by_features=by_features,
        )

    def _read(
        self, images: Sequence[Annotated], check: Callable[[], None] | None = None
    ) -> dict[str, _Read]:
        """Choose annotated pixels of all images, reading the labels that changed."""
        names = {image.name for image in images}
        self._known = {name: read for name, read in self._known.items() if name in names}
        for image in images:
            if check is not None:
                check()
            read = self._known.get(image.name)
            if read is None or read.version != image.version:
                chosen = chosen_pixels(
                    image.labels(),
                    most=self.config.pixels_per_image,
                    balanced=self.config.balanced,
                )
                self._known[image.name] = _Read(image.version, chosen)
        return self._known

    def _forest(
        self, known: dict[str, _Read], check: Callable[[], None]
    ) -> tuple[PixelForest, NDArray[np.int64]]:
        """Fit the forest; gives it and the label value of each class."""
        labels = self._shares([read.chosen.values for read in known.values()])
        values, classes = np.unique(np.concatenate([_NOTHING, *labels]), return_inverse=True)
        if len(values) < 2:
            raise MedsslError(
                f"Live prediction needs strokes of at least two classes (background is one); there are {len(values)}.",
                advice="Paint some background and some of each class.",
            )
        filters = []
        for name, read in known.items():
            check()
            if read.filters is None:
                read.filters = self._filters_at(name, read.chosen)
            filters.append(read.filters)
        forest = PixelForest.fit(
            np.concatenate(self._shares(filters)),
            classes,
            n_classes=len(values),
            seed=0,
            threads=None,
            trees=self.config.trees,
            pixels_per_tree=self.config.pixels_per_tree,
        )
        return forest, values

    def _layer(
        self, known: dict[str, _Read], check: Callable[[], None] | None = None
    ) -> Linear | None:
        """Fit the linear layer to the images with features; None where these show fewer than two classes."""
        for name, read in known.items():
            grid = self._grid(name) if read.features is None else None
            if grid is not None:
                read.features = probe_pixels(name, read.chosen, *grid)
        seen = [read.features for read in known.values() if read.features is not None]
        values = np.concatenate([_NOTHING, *self._shares([item.values for item in seen])])
        if len(np.unique(values)) < 2:
            return None
        return fit_linear(
            np.concatenate(self._shares([item.pixels for item in seen])),
            values,
            scale=np.mean([item.spread for item in seen], axis=0) + np.float32(1e-6),
            l2=self.config.l2,
            balanced=self.config.balanced,
            start=self._last,
            check=check,
        )

    def _shares(self, parts: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Keep so much of each image that all together are not too much."""
        share = max(1, self.config.pixels // max(1, len(parts)))
        return [part[:share] for part in parts]

    def _filters_at(self, name: str, chosen: Chosen) -> NDArray[np.float32]:
        picture = self._picture(name)
        if picture.shape != chosen.shape:
            raise MedsslError(
                f"The labels of {name} have shape {chosen.shape}, the image has {picture.shape}.",
                advice="The image was replaced: bring it back, or delete its labels.",
            )
        return picture.at(chosen.ys, chosen.xs)

    def _picture(self, name: str) -> Filtered:
        """Give an image's filters; those of the last one are kept, nearly always the one that is painted in."""
        if self._shown is None or self._shown[0] != name:
            planes = self._planes(name)
            self._shown = name, Filtered(planes, keep=planes.size <= _KEPT)
        return self._shown[1]
