"""All images of the project, in a dock of their own: sort, filter, search, open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QItemSelectionModel, QModelIndex, QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QBoxLayout,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.widgets.image_facts import ImageFacts
from napari_medssl.widgets.image_list import MARKS
from napari_medssl.widgets.image_rows import Column, Facts, Wanted
from napari_medssl.widgets.image_table import ImageTable
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.session import Session
from napari_medssl.widgets.shortcuts import bind_on_our_layers
from napari_medssl.widgets.suggestions import Suggestions
from napari_medssl.widgets.theme import colors_of, set_role, style_sheet

if TYPE_CHECKING:
    import napari
    from qtpy.QtGui import QResizeEvent

__all__ = ["KEY", "Navigator", "NavigatorDock"]

KEY = "A"
"""Shows the table, and hides it."""

_HEIGHT = 260  # of the dock, pixels: the image above keeps most of a small screen
_WIDE = 640  # from here on everything above the table fits into one row
_SOON_MS = 100  # facts come in many at a time
_STATUSES = (
    ("Any annotation", ""),
    (f"{MARKS['none']}  not annotated", "none"),
    (f"{MARKS['partial']}  partly annotated", "partial"),
    (f"{MARKS['done']}  done", "done"),
)
_PREDICTIONS = (
    ("Any prediction", ""),
    ("predicted", "current"),
    ("by another run only", "other"),
    ("not predicted", "none"),
)


class Navigator(QWidget):
    """The table of images with what is shown of it.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that it docks in.
    """

    def __init__(self, napari_viewer: napari.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session = Session.of(napari_viewer)
        self._facts = ImageFacts.of(session)
        self._suggestions = Suggestions.of(session)
        self._at: str | None = None  # where the user is in the table
        self._build()
        self._connect()
        self._suggestions.watch()
        self._on_theme()
        self.refresh()
        self._on_image()

    @property
    def session(self) -> Session:
        """Whose images these are."""
        return self._session

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a size that fits under the canvas, and beside it."""
        return QSize(390, _HEIGHT)

    def refresh(self) -> None:
        """Show what is true now; the table stays where it was scrolled to."""
        session, facts = self._session, self._facts
        project = session.project
        statuses = session.overview.annotated.statuses
        bar = self.table.verticalScrollBar()
        scrolled = bar.value() if bar is not None else 0
        self.table.images.show_images(
            names=project.images if project is not None else (),
            facts=Facts(
                statuses=statuses,
                changed=session.changed_images.names,
                run=facts.run,
                predicted=facts.predicted,
                predicted_by_others=facts.predicted_by_others,
                uncertainty=self._suggestions.uncertainty or facts.uncertainty,
                scores=facts.scores,
                taught=facts.taught,
                remark=facts.remark,
            ),
        )
        if bar is not None:
            bar.setValue(scrolled)
        self._summarise()

    # -- building --------------------------------------------------------------------------------

    def _build(self) -> None:
        self.search = QLineEdit()
        self.search.setPlaceholderText("search the names, * and ? allowed")
        self.search.setClearButtonEnabled(True)
        self.search.setAccessibleName("Search the names")
        self.status = _choice("Annotation", _STATUSES)
        self.prediction = _choice("Prediction", _PREDICTIONS)
        self.all = QPushButton("Show all")
        self.all.setToolTip("Search for nothing, leave nothing out.")
        self.summary = QLabel()
        set_role(self.summary, "hint")
        self.table = ImageTable(self._session)
        self.table.setToolTip("Double click or Enter opens an image.")
        self._above = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._above.setSpacing(4)
        first, second = QHBoxLayout(), QHBoxLayout()
        first.addWidget(self.search, 1)
        first.addWidget(self.all)
        second.addWidget(self.status, 1)
        second.addWidget(self.prediction, 1)
        self._above.addLayout(first, 1)
        self._above.addLayout(second, 1)
        self._above.addWidget(self.summary)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 4, 6, 6)
        column.setSpacing(4)
        column.addLayout(self._above)
        column.addWidget(self.table, 1)
        self.setMinimumSize(340, 160)

    def _connect(self) -> None:
        session, table = self._session, self.table
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_SOON_MS)
        self._soon.timeout.connect(self.refresh)
        for changed in (
            session.overview.changed,
            session.changed_images.changed,
            self._facts.changed,
            self._suggestions.changed,
        ):
            changed.connect(self._refresh_soon)
        session.project_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        session.image_changed.connect(self._on_image)
        session.viewer.events.theme.connect(self._on_theme)
        self.search.textChanged.connect(self._on_wanted)
        self.status.currentIndexChanged.connect(self._on_wanted)
        self.prediction.currentIndexChanged.connect(self._on_wanted)
        self.all.clicked.connect(self._show_all)
        table.activated.connect(self._open)
        header = table.horizontalHeader()
        if header is not None:
            header.sortIndicatorChanged.connect(table.scrollToTop)
        table.images.modelReset.connect(self._on_rows)
        selection = table.selectionModel()
        if selection is not None:  # one model for good, so this is the selection for good
            selection.currentRowChanged.connect(self._on_row)
        table.keys[Qt.Key.Key_A] = NavigatorDock.of(session).toggle
        table.keys[Qt.Key.Key_Escape] = self._leave

    # -- what happens ----------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802
        """Put what is above the table into one row; into several in a narrow dock, where names need the room."""
        super().resizeEvent(event)
        wide = self.width() >= _WIDE
        directions = QBoxLayout.Direction
        self._above.setDirection(directions.LeftToRight if wide else directions.TopToBottom)
        self.table.setColumnHidden(Column.PREDICTION, not wide)

    def _refresh_soon(self) -> None:
        if not self._soon.isActive():
            self._soon.start()

    def _on_wanted(self) -> None:
        wanted = Wanted(
            self.status.currentData(), self.prediction.currentData(), self.search.text().strip()
        )
        self.table.images.show_images(wanted=wanted)
        self.table.scrollToTop()
        self._summarise()

    def _show_all(self) -> None:
        self.status.setCurrentIndex(0)
        self.prediction.setCurrentIndex(0)
        self.search.clear()

    def _summarise(self) -> None:
        images = self.table.images
        self.all.setEnabled(not images.wanted.all)
        if self._session.project is None:
            self.summary.setText("No project is open.")
            return
        done = sum(status == "done" for status in images.facts.statuses.values())
        self.summary.setText(f"{len(images.rows):,} of {len(images.names):,} shown, {done:,} done")

    def _on_image(self) -> None:
        name = self._session.image
        self.table.images.mark_open(name)
        self._go_to(name)

    def _go_to(self, name: str | None) -> None:
        """Put the user at an image, if it is shown."""
        row = self.table.images.place_of(name)
        if row is not None:
            self._select(row)
            self.table.scrollTo(self.table.images.index(row, 0))

    def _select(self, row: int) -> None:
        selection = self.table.selectionModel()
        if selection is not None:
            flags = QItemSelectionModel.SelectionFlag
            selection.setCurrentIndex(
                self.table.images.index(row, 0), flags.ClearAndSelect | flags.Rows
            )

    def _on_row(self, current: QModelIndex) -> None:
        if current.isValid():
            self._at = self.table.images.rows[current.row()]

    def _on_rows(self) -> None:
        """Stay at the same image in the rows that are shown now."""
        row = self.table.images.place_of(self._at)
        if row is not None:
            self._select(row)

    def _open(self, index: QModelIndex) -> None:
        name = self.table.images.rows[index.row()]
        if name != self._session.image:
            self._session.open_image(name)

    def _leave(self) -> None:
        """Give the keyboard back to the image."""
        self._session.viewer.window._qt_viewer.canvas.native.setFocus()

    def _on_theme(self) -> None:
        self.setStyleSheet(style_sheet(colors_of(self._session.viewer.theme)))


class NavigatorDock(PerSession):
    """One per session; get it with `NavigatorDock.of`. Shows the table of images under the canvas, and hides it.

    Parameters
    ----------
    session : Session
        In whose viewer; `KEY` does the same on all our layers there.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        bind_on_our_layers(session.viewer, {KEY: lambda _: self.toggle()})

    def toggle(self) -> None:
        """Show the table, with the keyboard in it; or hide it if it is there."""
        window = self.session.viewer.window
        known = any(isinstance(inner, Navigator) for inner in window.dock_widgets.values())
        dock, navigator = window.add_plugin_dock_widget("napari-medssl", "Images")
        if known and dock.isVisible():
            dock.hide()
            return
        if not known:
            main = window._qt_window
            # the docks at the right keep the whole height
            main.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
            main.addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)
            main.resizeDocks([dock], [_HEIGHT], Qt.Orientation.Vertical)
        dock.show()
        dock.raise_()
        navigator.table.setFocus()


def _choice(what: str, choices: tuple[tuple[str, str], ...]) -> QComboBox:
    box = QComboBox()
    box.setAccessibleName(what)
    box.setToolTip(f"{what}: which images are shown.")
    for text, value in choices:
        box.addItem(text, value)
    return box
