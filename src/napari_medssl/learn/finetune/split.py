"""Which annotated pixels validate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["hold_out"]

IMAGES_FOR_HOLD_OUT = 5
"""From this many annotated images on, whole images are held out; below, squares of them are."""


def hold_out(
    labels: dict[str, NDArray[np.uint16]], *, share: float, seed: int
) -> dict[str, NDArray[np.bool_]]:
    """Choose the annotated pixels that validate; never an empty set, nor all of a class.

    With at least five annotated images, whole images are held out (first those that together hold
    every class). With fewer, squares of the images are, as large as the annotations allow, at
    least one for every class.

    Parameters
    ----------
    labels : dict of ndarray of shape (Y, X)
        Annotated images; 0 is not annotated.
    share : float
        Wanted share, of images or of squares.
    seed : int
        Chooses which.

    Returns
    -------
    dict of ndarray of shape (Y, X)
        For each image, True where a pixel validates. A class with a single annotated pixel has it
        in both sets.
    """
    rng = np.random.default_rng(seed)
    names = sorted(labels)
    held = {name: np.zeros(labels[name].shape, dtype=bool) for name in names}
    values = sorted({int(v) for array in labels.values() for v in np.unique(array)} - {0})
    if len(names) >= IMAGES_FOR_HOLD_OUT:
        present = {name: set(np.unique(labels[name]).tolist()) - {0} for name in names}
        count = max(1, round(share * len(names)))
        chosen = [names[i] for i in rng.permutation(len(names))[:count]]
        kept = set().union(*(present[name] for name in names if name not in chosen))
        if kept == set(values) and set().union(*(present[n] for n in chosen)) == set(values):
            for name in chosen:
                held[name] = labels[name] > 0
            return held
    for value in values:
        _hold_out_squares(labels, held, value, share, rng)
    return held


def _hold_out_squares(
    labels: dict[str, NDArray[np.uint16]],
    held: dict[str, NDArray[np.bool_]],
    value: int,
    share: float,
    rng: np.random.Generator,
) -> None:
    """Hold out squares that contain a class, the largest of which there are at least three."""
    for side in (64, 32, 16, 8, 4, 2, 1):
        squares = [
            (name, int(y), int(x))
            for name in sorted(labels)
            for y, x in np.unique(np.argwhere(labels[name] == value) // side, axis=0)
        ]
        if len(squares) >= 3 or side == 1:
            break
    count = min(max(1, round(share * len(squares))), max(1, len(squares) - 1))
    for index in rng.permutation(len(squares))[:count]:
        name, y, x = squares[index]
        window = (slice(y * side, (y + 1) * side), slice(x * side, (x + 1) * side))
        # Only this class: another one's only pixels may lie in the same square.
        held[name][window] |= labels[name][window] == value
