"""Step "Annotate": paint a few images, with classes, statuses and everything saved as it is painted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QCheckBox,
    QColorDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_medssl.widgets import annotation_commands as commands
from napari_medssl.widgets import classes as class_changes
from napari_medssl.widgets.annotator import ERASER, Annotator
from napari_medssl.widgets.class_table import ClassTable
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.widgets.session import Session

__all__ = ["AnnotateStep"]

_STATUS = {
    "none": "\u25cb not annotated",  # shapes differ, not only words: circle, half circle, disc
    "partial": "\u25d0 partly annotated",
    "done": "\u25cf done",
}


class AnnotateStep(QWidget):
    """Paints on the open image.

    Parameters
    ----------
    session : Session
        Whose open image is annotated.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.annotator = Annotator.of(session)
        self._build()
        self._connect()
        self.refresh()

    # -- building --------------------------------------------------------------------------------

    def _build(self) -> None:
        self.name = (
            QElidingLabel()
        )  # a long name must not widen the dock; the tooltip has all of it
        self.name.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        set_role(self.name, "heading")
        self.place = QLabel()
        set_role(self.place, "hint")
        self.status = QLabel()
        self.saved = QLabel()
        self.saved.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.save_now = _button("Save again", "Try once more to write the annotations to disk.")

        self.previous = _button(
            "Previous (Shift+N)", "Open the previous image. What you painted is saved."
        )
        self.next = _button("Next (N)", "Open the next image. What you painted is saved.")
        self.unannotated = _button(
            "Next not annotated (U)", "Open the next image on which nothing is painted yet."
        )

        self.table = ClassTable()
        self.add = _button("Add", "Add a class.")
        self.rename = _button("Rename", "Change the name of the selected class.")
        self.colour = _button("Colour", "Change the colour of the selected class.")
        self.remove = _button("Remove", "Remove the last class of the table.")

        self.rest = _button(
            "Rest is background (R)",
            "Everything on this image that is not painted becomes background.\n"
            "Use it when you painted all objects. Ctrl+Z takes it back.",
        )
        self.copy = _button("Copy prediction (C)", "")
        self.overwrite = QCheckBox("also over what I painted")
        self.overwrite.setToolTip(
            "Off: the prediction fills only pixels that are not annotated.\n"
            "On: it replaces what you painted, too. Ctrl+Z takes it back."
        )
        self.done = _button(
            "Mark done (M)",
            "Say that you are finished with this image. Press again to take it back.",
        )
        self.done.setCheckable(True)
        self.layer_gone = _button(
            "Show the annotation layer again", "The layer was removed; what you painted is on disk."
        )
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        set_role(self.hint, "hint")
        self._lay_out()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(6)
        column.addLayout(_row(self.name, self.place, stretch=self.name))
        column.addLayout(_row(self.status, self.saved, stretch=self.saved))
        column.addWidget(self.save_now)
        column.addLayout(_grid([self.previous, self.next]))
        column.addWidget(self.unannotated)
        column.addSpacing(4)
        column.addWidget(self._heading("Choose a class, then paint in the image"))
        column.addWidget(self.table)
        column.addLayout(_grid([self.add, self.rename, self.colour, self.remove]))
        column.addWidget(self.layer_gone)
        column.addSpacing(4)
        column.addWidget(self.rest)
        column.addWidget(self.copy)
        column.addWidget(self.overwrite)
        column.addWidget(self.done)
        column.addWidget(self.hint)
        column.addStretch(1)

    @staticmethod
    def _heading(text: str) -> QLabel:
        label = QLabel(text)
        label.setWordWrap(True)
        set_role(label, "heading")
        return label

    def _connect(self) -> None:
        annotator, session = self.annotator, self._session
        buttons = {
            "N": self.next,
            "Shift-N": self.previous,
            "U": self.unannotated,
            "R": self.rest,
            "C": self.copy,
            "M": self.done,
        }
        for key, command in commands.SHORTCUTS.items():
            buttons[key].clicked.connect(_clicked(command, annotator))
        self.save_now.clicked.connect(annotator.save_again)
        self.layer_gone.clicked.connect(annotator.reopen)
        self.add.clicked.connect(self._add)
        self.rename.clicked.connect(self._rename)
        self.colour.clicked.connect(self._recolour_selected)
        self.remove.clicked.connect(self._remove)
        self.overwrite.toggled.connect(self._on_overwrite)
        self.overwrite.setChecked(annotator.overwrite)
        self.table.chosen.connect(annotator.paint_with)
        self.table.renamed.connect(self._on_renamed)
        self.table.colour_wanted.connect(self._recolour)
        annotator.hint.connect(self.hint.setText)
        annotator.layer_changed.connect(self.refresh)
        annotator.state_changed.connect(self.refresh)
        annotator.class_changed.connect(self.refresh)
        session.image_changed.connect(self._on_image)
        session.project_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        session.saved_prediction.connect(self._on_prediction)

    # -- showing ---------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what is true now."""
        session, annotator = self._session, self.annotator
        project, name = session.project, session.image
        there = annotator.layer is not None
        images = project.images if project is not None else ()
        self.name.setText(name or "No image is open")
        self.name.setToolTip(name or "")
        at = images.index(name) if name in images else -1
        self.place.setText(f"{at + 1} of {len(images)}" if at >= 0 else "")
        self.status.setText(_STATUS[annotator.status] if there else "")
        self.previous.setEnabled(at > 0)
        self.next.setEnabled(0 <= at < len(images) - 1)
        self.unannotated.setEnabled(bool(images))
        self.layer_gone.setVisible(name is not None and not there and annotator.image is not None)
        self.table.show_classes(annotator.classes, annotator.counts)
        self.table.setEnabled(there)
        self.table.select(annotator.value if there and annotator.painting else None)
        last = annotator.classes[-1].value if annotator.classes else 0
        self.add.setEnabled(project is not None)
        chosen = self.table.value
        self.rename.setEnabled(chosen is not None and chosen > class_changes.BACKGROUND)
        self.colour.setEnabled(chosen is not None and chosen != ERASER)
        self.remove.setEnabled(
            chosen == last and len(annotator.classes) > 2  # background and one more stay
        )
        self.rest.setEnabled(there)
        self._refresh_copy()
        self.done.setEnabled(there)
        self.done.setChecked(annotator.done)
        self.done.setText("Done (M)" if annotator.done else "Mark done (M)")
        self._refresh_saved()

    def _refresh_copy(self) -> None:
        why = commands.why_no_prediction(self.annotator)
        self.copy.setEnabled(not why)
        self.overwrite.setEnabled(not why)
        self.copy.setToolTip(
            why
            or f"Take the prediction of {self._session.current_run} into the annotation, "
            "to correct it there."
        )

    def _refresh_saved(self) -> None:
        annotator = self.annotator
        at = time.strftime("%H:%M:%S", time.localtime(annotator.saved_at))
        text, role = {
            "none": ("", "hint"),
            "saved": (f"saved {at}" if annotator.saved_at else "", "hint"),
            "unsaved": ("saving soon", "hint"),
            "saving": ("saving", "hint"),
            "failed": ("NOT SAVED", "error"),
        }[annotator.state]
        self.saved.setText(text)
        set_role(self.saved, role)
        self.save_now.setVisible(annotator.state == "failed" or bool(annotator.store.unsaved))

    def _on_image(self) -> None:
        self.hint.setText("")
        self.refresh()

    def _on_prediction(self, run: str, image: str) -> None:
        if run == self._session.current_run and image == self._session.image:
            self._refresh_copy()

    # -- acting ----------------------------------------------------------------------------------

    def _on_overwrite(self, on: bool) -> None:
        self.annotator.overwrite = on

    def _add(self) -> None:
        taken = {item.name.casefold() for item in self.annotator.classes}
        number = len(self.annotator.classes)
        while f"class {number}" in taken:
            number += 1
        if commands.change_classes(
            self.annotator, lambda old: class_changes.add(old, f"class {number}")
        ):
            value = self.annotator.classes[-1].value
            self.annotator.paint_with(value)
            self.table.edit_name(value)

    def _rename(self) -> None:
        if self.table.value is not None:
            self.table.edit_name(self.table.value)

    def _on_renamed(self, value: int, name: str) -> None:
        if not commands.change_classes(
            self.annotator, lambda old: class_changes.rename(old, value, name)
        ):
            self.refresh()  # the old name again

    def _recolour_selected(self) -> None:
        if self.table.value is not None:
            self._recolour(self.table.value)

    def _recolour(self, value: int) -> None:
        old = {item.value: item for item in self.annotator.classes}[value]
        dialog = QColorDialog(QColor(old.color), self)
        dialog.setWindowTitle(f"Colour of {old.name}")
        dialog.setOption(QColorDialog.ColorDialogOption.DontUseNativeDialog)
        for index, colour in enumerate(class_changes.PALETTE):
            QColorDialog.setCustomColor(index, QColor(colour))
        dialog.colorSelected.connect(lambda colour: self._set_colour(value, colour))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _set_colour(self, value: int, colour: QColor) -> None:
        commands.change_classes(
            self.annotator, lambda old: class_changes.recolour(old, value, colour.name())
        )

    def _remove(self) -> None:
        value = self.table.value
        if value is None:
            return
        commands.images_with(
            self.annotator, value, on_result=lambda names: self._remove_from(value, names)
        )

    def _remove_from(self, value: int, names: list[str]) -> None:
        if not names:
            commands.remove_class(self.annotator, value, [])
            return
        old = {item.value: item for item in self.annotator.classes}[value]
        box = QMessageBox(self)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Remove a class")
        box.setText(f"{old.name!r} is painted on {_images(len(names))}.")
        box.setInformativeText(
            "Those pixels become not annotated, and that cannot be undone. Remove the class?"
        )
        remove = box.addButton("Remove", QMessageBox.ButtonRole.AcceptRole)
        keep = box.addButton("Keep", QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(keep)
        box.setEscapeButton(keep)
        box.finished.connect(
            lambda _: (
                commands.remove_class(self.annotator, value, names)
                if box.clickedButton() is remove
                else None
            )
        )
        box.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        box.open()


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _row(*widgets: QWidget, stretch: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for widget in widgets:
        row.addWidget(widget, 1 if widget is stretch else 0)
    return row


def _grid(widgets: list[QPushButton]) -> QGridLayout:
    # equal widths, whatever the words
    grid = QGridLayout()
    grid.setHorizontalSpacing(4)
    for index, widget in enumerate(widgets):
        grid.addWidget(widget, 0, index)
        grid.setColumnStretch(index, 1)
    return grid


def _clicked(command: Callable[[Annotator], None], annotator: Annotator) -> Callable[[bool], None]:
    def clicked(_: bool) -> None:
        command(annotator)

    return clicked
