"""Sixth step: segment this image, or the whole folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
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
from napari_medssl.widgets.live import LivePredictor
from napari_medssl.widgets.masks_dialog import MasksDialog
from napari_medssl.widgets.predict_options import PredictOptions
from napari_medssl.widgets.predicted_images import PredictedImages
from napari_medssl.widgets.rows import button, equal_row
from napari_medssl.widgets.run_choice import RunChoice
from napari_medssl.widgets.run_monitor import duration
from napari_medssl.widgets.shown_prediction import ShownPrediction
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["PredictStep"]


class PredictStep(QWidget):
    """Choose a run, predict, look through the results, write them for other programs.

    Parameters
    ----------
    session : Session
        Runs the job.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._predicted = PredictedImages.of(session)
        self.runs = RunChoice(session)
        self.run = self.runs.box
        self.options = PredictOptions(session)
        self.this = button("This image", "Predict the open image")
        self.folder = QPushButton("Whole folder")
        set_role(self.folder, "primary")
        self.stop = button("Stop", "End after this image; what is predicted stays")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.shown = ShownPrediction(session)
        self.results = QLabel()
        set_role(self.results, "heading")
        self.images = ImageList(session)
        self.masks = QPushButton("Save masks as ...")
        self.export = QPushButton("Export weights ...")
        self._lay_out()
        self.this.clicked.connect(lambda: session.predictions.predict(maps=self.options.kept))
        self.folder.clicked.connect(self._on_folder)
        self.stop.clicked.connect(session.stop)
        self.masks.clicked.connect(self._on_masks)
        self.export.clicked.connect(self._on_export)
        self.options.changed.connect(self.refresh)
        self._predicted.changed.connect(self._on_predicted)
        for signal in (
            session.runs_changed,
            session.busy_changed,
            session.description_changed,
            session.image_changed,
            session.run_event,
            session.predictions.asking_changed,
            session.predictions.applied_changed,
        ):
            signal.connect(self.refresh)
        self._on_predicted()

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Leave the live prediction: what is looked at here are the stored ones, which it hides."""
        super().showEvent(event)
        LivePredictor.of(self._session).set_on(False)

    def refresh(self, _: object = None) -> None:
        """Bring buttons and progress up to date."""
        session = self._session
        active, last = session.active, session.jobs.last
        asking = session.predictions.asking
        ready, free = session.predictions.name is not None, active is None
        waiting = self.options.waiting
        self.this.setEnabled(ready and session.image is not None and not asking)
        self.this.setText("Predicting ..." if asking else "This image")
        self.folder.setEnabled(ready and free and waiting > 0)
        self.folder.setText(f"Whole folder ({waiting})" if waiting else "Whole folder")
        self.folder.setToolTip(
            _why_not(ready, free) or ("" if waiting else "Every image is predicted already")
        )
        self.masks.setEnabled(ready and free)
        self.masks.setToolTip(
            _why_not(ready, free) or "Write the masks as TIFF, PNG or OME-Zarr for other programs"
        )
        own = session.predictions.foreign is None
        self.export.setEnabled(ready and free and own and session.description is not None)
        self.export.setToolTip(
            _why_not(ready, free)
            or (
                "Write the network of this run, or a part of it, into a file"
                if own
                else "Open the project that the run belongs to, to export its weights"
            )
        )
        predicting = active is not None and active.kind == "predict"
        self.options.setVisible(not predicting)  # the room is for the results
        self.stop.setVisible(predicting)
        self.bar.setVisible(predicting)
        if active is not None and predicting:
            self.bar.setRange(0, active.total if active.step else 0)
            self.bar.setValue(active.step)
            left = f", {duration(active.eta)} left" if active.rate else ""
            done = f"{active.step} of {active.total} images{left}"
            self.text.setText(done if active.total else "Starting ...")
        elif (
            last is not None
            and last.over
            and last.kind in ("predict", "export")
            and last.job.get("run") == session.predictions.run
            and session.project is not None
            and last.job.get("project") == str(session.project.path)
        ):
            self.text.setText(last.outcome)
        else:
            self.text.setText("")
        self.text.setVisible(bool(self.text.text()))

    def _lay_out(self) -> None:
        choice = QFormLayout()
        choice.setContentsMargins(0, 0, 0, 0)
        label = QLabel("Run")
        label.setBuddy(self.run)
        choice.addRow(label, self.runs)
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
        column.addWidget(self.options)
        column.addLayout(buttons)
        column.addLayout(progress)
        column.addWidget(self.text)
        column.addWidget(self.results)
        column.addWidget(self.shown)
        column.addWidget(self.images, 1)
        column.addLayout(equal_row(self.masks, self.export))
        column.addStretch(0)

    def _on_folder(self) -> None:
        project = self._session.project
        if project is not None:
            self._start(
                {
                    "kind": "predict",
                    "project": str(project.path),
                    "run": self._session.predictions.run,
                    **self.options.fields(),
                }
            )

    def _on_masks(self) -> None:
        session = self._session
        project, run = session.project, session.predictions.run
        if project is not None and run is not None:
            foreign = session.predictions.foreign
            classes = project.settings.classes if foreign is None else foreign.classes
            self._ask(MasksDialog(project, run, classes, parent=self))

    def _on_export(self) -> None:
        session = self._session
        project, run, description = session.project, session.current_run, session.description
        if project is not None and run is not None and description is not None:
            self._ask(ExportDialog(description, project.path, run, parent=self))

    def _ask(self, dialog: MasksDialog | ExportDialog) -> None:
        def start() -> None:
            if dialog.job is not None:
                self._start(dialog.job)

        dialog.finished.connect(start)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _start(self, job: dict[str, Any]) -> None:
        try:
            self._session.start_job(job)
        except MedsslError as error:  # another job began meanwhile
            self._session.show_error(error)

    def _on_predicted(self) -> None:
        names = self._predicted.names
        self.images.set_names(names)
        count = len(names)
        self.results.setText(
            f"{count} image{'' if count == 1 else 's'} predicted"
            if count
            else "Nothing predicted yet"
        )
        self.images.setVisible(bool(names))
        self.refresh()


def _why_not(ready: bool, free: bool) -> str:
    if not ready:
        return "Train a network first, or apply a run of another project"
    return "" if free else "Another run is active"
