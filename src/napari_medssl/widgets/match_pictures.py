"""Small pictures of matches, with map and cross, drawn off the GUI thread when they are first looked at."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import cv2
import numpy as np
from napari.utils.colormaps import ensure_colormap
from qtpy.QtCore import QObject, QPointF, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QPixmap

from napari_medssl.widgets.problem import Problem
from napari_medssl.widgets.thumbnails import small_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.explore.ranking import Match
    from napari_medssl.widgets.folder_search import Search
    from napari_medssl.widgets.session import Session

__all__ = ["Look", "MatchPictures"]

_T = TypeVar("_T")

_KEPT = 600
_WAITING = 60  # what was scrolled past longer ago is not drawn


class Look(NamedTuple):
    """How the map is laid over the image."""

    limits: tuple[float, float]
    colormap: str
    opacity: float


class MatchPictures(QObject):
    """Draws the matches of one search: the image, its map, a cross on the best pixel.

    Parameters
    ----------
    session : Session
        Whose background threads are used.
    """

    drawn = Signal(str)
    """Name of an image whose picture is there, or cannot be drawn."""

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._search: Search | None = None
        self._look = Look((0.0, 1.0), "inferno", 0.7)
        self._plain: OrderedDict[str, NDArray[np.uint8]] = OrderedDict()  # without maps
        self._pixmaps: OrderedDict[str, QPixmap] = OrderedDict()
        self.failures: dict[str, str] = {}
        """Why images cannot be drawn, by name."""
        self._waiting: list[Match] = []
        self._drawing = False

    def set_search(self, search: Search | None, look: Look) -> None:
        """Draw the matches of this search, in this look."""
        if search is self._search and look == self._look:
            return
        former = self._search
        if search is None or former is None or search.project is not former.project:
            self._plain.clear()
        self._search, self._look = search, look
        self._pixmaps.clear()
        self.failures.clear()
        self._waiting.clear()

    def get(self, match: Match) -> QPixmap | None:
        """Return a match's picture; if it is not there, it is drawn (`drawn` follows)."""
        name = match.image
        if name in self._pixmaps:
            self._pixmaps.move_to_end(name)
            return self._pixmaps[name]
        if match not in self._waiting and name not in self.failures:
            self._waiting.append(match)
            del self._waiting[:-_WAITING]
            self._draw_next()
        return None

    def _draw_next(self) -> None:
        search, look = self._search, self._look
        if self._drawing or not self._waiting or search is None:
            return
        match = self._waiting.pop()  # what was looked at last is in sight
        known = self._plain.get(match.image)
        self._drawing = True

        def work() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
            plain = small_picture(search.project, match.image) if known is None else known
            return plain, _with_map(plain, search, match.image, look)

        def done(drawn: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
            self._drawing = False
            plain, rgb = drawn
            if self._search is not None and search.project is self._search.project:
                _keep(self._plain, match.image, plain)
            if search is self._search and look == self._look:
                pixmap = _with_cross(rgb, match, search.store.shape(match.image))
                _keep(self._pixmaps, match.image, pixmap)
                self.drawn.emit(match.image)
            self._draw_next()

        def failed(error: BaseException) -> None:
            self._drawing = False
            if search is self._search:
                doing = f"drawing {match.image}"
                self.failures[match.image] = Problem.of(error, doing=doing).sentence
                self.drawn.emit(match.image)
            self._draw_next()

        self._session.background(work, on_result=done, on_failed=failed)


def _keep(kept: OrderedDict[str, _T], name: str, value: _T) -> None:
    kept[name] = value
    while len(kept) > _KEPT:
        kept.popitem(last=False)


def _with_map(plain: NDArray[np.uint8], search: Search, name: str, look: Look) -> NDArray[np.uint8]:
    if search.prototypes is None:
        raise RuntimeError("A match comes after the examples were read.")
    cells = search.store.pixels(name).cells(search.prototypes)
    size = (plain.shape[1], plain.shape[0])
    heat = np.asarray(cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR))
    low, high = look.limits
    colours = ensure_colormap(look.colormap).map(np.clip((heat - low) / (high - low), 0, 1))
    colours = colours.reshape(*heat.shape, 4)
    mixed = (1 - look.opacity) * plain + look.opacity * 255 * colours[..., :3]
    drawn: NDArray[np.uint8] = mixed.astype(np.uint8)
    return drawn


def _with_cross(rgb: NDArray[np.uint8], match: Match, shape: tuple[int, int]) -> QPixmap:
    height, width = rgb.shape[:2]
    data = np.ascontiguousarray(rgb).tobytes()
    pixmap = QPixmap.fromImage(QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888))
    x, y = (match.x + 0.5) * width / shape[1], (match.y + 0.5) * height / shape[0]
    painter = QPainter(pixmap)
    for colour, thick in (("#000000", 4), ("#00e5ff", 2)):
        painter.setPen(QPen(QColor(colour), thick))
        painter.drawLine(QPointF(x - 6, y), QPointF(x + 6, y))
        painter.drawLine(QPointF(x, y - 6), QPointF(x, y + 6))
    painter.end()
    return pixmap
