"""What became of the class labels when an object changed: so that undoing the one undoes the other."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medssl.instances.by_class import FOREGROUND
from napari_medssl.widgets.pixel_change import box_of, change_pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels
    from numpy.typing import NDArray

__all__ = ["ObjectHistory"]

_MOST = 100  # steps that napari keeps, too


class _Step(NamedTuple):
    changed: bytes
    """Digest of which pixels' object changed: this is how the step is known again."""
    box: tuple[slice, slice]
    """Where the classes changed with it."""
    where: NDArray[np.uint8]
    """Their pixels in this box, as `np.packbits` packs them."""
    old: NDArray[np.uint16]
    new: NDArray[np.uint16]
    """Their classes before and after, (N,)."""


class ObjectHistory:
    """Steps of the object layer and what they did to the class layer; napari keeps the steps themselves."""

    def __init__(self) -> None:
        self._done: deque[_Step] = deque(maxlen=_MOST)
        self._undone: deque[_Step] = deque(maxlen=_MOST)
        self._seen: NDArray[np.int32] | None = None  # the objects that the classes have followed

    def begin(self, ids: NDArray[np.int32]) -> None:
        """Follow the objects of another image, (Y, X), from here on."""
        self.clear()
        self._seen = ids.copy()

    def end(self) -> None:
        """Follow nothing."""
        self.clear()
        self._seen = None

    def clear(self) -> None:
        """Forget all steps: the layer has forgotten them, or the classes are others now."""
        self._done.clear()
        self._undone.clear()

    def change(
        self,
        objects: Labels,
        classes: Labels,
        ids: NDArray[np.int32],
        values: NDArray[np.integer] | None = None,
    ) -> bool:
        """Put other objects into their layer, and classes into theirs, as one step.

        Parameters
        ----------
        objects, classes : napari.layers.Labels
            The two layers.
        ids : ndarray of int32, (Y, X)
            All objects.
        values : ndarray of integers, (Y, X), optional
            Classes to give to pixels; 0 leaves a pixel as it is.

        Returns
        -------
        bool
            Whether any object differs now.
        """
        changed = ids != objects.data
        if not change_pixels(objects, ids):
            return False
        if values is None:
            values = np.zeros(changed.shape, np.uint16)
        self._add(changed, objects, classes, (values > 0) & (values != classes.data), values)
        return True

    def brushed(self, objects: Labels, classes: Labels, value: int) -> NDArray[np.bool_] | None:
        """Give the pixels that were painted since a class, where they are background or not annotated.

        Parameters
        ----------
        objects, classes : napari.layers.Labels
            The two layers; the first was painted on, or erased from, which leaves the class.
        value : int
            The class.

        Returns
        -------
        ndarray of bool, (Y, X), or None
            Pixels of which an object was painted; None if nothing has changed.
        """
        if self._seen is None:
            return None
        changed = objects.data != self._seen
        if not changed.any():
            return None
        painted: NDArray[np.bool_] = changed & (objects.data > 0)
        self._add(changed, objects, classes, painted & (classes.data < FOREGROUND), value)
        return painted

    def undo(self, objects: Labels, classes: Labels | None) -> None:
        """Undo the last step of the object layer, and what it did to the class layer."""
        changed = _changed(objects, objects.undo)
        self._seen = objects.data.copy()
        self._follow(changed, self._done, self._undone, classes, forward=False)

    def redo(self, objects: Labels, classes: Labels | None) -> None:
        """Make the step that was undone last once more, on both layers."""
        changed = _changed(objects, objects.redo)
        self._seen = objects.data.copy()
        self._follow(changed, self._undone, self._done, classes, forward=True)

    def _add(
        self,
        changed: NDArray[np.bool_],
        objects: Labels,
        classes: Labels,
        where: NDArray[np.bool_],
        values: NDArray[np.integer] | int,
    ) -> None:
        """Set the classes of the pixels `where`, as part of a step of the object layer that was just made."""
        self._seen = objects.data.copy()
        old, after = classes.data, np.where(where, values, classes.data).astype(np.uint16)
        box = box_of(where)
        step = _Step(_digest(changed), box, np.packbits(where[box]), old[where], after[where])
        self._done.append(step)
        self._undone.clear()
        change_pixels(classes, after)

    def _follow(
        self,
        changed: NDArray[np.bool_],
        source: deque[_Step],
        target: deque[_Step],
        classes: Labels | None,
        *,
        forward: bool,
    ) -> None:
        if not changed.any():
            return
        if not source or source[-1].changed != _digest(changed):
            self.clear()  # the layer was undone by other means than these: the classes stay as they are
            return
        step = source.pop()
        target.append(step)
        if classes is None:
            return
        before, after = (step.old, step.new) if forward else (step.new, step.old)
        # what was painted over since keeps its class
        values = classes.data.copy()
        inside = values[step.box]
        where = np.unpackbits(step.where, count=inside.size).astype(bool).reshape(inside.shape)
        now = inside[where]
        inside[where] = np.where(now == before, after, now)
        change_pixels(classes, values)


def _changed(objects: Labels, step: Callable[[], None]) -> NDArray[np.bool_]:
    before = objects.data.copy()
    step()
    changed: NDArray[np.bool_] = before != objects.data
    return changed


def _digest(changed: NDArray[np.bool_]) -> bytes:
    return hashlib.blake2b(np.packbits(changed).tobytes(), digest_size=16).digest()
