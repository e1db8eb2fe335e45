"""The ranked images as thumbnails; only what is in sight is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QAbstractListModel,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QSize,
    Qt,
    Signal,
)
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import QListView

from napari_medssl.project.images import split_plane
from napari_medssl.widgets.match_pictures import Look, MatchPictures
from napari_medssl.widgets.thumbnails import SIDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_medssl.explore.ranking import Match
    from napari_medssl.widgets.folder_search import Search
    from napari_medssl.widgets.session import Session

__all__ = ["Gallery", "GalleryModel"]

_LETTERS = 15  # of a name, under a thumbnail


class GalleryModel(QAbstractListModel):
    """Matches in their order; 20,000 of them cost nothing until they are seen.

    Parameters
    ----------
    pictures : MatchPictures
        Draws those that are asked for.
    """

    def __init__(self, pictures: MatchPictures, parent: Any = None) -> None:
        super().__init__(parent)
        self.matches: tuple[Match, ...] = ()
        self._rows: dict[str, int] = {}
        self._pictures = pictures
        self._blank = QPixmap(SIDE, SIDE)
        self._blank.fill(QColor(128, 128, 128, 60))
        pictures.drawn.connect(self._on_drawn)

    def set_matches(self, matches: Sequence[Match]) -> None:
        """Show these, in their order."""
        self.beginResetModel()
        self.matches = tuple(matches)
        self._rows = {match.image: row for row, match in enumerate(self.matches)}
        self.endResetModel()

    def row_of(self, image: str | None) -> int | None:
        """Return the place of an image, from 0; None if it is not among the matches."""
        return self._rows.get(image) if image is not None else None

    def redraw(self) -> None:
        """Ask for all thumbnails in sight again."""
        if self.matches:
            self.dataChanged.emit(self.index(0), self.index(len(self.matches) - 1))

    def rowCount(  # noqa: N802
        self,
        parent: QModelIndex | QPersistentModelIndex = QModelIndex(),  # noqa: B008
    ) -> int:
        """Return the number of images."""
        return 0 if parent.isValid() else len(self.matches)

    def data(
        self,
        index: QModelIndex | QPersistentModelIndex,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return thumbnail, rank, score and name."""
        if not index.isValid():
            return None
        match = self.matches[index.row()]
        if role == Qt.ItemDataRole.DecorationRole:
            return self._pictures.get(match) or self._blank
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{index.row() + 1}   {match.score:.3f}\n{_short(match.image)}"
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            place = f"similarity {match.score:.3f} at y {match.y}, x {match.x}"
            why = self._pictures.failures.get(match.image, "")
            return "\n".join(
                part for part in (f"{index.row() + 1}: {match.image}", place, why) if part
            )
        return None

    def _on_drawn(self, image: str) -> None:
        row = self._rows.get(image)
        if row is not None:
            self.dataChanged.emit(self.index(row), self.index(row))


class Gallery(QListView):
    """The thumbnails; a click chooses a match.

    Parameters
    ----------
    session : Session
        Whose open image is marked.
    """

    chosen = Signal(object)
    """The `Match` that was clicked."""

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.pictures = MatchPictures(session, self)
        self.matches = GalleryModel(self.pictures, self)
        self.setModel(self.matches)
        self.setAccessibleName("Images, ranked")
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setLayoutMode(QListView.LayoutMode.Batched)
        self.setUniformItemSizes(True)
        self.setIconSize(QSize(SIDE, SIDE))
        self.setGridSize(QSize(SIDE + 8, SIDE + 8 + 2 * self.fontMetrics().lineSpacing()))
        self.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumHeight(300)
        self.clicked.connect(self._on_clicked)
        self.activated.connect(self._on_clicked)
        session.image_changed.connect(self._mark_open)

    def show_matches(self, search: Search | None, matches: Sequence[Match], look: Look) -> None:
        """Show the matches of a search, drawn in this look; the gallery stays where it was scrolled to."""
        self.pictures.set_search(search, look)
        if tuple(matches) == self.matches.matches:
            self.matches.redraw()
            return
        bar = self.verticalScrollBar()
        scrolled = bar.value() if bar is not None else 0
        self.matches.set_matches(matches)
        if bar is not None and scrolled:
            bar.setValue(scrolled)
        self._mark_open()

    def _mark_open(self) -> None:
        row = self.matches.row_of(self._session.image)
        selection = self.selectionModel()
        if selection is None:
            return
        if row is None:
            selection.clearSelection()
        else:
            # selected, not current: that would scroll there, while the user looks elsewhere
            flag = QItemSelectionModel.SelectionFlag.ClearAndSelect
            selection.select(self.matches.index(row), flag)

    def _on_clicked(self, index: QModelIndex) -> None:
        self.chosen.emit(self.matches.matches[index.row()])


def _short(name: str) -> str:
    """Give the end of a name: its file, and its plane in a stack, which tell images of a folder apart."""
    file, plane = split_plane(name)
    last = file.rsplit("/", 1)[-1]
    if plane:
        index = name.rsplit("/", 1)[-1]
        room = max(4, _LETTERS - len(index))
        return f"{last if len(last) <= room else last[: room - 1] + '…'} {index}"
    return last if len(last) <= _LETTERS else f"{last[:6]}…{last[6 - _LETTERS + 1 :]}"
