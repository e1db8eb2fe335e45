"""The classes of the project: the table, and what changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QAction, QColor
from qtpy.QtWidgets import QColorDialog, QSizePolicy, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_medssl.widgets import classes as class_lists
from napari_medssl.widgets.annotator import ERASER, Annotator
from napari_medssl.widgets.class_changes import change_classes, remove_class, survey
from napari_medssl.widgets.class_removal import ClassRemovalDialog
from napari_medssl.widgets.class_table import ClassTable
from napari_medssl.widgets.menu_button import MenuButton
from napari_medssl.widgets.rows import button, row
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.class_changes import Removal
    from napari_medssl.widgets.session import Session

__all__ = ["ClassBox"]


class ClassBox(QWidget):
    """Chooses what the brush paints; adds, renames, recolours and removes classes.

    Parameters
    ----------
    session : Session
        Whose project's classes.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._annotator = Annotator.of(session)
        self.table = ClassTable()
        self.add = button("Add", "Add a class.")
        self.change = MenuButton("Change", "")
        self.rename = QAction("Rename ...", self)
        self.colour = QAction("Colour ...", self)
        self.remove = QAction("Remove ...", self)
        self.change.popup.addActions([self.rename, self.colour, self.remove])
        self.heading = QElidingLabel()
        self.heading.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        set_role(self.heading, "heading")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row(self.heading, self.add, self.change, stretch=self.heading))
        column.addWidget(self.table)
        self._connect()
        self.refresh()

    def _connect(self) -> None:
        annotator, session = self._annotator, self._session
        self.add.clicked.connect(self._add)
        self.rename.triggered.connect(self._rename)
        self.colour.triggered.connect(self._recolour_selected)
        self.remove.triggered.connect(self._remove)
        self.table.chosen.connect(annotator.paint_with)
        self.table.renamed.connect(self._on_renamed)
        self.table.colour_wanted.connect(self._recolour)
        annotator.layer_changed.connect(self.refresh)
        annotator.state_changed.connect(self.refresh)
        annotator.class_changed.connect(self.refresh)
        session.project_changed.connect(self.refresh)

    def refresh(self) -> None:
        """Show what is true now."""
        annotator = self._annotator
        there = annotator.layer is not None
        self.table.show_classes(annotator.classes, annotator.counts)
        self.table.setEnabled(there)
        self.table.select(annotator.value if there and annotator.painting else None)
        self.heading.setText(_doing(annotator))
        self.add.setEnabled(self._session.project is not None)
        chosen = self.table.value
        named = chosen is not None and chosen > class_lists.BACKGROUND
        self.rename.setEnabled(named)
        self.colour.setEnabled(chosen is not None and chosen != ERASER)
        last_one = len(annotator.classes) <= 2
        self.remove.setEnabled(named and not last_one)
        self.remove.setToolTip(
            "Background and one more class always stay."
            if last_one
            else "Remove the selected class; what that means is said first."
        )
        self.change.setEnabled(chosen is not None and chosen != ERASER)
        self.change.setToolTip(
            "Change or remove the selected class."
            if self.change.isEnabled()
            else "Select a class in the table first."
        )

    def _add(self) -> None:
        taken = {item.name.casefold() for item in self._annotator.classes}
        number = len(self._annotator.classes)
        while f"class {number}" in taken:
            number += 1
        project = self._session.project
        removed = project.settings.removed_classes if project is not None else ()
        name = f"class {number}"
        if change_classes(self._annotator, lambda old: class_lists.add(old, name, removed=removed)):
            value = self._annotator.classes[-1].value
            self._annotator.paint_with(value)
            self.table.edit_name(value)

    def _rename(self) -> None:
        if self.table.value is not None:
            self.table.edit_name(self.table.value)

    def _on_renamed(self, value: int, name: str) -> None:
        if not change_classes(self._annotator, lambda old: class_lists.rename(old, value, name)):
            self.refresh()  # the old name again

    def _recolour_selected(self) -> None:
        if self.table.value is not None:
            self._recolour(self.table.value)

    def _recolour(self, value: int) -> None:
        old = {item.value: item for item in self._annotator.classes}[value]
        dialog = QColorDialog(QColor(old.color), self)
        dialog.setWindowTitle(f"Colour of {old.name}")
        dialog.setOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
        for index, colour in enumerate(class_lists.PALETTE):
            QColorDialog.setCustomColor(index, QColor(colour))
        dialog.colorSelected.connect(lambda colour: self.set_colour(value, colour))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def set_colour(self, value: int, colour: QColor) -> None:
        """Give the class with this value a colour."""
        change_classes(self._annotator, lambda old: class_lists.recolour(old, value, colour.name()))

    def _remove(self) -> None:
        if self.table.value is not None:
            survey(self._annotator, self.table.value, on_result=self._ask)

    def _ask(self, removal: Removal) -> None:
        if not removal.images and not removal.runs:
            remove_class(self._annotator, removal)
            return
        dialog = ClassRemovalDialog(removal, self._annotator.classes, self)
        dialog.confirmed.connect(lambda into: remove_class(self._annotator, removal, into=into))
        dialog.open()


def _doing(annotator: Annotator) -> str:
    """Say in words what a stroke would do: the selected row alone tells it by its colour."""
    if annotator.locked:
        return "Locked: M unlocks it"
    if annotator.painting and annotator.value == ERASER:
        return "Erasing"
    names = {item.value: item.name for item in annotator.classes}
    if annotator.painting and annotator.value in names:  # not while its class is being removed
        return f"Painting {names[annotator.value]}"
    return "Choose a class, then paint"
