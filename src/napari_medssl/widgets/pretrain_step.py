"""Second step: learn from the images without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.errors import MedsslError
from napari_medssl.widgets.device_badge import DeviceBadge
from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.form import LABEL_WIDTH, Form
from napari_medssl.widgets.job_schema import job_schema
from napari_medssl.widgets.preview import Preview
from napari_medssl.widgets.run_monitor import RunMonitor
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.engine.protocol import Method
    from napari_medssl.plan import Recommendation
    from napari_medssl.widgets.session import Session

__all__ = ["PretrainStep"]

_KEY = ("network.encoder", "training.steps", "training.batch_size", "training.patch_size")
_START = ("network.encoder_weights", "network.weights_file")  # the starting point says these


class PretrainStep(QWidget):
    """Choose a method, look at what it would learn from, start it, watch it.

    Parameters
    ----------
    session : Session
        Runs the job.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._file: Path | None = None
        self._plan: Recommendation | None = None
        """One to show as soon as there are forms."""
        self.waiting = QLabel("Asking the engine which methods it has ...")
        set_role(self.waiting, "hint")
        self.method = QComboBox()
        self.method.setAccessibleName("Method")
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        set_role(self.summary, "hint")
        self.start_from = QComboBox()
        self.start_from.setAccessibleName("Starting point")
        self.start_from.setToolTip(
            "What the encoder knows before it sees your images. EfficientNet-Lite0's ImageNet weights come with medssl;"
            " those of other encoders are downloaded once, where you ask for them."
        )
        self.start_from.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.job_form: Form | None = None
        self.method_form: Form | None = None
        self._forms = QVBoxLayout()
        self.settings = Fold("Settings")
        self.device = QLabel()
        self.device.setWordWrap(True)
        self.badge = DeviceBadge(session)
        self.preview_button = QPushButton("Preview")
        self.preview_button.setToolTip("Show what the method would learn from in the open image")
        self.start = QPushButton("Start pretraining")
        set_role(self.start, "primary")
        self.monitor = RunMonitor(session, ("pretrain", "compare"))
        self.preview = Preview(session)
        self._lay_out()
        self.method.currentIndexChanged.connect(self._on_method)
        self.start_from.activated.connect(self._on_start_from)
        self.preview_button.clicked.connect(self._on_preview)
        self.start.clicked.connect(self._on_start)
        session.description_changed.connect(self._on_description)
        session.runs_changed.connect(self._fill_start_from)
        session.project_changed.connect(self._on_project)
        session.busy_changed.connect(self._enable)
        session.image_changed.connect(self._enable)
        session.planner.accepted.connect(self.use_plan)
        self._fill_start_from()
        self._on_description()

    def job(self) -> dict[str, Any]:
        """Return the job that the form describes."""
        project, method = self._session.project, self._method()
        if project is None or method is None or self.job_form is None or self.method_form is None:
            raise MedsslError("There is nothing to start yet.", advice="Open a project first.")
        job = self.job_form.values()
        kind, name = self.start_from.currentData()
        if kind not in ("", "run"):  # else it is the engine's to say, by the encoder or the run
            file = str(self._file) if kind == "file" else None
            job["network"] |= {"encoder_weights": kind, "weights_file": file}
        return {
            "kind": "pretrain",
            "project": str(project.path),
            "method": method.key,
            "method_config": self.method_form.values(),
            "from_run": name if kind == "run" else None,
            **job,
        }

    def use_plan(self, plan: Recommendation) -> None:
        """Show what is recommended; what it does not speak of stays as it is."""
        if self.job_form is None:
            self._plan = plan
            return
        self._plan = None
        self.method.setCurrentIndex(self.method.findData(plan.job["method"]))
        network = plan.job["network"]
        for row in range(self.start_from.count()):
            if self.start_from.itemData(row) == (network["encoder_weights"], ""):
                self.start_from.setCurrentIndex(row)
        self.job_form.set_values({"network": network, "training": plan.job["training"]})
        self.settings.set_open(True)

    def _lay_out(self) -> None:
        choices = QFormLayout()
        choices.setContentsMargins(0, 0, 0, 0)
        choices.setVerticalSpacing(4)
        for text, widget in (("Method", self.method), ("Start from", self.start_from)):
            label = QLabel(text)
            label.setBuddy(widget)
            label.setMinimumWidth(LABEL_WIDTH)
            label.setToolTip(widget.toolTip())
            choices.addRow(label, widget)
            if widget is self.method:
                choices.addRow(self.summary)
        device = QHBoxLayout()
        device.addWidget(self.badge, 0, Qt.AlignmentFlag.AlignVCenter)
        device.addWidget(self.device, 1)
        inside = QVBoxLayout()
        inside.setSpacing(6)
        inside.addWidget(self.waiting)
        inside.addLayout(choices)
        inside.addLayout(self._forms)
        inside.addLayout(device)
        self.settings.set_content_layout(inside)
        inside.setContentsMargins(0, 0, 0, 0)
        self.settings.set_open(True)
        buttons = QHBoxLayout()
        buttons.addWidget(self.preview_button)
        buttons.addWidget(self.start, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.settings)
        column.addLayout(buttons)
        column.addWidget(self.preview)
        column.addWidget(self.monitor, 1)
        column.addStretch(0)

    def _method(self) -> Method | None:
        description = self._session.description
        key = self.method.currentData()
        if description is None:
            return None
        return next((method for method in description.methods if method.key == key), None)

    def _on_description(self) -> None:
        description = self._session.description
        self.waiting.setVisible(description is None)
        if description is not None:
            default = description.jobs["pretrain"]["properties"]["method"].get("default")
            chosen = self.method.currentData() or default
            self.method.blockSignals(True)
            self.method.clear()
            for method in description.methods:
                self.method.addItem(method.title, method.key)
            self.method.setCurrentIndex(max(0, self.method.findData(chosen)))
            self.method.blockSignals(False)
            device = description.device
            self.device.setText(f"{device.label}: {device.reason}.")
            set_role(self.device, "hint")
            self._replace_job_form()
            self._on_method()
            if self._plan is not None:
                self.use_plan(self._plan)
        self._enable()

    def _replace_job_form(self) -> None:
        description = self._session.description
        if description is None:
            return
        form = Form(
            job_schema(description, "pretrain"),
            only=("take", "network", "training", "device", "threads", "seed"),
            skip=_START,
            key=_KEY,
        )
        if self.job_form is not None:
            form.set_values(self.job_form.values())
            self._drop(self.job_form)
        self.job_form = form
        self._forms.insertWidget(0, form)

    def _drop(self, form: Form) -> None:
        self._forms.removeWidget(form)
        form.hide()  # deleted only when the event loop comes round, it would be drawn under the new one
        form.deleteLater()

    def _on_method(self) -> None:
        method = self._method()
        if method is None:
            return
        self.summary.setText(method.summary)
        self.summary.setToolTip(method.paper)
        self.method.setToolTip(f"{method.summary}\n{method.paper}")
        if self.method_form is not None:
            self._drop(self.method_form)
        self.method_form = Form(method.config_schema)
        self.method_form.advanced.button.setText(f"Advanced: {method.title}")
        self._forms.addWidget(self.method_form)
        self.preview.clear()

    def _fill_start_from(self) -> None:
        chosen = self.start_from.currentData()
        self.start_from.clear()
        self.start_from.addItem("ImageNet if bundled, else random weights", ("", ""))
        self.start_from.addItem("ImageNet (downloaded unless bundled)", ("imagenet", ""))
        self.start_from.addItem("Random weights", ("none", ""))
        file = f"File: {self._file.name}" if self._file is not None else "Weights file ..."
        self.start_from.addItem(file, ("file", ""))
        for run in self._session.usable_runs:
            self.start_from.addItem(f"Run {run.name}", ("run", run.name))
        rows = [self.start_from.itemData(i) for i in range(self.start_from.count())]
        if chosen in rows:
            self.start_from.setCurrentIndex(rows.index(chosen))

    def _on_start_from(self) -> None:
        if self.start_from.currentData()[0] != "file":
            return
        name, _ = QFileDialog.getOpenFileName(
            self, "Choose encoder weights", "", "Weights (*.safetensors *.pth *.pt *.ckpt *.tar)"
        )
        if name:
            self._file = Path(name)
            self.start_from.setItemText(self.start_from.currentIndex(), f"File: {Path(name).name}")
        elif self._file is None:
            self.start_from.setCurrentIndex(0)

    def _on_project(self) -> None:
        self.settings.set_open(True)
        self._enable()

    def _enable(self) -> None:
        ready = self.job_form is not None and self._session.project is not None
        idle = self._session.active is None
        self.start.setEnabled(ready and idle)
        self.start.setToolTip("" if idle else "Another run is active")
        self.preview_button.setEnabled(ready and self._session.image is not None)

    def _on_preview(self) -> None:
        method = self._method()
        if method is None or self.method_form is None:
            return
        try:
            self.preview.ask(method.key, self.method_form.values())
        except MedsslError as error:
            self._session.show_error(error)

    def _on_start(self) -> None:
        try:
            self._session.start_job(self.job())
        except MedsslError as error:
            self._session.show_error(error)
            return
        self.preview.clear()
        self.settings.set_open(False)  # makes room for the curve
