"""The folder as a map: every image a point, or its picture, where alike images lie together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QRect, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medssl.widgets.scatter import MARKS, Group, Scatter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medssl.widgets.theme import Colors
    from napari_medssl.widgets.thumbnails import Thumbnails

__all__ = ["FolderMap"]

_PICTURES = 60
"""Up to so many images, each is drawn as its picture."""
_SMALL = 34
_MARGIN = 4


class FolderMap(QWidget):
    """The map, and the picture of the image under the cursor in its corner.

    Parameters
    ----------
    colors : Colors
        The theme's colours.
    thumbnails : Thumbnails
        The session's.
    """

    chosen = Signal(str)
    """The image that was clicked."""

    def __init__(
        self, colors: Colors, thumbnails: Thumbnails, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._thumbnails = thumbnails
        self._names: Sequence[str] = ()
        self._places: NDArray[np.floating] = np.empty((0, 2))
        self._groups: Sequence[Group] = ()
        self._words: Mapping[str, str] = {}
        self._pointed: str | None = None
        self.scatter = Scatter(colors, height=205)
        self.scatter.plot.setAccessibleName("Map of the folder's images")
        self.peek = QLabel(self.scatter.plot)
        self.peek.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.peek.setVisible(False)
        self.text = QLabel()
        self.text.setTextFormat(Qt.TextFormat.PlainText)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.scatter, 1)
        column.addWidget(self.text)
        self.scatter.clicked.connect(lambda number: self.chosen.emit(self._names[number]))
        self.scatter.hovered.connect(self._on_hovered)
        thumbnails.arrived.connect(self._on_arrived)
        self._on_hovered(-1)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.scatter.set_colors(colors)
        self._draw()

    def show_images(self, names: Sequence[str], places: NDArray[np.floating]) -> None:
        """Show images where they lie, ``(N, 2)``."""
        self._names, self._places = names, places
        self._groups, self._words = (), {}  # they are of the images that were shown before
        self._draw()
        self._on_hovered(-1)
        self.scatter.show_all()

    def show_groups(self, groups: Sequence[Group], words: Mapping[str, str]) -> None:
        """Tell groups apart by colour and shape.

        Parameters
        ----------
        groups : sequence of Group
            Their members are numbers of images.
        words : mapping
            What is said of each image while it is pointed at.
        """
        self._groups, self._words = groups, words
        self._draw()

    def ring(self, name: str | None) -> None:
        """Ring the open image."""
        known = name is not None and name in self._names
        self.scatter.light_up(self._places[[self._names.index(name)]] if known and name else None)

    def _draw(self) -> None:
        self.scatter.show_groups(self._places, self._groups)
        if 0 < len(self._names) <= _PICTURES:
            group_of = {n: g for g, group in enumerate(self._groups) for n in group.members}
            pictures = []
            for number, name in enumerate(self._names):
                picture = self._thumbnails.get(name)
                pictures.append(self._framed(picture, group_of.get(number)))
            self.scatter.show_pictures(self._places, pictures)

    def _framed(self, picture: QPixmap | None, group: int | None) -> QPixmap:
        """Make a small picture with the colour of its group around it and its mark in the corner."""
        framed = QPixmap(_SMALL, _SMALL)
        framed.fill(QColor("#808080"))
        painter = QPainter(framed)
        within = QRect(2, 2, _SMALL - 4, _SMALL - 4)
        if picture is not None:
            side = min(picture.width(), picture.height())
            left, top = (picture.width() - side) // 2, (picture.height() - side) // 2
            painter.drawPixmap(within, picture, QRect(left, top, side, side))
        if group is not None:
            colour = QColor(self._groups[group].colour)
            painter.setPen(QPen(colour, 3))
            painter.drawRect(1, 1, _SMALL - 3, _SMALL - 3)
            painter.fillRect(0, 0, 13, 13, QColor("#000000"))
            painter.setPen(colour)
            corner = QRect(0, 0, 13, 13)
            painter.drawText(corner, Qt.AlignmentFlag.AlignCenter, MARKS[group % len(MARKS)].text)
        painter.end()
        return framed

    def _on_hovered(self, number: int) -> None:
        self._pointed = self._names[number] if number >= 0 else None
        name = self._pointed
        self.peek.setVisible(False)
        if name is None:
            self.text.setText("Point at an image to see it; a click opens it.")
            return
        said = f"{self._words[name]}: {name}" if name in self._words else name
        width = max(self.text.width(), 200)
        self.text.setText(
            self.text.fontMetrics().elidedText(said, Qt.TextElideMode.ElideMiddle, width)
        )
        picture = self._thumbnails.get(name)
        if picture is not None:
            self.peek.setPixmap(picture)
            self.peek.adjustSize()
            # in the corner that is away from the point
            middle = self.scatter.box.viewRect().center().x()
            right = self.scatter.plot.width() - self.peek.width() - _MARGIN
            self.peek.move(right if self._places[number, 0] < middle else _MARGIN, _MARGIN)
            self.peek.setVisible(True)

    def _on_arrived(self, name: str) -> None:
        if name == self._pointed:
            self._on_hovered(self._names.index(name))
        if len(self._names) <= _PICTURES and name in self._names:
            self._draw()
