"""Fourth step: learn from the annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.errors import MedsslError
from napari_medssl.widgets.form import LABEL_WIDTH, Form
from napari_medssl.widgets.job_schema import job_of, job_schema
from napari_medssl.widgets.preview import Preview
from napari_medssl.widgets.run_monitor import RunMonitor
from napari_medssl.widgets.theme import set_role
from napari_medssl.widgets.unsaved import check_saved, save_all

if TYPE_CHECKING:
    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["FinetuneStep"]

_MODES = {
    "probe": ("Linear probe", "linear classifier on frozen features; seconds"),
    "frozen": ("Frozen encoder", "trains the decoder alone; minutes"),
    "full": ("Full (recommended)", "trains all layers; minutes"),
}
_FOLDED = (
    "preset",
    "answer",
    "estimate",
    "take",
    "network",
    "training",
    "device",
    "threads",
    "seed",
)
_FIELDS = ("scale", *_FOLDED)
_START = ("network.encoder_weights", "network.weights_file")


class FinetuneStep(QWidget):
    """See what is annotated, choose how much of the network may learn, train, watch.

    Parameters
    ----------
    session : Session
        Runs the job.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.have = QLabel()
        self.have.setWordWrap(True)
        self.missing = QLabel()
        self.missing.setWordWrap(True)
        set_role(self.missing, "warning")
        self.start_from = QComboBox()
        self.start_from.setAccessibleName("Start from")
        self.start_from.setToolTip(
            "The run whose network is trained further, or a new network. EfficientNet-Lite0's ImageNet weights come"
            " with medssl; those of another encoder are downloaded once."
        )
        self.start_from.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self._wanted_mode = "full"
        self.modes = QButtonGroup(self)
        self.mode_buttons: dict[str, QRadioButton] = {}
        self.job_form: Form | None = None
        self._forms = QVBoxLayout()
        self.preview_button = QPushButton("Preview")
        self.preview_button.setToolTip("Show the open image as the network sees it")
        self.preview = Preview(session)
        self.train = QPushButton("Train")
        set_role(self.train, "primary")
        self.monitor = RunMonitor(session, ("finetune",))
        self._lay_out()
        self.start_from.currentIndexChanged.connect(self._on_start_from)
        self.preview_button.clicked.connect(self._on_preview)
        self.train.clicked.connect(self._on_train)
        session.overview.changed.connect(self._on_overview)
        session.project_changed.connect(self._on_overview)
        session.runs_changed.connect(self._fill_start_from)
        session.busy_changed.connect(self._on_overview)
        session.image_changed.connect(self._on_overview)
        session.description_changed.connect(self._on_description)
        self._fill_start_from()
        self._on_description()

    @property
    def mode(self) -> str:
        """The chosen mode: probe, frozen or full."""
        return next(key for key, button in self.mode_buttons.items() if button.isChecked())

    def job(self) -> dict[str, Any]:
        """Return the job that the form describes."""
        project = self._session.project
        if project is None or self.job_form is None:
            raise MedsslError("There is nothing to train yet.", advice="Open a project first.")
        run, weights = self.start_from.currentData()
        job = job_of(self.job_form)
        if run is not None:
            del job["network"]  # the run knows its network
        else:
            job["network"]["encoder_weights"] = weights
        return {
            "kind": "finetune",
            "project": str(project.path),
            "from_run": run,
            "mode": self.mode,
            "images": None,
            **job,
        }

    def _lay_out(self) -> None:
        choice = QFormLayout()
        choice.setContentsMargins(0, 0, 0, 0)
        label = QLabel("Start from")
        label.setBuddy(self.start_from)
        label.setMinimumWidth(LABEL_WIDTH)
        choice.addRow(label, self.start_from)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(self.have)
        column.addWidget(self.missing)
        column.addLayout(choice)
        for key, (title, sentence) in _MODES.items():
            button = QRadioButton(title)
            button.setAccessibleDescription(sentence)
            button.setToolTip(f"{title}: {sentence}")
            button.clicked.connect(lambda _, key=key: self._on_mode(key))
            self.modes.addButton(button)
            self.mode_buttons[key] = button
            hint = QLabel(sentence)
            hint.setWordWrap(True)
            hint.setIndent(22)
            set_role(hint, "hint")
            column.addWidget(button)
            column.addWidget(hint)
        self.mode_buttons["full"].setChecked(True)
        column.addLayout(self._forms)
        buttons = QHBoxLayout()
        buttons.addWidget(self.preview_button)
        buttons.addWidget(self.train, 1)
        column.addLayout(buttons)
        column.addWidget(self.preview)
        column.addWidget(self.monitor, 1)
        column.addStretch(0)

    def _on_description(self) -> None:
        description = self._session.description
        if description is None:
            return
        form = Form(
            job_schema(description, "finetune", fold=_FOLDED),
            only=_FIELDS,
            skip=_START,
        )
        if self.job_form is not None:
            form.set_values(self.job_form.values())
            self._forms.removeWidget(self.job_form)
            self.job_form.deleteLater()
        self.job_form = form
        self._forms.addWidget(form)
        self._on_overview()

    def _fill_start_from(self) -> None:
        chosen = self.start_from.currentText()
        self.start_from.blockSignals(True)
        self.start_from.clear()
        runs = self._session.usable_runs
        # learning again after corrections starts from the pretrained network, not from the last probe
        for run in sorted(runs, key=lambda item: item.kind != "pretrain"):
            self.start_from.addItem(run.name, (run.name, ""))
        self.start_from.addItem("New network (ImageNet)", (None, "imagenet"))
        self.start_from.addItem("New network (random weights)", (None, "none"))
        self.start_from.setCurrentIndex(max(0, self.start_from.findText(chosen)))
        self.start_from.blockSignals(False)
        self._on_start_from()

    def _on_start_from(self) -> None:
        random = self.start_from.currentData() == (None, "none")
        for key in ("probe", "frozen"):
            self.mode_buttons[key].setEnabled(not random)
        # random features are not worth keeping; the wish comes back with another start
        self.mode_buttons["full" if random else self._wanted_mode].setChecked(True)

    def _on_mode(self, key: str) -> None:
        self._wanted_mode = key

    def _on_overview(self) -> None:
        project = self._session.project
        if project is None:
            return
        annotated = self._session.overview.annotated
        count = len(annotated.images)
        done = sum(status == "done" for status in annotated.statuses.values())
        parts, missing = [], []
        for item in project.settings.classes:
            pixels = annotated.pixels.get(item.value, 0)
            square = f'<span style="color:{item.color}">■</span>'
            parts.append(f"{square}&nbsp;{item.name}&nbsp;{_short(pixels)}")
            if not pixels:
                missing.append(item.name)
        images = f"{count} image{'' if count == 1 else 's'} annotated ({done} done)"
        self.have.setText(f"<b>{images}</b><br>{' &nbsp; '.join(parts)} px")
        self.missing.setVisible(bool(missing) and count > 0)
        if missing:
            self.missing.setText(f"No pixels yet of: {', '.join(missing)}. Paint some in Annotate.")
        enough = len(annotated.pixels) >= 2
        idle = self._session.active is None
        self.preview_button.setEnabled(
            self.job_form is not None and self._session.image is not None
        )
        self.train.setEnabled(enough and idle and self.job_form is not None)
        self.train.setToolTip(
            "Another run is active"
            if not idle
            else ("" if enough else "Paint pixels of at least two classes first")
        )

    def _on_preview(self) -> None:
        if self.job_form is None:
            return
        run, _ = self.start_from.currentData()
        try:
            self.preview.ask(self.job_form, run=run)
        except MedsslError as error:
            self._session.show_error(error)

    def _on_train(self) -> None:
        save_all(self._session)  # what is being painted counts
        try:
            job = self.job()
        except MedsslError as error:
            self._session.show_error(error)
            return
        # after it is on the disk
        project = self._session.project
        self._session.background(
            lambda: None, on_result=lambda _: self._start(project, job), lane="saving"
        )

    def _start(self, project: Project | None, job: dict[str, Any]) -> None:
        if self._session.project is not project:
            return
        try:
            check_saved(self._session)
            self._session.start_job(job)
            self.preview.clear()
        except MedsslError as error:
            self._session.show_error(error)
            return
        QTimer.singleShot(200, self._show_monitor)  # once it is laid out

    def _show_monitor(self) -> None:
        area = self.parent()
        while area is not None and not isinstance(area, QScrollArea):
            area = area.parent()
        if area is not None:
            area.ensureWidgetVisible(self.monitor)


def _short(count: int) -> str:
    if count < 10_000:
        return str(count)
    return f"{count / 1000:.0f}k" if count < 10_000_000 else f"{count / 1e6:.0f}M"
