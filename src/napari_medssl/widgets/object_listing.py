"""The objects of the open image as a list, made in a thread whenever they or the classes have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QObject, Signal

from napari_medssl.instances.by_class import classes_of
from napari_medssl.instances.objects import object_table
from napari_medssl.widgets.one_by_one import OneByOne

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_medssl.widgets.session import Session

__all__ = ["ObjectEntry", "ObjectListing", "list_objects"]


class ObjectEntry(NamedTuple):
    """One object of the open image."""

    number: int
    value: int
    """Of its class; 0 if it lies in none."""
    area: int
    """Pixels."""


def list_objects(
    ids: NDArray[np.int32], labels: NDArray[np.uint16] | None
) -> tuple[ObjectEntry, ...]:
    """List objects by id.

    Parameters
    ----------
    ids : ndarray of int32, (Y, X)
        0 is no object.
    labels : ndarray of uint16, (Y, X), optional
        The classes; without them every object is in none.
    """
    values = {} if labels is None else classes_of(ids, labels)
    return tuple(
        ObjectEntry(row.label, values.get(row.label, 0), row.area) for row in object_table(ids)
    )


class ObjectListing(QObject):
    """Keeps the list; one at a time, and what changed meanwhile is listed at the end.

    Parameters
    ----------
    session : Session
        Whose threads.
    layers : callable
        Gives the layers of the objects and of the classes; None where one is not there.
    """

    changed = Signal()
    """`rows` differ."""

    def __init__(
        self,
        session: Session,
        layers: Callable[[], tuple[Labels | None, Labels | None]],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._layers = layers
        self.rows: tuple[ObjectEntry, ...] = ()
        """By id."""
        self._shown = 0  # how often another image was shown
        self._work = OneByOne(session, self.refresh)

    def value_of(self, number: int) -> int:
        """Give the class of an object; 0 if it has none, or is not listed yet."""
        return next((row.value for row in self.rows if row.number == number), 0)

    def refresh(self) -> None:
        """List anew; returns at once."""
        objects, classes = self._layers()
        if objects is None:
            self._shown += 1
            self.rows = ()
            self.changed.emit()
            return
        if self._work.postponed():
            return
        ids, labels = objects.data.copy(), None if classes is None else classes.data.copy()
        shown = self._shown

        def show(rows: tuple[ObjectEntry, ...]) -> None:
            if shown == self._shown:  # one layer serves all images
                self.rows = rows
                self.changed.emit()

        def failed(error: BaseException) -> None:
            self._session.show_error(error, doing="listing the objects")

        self._work.start(lambda: list_objects(ids, labels), on_result=show, on_failed=failed)
