"""A row of pictures of images, each with how far it is; a click opens one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import QLabel, QListView, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medssl.explore.neighbours import Neighbour
    from napari_medssl.widgets.thumbnails import Thumbnails

__all__ = ["NeighbourStrip"]

_ICON = 46


class NeighbourStrip(QWidget):
    """A heading and the pictures under it.

    Parameters
    ----------
    title : str
        The heading.
    thumbnails : Thumbnails
        The session's.
    """

    chosen = Signal(str)
    """The image that was clicked."""

    def __init__(self, title: str, thumbnails: Thumbnails, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._thumbnails = thumbnails
        heading = QLabel(title)
        set_role(heading, "hint")
        self.list = QListWidget()
        self.list.setAccessibleName(title)
        self.list.setViewMode(QListView.ViewMode.IconMode)
        self.list.setFlow(QListView.Flow.LeftToRight)
        self.list.setWrapping(False)
        self.list.setMovement(QListView.Movement.Static)
        self.list.setIconSize(QSize(_ICON, _ICON))
        self.list.setSpacing(2)
        self.list.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        line = self.list.fontMetrics().lineSpacing()
        self.list.setGridSize(QSize(_ICON + 10, _ICON + line + 6))
        bar = self.list.horizontalScrollBar()
        self.list.setFixedHeight(_ICON + line + 12 + (bar.sizeHint().height() if bar else 0))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(1)
        column.addWidget(heading)
        column.addWidget(self.list)
        self.list.itemClicked.connect(self._on_item)
        self.list.itemActivated.connect(self._on_item)
        thumbnails.arrived.connect(self._on_arrived)

    def show_images(self, found: Sequence[Neighbour]) -> None:
        """Show images and their distances, in this order."""
        self.list.clear()
        for neighbour in found:
            item = QListWidgetItem(f"{neighbour.distance:.2f}")
            item.setData(Qt.ItemDataRole.UserRole, neighbour.image)
            told = f"{neighbour.image}, distance {neighbour.distance:.3f}"
            item.setToolTip(told)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, told)
            self.list.addItem(item)
            self._dress(item)

    def _dress(self, item: QListWidgetItem) -> None:
        picture = self._thumbnails.get(item.data(Qt.ItemDataRole.UserRole))
        if picture is not None:
            item.setIcon(QIcon(picture))

    def _on_arrived(self, name: str) -> None:
        for row in range(self.list.count()):
            item = self.list.item(row)
            if item is not None and item.data(Qt.ItemDataRole.UserRole) == name:
                self._dress(item)

    def _on_item(self, item: QListWidgetItem) -> None:
        self.chosen.emit(item.data(Qt.ItemDataRole.UserRole))
