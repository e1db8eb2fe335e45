"""Corrections of objects: pure functions that take a label array and give another one of the same type.

0 is no object, every other value is the id of one. A new object gets an id above all others, so that none is given
twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
from scipy import ndimage

from napari_medssl.errors import MedsslError
from napari_medssl.instances.objects import areas

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

__all__ = ["add_objects", "keep_areas", "merge", "new_id", "renumber", "split"]

L = TypeVar("L", bound=np.integer[Any])

SPECK = 5
"""Pieces that a cut leaves are objects from so many pixels on; smaller ones go to the piece beside them."""


def new_id(labels: NDArray[L], *, count: int = 1) -> int:
    """Give the first of `count` ids that follow all those in use.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        Ids; 0 is no object.
    count : int
        How many are needed.

    Raises
    ------
    MedsslError
        If the type of the array has no more.
    """
    first = int(labels.max(initial=0)) + 1
    most = int(np.iinfo(labels.dtype).max)
    if first + count - 1 > most:
        raise MedsslError(
            f"There is no id left for {count} more objects: {first - 1} is in use, and {labels.dtype} labels end at"
            f" {most}.",
            advice="Number the objects anew.",
        )
    return first


def renumber(labels: NDArray[L]) -> NDArray[L]:
    """Give the objects the ids from 1 on without gaps, in the order of those they had."""
    used = np.array([0, *areas(labels)])
    table = np.zeros(int(used[-1]) + 1, labels.dtype)
    table[used] = np.arange(len(used))
    renumbered: NDArray[L] = table[labels]
    return renumbered


def merge(labels: NDArray[L], ids: Collection[int]) -> NDArray[L]:
    """Make several objects one, which keeps the lowest of their ids. They need not touch.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        Not changed.
    ids : collection of int
        Two or more.

    Raises
    ------
    MedsslError
        If these are fewer than two, or there is no such object.
    """
    chosen = sorted(set(ids))
    if len(chosen) < 2:
        raise MedsslError(
            f"To merge takes two objects or more; chosen: {len(chosen)}.",
            advice="Choose the objects that belong together.",
        )
    for number in chosen:
        _check(labels, number)
    merged = labels.copy()
    merged[np.isin(labels, chosen[1:])] = chosen[0]
    return merged


def split(labels: NDArray[L], number: int, line: Sequence[tuple[float, float]]) -> NDArray[L]:
    """Cut an object along a line.

    The largest piece keeps the id, the others get new ones. The pixels under the line, and specks that the cut leaves,
    go to the nearest piece. Parts of the object that the line does not touch stay as they are.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        Not changed.
    number : int
        The object.
    line : sequence of (y, x)
        Corners of the line, pixels, two or more; may lie outside the object and the image.

    Raises
    ------
    MedsslError
        If there is no such object, or the line does not cut it.
    """
    _check(labels, number)
    if len(line) < 2:
        raise MedsslError(f"A line has two corners or more; this one has {len(line)}.")
    window, corner = _window(labels == number)
    own = labels[window] == number
    drawn = np.zeros(own.shape, np.uint8)
    corners = np.rint(np.asarray(line, float) - corner)[:, ::-1]  # OpenCV wants (x, y)
    cv2.polylines(drawn, [corners.astype(np.int32)], False, 1, lineType=cv2.LINE_8)
    # A line whose pixels touch by their corners parts those that touch by their edges.
    pieces, _ = ndimage.label(own & (drawn == 0))
    beside = np.unique(pieces[cv2.dilate(drawn, np.ones((3, 3), np.uint8)) > 0])
    counts = np.bincount(pieces.ravel())
    cut = [int(piece) for piece in beside if piece and counts[piece] >= SPECK]
    if len(cut) < 2:
        raise MedsslError(
            f"The line does not cut object {number} into pieces of {SPECK} pixels or more.",
            advice="Draw it from one side of the object to the other, beginning and ending outside.",
        )
    cut.sort(key=lambda piece: -counts[piece])
    ids = np.full(len(counts), number, labels.dtype)
    ids[cut[1:]] = np.arange(len(cut) - 1) + new_id(labels, count=len(cut) - 1)
    lost = np.zeros(len(counts), bool)  # the line, and the specks beside it
    lost[np.setdiff1d(beside, cut)] = True
    lost[0] = True
    nearest = ndimage.distance_transform_edt(
        lost[pieces], return_distances=False, return_indices=True
    )
    result = labels.copy()
    result[window][own] = ids[pieces[tuple(nearest)]][own]
    return result


def keep_areas(
    labels: NDArray[L], *, smallest: float = 0, largest: float | None = None
) -> NDArray[L]:
    """Delete the objects that are too small or too large; the others keep their ids.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        Not changed.
    smallest, largest : float
        Areas that are kept, pixels, both included; without `largest` there is no upper limit.

    Raises
    ------
    MedsslError
        If `largest` is below `smallest`.
    """
    if largest is not None and largest < smallest:
        raise MedsslError(
            f"The largest area to keep, {largest:g} pixels, is below the smallest, {smallest:g}."
        )
    upper = np.inf if largest is None else largest
    counts = np.bincount(labels.ravel())
    table = np.arange(len(counts)).astype(labels.dtype)
    table[(counts < smallest) | (counts > upper)] = 0
    table[:1] = 0
    kept: NDArray[L] = table[labels]
    return kept


def add_objects(
    labels: NDArray[L], others: NDArray[np.integer[Any]], *, overwrite: bool = False
) -> NDArray[L]:
    """Take over the objects of another array, each under a new id.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        Not changed.
    others : ndarray of integers, (Y, X)
        Objects to add; for some of a prediction, 0 at the rest.
    overwrite : bool
        Whether they may cover objects that are there; if not, they get what is free.

    Raises
    ------
    MedsslError
        If the shapes differ, or there are more objects than ids.
    """
    if labels.shape != others.shape:
        raise MedsslError(
            f"The objects to add have shape {others.shape}, the labels have {labels.shape}."
        )
    taken = (others > 0) if overwrite else (others > 0) & (labels == 0)
    numbers, places = np.unique(others[taken], return_inverse=True)
    if not len(numbers):
        return labels.copy()
    result = labels.copy()
    result[taken] = new_id(labels, count=len(numbers)) + places
    return result


def _window(own: NDArray[np.bool_]) -> tuple[tuple[slice, slice], tuple[int, int]]:
    """Give the smallest window that holds a mask, and its upper left corner (y, x)."""
    rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
    y0, x0 = int(rows[0]), int(columns[0])
    return (slice(y0, int(rows[-1]) + 1), slice(x0, int(columns[-1]) + 1)), (y0, x0)


def _check(labels: NDArray[L], number: int) -> None:
    if number <= 0 or not (labels == number).any():
        raise MedsslError(
            f"There is no object {number} in this image.", advice="Choose one that is there."
        )
