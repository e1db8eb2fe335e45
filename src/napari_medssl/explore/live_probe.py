"""Live prediction: a linear probe on stored features that follows the brush.

The features of a network tell what a pixel is part of, but are stored on a coarse grid; a few filters of the image
itself tell where the edges are. Both enter one linear layer, which is fitted anew after every stroke. As it is linear,
it is applied to the coarse grid before that is enlarged, and not after.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import Field, PositiveFloat

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.explore.linear import Linear, fit_linear
from napari_medssl.explore.one_thread import one_thread
from napari_medssl.explore.probe_features import probability_maps
from napari_medssl.explore.probe_pixels import ProbePixels, probe_pixels
from napari_medssl.explore.similarity import EmbeddingError
from napari_medssl.explore.uncertainty import entropy

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

__all__ = ["Annotated", "LiveConfig", "LivePrediction", "LiveProbe"]


class LiveConfig(Config):
    """How live prediction learns."""

    sigmas: tuple[PositiveFloat, ...] = (1.0, 2.0)
    """Widths of the filters of the image, pixels: at each its brightness and its gradient count; none for features
    alone."""
    l2: float = Field(0.003, ge=0, le=1000)
    """Strength of the penalty on the weights."""
    balanced: bool = True
    """Every class has the same say, however much of it was painted."""
    pixels_per_image: int = Field(4000, ge=2)
    """Annotated pixels of an image that are learned from at most."""
    pixels: int = Field(40_000, ge=2)
    """The same of all images together."""


class _Superseded(Exception):  # noqa: N818 - no error: a newer request has come
    """Ends the answer to a request that nobody waits for any more."""


class _Gathered(NamedTuple):
    """The same of all images."""

    pixels: NDArray[np.float32]
    values: NDArray[np.int64]
    spread: NDArray[np.float32]
    width: int
    left_out: tuple[str, ...]


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
    """What a probe sees in an image."""

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
    """Annotated pixels that the probe learned from."""
    left_out: tuple[str, ...]
    """Annotated images that it did not learn from, as no features of them are stored."""


class LiveProbe:
    """Fits a probe on all annotated images and applies it to one; each call knows what the last one read.

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
        self._known: dict[str, tuple[Hashable, ProbePixels]] = {}
        self._shown: tuple[str, NDArray[np.float32]] | None = None
        self._last: Linear | None = None
        self._counting = threading.Lock()
        self._newest = 0

    def predict(self, images: Sequence[Annotated], shown: str) -> LivePrediction | None:
        """Fit the probe and apply it to an image.

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
            If no features of the image are stored, or they do not fit an image.
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
        """Fit a probe to the stored features alone, which applies to the cells of any image of the store.

        Raises
        ------
        MedsslError
            As for `predict`.
        """
        with one_thread():
            found = self._gather(images, lambda: None)
            features = np.ascontiguousarray(found.pixels[:, : found.width])
            return self._fit(found._replace(pixels=features, spread=found.spread[: found.width]))

    def _next_ticket(self) -> int:
        with self._counting:
            self._newest += 1
            return self._newest

    def _predict(
        self, images: Sequence[Annotated], shown: str, check: Callable[[], None]
    ) -> LivePrediction:
        grid = self._grid(shown)
        if grid is None:
            raise EmbeddingError(
                f"There are no stored features of the image {shown!r}.",
                advice="Make them: medssl embed.",
            )
        found = self._gather(images, check)
        self._last = self._fit(found, start=self._last, check=check)
        check()
        cells, stride = grid
        probabilities = probability_maps(
            self._last, cells, stride, self._picture(shown), self.config.sigmas
        )
        check()
        values = self._last.values
        return LivePrediction(
            image=shown,
            values=tuple(values.tolist()),
            probabilities=probabilities,
            labels=values.astype(np.uint16)[probabilities.argmax(0)],
            uncertainty=entropy(probabilities),
            pixels=len(found.values),
            left_out=found.left_out,
        )

    def _gather(self, images: Sequence[Annotated], check: Callable[[], None]) -> _Gathered:
        """Give the features of annotated pixels of all images, reading those whose labels changed."""
        wanted = {image.name for image in images}
        self._known = {name: item for name, item in self._known.items() if name in wanted}
        left_out, parts = [], []
        for image in images:
            check()
            known = self._known.get(image.name)
            if known is None or known[0] != image.version:
                read = self._read(image)
                if read is None:
                    self._known.pop(image.name, None)
                    left_out.append(image.name)
                    continue
                known = self._known[image.name] = (image.version, read)
            parts.append(known[1])
        share = max(1, self.config.pixels // max(1, len(parts)))
        if not any(len(item.values) for item in parts):
            raise MedsslError(
                "There are no strokes to learn from in an image with stored features.",
                advice="Paint some background and some of each class.",
            )
        return _Gathered(
            np.concatenate([item.pixels[:share] for item in parts]),
            np.concatenate([item.values[:share] for item in parts]),
            np.mean([item.spread for item in parts], axis=0),
            parts[0].width,
            tuple(left_out),
        )

    def _read(self, image: Annotated) -> ProbePixels | None:
        grid = self._grid(image.name)
        if grid is None:
            return None
        return probe_pixels(
            image.name,
            image.labels(),
            *grid,
            self._picture(image.name),
            sigmas=self.config.sigmas,
            most=self.config.pixels_per_image,
            balanced=self.config.balanced,
        )

    def _fit(
        self,
        found: _Gathered,
        *,
        start: Linear | None = None,
        check: Callable[[], None] | None = None,
    ) -> Linear:
        return fit_linear(
            found.pixels,
            found.values,
            scale=found.spread + np.float32(1e-6),
            l2=self.config.l2,
            balanced=self.config.balanced,
            start=start,
            check=check,
        )

    def _picture(self, name: str) -> NDArray[np.float32]:
        """Give an image; the last one is kept, for it is nearly always the one that is painted in."""
        if self._shown is None or self._shown[0] != name:
            self._shown = (name, self._planes(name))
        return self._shown[1]
