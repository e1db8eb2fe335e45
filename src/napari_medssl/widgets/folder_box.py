"""The query asked of the whole folder: the stored features, the search, the gallery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medssl.widgets.folder_search import FolderSearch
from napari_medssl.widgets.gallery import Gallery
from napari_medssl.widgets.match_pictures import Look
from napari_medssl.widgets.store_bar import StoreBar
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.explore.ranking import Match
    from napari_medssl.widgets.explorer import Explorer
    from napari_medssl.widgets.session import Session

__all__ = ["FolderBox"]


class FolderBox(QWidget):
    """The controls of `FolderSearch`, and its matches as a gallery.

    Parameters
    ----------
    session : Session
        Whose folder.
    explorer : Explorer
        Goes to the match that is clicked.
    """

    def __init__(self, session: Session, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._explorer = explorer
        self._search = FolderSearch.of(session)
        self._shown: tuple[object, ...] = ()
        self._limits = (0.0, 1.0)
        self._limits_of: object = None
        self.store = StoreBar(session)
        self.start = QPushButton("Find in all images")
        self.start.setToolTip(
            "Find the best matching pixel of every image, and rank the images by it."
        )
        set_role(self.start, "primary")
        self.order = QComboBox()
        self.order.setAccessibleName("Order")
        self.order.addItem("most similar first", False)
        self.order.addItem("least similar first", True)
        self.text = QLabel()
        self.text.setWordWrap(True)
        set_role(self.text, "hint")
        self.gallery = Gallery(session)
        row = QHBoxLayout()
        row.addWidget(self.start, 1)
        row.addWidget(self.order)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.store)
        column.addLayout(row)
        column.addWidget(self.text)
        column.addWidget(self.gallery, 1)
        self.start.clicked.connect(self._on_find)
        self.order.activated.connect(self._on_order)
        self.gallery.chosen.connect(self._on_chosen)
        self._search.changed.connect(self.refresh)
        explorer.view.changed.connect(self._show_matches)
        self.refresh()

    def refresh(self) -> None:
        """Show what is true now."""
        search = self._search
        why_not = search.why_not
        self.start.setText("Stop" if search.running else "Find in all images")
        self.start.setEnabled(search.running or not why_not)
        self.order.setCurrentIndex(self.order.findData(search.least))
        self.text.setText(self._stand() if search.search is not None else why_not)
        self.text.setVisible(bool(self.text.text()))
        self.gallery.setVisible(search.search is not None)
        self._show_matches()

    def _stand(self) -> str:
        search, last = self._search, self._search.search
        if last is None:
            return ""
        count, total = len(last.matches), len(last.names)
        if search.running:
            return f"Searched {count} of {total} images ..."
        found = f"{count} of {total} images searched." if count < total else f"{count} images."
        if search.outdated:
            return f"{found} These matches are of the former question: find again."
        return f"{found} A click opens one, at its best matching pixel."

    def _show_matches(self) -> None:
        search, look = self._search, self._look()
        count = len(search.search.matches) if search.search is not None else 0
        shown = (search.search, count, search.least, look)
        if shown != self._shown:  # ranking them again takes a while in a large folder
            self._shown = shown
            self.gallery.show_matches(search.search, search.matches, look)

    def _look(self) -> Look:
        """Give how the maps of the open image look, with the limits of the one that the search began with.

        Limits that are chosen anew for each map would have all thumbnails drawn anew with each.
        """
        view, last = self._explorer.view, self._search.search
        if self._limits_of is not last or not view.automatic:
            self._limits = view.limits
        if last is not None and self._explorer.answered and last.query == self._explorer.query:
            self._limits_of = last  # from now on; before, the map may be that of another question
        return Look(self._limits, view.colormap, view.opacity)

    def _on_find(self) -> None:
        if self._search.running:
            self._search.stop()
        else:
            self._search.start()

    def _on_order(self) -> None:
        self._search.set_least(bool(self.order.currentData()))

    def _on_chosen(self, match: Match) -> None:
        self._explorer.go_to(match.image, match.y, match.x)
