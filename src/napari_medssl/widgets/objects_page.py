"""Page "Objects" of the step "Annotate": which pixels are one object, and which another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_medssl.instances.by_class import FOREGROUND
from napari_medssl.widgets import object_commands as commands
from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.object_editor import ObjectEditor
from napari_medssl.widgets.object_marks import ObjectMarks
from napari_medssl.widgets.object_table import ObjectTable
from napari_medssl.widgets.object_take import TakeObjects
from napari_medssl.widgets.pixel_clicks import PixelClicks
from napari_medssl.widgets.rows import button, equal_row, row
from napari_medssl.widgets.shortcuts import bind_on_our_layers
from napari_medssl.widgets.slider_row import SliderRow
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.widgets.session import Session

__all__ = ["ObjectsPage"]

_SAVED = {
    "none": ("", "hint"),
    "saved": ("saved", "hint"),
    "unsaved": ("saving soon", "hint"),
    "saving": ("saving", "hint"),
    "failed": ("NOT SAVED", "error"),
}


class ObjectsPage(QWidget):
    """Draws, picks, merges, splits and deletes objects; their layer is there while this is visible.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.editor = ObjectEditor.of(session)
        self.marks = ObjectMarks.of(session)
        self._clicks = PixelClicks(session, self, modifiers=("Shift",))
        self._build()
        self._lay_out()
        self._connect()
        self.refresh()
        self._list()

    def _build(self) -> None:
        self.new = button(
            "New object (O)",
            "Paint an object with an id that no other has; once more for the next one.\n"
            "Its pixels become the class beside, where they are background or not annotated.",
        )
        self.new.setCheckable(True)
        self.value = QComboBox()
        self.value.setAccessibleName("Class of new objects")
        self.value.setToolTip("The class of new objects.")
        self.pick = button(
            "Select",
            "Click an object in the image to select it; Shift for several.\n"
            "The brush then adds to it, the eraser takes from it.",
        )
        self.pick.setCheckable(True)
        self.merge = button("Merge (J)", "")
        self.split = button("Split (K)", "")
        self.split.setCheckable(True)
        self.delete = button("Delete (Del)", "")
        self.status = QLabel()
        self.status.setWordWrap(True)
        # room for two lines at all times: the table must not jump under the mouse
        self.status.setFixedHeight(2 * self.status.fontMetrics().lineSpacing())
        self.status.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        self._said = ""
        self.saved = QLabel()
        self.saved.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop)
        self.save_now = button("Save again", "Try once more to write the objects to disk.")
        self.layer_gone = button(
            "Show the object layer again", "The layer was removed; what you drew is on disk."
        )
        self.table = ObjectTable()
        self.smallest = SliderRow(
            "Smaller than", low=0, high=100, step=1, decimals=0, suffix=" px",
            tip="The objects with fewer pixels are selected, so that you see which they are.",
        )  # fmt: skip
        self.clears = QCheckBox("what is deleted becomes background")
        self.clears.setToolTip(
            "On: pixels of a deleted object are background then.\n"
            "Off: they keep their class, and belong to no object."
        )
        self.delete_small = button("", "Ctrl+Z takes it back.")
        self.take = TakeObjects(self._session)

    def _lay_out(self) -> None:
        deleting = QVBoxLayout()
        deleting.setSpacing(3)
        deleting.addWidget(self.smallest)
        deleting.addWidget(self.clears)
        deleting.addWidget(self.delete_small)
        listing = QVBoxLayout()
        listing.addWidget(self.table)
        self.listing = Fold("Table of the objects")
        self.listing.set_content_layout(listing)
        self.small = Fold("Delete small objects")
        self.small.set_content_layout(deleting)
        taking = QVBoxLayout()
        taking.addWidget(self.take)
        self.taking = Fold("Objects from a prediction or from classes")
        self.taking.set_content_layout(taking)
        self._folds = (self.listing, self.small, self.taking)
        self.value.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(3)
        column.addLayout(equal_row(self.new, self.value, self.pick))
        column.addLayout(equal_row(self.merge, self.split, self.delete))
        column.addWidget(self.layer_gone)
        column.addLayout(row(self.status, self.saved, stretch=self.status))
        column.addWidget(self.save_now)
        for fold in self._folds:
            column.addWidget(fold)
        self.listing.set_open(True)

    def _connect(self) -> None:
        editor, session = self.editor, self._session
        buttons = {"O": self.new, "J": self.merge, "K": self.split, "Delete": self.delete}
        for key, command in commands.SHORTCUTS.items():
            buttons[key].clicked.connect(partial(self._run, command))
        self.pick.clicked.connect(partial(self._run, commands.pick))
        self.value.activated.connect(self._on_value)
        self.save_now.clicked.connect(editor.saving.save_again)
        self.layer_gone.clicked.connect(editor.reopen)
        self.table.chosen.connect(self._on_chosen)
        self.table.delete_wanted.connect(partial(commands.delete_selected, editor))
        self.smallest.changed.connect(self._on_smallest)
        self.clears.setChecked(editor.clears)
        self.clears.toggled.connect(self._on_clears)
        self.delete_small.clicked.connect(self._on_delete_small)
        self._clicks.clicked.connect(self._on_click)
        editor.hint.connect(self._say)
        editor.layer_changed.connect(self.refresh)
        editor.state_changed.connect(self.refresh)
        editor.selection_changed.connect(self._on_selection)
        editor.rows_changed.connect(self._list)
        self.marks.changed.connect(self.refresh)
        for fold in self._folds:
            fold.toggled.connect(partial(self._on_fold, fold))
        session.project_changed.connect(self.refresh)
        keys = {key: self._pressed(command) for key, command in commands.SHORTCUTS.items()}
        bind_on_our_layers(session.viewer, keys)

    def _pressed(self, command: Callable[[ObjectEditor], None]) -> Callable[[object], None]:
        editor = self.editor

        def pressed(_: object) -> None:
            if editor.on:
                command(editor)

        return pressed

    def _run(self, command: Callable[[ObjectEditor], None], _: bool = False) -> None:
        command(self.editor)
        self.refresh()  # a button that was pressed shows what is, not that it was pressed

    def showEvent(self, event: object) -> None:  # noqa: N802
        """Show the layer of the objects."""
        super().showEvent(event)  # type: ignore[arg-type]
        self.editor.set_on(True)
        self._clicks.set_on(True)

    def hideEvent(self, event: object) -> None:  # noqa: N802
        """Hide it; what was drawn is saved."""
        super().hideEvent(event)  # type: ignore[arg-type]
        self._clicks.set_on(False)
        self.editor.set_on(False)

    # -- showing ---------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what is true now."""
        editor = self.editor
        why, layer, count = editor.why_not, editor.layer, len(editor.selected)
        mode = layer.mode if layer is not None else ""
        self.new.setChecked(mode in ("paint", "polygon") and not editor.selected)
        self.pick.setChecked(mode == "pan_zoom" and not self.marks.drawing)
        self.split.setChecked(self.marks.drawing)
        ones = {
            self.new: "",
            self.pick: "",
            self.merge: "" if count > 1 else "Select two or more objects first.",
            self.split: "" if count == 1 else "Select one object first.",
            self.delete: "" if count else "Select an object first.",
        }
        tips = {
            self.merge: "Make the selected objects one; they need not touch.",
            self.split: "Draw a line over the selected object: it is cut along it.",
            self.delete: "Delete the selected objects.",
        }
        for made, reason in ones.items():
            made.setEnabled(not why and not reason)
            if made in tips:
                made.setToolTip(why or reason or f"{tips[made]} Ctrl+Z takes it back.")
        self._show_classes()
        self.layer_gone.setVisible(editor.gone)
        self.table.setEnabled(layer is not None)
        told = why or self._said or self._selected()
        self.status.setText(told)
        self.status.setToolTip(told)
        set_role(self.status, "warning" if why and self._session.image else "hint")
        text, role = _SAVED[editor.saving.state]
        self.saved.setText(text)
        set_role(self.saved, role)
        self.save_now.setVisible(bool(editor.store.unsaved))
        self._show_small()

    def _show_classes(self) -> None:
        there = [item for item in self.editor.annotator.classes if item.value >= FOREGROUND]
        names = [item.name for item in there]
        if names != [self.value.itemText(n) for n in range(self.value.count())]:
            self.value.clear()
            for item in there:
                self.value.addItem(item.name, item.value)
        self.value.setCurrentIndex(self.value.findData(self.editor.value))
        self.value.setEnabled(not self.editor.why_not)

    def _selected(self) -> str:
        selected = self.editor.selected
        if not selected:
            return f"{_objects(len(self.editor.rows))}, none is selected."
        if len(selected) > 1:
            shown = ", ".join(map(str, selected[:6])) + (" ..." if len(selected) > 6 else "")
            return f"{len(selected)} objects are selected: {shown}."
        rows = [found for found in self.editor.rows if found.number == selected[0]]
        if not rows:
            return f"Object {selected[0]} is selected."
        name = self.table.objects.class_name(rows[0])
        return f"Object {selected[0]}: {name}, {rows[0].area:,} pixels."

    def _list(self) -> None:
        names = {item.value: item.name for item in self.editor.annotator.classes}
        self.table.show_objects(self.editor.rows, names)
        areas = [found.area for found in self.editor.rows]
        self.smallest.set_range(0, max(10.0, float(np.median(areas)) if areas else 0.0))
        self.refresh()

    def _show_small(self) -> None:
        small = commands.small_objects(self.editor, int(self.smallest.value))
        self.delete_small.setText(f"Delete {_objects(len(small))}")
        self.delete_small.setEnabled(bool(small) and not self.editor.why_not)

    def _say(self, sentence: str) -> None:
        """Show it until something else is selected."""
        self._said = sentence
        self.refresh()

    # -- acting ----------------------------------------------------------------------------------

    def _on_fold(self, opened: Fold, on: bool) -> None:
        for fold in self._folds:  # one at a time: the step is as high as the screen
            if on and fold is not opened:
                fold.set_open(False)

    def _on_selection(self) -> None:
        self._said = ""
        self.table.select(self.editor.selected)
        self.refresh()

    def _on_click(self, y: int, x: int) -> None:
        editor, active = self.editor, self._session.viewer.layers.selection.active
        if editor.layer is None or active is not editor.layer:
            return
        number = int(editor.layer.data[y, x])
        if "Shift" not in self._clicks.held:
            editor.select([number])
        elif number in editor.selected:
            editor.select([other for other in editor.selected if other != number])
        else:
            editor.select([*editor.selected, number])

    def _on_chosen(self, numbers: list[int]) -> None:
        self.editor.select(numbers)
        if numbers:
            commands.go_to(self.editor, numbers[-1])

    def _on_value(self, index: int) -> None:
        self.editor.set_value(int(self.value.itemData(index)))

    def _on_smallest(self, smallest: float) -> None:
        self.editor.select(commands.small_objects(self.editor, int(smallest)))

    def _on_clears(self, on: bool) -> None:
        self.editor.clears = on

    def _on_delete_small(self) -> None:
        commands.delete_small(self.editor, int(self.smallest.value))


def _objects(count: int) -> str:
    return "1 object" if count == 1 else f"{count:,} objects"
