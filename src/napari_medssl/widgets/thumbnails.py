"""Small pictures of the project's images, read in a thread when they are first looked at."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import cv2
import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtGui import QColor, QImage, QPixmap

from napari_medssl.widgets.image_view import Picture
from napari_medssl.widgets.per_session import PerSession

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["SIDE", "Thumbnails", "as_colour", "small_picture"]

SIDE = 96
"""Longer side, pixels."""
_KEPT = 2_000
_WAITING = 256  # what was scrolled past longer ago is asked for again once it is in sight


class Thumbnails(PerSession):
    """One per session; get it with `Thumbnails.of`.

    Parameters
    ----------
    session : Session
        Whose images.
    """

    arrived = Signal(str)
    """The picture of this image is there now."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._project: Project | None = None
        self._kept: OrderedDict[str, QPixmap] = OrderedDict()
        self._waiting: OrderedDict[str, None] = OrderedDict()
        self._reading: str | None = None
        self._forgotten = 0  # how often
        session.project_changed.connect(self.forget)
        session.images_changed.connect(self.forget)

    def get(self, name: str) -> QPixmap | None:
        """Give the picture of an image; if it is not there, it is read and `arrived` follows.

        What was asked for last is read first: that is what is being looked at. An image that cannot be read gets
        an empty picture.
        """
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        self._waiting[name] = None
        self._waiting.move_to_end(name)
        while len(self._waiting) > _WAITING:
            self._waiting.popitem(last=False)
        self._read_next()
        return None

    def forget(self) -> None:
        """Forget all of them: the images may have changed."""
        self._kept.clear()
        self._waiting.clear()
        self._forgotten += 1

    def _read_next(self) -> None:
        project = self._session.project
        if self._reading is not None or not self._waiting or project is None:
            return
        name, _ = self._waiting.popitem()
        self._reading = name
        moment = self._forgotten

        def read(picture: NDArray[np.uint8]) -> None:
            height, width = picture.shape[:2]
            image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
            self._keep(moment, name, QPixmap.fromImage(image))

        def failed(_: BaseException) -> None:  # the project's report tells why it cannot be read
            empty = QPixmap(SIDE // 2, SIDE // 2)
            empty.fill(QColor("transparent"))
            self._keep(moment, name, empty)

        self._session.background(
            lambda: small_picture(project, name), on_result=read, on_failed=failed
        )

    def _keep(self, moment: int, name: str, picture: QPixmap) -> None:
        self._reading = None
        if moment == self._forgotten:
            self._kept[name] = picture
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            self.arrived.emit(name)
        self._read_next()


def small_picture(project: Project, name: str) -> NDArray[np.uint8]:
    """Read an image as it is shown, ``(Y, X, 3)``, at most `SIDE` pixels long."""
    picture = Picture.of(project, name)
    low, high = picture.limits
    step = max(1, max(picture.data.shape[:2]) // (4 * SIDE))  # the rest is averaged
    colour = as_colour(picture.data[::step, ::step], low, high)
    factor = SIDE / max(colour.shape[:2])
    size = tuple(max(1, round(side * factor)) for side in colour.shape[1::-1])
    small = cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small, np.uint8)


def as_colour(data: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    """Give grey ``(Y, X)`` or colour ``(Y, X, 3)`` as 8-bit colour, black at `low` and white at `high`."""
    scaled = np.clip((data.astype(np.float32) - low) / (high - low), 0, 1)
    levels = np.rint(255 * scaled).astype(np.uint8)
    return levels if levels.ndim == 3 else np.repeat(levels[..., None], 3, axis=2)
