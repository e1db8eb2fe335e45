"""The question that is asked before a class is removed: what it touches, and what its pixels become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QDialog, QDialogButtonBox, QLabel, QVBoxLayout

from napari_medssl.widgets.class_changes import NOT_ANNOTATED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_medssl.project import ClassInfo
    from napari_medssl.widgets.class_changes import Removal

__all__ = ["ClassRemovalDialog"]


class ClassRemovalDialog(QDialog):
    """Says the consequences, and asks what the painted pixels become.

    Parameters
    ----------
    removal : Removal
        What removing the class touches.
    classes : sequence of ClassInfo
        The project's, the class to remove among them.
    """

    confirmed = Signal(int)
    """Value that the pixels become: of another class, or 0, not annotated."""

    def __init__(
        self, removal: Removal, classes: Sequence[ClassInfo], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        name = next(item.name for item in classes if item.value == removal.value)
        self.setWindowTitle(f"Remove the class {name}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.text = QLabel(_consequences(name, removal))
        self.text.setWordWrap(True)
        self.text.setMinimumWidth(380)
        self.into = QComboBox()
        self.into.setAccessibleName("What its pixels become")
        self.into.addItem("not annotated", NOT_ANNOTATED)
        for item in classes:
            if item.value != removal.value:
                self.into.addItem(item.name, item.value)
        question = QLabel("Its pixels become")
        question.setBuddy(self.into)
        painted = bool(removal.images)
        question.setVisible(painted)
        self.into.setVisible(painted)
        self.buttons = QDialogButtonBox()
        self.remove = self.buttons.addButton("Remove", QDialogButtonBox.ButtonRole.AcceptRole)
        self.keep = self.buttons.addButton("Keep", QDialogButtonBox.ButtonRole.RejectRole)
        if self.keep is not None:
            self.keep.setDefault(True)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.accepted.connect(lambda: self.confirmed.emit(self.into.currentData()))
        column = QVBoxLayout(self)
        column.addWidget(self.text)
        column.addWidget(question)
        column.addWidget(self.into)
        column.addWidget(self.buttons)


def _consequences(name: str, removal: Removal) -> str:
    told = []
    if removal.images:
        count = len(removal.images)
        where = removal.images[0] if count == 1 else f"{count} images"
        told.append(
            f"“{name}” is painted on {where} ({removal.pixels:,} pixels). Its removal cannot be undone."
        )
    if removal.objects:
        count = removal.objects
        which = "1 object of it goes" if count == 1 else f"{count:,} objects of it go"
        told.append(f"{which} with it, unless its pixels become another class than background.")
    if removal.runs:
        count = len(removal.runs)
        who = f"The run {removal.runs[0]}" if count == 1 else f"{count} runs"
        told.append(
            f"{who} learned this class and will go on predicting it: it is shown, but not copied into annotations. "
            "Fine-tune again to have a network without it."
        )
    return "\n\n".join(told)
