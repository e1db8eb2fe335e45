"""The images of a project as a list, with a mark that changes its shape with the status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import (
    QAbstractListModel,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QListView,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from napari_medssl.widgets.session import Session

__all__ = ["MARKS", "WORDS", "ImageList", "ImagesModel"]

MARKS = {"none": "○", "partial": "◐", "done": "●"}
"""Status of an image -> a sign; its shape tells them apart, whatever the colours."""
WORDS = {"none": "not annotated", "partial": "partly annotated", "done": "annotated, done"}
"""Status of an image -> words."""


class ImagesModel(QAbstractListModel):
    """Names and statuses; 20,000 of them cost nothing until they are seen."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.names: tuple[str, ...] = ()
        self._statuses: Mapping[str, str] = {}
        self._changed: AbstractSet[str] = frozenset()

    def set_names(self, names: Sequence[str]) -> None:
        """Show these images."""
        self.beginResetModel()
        self.names = tuple(names)
        self.endResetModel()

    def set_statuses(
        self, statuses: Mapping[str, str], changed: AbstractSet[str] = frozenset()
    ) -> None:
        """Show these statuses, and which images changed since they were annotated."""
        self._statuses, self._changed = statuses, changed
        if self.names:
            self.dataChanged.emit(self.index(0), self.index(len(self.names) - 1))

    def rowCount(  # noqa: N802
        self,
        parent: QModelIndex | QPersistentModelIndex = QModelIndex(),  # noqa: B008
    ) -> int:
        """Return the number of images."""
        return 0 if parent.isValid() else len(self.names)

    def data(
        self,
        index: QModelIndex | QPersistentModelIndex,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return mark and name, or the status in words."""
        if not index.isValid():
            return None
        name = self.names[index.row()]
        status = self._statuses.get(name, "none")
        changed = name in self._changed
        if role == Qt.ItemDataRole.DisplayRole:
            return f"{MARKS.get(status, '○')}  {'! ' if changed else ''}{name}"
        if role in (Qt.ItemDataRole.ToolTipRole, Qt.ItemDataRole.AccessibleTextRole):
            since = "; the image changed since" if changed else ""
            return f"{name}: {WORDS.get(status, status)}{since}"
        return None


class ImageList(QWidget):
    """The list, with next and previous.

    Parameters
    ----------
    session : Session
        Opens the images.
    """

    opened = Signal(str)

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.model = ImagesModel(self)
        self.view = QListView()
        self.view.setModel(self.model)
        self.view.setUniformItemSizes(True)
        self.view.setSpacing(1)
        self.view.setMinimumHeight(90)
        # the room that is left, and no scroll bar around the step before its rows are scrolled
        self.view.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        self.view.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.view.setAccessibleName("Images of the project")
        self.view.setEditTriggers(QListView.EditTrigger.NoEditTriggers)
        self.previous = QPushButton("Previous")
        self.next = QPushButton("Next")
        self.place = QLabel()
        set_role(self.place, "hint")
        row = QHBoxLayout()
        row.addWidget(self.previous)
        row.addWidget(self.next)
        row.addWidget(self.place, 1, Qt.AlignmentFlag.AlignRight)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.view, 1)
        column.addLayout(row)
        self.view.clicked.connect(self._on_picked)
        self.view.activated.connect(self._on_picked)
        self.previous.clicked.connect(lambda: self.go(-1))
        self.next.clicked.connect(lambda: self.go(1))
        session.image_changed.connect(self._on_image)
        session.overview.changed.connect(self._on_statuses)
        session.changed_images.changed.connect(self._on_statuses)

    def set_names(self, names: Sequence[str]) -> None:
        """Show these images; the list stays where it was scrolled to."""
        names = tuple(names)
        if names == self.model.names:
            return
        bar = self.view.verticalScrollBar()
        scrolled = bar.value() if bar is not None else 0
        self.model.set_names(names)
        self._on_statuses()
        self._on_image()
        if scrolled and bar is not None:
            bar.setValue(scrolled)

    def go(self, by: int) -> None:
        """Open the image that many places further, if there is one."""
        names = self.model.names
        current = names.index(self._session.image) if self._session.image in names else -1
        place = max(0, current + by) if current >= 0 else 0
        if 0 <= place < len(names) and place != current:
            self._session.open_image(names[place])

    def _on_picked(self, index: QModelIndex) -> None:
        name = self.model.names[index.row()]
        if name != self._session.image:
            self._session.open_image(name)
        self.opened.emit(name)

    def _on_image(self) -> None:
        names, image = self.model.names, self._session.image
        if image in names:
            place = names.index(image)
            index = self.model.index(place)
            selection = self.view.selectionModel()
            if selection is not None:
                selection.setCurrentIndex(index, QItemSelectionModel.SelectionFlag.ClearAndSelect)
            self.view.scrollTo(index)
            self.place.setText(f"{place + 1} of {len(names)}")
        else:
            self.place.setText(f"{len(names)} images" if names else "")
        self.previous.setEnabled(image in names and names.index(image) > 0)
        self.next.setEnabled(bool(names) and image != names[-1])

    def _on_statuses(self) -> None:
        self.model.set_statuses(
            self._session.overview.annotated.statuses, self._session.changed_images.names
        )
