"""Explore, section "Images": the folder as a map, and the images most and least like the open one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medssl.widgets.feature_store import FeatureStore
from napari_medssl.widgets.folder_map import FolderMap
from napari_medssl.widgets.long_work import LongWork
from napari_medssl.widgets.neighbour_strip import NeighbourStrip
from napari_medssl.widgets.scatter import Group
from napari_medssl.widgets.store_bar import StoreBar
from napari_medssl.widgets.theme import colors_of, set_role
from napari_medssl.widgets.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from qtpy.QtGui import QShowEvent

    from napari_medssl.explore.neighbours import Folder
    from napari_medssl.project import Project
    from napari_medssl.widgets.explorer import Explorer
    from napari_medssl.widgets.long_work import Progress
    from napari_medssl.widgets.session import Session

__all__ = ["ImagesSection"]

_COUNT = 8
_STATUSES = {"none": "not annotated", "partial": "partly annotated", "done": "done"}


class _Laid(NamedTuple):
    """The folder as it was laid out."""

    folder: Folder
    places: NDArray[np.floating]


class _Known(NamedTuple):
    """What the project knows of whole images."""

    groups: dict[str, str]
    classes: dict[str, str]


class ImagesSection(QWidget):
    """Lays the images of the folder out by their stored features.

    Parameters
    ----------
    session : Session
        Whose project.
    explorer : Explorer
        The session's.
    """

    def __init__(self, session: Session, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._store = FeatureStore.of(session)
        self._laid: _Laid | None = None
        self._of: tuple[object, ...] = ()
        self._known = _Known({}, {})
        self._known_of: Project | None = None
        self._build()
        self.show_button.clicked.connect(self.lay_out)
        self.by.activated.connect(self._colour)
        for part in (self.map, self.near, self.far):
            part.chosen.connect(self._open)
        self.work.changed.connect(self.refresh)
        self._store.changed.connect(self._on_store)
        session.image_changed.connect(self._on_image)
        session.overview.changed.connect(self._colour)
        session.project_changed.connect(self._on_project)
        session.viewer.events.theme.connect(self._on_theme)
        self.refresh()

    def _build(self) -> None:
        thumbnails = Thumbnails.of(self._session)
        self.bar = StoreBar(self._session)
        self.by = QComboBox()
        self.by.setAccessibleName("Points coloured by")
        self.by.setToolTip(
            "What tells the points apart, by colour and shape.\n"
            "Groups and classes of whole images are set in the step Project."
        )
        self.show_button = QPushButton("Show")
        self.show_button.setToolTip("Compare the mean features of all stored images.")
        set_role(self.show_button, "primary")
        self.work = LongWork(self._session)
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        set_role(self.hint, "hint")
        self.map = FolderMap(colors_of(self._session.viewer.theme), thumbnails)
        self.near = NeighbourStrip("Most like the open image, and how far", thumbnails)
        self.far = NeighbourStrip("Least like it, the farthest first", thumbnails)
        row = QHBoxLayout()
        row.addWidget(QLabel("Colour by"))
        row.addWidget(self.by, 1)
        row.addWidget(self.show_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.bar)
        column.addLayout(row)
        column.addWidget(self.work)
        column.addWidget(self.hint)
        for part in (self.map, self.near, self.far):
            column.addWidget(part)

    # -- commands --------------------------------------------------------------------------------

    def lay_out(self) -> None:
        """Read the stored features of all images and lay the images out; returns at once."""
        standing, key = self._store.standing, self._store.identity
        store = standing.usable if standing is not None else None
        if store is None:
            return

        def work(progress: Progress) -> _Laid:
            from napari_medssl.explore.neighbours import Folder  # scikit-learn takes a second

            folder = Folder.of(store, progress=progress)
            return _Laid(folder, folder.layout(progress=progress))

        def done(laid: _Laid) -> None:
            if key == self._store.identity:
                self._laid, self._of = laid, key
                self.map.show_images(laid.folder.names, laid.places)
                self._colour()
                self._on_image()
                self.refresh()

        self.work.start(
            f"Comparing {len(store)} images ...",
            work,
            doing="comparing the images",
            on_result=done,
        )

    def refresh(self) -> None:
        """Show what is true now."""
        standing = self._store.standing
        stored = 0 if standing is None else len(standing.stored)
        self.show_button.setEnabled(stored > 1 and not self.work.running)
        self.map.setVisible(self._laid is not None)
        text = ""
        if standing is not None and stored < 2:
            text = "Images are compared by their stored features: store them first."
        elif self._laid is None:
            text = "Every image becomes a point; alike images lie together, outliers and batches stand apart."
        elif standing is not None and (more := set(standing.stored) - set(self._laid.folder.names)):
            text = f"Stored since this map was made: {len(more)}. Show lays all images out anew."
        elif self._session.image not in self._laid.folder.names:
            text = "The features of the open image are not stored: it is not on the map."
        self.hint.setText(text)
        self.hint.setVisible(bool(text))
        near = self._laid is not None and self._session.image in self._laid.folder.names
        self.near.setVisible(near)
        self.far.setVisible(near)

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802
        """Catch up with what changed while another section was open."""
        super().showEvent(event)
        self._read_known()
        self._on_image()

    # -- showing ---------------------------------------------------------------------------------

    def _values(self) -> Mapping[str, str]:
        """Give image -> what it is coloured by."""
        by = self.by.currentData()
        if by == "group":
            return self._known.groups
        if by == "class":
            return self._known.classes
        statuses = self._session.overview.annotated.statuses
        return {name: _STATUSES.get(status, status) for name, status in statuses.items()}

    def _colour(self) -> None:
        if self._laid is None or not self.isVisible():
            return
        from napari_medssl.explore.colours import wheel  # there since the images were laid out

        names, values = self._laid.folder.names, self._values()
        of = np.array([values.get(name, "") for name in names])
        found, counts = np.unique(of[of != ""], return_counts=True)
        ordered = [str(value) for value in found[np.argsort(-counts, kind="stable")]]
        if self.by.currentData() == "status":
            colors = colors_of(self._session.viewer.theme)
            ordered = [word for word in _STATUSES.values() if word in ordered]
            paint = dict(
                zip(_STATUSES.values(), (colors.faint, colors.warning, colors.good), strict=True)
            )
        else:
            paint = {
                value: "#" + bytes(colour).hex()
                for value, colour in zip(ordered, wheel(len(ordered)), strict=True)
            }
        groups = [Group(value, paint[value], np.flatnonzero(of == value)) for value in ordered]
        self.map.show_groups(groups, values)

    def _on_image(self) -> None:
        image, laid = self._session.image, self._laid
        if laid is not None and self.isVisible():
            self.map.ring(image)
            if image in laid.folder.names:
                self.near.show_images(laid.folder.nearest(image, _COUNT))
                self.far.show_images(laid.folder.nearest(image, _COUNT, farthest=True))
        self.refresh()

    def _open(self, name: str) -> None:
        project = self._session.project
        if project is not None and name in project.images and name != self._session.image:
            self._session.open_image(name)

    # -- what others change ----------------------------------------------------------------------

    def _on_store(self) -> None:
        if (
            self._laid is not None
            and self._store.standing is not None
            and self._of != self._store.identity
        ):
            self._laid = None
            self.map.show_images((), np.empty((0, 2)))
        self.refresh()

    def _on_project(self) -> None:
        self._known_of = None
        if self.isVisible():
            self._read_known()

    def _read_known(self) -> None:
        """Read which groups and classes images have: from a table on disk, so not here."""
        project = self._session.project
        if project is None or self._known_of is project:
            return
        self._known_of = project

        def show(known: _Known) -> None:
            if self._session.project is project:
                self._known = known
                self._offer()
                self._colour()

        self._session.background(
            lambda: _Known(project.groups(), project.image_labels()),
            on_result=show,
            doing="reading the groups and classes of the images",
        )

    def _offer(self) -> None:
        chosen = self.by.currentData()
        self.by.clear()
        self.by.addItem("status of the annotation", "status")
        if self._known.classes:
            self.by.addItem("class of the image", "class")
        if self._known.groups:
            self.by.addItem("group", "group")
        self.by.setCurrentIndex(max(0, self.by.findData(chosen)))

    def _on_theme(self) -> None:
        self.map.set_colors(colors_of(self._session.viewer.theme))
        self._colour()
