"""Explore, section "Similar": examples by click, the map of the open image, the folder, and labels of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.errors import MedsslError
from napari_medssl.widgets.drawn_region import drawn_region
from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.folder_box import FolderBox
from napari_medssl.widgets.kept_queries import KeptQueries
from napari_medssl.widgets.label_box import LabelBox
from napari_medssl.widgets.map_settings import MapSettings
from napari_medssl.widgets.outline import Outline
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.explorer import Explorer
    from napari_medssl.widgets.session import Session

__all__ = ["SimilarSection"]

_HOW = (
    ("mean", "mean of the examples"),
    ("max", "nearest example"),
    ("contrast", "contrast"),
)


class SimilarSection(QWidget):
    """The controls of `Explorer`, and what follows from a query.

    Parameters
    ----------
    session : Session
        Whose open image is explored.
    explorer : Explorer
        The session's.
    """

    def __init__(self, session: Session, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.explorer = explorer
        self._build()
        self.map = MapSettings(explorer.view)
        self.kept = KeptQueries(session, explorer)
        self.folder = FolderBox(session, explorer)
        self.labels = LabelBox(session, explorer)
        self.folds = {
            title: _fold(title, widget)
            for title, widget in (
                ("Range and colours of the map", self.map),
                ("Kept queries", self.kept),
                ("All images", self.folder),
                ("Make labels", self.labels),
            )
        }
        self._lay_out()
        self.explore.clicked.connect(explorer.set_active)
        self.follow.clicked.connect(explorer.set_following)
        self.counter.clicked.connect(explorer.set_counter)
        self.undo.clicked.connect(explorer.undo)
        self.clear.clicked.connect(explorer.clear)
        self.region.clicked.connect(self._on_region)
        self.how.activated.connect(self._on_how)
        self.full.clicked.connect(explorer.set_full)
        self.folds["Make labels"].toggled.connect(Outline.of(session).show)
        explorer.changed.connect(self.refresh)
        session.image_changed.connect(self.refresh)
        self.folds["All images"].set_open(True)
        self.refresh()

    def _build(self) -> None:
        self.explore = QPushButton("Explore (Q)")
        self.explore.setCheckable(True)
        self.explore.setToolTip(
            "While this is pressed in, a click in the image asks which pixels are like that one.\n"
            "Shift+click adds an example, Alt+click a counter-example.\n"
            "Dragging moves the image as always."
        )
        set_role(self.explore, "primary")
        self.follow = QPushButton("Follow the cursor (hold W)")
        self.follow.setCheckable(True)
        self.follow.setToolTip("Compare with the pixel under the cursor, without clicking.")
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self.hint.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.hint.setMinimumHeight(2 * self.hint.fontMetrics().lineSpacing())
        self.hint.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        set_role(self.hint, "hint")
        self.counter = QPushButton("Counter-example (Alt)")
        self.counter.setCheckable(True)
        self.counter.setToolTip(
            "While this is pressed in, a click adds a counter-example, as Alt+click does:\n"
            "the map then shows what is nearer to an example than to a counter-example."
        )
        self.undo = QPushButton("Undo (Shift+Q)")
        self.undo.setToolTip("Take back the last change of the examples.")
        self.clear = QPushButton("Clear")
        self.clear.setToolTip("Forget the examples and remove the map. Undo brings them back.")
        self.region = QPushButton("Use the region drawn")
        self.region.setToolTip(
            "Adds what is drawn in the layer that is selected in the layer list:\n"
            "the selected label of a Labels layer, or the areas of a Shapes layer."
        )
        self.how = QComboBox()
        self.how.setAccessibleName("How several examples make one map")
        self.how.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        for key, text in _HOW:
            self.how.addItem(text, key)
        self.full = QCheckBox("Full resolution of the open image")
        self.full.setToolTip(
            "Computes features for every pixel instead of every second or fourth: sharper edges,\n"
            "but slower, and 4 to 16 times the memory."
        )

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(_row(self.explore, self.follow, stretch=self.explore))
        column.addWidget(self.hint)
        column.addLayout(_row(self.counter, self.undo, self.clear, stretch=self.counter))
        column.addLayout(_row(self.region, self.how, stretch=self.how))
        column.addWidget(self.full)
        for fold in self.folds.values():
            column.addWidget(fold)

    # -- showing ---------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what is true now."""
        explorer = self.explorer
        self.explore.setChecked(explorer.active)
        self.explore.setText("Stop exploring (Q)" if explorer.active else "Explore (Q)")
        self.follow.setChecked(explorer.following)
        self.follow.setText(
            "Stop following (W)" if explorer.following else "Follow the cursor (hold W)"
        )
        self.counter.setChecked(explorer.counter)
        self.full.setChecked(explorer.features.full)
        self.undo.setEnabled(explorer.can_undo)
        self.clear.setEnabled(bool(explorer.parts) or explorer.heat is not None)
        query = explorer.query
        contrast = query is not None and query.how == "contrast"
        self.how.setCurrentIndex(self.how.findData("contrast" if contrast else explorer.how))
        self.how.setEnabled(not contrast)
        self.how.setToolTip(
            "With counter-examples the map is half the difference between the nearest example and the\n"
            "nearest counter-example: above 0 a pixel is nearer to an example."
            if contrast
            else "How several examples make one map."
        )
        self.hint.setText(self._hint())

    def _hint(self) -> str:
        explorer = self.explorer
        if explorer.state == "computing":
            if explorer.first:
                return "A first map, of the stored features; the finer one is being computed ..."
            here = explorer.features.awaited == self._session.image
            what = "this image" if here else "the image that holds an example"
            return f"Computing the features of {what} ..."
        if explorer.state == "failed":
            return f"No features: {explorer.features.why}"
        if not explorer.active and not explorer.parts:
            return "Press Explore, then click in the image."
        if self._session.viewer.dims.ndisplay != 2:
            return "Show the image in 2D to click in it."
        if explorer.following:
            return "Move the cursor over the image."
        if not explorer.parts:
            return "Click a pixel in the image."
        if explorer.query is None:
            return "Counter-examples alone show nothing: click an example."
        return self._counted()

    def _counted(self) -> str:
        parts, image = self.explorer.parts, self._session.image
        said = []
        for positive, word in ((True, "example"), (False, "counter-example")):
            chosen = [part for part in parts if part.positive is positive]
            if chosen:
                elsewhere = sum(part.image != image for part in chosen)
                where = f" ({elsewhere} in other images)" if elsewhere else ""
                said.append(f"{len(chosen)} {word}{'s' if len(chosen) > 1 else ''}{where}")
        if self.explorer.active:
            more = "Shift+click adds one, Alt+click a counter-example; a click starts anew."
        else:
            more = "Press Explore to go on."
        return f"{' and '.join(said)}. {more}"

    # -- acting ----------------------------------------------------------------------------------

    def _on_how(self) -> None:
        if self.how.currentData() == "contrast":
            self.refresh()  # it needs counter-examples
            self.hint.setText("A contrast needs a counter-example: Alt+click a pixel.")
        else:
            self.explorer.set_how(self.how.currentData())

    def _on_region(self) -> None:
        image = self._session.image_layer
        if image is None:
            return
        try:
            mask = drawn_region(self._session.viewer, image)
        except MedsslError as error:
            self.hint.setText(str(error))
            return
        self.explorer.add_region(mask, positive=not self.explorer.counter)


def _fold(title: str, widget: QWidget) -> Fold:
    fold = Fold(title)
    column = QVBoxLayout()
    column.addWidget(widget)
    fold.set_content_layout(column)
    return fold


def _row(*widgets: QWidget, stretch: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget, 1 if widget is stretch else 0)
    return row
