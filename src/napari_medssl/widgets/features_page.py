"""Evaluate, tab "Features": what the features of the current run are worth, and what its decisions rest on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.errors import MedsslError
from napari_medssl.widgets.activation_layer import ActivationLayer
from napari_medssl.widgets.assess_options import AssessOptions
from napari_medssl.widgets.evaluations import Evaluations
from napari_medssl.widgets.feature_figures import figures
from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.job_progress import JobProgress
from napari_medssl.widgets.relatives_table import RelativesTable
from napari_medssl.widgets.rows import row
from napari_medssl.widgets.stage_table import StageTable
from napari_medssl.widgets.theme import set_role
from napari_medssl.widgets.thumbnails import Thumbnails

if TYPE_CHECKING:
    from napari_medssl.evaluate.assessment import Assessment
    from napari_medssl.widgets.session import Session

__all__ = ["FeaturesPage"]

_HEADINGS = ("Measure", "Value", "Beside")

_ROW = 22
"""Height of a row, pixels."""
_ROWS = 8
"""Of figures; for more, the table scrolls."""


class FeaturesPage(QWidget):
    """Assess the features, see the figures, map what a class rests on.

    Parameters
    ----------
    session : Session
        Whose current run.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._evaluations = Evaluations.of(session)
        self.activation = ActivationLayer.of(session)
        self.options = AssessOptions(session)
        self.assess = QPushButton("Assess features")
        self.progress = JobProgress(session, "assess", unit="steps")  # an image takes several
        self.which = _box("Assessment", "Assessments of this run, the newest first")
        self.table = QTableWidget(0, len(_HEADINGS))
        self.table.setAccessibleName("What the features are worth")
        self.relatives = RelativesTable(Thumbnails.of(session))
        self.alike = Fold("Most and least alike images")
        self.alike.button.setToolTip(
            "By the encoder's last output, averaged over the image; click an image to open it"
        )
        self.stages = StageTable()
        self.stages_of = QLabel()
        self.all_stages = Fold("CKA of all stages")
        self.all_stages.button.setToolTip(
            "How alike both encoders see images, each depth with each: 1 up to rotation and scale, 0 if independent"
        )
        self.notes = QLabel()
        self.show_map = QCheckBox("Class activation map of")
        self.show_map.setToolTip(
            "Grad-CAM of the encoder's last block, over the open image: what a decision rests on"
        )
        self.classes = _box("Class", "The class whose decision is mapped")
        self.said = QLabel()
        for label in (self.notes, self.said, self.stages_of):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
            set_role(label, "hint")
        self.said.hide()
        self._lay_out()
        self.assess.clicked.connect(self._on_assess)
        self.which.activated.connect(self._show_figures)
        self.relatives.chosen.connect(session.open_image)
        self.show_map.toggled.connect(self._on_map)
        self.classes.activated.connect(self._on_map)
        self.activation.changed.connect(self._on_activation)
        self._evaluations.changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        session.busy_changed.connect(self._on_busy)
        session.project_changed.connect(self._fill_classes)
        self._fill_classes()
        self.refresh()

    def refresh(self) -> None:
        """Show what is stored of the current run."""
        self.options.refresh(self._evaluations.run)
        names = [found.name for found in self._evaluations.assessments]
        if names != [
            self.which.itemData(n) for n in range(self.which.count())
        ]:  # else what was chosen stays
            self.which.clear()
            for found in self._evaluations.assessments:
                self.which.addItem(_title(found), found.name)
        self.which.setVisible(self.which.count() > 1)
        self._show_figures()
        self._on_busy()

    def hideEvent(self, event: Any) -> None:  # noqa: N802
        """Take the map away: another page or step is open, or the window closes."""
        super().hideEvent(event)
        if event.spontaneous():  # the window is minimised, the page as it was
            return
        if self._session.on_screen:
            self.show_map.setChecked(False)

    def _lay_out(self) -> None:
        with_pictures = QVBoxLayout()
        with_pictures.addWidget(self.relatives)
        self.alike.set_content_layout(with_pictures)
        by_stage = QVBoxLayout()
        by_stage.addWidget(self.stages_of)
        by_stage.addWidget(self.stages)
        self.all_stages.set_content_layout(by_stage)
        self.table.setHorizontalHeaderLabels(_HEADINGS)
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setShowGrid(False)
        self.table.setTabKeyNavigation(False)
        rows, columns = self.table.verticalHeader(), self.table.horizontalHeader()
        if rows is not None and columns is not None:
            rows.setVisible(False)
            rows.setDefaultSectionSize(_ROW)
            columns.setHighlightSections(False)
            columns.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            columns.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for part in (
            self.options,
            self.assess,
            self.progress,
            self.which,
            self.table,
            self.alike,
            self.all_stages,
        ):
            column.addWidget(part)
        column.addLayout(row(self.show_map, self.classes, stretch=self.classes))
        column.addWidget(self.said)
        column.addWidget(self.notes)

    def _fill_classes(self) -> None:
        project = self._session.project
        chosen = self.classes.currentData()
        self.classes.clear()
        for info in () if project is None else project.settings.classes[1:]:
            self.classes.addItem(info.name, info.value)
        self.classes.setCurrentIndex(max(0, self.classes.findData(chosen)))
        if self.show_map.isChecked():  # of a class that there is
            self._on_map()

    def _show_figures(self) -> None:
        index = self.which.currentIndex()
        assessments = self._evaluations.assessments
        found = assessments[index] if 0 <= index < len(assessments) else None
        lines = [] if found is None else list(figures(found))
        self.table.setRowCount(len(lines))
        self.table.setFixedHeight((1 + min(len(lines), _ROWS)) * _ROW + 4)  # with the headings
        for number, line in enumerate(lines):
            for place, text in enumerate((line.title, line.value, line.beside)):
                item = QTableWidgetItem(text)
                item.setToolTip(line.meaning)
                self.table.setItem(number, place, item)
        self.table.setVisible(found is not None)
        self._show_more(found)
        if found is None:
            self.notes.setText(
                "What the features are worth is measured on the images of the project; what is annotated, and classes"
                " of whole images, allow more."
            )
        else:
            said = [f"{found.images} images were looked at."]
            if found.cka is not None:
                said.append(f"CKA: compared with {found.cka.against}.")
            self.notes.setText("\n".join([*said, *found.notes]))

    def _show_more(self, found: Assessment | None) -> None:
        """Show what is more than lines: neighbours, and all stages with all."""
        project = self._session.project
        relatives = () if found is None else found.relatives
        self.relatives.show_relatives(relatives, () if project is None else project.images)
        self.alike.setVisible(bool(relatives))
        cka = None if found is None else found.cka
        self.all_stages.setVisible(cka is not None and bool(cka.table))
        if cka is not None:
            self.stages.show_stages(cka)
            self.stages_of.setText(
                f"Down: stages of this run, across: those of {cka.against}; 1 is the finest."
            )

    def _on_busy(self) -> None:
        free = self._session.active is None
        self.assess.setEnabled(free and self._evaluations.run is not None)
        self.assess.setToolTip(
            "NQC, spread, separability, class activation: seconds to minutes"
            if free
            else "Another run is active"
        )

    def _on_assess(self) -> None:
        project, run = self._session.project, self._evaluations.run
        if project is None or run is None:
            return
        job = {
            "kind": "assess",
            "project": str(project.path),
            "run": run,
            **self.options.fields(),
        }
        try:
            self._session.start_job(job)
        except MedsslError as error:  # another job began meanwhile
            self._session.show_error(error)

    def _on_map(self) -> None:
        self.activation.show(self.classes.currentData() if self.show_map.isChecked() else None)

    def _on_activation(self) -> None:
        if self.activation.value is None:  # also where the network knows no classes
            self.show_map.setChecked(False)
        self.said.setText(self.activation.text)
        self.said.setVisible(bool(self.activation.text))


def _box(name: str, tip: str) -> QComboBox:
    box = QComboBox()
    box.setAccessibleName(name)
    box.setToolTip(tip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    return box


def _title(found: Assessment) -> str:
    """Tell the assessments of a run apart."""
    if found.cka is None:
        return "alone"
    paper = ", as in the paper" if found.cka.kind == "paper" else ""
    return f"beside {found.cka.against}{paper}"
