"""The images of a project as a table: a row each, as many as are wanted, in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QModelIndex, QPersistentModelIndex, QSize, Qt
from qtpy.QtGui import QColor, QFont, QFontMetrics, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
)

from napari_medssl.widgets.image_list import MARKS, WORDS
from napari_medssl.widgets.image_rows import Column, Facts, Wanted, arranged
from napari_medssl.widgets.row_table import RowModel, RowTable
from napari_medssl.widgets.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qtpy.QtGui import QKeyEvent
    from qtpy.QtWidgets import QWidget

    from napari_medssl.widgets.session import Session

__all__ = ["ImageTable", "ImageTableModel"]

_PICTURE = 40
"""Longer side of a picture in its row, pixels."""
_TITLES = {
    Column.IMAGE: ("Image", "Sorted in the project's order."),
    Column.ANNOTATION: ("Annotation", "○ not annotated, ◐ partly, ● done."),
    Column.PREDICTION: ("Prediction", "Whether the current run has predicted the image."),
    Column.UNCERTAINTY: (
        "Uncertainty",
        "How unsure the prediction is, from 0 (sure) to 1 (by chance), over the whole image.",
    ),
    Column.SCORE: (
        "Score",
        "Dice of the stored prediction against your annotation, of images that are done.\n"
        "In brackets where the run has learned from that very image: it flatters.",
    ),
}
_STATUS = {"none": "not annotated", "partial": "partly", "done": "done"}
_LEFT = (Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter).value
_PREDICTION = {"current": "yes", "other": "by another run", "none": "no"}


class ImageTableModel(RowModel):
    """The names of images; they are sorted and chosen without asking Qt for each.

    Parameters
    ----------
    thumbnails : Thumbnails
        Asked for the pictures of the rows in sight.
    """

    headings = tuple(title for title, _ in _TITLES.values())

    def __init__(self, thumbnails: Thumbnails, parent: Any = None) -> None:
        super().__init__(parent)
        self._thumbnails = thumbnails
        self.names: tuple[str, ...] = ()
        """All images, in the project's order."""
        self.rows: list[str] = []
        self.facts = Facts()
        self.wanted = Wanted()
        self.open: str | None = None
        """The image that is open."""
        self._places: dict[str, int] = {}
        self._column, self._descending = Column.IMAGE, False
        self._blank = QPixmap(_PICTURE, _PICTURE)
        self._blank.fill(QColor(128, 128, 128, 60))
        thumbnails.arrived.connect(self._on_picture)

    def show_images(
        self,
        *,
        names: Sequence[str] | None = None,
        facts: Facts | None = None,
        wanted: Wanted | None = None,
    ) -> None:
        """Show other images, or other facts of them, or other ones of them; what is not given stays."""
        self.names = self.names if names is None else tuple(names)
        self.facts = self.facts if facts is None else facts
        self.wanted = self.wanted if wanted is None else wanted
        self._arrange()

    def place_of(self, name: str | None) -> int | None:
        """Give the row of an image, from 0; None where it is not shown."""
        return self._places.get(name) if name is not None else None

    def mark_open(self, name: str | None) -> None:
        """Mark the open image."""
        before, self.open = self.open, name
        for image in (before, name):
            self._redraw(image)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        self._column = Column(max(0, column))
        self._descending = order == Qt.SortOrder.DescendingOrder
        self._arrange()

    def headerData(  # noqa: N802
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return the title of a column, what it means, and that numbers are sorted downwards first."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        column = Column(section)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _TITLES[column][1]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _LEFT
        if role == Qt.ItemDataRole.InitialSortOrderRole and column is Column.UNCERTAINTY:
            return Qt.SortOrder.DescendingOrder.value
        return super().headerData(section, orientation, role)

    def data(
        self,
        index: QModelIndex | QPersistentModelIndex,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Return what a cell shows, and more in words."""
        if not index.isValid():
            return None
        name, column = self.rows[index.row()], Column(index.column())
        if role == Qt.ItemDataRole.DisplayRole:
            return self._text(name, column)
        if role == Qt.ItemDataRole.DecorationRole and column is Column.IMAGE:
            return _icon(self._thumbnails.get(name) or self._blank)
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _LEFT
        if role == Qt.ItemDataRole.FontRole:
            return self._font(name, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._words(name, column)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{_TITLES[column][0]}: {self._words(name, column) or self._text(name, column)}"
        return None

    def _arrange(self) -> None:
        rows = arranged(
            self.names, self.facts, self.wanted, self._column, descending=self._descending
        )
        if rows == self.rows:
            if rows:
                self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(Column) - 1))
            return
        self.beginResetModel()
        self.rows = rows
        self._places = {name: row for row, name in enumerate(rows)}
        self.endResetModel()

    def _text(self, name: str, column: Column) -> str:
        facts = self.facts
        if column is Column.IMAGE:
            return f"▸ {name}" if name == self.open else name
        if column is Column.ANNOTATION:
            status = facts.status(name)
            return f"{MARKS[status]}  {'! ' if name in facts.changed else ''}{_STATUS[status]}"
        if column is Column.PREDICTION:
            return _PREDICTION[facts.prediction(name)]
        if column is Column.UNCERTAINTY:
            known = facts.uncertainty.get(name)
            return "" if known is None else f"{known:.2f}"
        scored = facts.scores.get(name)
        if scored is None:
            return ""
        dice = "!" if scored.dice is None else f"{scored.dice:.2f}"
        return f"({dice})" if facts.flatters(name) else dice

    def _font(self, name: str, column: Column) -> QFont | None:
        font = QFont()
        font.setBold(name == self.open)
        font.setItalic(column is Column.SCORE and self.facts.flatters(name))
        return font if font.bold() or font.italic() else None

    def _words(self, name: str, column: Column) -> str:
        facts = self.facts
        if column is Column.IMAGE:
            return f"{name}\nIs open." if name == self.open else name
        if column is Column.ANNOTATION:
            since = "; the image changed since" if name in facts.changed else ""
            return f"{WORDS[facts.status(name)]}{since}"
        if column is Column.PREDICTION:
            if facts.run is None:
                return "No run is trained yet."
            return {
                "current": f"Predicted by {facts.run}.",
                "other": f"Predicted by another run; not yet by {facts.run}.",
                "none": "Not predicted yet.",
            }[facts.prediction(name)]
        return self._score_in_words(name) if column is Column.SCORE else ""

    def _score_in_words(self, name: str) -> str:
        facts = self.facts
        scored = facts.scores.get(name)
        if scored is None:
            if facts.status(name) != "done":
                return "Only images that are marked done are scored."
            if name not in facts.predicted:
                return "The current run has not predicted this image."
            return "Is being compared."
        if scored.failure:
            return scored.failure
        classes = ", ".join(f"{label} {dice:.3f}" for label, dice in scored.classes.items())
        lines = [
            f"Dice of {facts.run} over the annotated pixels: {classes or 'no class in either'}"
        ]
        if facts.taught is not None and name in facts.taught:
            lines.append("The run has learned from this image, so its score here flatters.")
        return "\n".join([*lines, facts.remark] if facts.remark else lines)

    def _on_picture(self, name: str) -> None:
        self._redraw(name, Column.IMAGE)

    def _redraw(self, name: str | None, last: Column = Column.SCORE) -> None:
        row = self.place_of(name)
        if row is not None:
            self.dataChanged.emit(self.index(row, 0), self.index(row, last))


class _Pictures(QStyledItemDelegate):
    """Gives every picture the same room, whatever its shape, so that the names begin at the same place."""

    def initStyleOption(  # noqa: N802
        self, option: QStyleOptionViewItem | None, index: QModelIndex
    ) -> None:
        """Prepare the drawing of a cell."""
        super().initStyleOption(option, index)
        if option is not None:
            option.decorationSize = QSize(_PICTURE, _PICTURE)


class ImageTable(RowTable):
    """Shows an `ImageTableModel`; a double click or Enter activates a row.

    Parameters
    ----------
    session : Session
        Whose images.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        images = ImageTableModel(Thumbnails.of(session))
        super().__init__(images, "Images of the project", parent)
        self.images = images
        self.keys: dict[int, Callable[[], None]] = {}
        """What keys do besides those of every table."""
        self.setItemDelegateForColumn(Column.IMAGE, _Pictures(self))
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        self.setIconSize(QSize(_PICTURE, _PICTURE))
        self._lay_out_headers()
        self.setSortingEnabled(True)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802
        """Do what a key of ours does, or what it does in every table."""
        if event is None:
            return
        plain = event.modifiers() == Qt.KeyboardModifier.NoModifier
        does = self.keys.get(event.key()) if plain else None
        if does is not None:
            does()
        else:
            super().keyPressEvent(event)

    def _lay_out_headers(self) -> None:
        rows, columns = self.height_of_rows, self.columns
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        rows.setDefaultSectionSize(_PICTURE + 4)
        columns.setMinimumSectionSize(60)
        columns.setSectionResizeMode(Column.IMAGE, QHeaderView.ResizeMode.Stretch)
        columns.setSortIndicator(Column.IMAGE, Qt.SortOrder.AscendingOrder)
        bold = columns.font()
        bold.setBold(True)  # as the open image is written
        letters = QFontMetrics(bold)
        for column, widest in (
            (Column.ANNOTATION, "●  not annotated"),
            (Column.PREDICTION, "by another run"),
            (Column.UNCERTAINTY, "Uncertainty ▾"),
            (Column.SCORE, "Score  ▾"),
        ):
            self.setColumnWidth(column, letters.horizontalAdvance(widest) + 14)


def _icon(picture: QPixmap) -> QIcon:
    icon = QIcon(picture)
    icon.addPixmap(picture, QIcon.Mode.Selected)  # else it is tinted, and looks like another image
    return icon
