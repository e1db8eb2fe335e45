"""What became of the class labels when an object changed: so that undoing the one undoes the other."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels
    from numpy.typing import NDArray

__all__ = ["ObjectHistory"]

_MOST = 100  # steps that napari keeps, too


class _Step(NamedTuple):
    changed: NDArray[np.intp]
    """Pixels whose object changed, as positions in the flattened image: this is how the step is known again."""
    where: NDArray[np.intp]
    """Pixels whose class changed with it."""
    old: NDArray[np.uint16]
    new: NDArray[np.uint16]
    """Their classes before and after."""


class ObjectHistory:
    """Steps of the object layer and what they did to the class layer; napari keeps the steps themselves."""

    def __init__(self) -> None:
        self._done: deque[_Step] = deque(maxlen=_MOST)
        self._undone: deque[_Step] = deque(maxlen=_MOST)

    def clear(self) -> None:
        """Forget all steps: the layer holds another image, or has forgotten them."""
        self._done.clear()
        self._undone.clear()

    def add(
        self,
        changed: NDArray[np.bool_],
        classes: Labels,
        where: NDArray[np.bool_],
        values: NDArray[np.integer] | int,
    ) -> None:
        """Give pixels their classes, as part of a step of the object layer that was just made.

        Parameters
        ----------
        changed : ndarray of bool, (Y, X)
            Pixels whose object changed.
        classes : napari.layers.Labels
            Where the classes are painted.
        where : ndarray of bool, (Y, X)
            Pixels whose class is to be set.
        values : ndarray of integers, (Y, X), or int
            Their classes.
        """
        places = np.flatnonzero(where)
        flat = classes.data.ravel()
        new = np.broadcast_to(np.asarray(values, np.uint16), where.shape).ravel()[places]
        self._done.append(_Step(np.flatnonzero(changed), places, flat[places], new))
        self._undone.clear()
        _put(classes, places, new)

    def undo(self, objects: Labels, classes: Labels | None) -> None:
        """Undo the last step of the object layer, and what it did to the class layer."""
        changed = _changed(objects, objects.undo)
        self._follow(changed, self._done, self._undone, classes, forward=False)

    def redo(self, objects: Labels, classes: Labels | None) -> None:
        """Make the step that was undone last once more, on both layers."""
        changed = _changed(objects, objects.redo)
        self._follow(changed, self._undone, self._done, classes, forward=True)

    def _follow(
        self,
        changed: NDArray[np.intp],
        source: deque[_Step],
        target: deque[_Step],
        classes: Labels | None,
        *,
        forward: bool,
    ) -> None:
        if not changed.size:
            return
        if not source or not np.array_equal(source[-1].changed, changed):
            self.clear()  # the layer was undone by other means than these: the classes stay as they are
            return
        step = source.pop()
        target.append(step)
        if classes is None:
            return
        before, after = (step.old, step.new) if forward else (step.new, step.old)
        # what was painted over since keeps its class
        same = classes.data.ravel()[step.where] == before
        _put(classes, step.where[same], after[same])


def _changed(objects: Labels, step: Callable[[], None]) -> NDArray[np.intp]:
    before = objects.data.copy()
    step()
    return np.flatnonzero(before != objects.data)


def _put(classes: Labels, places: NDArray[np.intp], values: NDArray[np.uint16]) -> None:
    if places.size:
        classes.data_setitem(np.unravel_index(places, classes.data.shape), values)
