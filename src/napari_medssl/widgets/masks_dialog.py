"""Asks where the masks of a run go, and as what kind of file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
)

from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_medssl.project import Project

__all__ = ["MasksDialog"]

_EIGHT_BITS = 255


class MasksDialog(QDialog):
    """A choice of format and folder; `job` is what was chosen.

    Parameters
    ----------
    project : Project
        Whose images.
    run : str
        As jobs call it.
    """

    def __init__(self, project: Project, run: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Save masks")
        self.setMinimumWidth(460)
        self.job: dict[str, Any] | None = None
        self._project, self._run = project, run
        heading = QLabel(
            f"Write the masks of all {len(project.images)} images for other programs. Images that this run has not"
            " predicted yet are predicted first."
        )
        heading.setWordWrap(True)
        highest = max(info.value for info in project.settings.known_classes)
        self.format = QComboBox()
        self.format.addItem("TIFF, 16 bits", "tiff")
        self.format.addItem(f"PNG, {8 if highest <= _EIGHT_BITS else 16} bits", "png")
        self.format.addItem("OME-Zarr 0.5, a stack in one volume", "ome-zarr")
        self.folder = QLineEdit(str(project.path.parent / f"{project.image_root.name}-masks"))
        self.folder.setMinimumWidth(240)
        self.browse = QPushButton("Browse ...")
        values = ", ".join(f"{info.value} {info.name}" for info in project.settings.classes)
        meaning = QLabel(f"The values in the masks: {values}.")
        meaning.setTextFormat(Qt.TextFormat.PlainText)
        meaning.setWordWrap(True)
        set_role(meaning, "hint")
        self._buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.save = QPushButton("Save")
        self._buttons.addButton(self.save, QDialogButtonBox.ButtonRole.AcceptRole)
        place = QHBoxLayout()
        place.addWidget(self.folder, 1)
        place.addWidget(self.browse)
        form = QFormLayout()
        form.addRow("Format", self.format)
        form.addRow("Folder", place)
        column = QVBoxLayout(self)
        column.addWidget(heading)
        column.addLayout(form)
        column.addWidget(meaning)
        column.addWidget(self._buttons)
        self.browse.clicked.connect(self._on_browse)
        self.folder.textChanged.connect(lambda text: self.save.setEnabled(bool(text.strip())))
        self._buttons.accepted.connect(self._on_save)
        self._buttons.rejected.connect(self.reject)

    def _on_browse(self) -> None:
        start = Path(self.folder.text()).parent
        chosen = QFileDialog.getExistingDirectory(self, "Folder for the masks", str(start))
        if chosen:
            self.folder.setText(chosen)

    def _on_save(self) -> None:
        self.job = {
            "kind": "predict",
            "project": str(self._project.path),
            "run": self._run,
            "out": self.folder.text().strip(),
            "out_format": self.format.currentData(),
            "overwrite": False,
        }
        self.accept()
