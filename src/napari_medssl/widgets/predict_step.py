"""Last step: segment this image, or the whole folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.errors import MedsslError
from napari_medssl.widgets.export_dialog import ExportDialog
from napari_medssl.widgets.image_list import ImageList
from napari_medssl.widgets.run_monitor import duration
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["PredictStep"]


class PredictStep(QWidget):
    """Choose a run, predict, look through the results.

    Parameters
    ----------
    session : Session
        Runs the job.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._predicted: tuple[str, ...] = ()
        self.run = QComboBox()
        self.run.setAccessibleName("Run")
        self.run.setToolTip("Runs that have weights, newest first")
        self.run.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.export = QPushButton("Export weights ...")
        self.this = QPushButton("This image")
        self.folder = QPushButton("Whole folder")
        set_role(self.folder, "primary")
        self.stop = QPushButton("Stop")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.show_layer = QCheckBox("Show the prediction layer")
        self.show_layer.setChecked(True)
        self.results = QLabel()
        set_role(self.results, "heading")
        self.images = ImageList(session)
        self._lay_out()
        self.run.activated.connect(self._on_run)
        self.export.clicked.connect(self._on_export)
        self.this.clicked.connect(lambda: session.predictions.predict())
        self.folder.clicked.connect(self._on_folder)
        self.stop.clicked.connect(session.stop)
        self.show_layer.toggled.connect(self._on_show)
        session.runs_changed.connect(self._on_runs)
        session.busy_changed.connect(self.refresh)
        session.description_changed.connect(self.refresh)
        session.image_changed.connect(self.refresh)
        session.run_event.connect(self.refresh)
        session.predictions.asking_changed.connect(self.refresh)
        session.saved_prediction.connect(self._on_saved)
        self._on_runs()

    def refresh(self, _: object = None) -> None:
        """Bring buttons and progress up to date."""
        session = self._session
        active, last = session.active, session.jobs.last
        predicting = active is not None and active.kind == "predict"
        ready = session.current_run is not None
        self.this.setEnabled(ready and session.image is not None and not session.predictions.asking)
        self.this.setText("Predicting ..." if session.predictions.asking else "This image")
        self.folder.setEnabled(ready and active is None)
        self.folder.setToolTip("" if active is None else "Another run is active")
        self.export.setEnabled(ready and active is None and session.description is not None)
        self.export.setToolTip(
            "Write the network of this run, or a part of it, into a file"
            if active is None
            else "Another run is active"
        )
        self.stop.setVisible(predicting)
        self.bar.setVisible(predicting)
        if active is not None and predicting:
            self.bar.setRange(0, active.total if active.step else 0)
            self.bar.setValue(active.step)
            left = f", {duration(active.eta)} left" if active.rate else ""
            self.text.setText(f"{active.step} of {active.total} images{left}")
        elif last is not None and last.kind in ("predict", "export") and last.over:
            self.text.setText(last.outcome)
        else:
            self.text.setText("")
        self.text.setVisible(bool(self.text.text()))

    def _lay_out(self) -> None:
        choice = QFormLayout()
        choice.setContentsMargins(0, 0, 0, 0)
        label = QLabel("Run")
        label.setBuddy(self.run)
        choice.addRow(label, self.run)
        choice.addRow("", self.export)
        buttons = QHBoxLayout()
        buttons.addWidget(self.this)
        buttons.addWidget(self.folder, 1)
        progress = QHBoxLayout()
        progress.addWidget(self.bar, 1)
        progress.addWidget(self.stop)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(choice)
        column.addLayout(buttons)
        column.addLayout(progress)
        column.addWidget(self.text)
        column.addWidget(self.show_layer)
        column.addWidget(self.results)
        column.addWidget(self.images, 1)
        column.addStretch(0)

    def _on_runs(self) -> None:
        self.run.clear()
        for run in self._session.usable_runs:
            self.run.addItem(run.name, run.name)
            origin = self._session.run_list.origins[run.name]
            self.run.setItemData(self.run.count() - 1, origin, Qt.ItemDataRole.ToolTipRole)
        self.run.setCurrentIndex(max(0, self.run.findData(self._session.current_run)))
        self._find_predicted()
        self.refresh()

    def _on_run(self) -> None:
        self._session.choose_run(self.run.currentData())

    def _on_show(self, on: bool) -> None:
        layer = self._session.layer("prediction")
        if layer is not None:
            layer.visible = on

    def _on_folder(self) -> None:
        session = self._session
        if session.project is None:
            return
        job = {
            "kind": "predict",
            "project": str(session.project.path),
            "folder": None,
            "run": session.current_run,
            "out": None,
            "images": None,
            "overwrite": True,
            "device": "auto",
        }
        try:
            session.start_job(job)
        except MedsslError as error:
            session.show_error(error)

    def _on_export(self) -> None:
        session = self._session
        project, run, description = session.project, session.current_run, session.description
        if project is None or run is None or description is None:
            return
        dialog = ExportDialog(description, project.path, run, parent=self)
        dialog.finished.connect(lambda _: self._start_export(dialog.job))
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _start_export(self, job: dict[str, Any] | None) -> None:
        if job is None:
            return
        try:
            self._session.start_job(job)
        except MedsslError as error:  # another job began meanwhile
            self._session.show_error(error)

    def _on_saved(self, run: str, image: str) -> None:
        if run == self._session.current_run and image not in self._predicted:
            project = self._session.project
            have = {*self._predicted, image}
            self._show([name for name in project.images if name in have] if project else [])

    def _find_predicted(self) -> None:
        project, run = self._session.project, self._session.current_run
        if project is None or run is None:
            self._show([])
            return

        def show(names: list[str]) -> None:
            if self._session.project is project and self._session.current_run == run:
                self._show(names)

        self._session.background(
            lambda: _predicted(project, run), on_result=show, doing="listing the predictions"
        )

    def _show(self, names: list[str]) -> None:
        if tuple(names) != self._predicted:
            self._predicted = tuple(names)
            self.images.set_names(names)
        count = len(names)
        self.results.setText(
            f"{count} image{'' if count == 1 else 's'} predicted"
            if count
            else "Nothing predicted yet"
        )
        self.images.setVisible(bool(names))


def _predicted(project: Project, run: str) -> list[str]:
    return [name for name in project.images if project.prediction_path(run, name).is_file()]
