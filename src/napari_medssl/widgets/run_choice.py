"""Which run is used: one of this project, or of another one where that can be applied."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QVBoxLayout, QWidget

from napari_medssl.errors import MedsslError
from napari_medssl.project import Run
from napari_medssl.project.applied_run import applied_run
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.project import Project
    from napari_medssl.project.applied_run import AppliedRun
    from napari_medssl.widgets.session import Session

__all__ = ["RunChoice"]

_OTHER = "Another project's run ..."


class RunChoice(QWidget):
    """The runs that have weights, newest first, then those of other projects that were chosen.

    Parameters
    ----------
    session : Session
        Whose `predictions` the run is applied in.
    others : bool
        Whether runs of other projects can be chosen.
    """

    def __init__(
        self, session: Session, *, others: bool = True, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._others = others
        self._foreign: dict[str, None] = {}  # their paths, in the order in which they were chosen
        self._project: Project | None = None
        self.box = QComboBox()
        self.box.setAccessibleName("Run")
        self.box.setToolTip("Runs that have weights, newest first")
        self.box.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.box.setMinimumContentsLength(12)
        self.notes = QLabel()
        self.notes.setTextFormat(Qt.TextFormat.PlainText)
        self.notes.setWordWrap(True)
        set_role(self.notes, "warning")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.box)
        column.addWidget(self.notes)
        self.box.activated.connect(self._on_chosen)
        session.runs_changed.connect(self.refresh)
        session.project_changed.connect(self.refresh)
        session.predictions.applied_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what is true now."""
        session = self._session
        foreign = session.predictions.foreign if self._others else None
        if session.project is not self._project:
            self._project, self._foreign = session.project, {}
        if foreign is not None:
            self._foreign[foreign.run] = None
        self.box.clear()
        for run in session.usable_runs:
            self._add(run.name, run.name, session.run_list.origins[run.name])
        for path in self._foreign:
            self._add(_title(path), Path(path), path)
        if not self.box.count():
            self._add("No run yet", None, "Train one, or apply one of another project")
        if self._others:
            self.box.insertSeparator(self.box.count())
            self._add(
                _OTHER, _OTHER, "Apply a run that was trained in another project to these images"
            )
        chosen = session.current_run if foreign is None else Path(foreign.run)
        self.box.setCurrentIndex(
            next((n for n in range(self.box.count()) if self.box.itemData(n) == chosen), 0)
        )
        tip = self.box.currentData(Qt.ItemDataRole.ToolTipRole) or ""
        self.box.setToolTip(f"Runs that have weights, newest first.\n{tip}".strip())
        self.notes.setText("" if foreign is None else "\n".join(foreign.notes))
        self.notes.setVisible(bool(self.notes.text()))

    def apply_folder(self, folder: str | Path) -> None:
        """Apply the run in this folder; returns at once."""
        session, project = self._session, self._session.project
        if project is None:
            return

        def show(found: AppliedRun) -> None:
            if session.project is not project:
                return
            if not found.is_foreign:
                self._choose(found.name)
                return
            session.predictions.apply(found)

        session.background(
            lambda: _look(project, folder), on_result=show, doing=f"looking at the run {folder}"
        )

    def _add(self, text: str, data: object, tip: str) -> None:
        self.box.addItem(text, data)
        self.box.setItemData(self.box.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)

    def _on_chosen(self) -> None:
        data = self.box.currentData()
        if data == _OTHER:
            self.refresh()  # until one is found, what was chosen stays
            folder = QFileDialog.getExistingDirectory(
                self, "A run folder of another project (in its folder runs)"
            )
            if folder:
                self.apply_folder(folder)
        elif isinstance(data, str):
            self._choose(data)
        elif isinstance(data, Path):
            self.refresh()  # as above
            self.apply_folder(data)  # it may have learned more since

    def _choose(self, name: str) -> None:
        self._session.predictions.apply(None)
        self._session.choose_run(name)


def _title(run: str) -> str:
    path = Path(run)
    return f"{path.name} of {path.parent.parent.name}"


def _look(project: Project, folder: str | Path) -> AppliedRun:
    run = Run(folder)
    if run.weights() is None and not run.job_path.is_file():
        raise MedsslError(
            f"{run.path} is no run.",
            advice="Choose one of the folders in the folder runs of a project.",
        )
    return applied_run(project, run)
