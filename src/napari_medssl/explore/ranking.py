"""One query, the whole folder: the best matching pixel of every image."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medssl.explore.similarity import EmbeddingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from napari_medssl.explore.similarity import Prototypes
    from napari_medssl.explore.store import EmbeddingStore

__all__ = ["Match", "ranked", "search"]

_BLOCK = 1 << 14
"""Cells that are computed at once: their features stay in the processor's cache."""


class Match(NamedTuple):
    """The pixel of an image that is most similar to a query."""

    image: str
    score: float
    y: int
    x: int
    share: float
    """Of the image's cells that reach the threshold; 0 without one."""


def search(
    store: EmbeddingStore,
    prototypes: Prototypes,
    *,
    names: Iterable[str] | None = None,
    threshold: float | None = None,
) -> Iterator[Match]:
    """Compare every stored cell with prototypes, exactly, image by image.

    Parameters
    ----------
    store : EmbeddingStore
        The folder.
    prototypes : Prototypes
        From the same store.
    names : iterable of str, optional
        Images to look at, in that order; all by default.
    threshold : float, optional
        From which similarity on a cell counts for `Match.share`.

    Yields
    ------
    Match
        For each image as soon as it is known, in no order of merit; see `ranked`.

    Raises
    ------
    EmbeddingError
        If the prototypes have another number of features, or a stored one is not finite.
    """
    if prototypes.positive.shape[1] != store.dimensions:
        raise EmbeddingError(
            f"The examples have {prototypes.positive.shape[1]} features, the stored images have "
            f"{store.dimensions}.",
            advice="Read the examples' features from the same store.",
        )
    for name in store.names if names is None else names:
        stored = store.read(name)
        scores = _scores(stored.reshape(-1, store.dimensions), prototypes, name)
        best = int(scores.argmax())
        row, column = divmod(best, stored.shape[1])
        y, x = store.shape(name)
        middle = store.stride // 2
        yield Match(
            name,
            float(scores[best]),
            min(row * store.stride + middle, y - 1),
            min(column * store.stride + middle, x - 1),
            0.0 if threshold is None else float(np.mean(scores >= threshold)),
        )


def ranked(matches: Iterable[Match], *, least: bool = False) -> list[Match]:
    """Sort matches: the most similar image first, or the least similar one; equal ones by name."""
    return sorted(matches, key=lambda match: (match.score if least else -match.score, match.image))


def _scores(cells: NDArray[np.float16], prototypes: Prototypes, name: str) -> NDArray[np.float32]:
    scores = np.empty(len(cells), np.float32)
    for start in range(0, len(cells), _BLOCK):
        block = cells[start : start + _BLOCK].astype(np.float32)  # products in float16 are slow
        norms = np.sqrt(np.einsum("nd,nd->n", block, block))
        if not np.isfinite(norms).all():
            raise EmbeddingError(
                f"The stored features of {name} are not finite numbers.",
                advice="The run that made them has diverged: choose another run.",
            )
        block /= np.where(norms > 0, norms, 1.0)[:, None]
        scores[start : start + _BLOCK] = prototypes.scores(block)
    return scores
