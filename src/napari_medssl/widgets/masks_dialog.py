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
    from collections.abc import Sequence

    from qtpy.QtWidgets import QWidget

    from napari_medssl.project import ClassInfo, Project

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
    classes : sequence of ClassInfo
        That it tells apart, with their label values in this project.
    """

    def __init__(
        self,
        project: Project,
        run: str,
        classes: Sequence[ClassInfo],
        parent: QWidget | None = None,
    ) -> None:
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
        highest = max(info.value for info in classes)
        self.format = QComboBox()
        self.format.addItem("TIFF, 16 bits", "tiff")
        self._png = f"PNG, {8 if highest <= _EIGHT_BITS else 16} bits"
        self.format.addItem(self._png, "png")
        self.format.addItem("OME-Zarr 0.5, a stack in one volume", "ome-zarr")
        self.what = QComboBox()
        self.what.addItem("Classes", {})
        self.what.addItem("Objects, as the run finds them", {"out_objects": True})
        self.what.addItem(
            "Objects, areas of a class parted at necks",
            {"out_objects": True, "objects": "separate"},
        )
        self.folder = QLineEdit(str(project.path.parent / f"{project.image_root.name}-masks"))
        self.folder.setMinimumWidth(240)
        self.browse = QPushButton("Browse ...")
        values = ", ".join(f"{info.value} {info.name}" for info in classes)
        self._meanings = {
            False: f"The values in the masks: {values}.",
            True: "The values in the masks: 0 is no object, every other value is one object.",
        }
        self.meaning = QLabel(self._meanings[False])
        self.meaning.setTextFormat(Qt.TextFormat.PlainText)
        self.meaning.setWordWrap(True)
        set_role(self.meaning, "hint")
        self._buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.save = QPushButton("Save")
        self._buttons.addButton(self.save, QDialogButtonBox.ButtonRole.AcceptRole)
        place = QHBoxLayout()
        place.addWidget(self.folder, 1)
        place.addWidget(self.browse)
        form = QFormLayout()
        form.addRow("Masks of", self.what)
        form.addRow("Format", self.format)
        form.addRow("Folder", place)
        column = QVBoxLayout(self)
        column.addWidget(heading)
        column.addLayout(form)
        column.addWidget(self.meaning)
        column.addWidget(self._buttons)
        self.what.activated.connect(self._on_what)
        self.browse.clicked.connect(self._on_browse)
        self.folder.textChanged.connect(lambda text: self.save.setEnabled(bool(text.strip())))
        self._buttons.accepted.connect(self._on_save)
        self._buttons.rejected.connect(self.reject)

    def _on_what(self) -> None:
        objects = bool(self.what.currentData())
        self.meaning.setText(self._meanings[objects])
        self.format.setItemText(1, "PNG, 16 bits" if objects else self._png)

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
            **self.what.currentData(),
        }
        self.accept()
