"""Asks what of a run's weights to write where."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QFileDialog, QLabel, QVBoxLayout

from napari_medssl.widgets.form import Form
from napari_medssl.widgets.job_schema import job_schema

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_medssl.engine.protocol import Description

__all__ = ["ExportDialog"]

_SUFFIX = ".safetensors"


class ExportDialog(QDialog):
    """A choice of part and names, then of a file; `job` is what was chosen.

    Parameters
    ----------
    description : Description
        What the engine can export.
    project : Path
        Where the run is.
    run : str
        Its name.
    """

    def __init__(
        self, description: Description, project: Path, run: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export weights")
        self.job: dict[str, Any] | None = None
        self._project, self._run = project, run
        heading = QLabel(
            f"Write the weights of {run} into a file, for other projects and programs."
        )
        heading.setTextFormat(Qt.TextFormat.PlainText)
        heading.setWordWrap(True)
        self.form = Form(job_schema(description, "export", fold=()), only=("part", "names"))
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.export = buttons.addButton("Export ...", QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.accepted.connect(self._on_export)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addWidget(heading)
        column.addWidget(self.form)
        column.addWidget(buttons)

    def _on_export(self) -> None:
        values = self.form.values()
        suggestion = f"{self._run}-{values['part'].replace('+', '-')}{_SUFFIX}"
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Export weights", str(Path.home() / suggestion), f"Weights (*{_SUFFIX})"
        )
        if not chosen:
            return
        out = chosen if chosen.endswith(_SUFFIX) else chosen + _SUFFIX
        self.job = {
            "kind": "export",
            "project": str(self._project),
            "run": self._run,
            "out": out,
            "overwrite": out == chosen,  # the system's dialog has asked, but of this name alone
            **values,
        }
        self.accept()
