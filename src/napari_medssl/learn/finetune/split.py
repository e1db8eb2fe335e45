"""Which annotated pixels validate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["IMAGES_FOR_HOLD_OUT", "hold_out", "in_both"]

IMAGES_FOR_HOLD_OUT = 5
"""From this many annotated units on, whole ones are held out, and of fewer units whole images, from as many on; below,
squares of them are."""


def hold_out(
    labels: dict[str, NDArray[np.uint16]],
    *,
    share: float,
    seed: int,
    units: Mapping[str, str] | None = None,
) -> dict[str, NDArray[np.bool_]]:
    """Choose the annotated pixels that validate; never an empty set.

    With at least five annotated images, whole images are held out, if any choice of them has every class and
    leaves every class to the others; as near to the wanted share as that allows. Where they are of at least five
    units, and it can be done, whole units are. Else squares of the images are, as large as the annotations allow, at
    least one for every class.

    Parameters
    ----------
    labels : dict of ndarray of shape (Y, X)
        Annotated images; 0 is not annotated.
    share : float
        Wanted share, of images or of squares.
    seed : int
        Chooses which.
    units : mapping of str to str, optional
        Image -> its unit (a patient, a file of planes); an image without one is a unit of its own.

    Returns
    -------
    dict of ndarray of shape (Y, X)
        For each image, True where a pixel validates. All of a class only where that is a single pixel, see
        `in_both`.
    """
    rng = np.random.default_rng(seed)
    names = sorted(labels)
    held = {name: np.zeros(labels[name].shape, dtype=bool) for name in names}
    present = {name: set(np.unique(labels[name]).tolist()) - {0} for name in names}
    values: list[int] = sorted(set().union(*present.values()))
    of_unit: dict[str, list[str]] = {}
    for name in names:
        of_unit.setdefault((units or {}).get(name, name), []).append(name)
    count = max(1, round(share * len(names)))
    choices = [[[name] for name in names]]
    if len(of_unit) < len(names):  # some images belong together
        choices.insert(0, list(of_unit.values()))
    for parts in choices:
        if len(parts) < IMAGES_FOR_HOLD_OUT:
            continue
        has = [[any(value in present[x] for x in part) for part in parts] for value in values]
        chosen = _whole(np.array(has), np.array([len(part) for part in parts]), count, rng)
        if chosen is not None:
            for name in (name for i in chosen for name in parts[i]):
                held[name] = labels[name] > 0
            return held
    for value in values:
        _hold_out_squares(labels, held, value, share, rng)
    return held


def in_both(
    labels: dict[str, NDArray[np.uint16]], held: dict[str, NDArray[np.bool_]]
) -> frozenset[int]:
    """Give the classes of which every pixel is held out: they have one alone, which must also be learned from.

    Parameters
    ----------
    labels : dict of ndarray of shape (Y, X)
        Annotated images; 0 is not annotated.
    held : dict of ndarray of shape (Y, X)
        What `hold_out` gave for them.
    """
    validating = {int(v) for name in labels for v in np.unique(labels[name][held[name]])}
    learned = {int(v) for name in labels for v in np.unique(labels[name][~held[name]])}
    return frozenset(validating - learned)


def _whole(
    has: NDArray[np.bool_], sizes: NDArray[np.integer], count: int, rng: np.random.Generator
) -> NDArray[np.intp] | None:
    """Choose units so that every class is in one of them and in one of the others; None if none can be.

    Where chance alone does not find such units, and about `count` images, an integer programme does: of the choices
    nearest to that it takes the one that random prices make the cheapest.

    Parameters
    ----------
    has : ndarray of shape (K, N)
        Whether each class is in each unit.
    sizes : ndarray of shape (N,)
        Images of each unit.
    count : int
        Wanted number of images.
    rng : numpy.random.Generator
        Where chance comes from.
    """
    units, images = len(sizes), int(sizes.sum())
    drawn, left = np.zeros(units, bool), count
    for unit in rng.permutation(units):
        if sizes[unit] <= left:
            drawn[unit] = True
            left -= sizes[unit]
    near = left <= sizes.mean() / 2  # as near as units of one size could be
    if near and has[:, drawn].any(1).all() and has[:, ~drawn].any(1).all():
        return np.flatnonzero(drawn)
    # The variables: for each unit whether it is chosen, then how many images these are more or less than `count`.
    total = sizes.astype(float)
    found = milp(
        np.append(rng.random(units), images),  # one image more or less costs more than all prices
        integrality=np.ones(units + 1),
        bounds=Bounds(0, np.append(np.ones(units), images)),
        constraints=[
            LinearConstraint(np.column_stack([has, np.zeros(len(has))]), 1, has.sum(1) - 1),
            LinearConstraint(np.append(total, -1), ub=count),
            LinearConstraint(np.append(total, 1), lb=count),
        ],
        options={"mip_rel_gap": 0.0},
    )
    return np.flatnonzero(found.x[:-1] > 0.5) if found.success else None


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
