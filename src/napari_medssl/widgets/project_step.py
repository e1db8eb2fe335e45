"""First step: a folder becomes a project, and says what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.errors import MedsslError
from napari_medssl.project import import_masks
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.doctor_dialog import DoctorDialog
from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.image_list import ImageList
from napari_medssl.widgets.image_rules import ImageRules
from napari_medssl.widgets.layer_source import LayerSource
from napari_medssl.widgets.object_editor import ObjectEditor
from napari_medssl.widgets.opening import project_of
from napari_medssl.widgets.plan_card import PlanCard
from napari_medssl.widgets.reading_options import ReadingOptions
from napari_medssl.widgets.skipped_table import SkippedTable
from napari_medssl.widgets.theme import set_role
from napari_medssl.widgets.unsaved import flush_all
from napari_medssl.widgets.use_layer import AxesDialog, use_layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medssl.project import FolderReport, ImportReport, Project, Skipped
    from napari_medssl.widgets.session import Session

__all__ = ["ProjectStep"]


class ProjectStep(QWidget):
    """Choose a folder, see what was found, pick an image.

    Parameters
    ----------
    session : Session
        Gets the project.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.choose = QPushButton("Choose image folder ...")
        self.choose.setToolTip(
            "A folder of images; the project is made beside it, the images stay as they are"
        )
        self.open = QPushButton("Open project ...")
        self.open.setToolTip("A project folder (it holds project.json)")
        self.recent = QComboBox()
        self.recent.setAccessibleName("Recent projects")
        self.recent.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.working = QLabel()
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.report = QLabel()
        self.report.setWordWrap(True)
        self.skipped = Fold("Skipped files")
        self.skipped_table = SkippedTable()
        self.masks = QPushButton("Import masks ...")
        self.masks.setToolTip(
            "A folder with masks named like the images: 0/255, classes, or instances become annotations"
        )
        self.masks_report = QLabel()
        self.masks_report.setWordWrap(True)
        set_role(self.masks_report, "hint")
        self.checking = QLabel()
        self.checking.setWordWrap(True)
        set_role(self.checking, "hint")
        self.layer = QPushButton("Use the selected layer ...")
        self.options = ReadingOptions(session)
        self.rules = ImageRules(session)
        self.plan = PlanCard(session)
        self.doctor = QPushButton("Check installation ...")
        self.doctor.setToolTip(
            "What works here, what does not, and the command that mends it; a report to copy"
        )
        self._shown: Project | None = None
        self.dialog: AxesDialog | DoctorDialog | None = None
        self.images = ImageList(session)
        self._lay_out()
        self.choose.clicked.connect(self._on_choose)
        self.open.clicked.connect(self._on_open)
        self.recent.activated.connect(self._on_recent)
        self.masks.clicked.connect(self._on_masks)
        self.layer.clicked.connect(self._on_layer)
        self.doctor.clicked.connect(self._on_doctor)
        session.project_changed.connect(self.refresh)
        session.images_changed.connect(self._on_images)
        session.changed_images.changed.connect(self._tell_checking)
        session.opening.checking_changed.connect(self._tell_checking)
        session.busy_changed.connect(self._on_busy)
        session.viewer.layers.selection.events.active.connect(self._on_busy)
        self.refresh()
        self._on_busy()

    def use_folder(self, folder: str | Path) -> None:
        """Open the project of an image folder, making it if there is none yet."""
        folder = Path(folder)
        found = project_of(folder)
        try:
            if found is not None:
                self._session.open_project(found)
            else:
                self._session.create_project(folder)
        except MedsslError as error:
            self._session.show_error(error)

    def refresh(self) -> None:
        """Bring everything up to date with the project."""
        project = self._session.project
        for widget in (self.report, self.masks, self.images):
            widget.setVisible(project is not None)
        set_role(self.choose, "primary" if project is None else "")
        self.masks_report.setVisible(False)
        self._fill_recent()
        if project is None:
            self._shown = None
            self.skipped.setVisible(False)
            self.images.set_names(())
            return
        self.report.setToolTip(f"Images: {project.image_root}\nProject: {project.path}")
        if project is self._shown:
            self._on_images()
            return
        self._shown = project
        self.report.setText(
            f"{len(project.images):,} images"
        )  # more of them when the first is shown
        self._fill_skipped(())
        self.images.set_names(project.images)

    def _on_images(self) -> None:
        project = self._session.project
        if project is None:
            return
        self.images.set_names(project.images)

        def show(report: FolderReport) -> None:
            if self._session.project is project:
                # the skipped files have a table of their own
                self.report.setText(report.model_copy(update={"skipped": ()}).text())
                self._fill_skipped(report.skipped)

        # in the background: summing up many thousands of files takes a while
        self._session.background(lambda: project.report, on_result=show)

    def _lay_out(self) -> None:
        inside = QVBoxLayout()
        inside.addWidget(self.skipped_table)
        self.skipped.set_content_layout(inside)
        top = QHBoxLayout()
        top.addWidget(self.choose)
        top.addWidget(self.open)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addLayout(top)
        column.addWidget(self.recent)
        column.addWidget(self.layer)
        column.addWidget(self.working)
        column.addWidget(self.bar)
        column.addWidget(self.report)
        column.addWidget(self.checking)
        column.addWidget(self.skipped)
        column.addWidget(self.options)
        column.addWidget(self.rules)
        column.addWidget(self.plan)
        column.addWidget(self.images, 1)
        foot = QHBoxLayout()
        foot.addWidget(self.masks)
        foot.addWidget(self.doctor)
        column.addLayout(foot)
        column.addWidget(self.masks_report)
        column.addStretch(0)

    def _fill_recent(self) -> None:
        self.recent.clear()
        projects = self._session.recent.projects()
        self.recent.addItem("Recent projects", None)
        for path in projects:
            self.recent.addItem(f"{path.name}   ({path.parent})", str(path))
        self.recent.setEnabled(bool(projects))

    def _fill_skipped(self, skipped: Sequence[Skipped]) -> None:
        self.skipped.setVisible(bool(skipped))
        self.skipped.button.setText(f"Skipped files ({len(skipped):,})")
        self.skipped_table.files.set_files(skipped)

    def _on_busy(self) -> None:
        session = self._session
        working = session.working
        done, total = session.opening.counted
        self.working.setText(f"{working}: {done:,} of {total:,}" if total else f"{working} ...")
        self.bar.setRange(0, total)
        self.bar.setValue(done)
        self.working.setVisible(bool(working))
        self.bar.setVisible(bool(working))
        free = not working and session.active is None
        for widget in (self.choose, self.open, self.masks):
            widget.setEnabled(free)
        self.recent.setEnabled(free and self.recent.count() > 1)
        why_not = LayerSource.why_not(session.viewer.layers.selection.active)
        self.layer.setEnabled(free and not why_not)
        self.layer.setToolTip(
            why_not or "Store the selected image layer in the project, with its scale and place"
        )

    def _tell_checking(self) -> None:
        lines = []
        checking, changed = self._session.opening.checking, self._session.changed_images.names
        if checking is not None:
            done, total = checking
            lines.append(f"Checking images: {done:,} of {total:,}" if total else "Checking images")
        if changed:
            words = "1 image changed" if len(changed) == 1 else f"{len(changed):,} images changed"
            lines.append(f"{words} since annotated; marked with ! in the list.")
        self.checking.setText("\n".join(lines))
        self.checking.setVisible(bool(lines))

    def _on_layer(self) -> None:
        self.dialog = use_layer(self._session, self)

    def _on_doctor(self) -> None:
        project = self._session.project
        self.dialog = DoctorDialog(str(project.path) if project is not None else "", parent=self)
        self.dialog.show()

    def _on_choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a folder of images")
        if folder:
            self.use_folder(folder)

    def _on_open(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a project folder")
        if folder:
            self._open(folder)

    def _on_recent(self) -> None:
        path = self.recent.currentData()
        self.recent.setCurrentIndex(0)
        if path:
            self._open(path)

    def _open(self, path: str) -> None:
        try:
            self._session.open_project(path)
        except MedsslError as error:
            self._session.show_error(error)

    def _on_masks(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Choose a folder of masks")
        if folder:
            self.use_masks(folder)

    def use_masks(self, folder: str | Path) -> None:
        """Import masks as annotations."""
        project = self._session.project
        if project is None:
            return
        self.masks.setEnabled(False)
        flush_all(self._session)  # what is drawn counts as annotated from here on

        def done(report: ImportReport) -> None:
            self.masks.setEnabled(True)
            self.masks_report.setText(report.text())
            self.masks_report.setVisible(True)
            self._session.labels_changed.emit()
            Annotator.of(self._session).reload()
            ObjectEditor.of(self._session).reload()

        def failed(error: BaseException) -> None:
            self.masks.setEnabled(True)
            self._session.show_error(error, doing="importing the masks")

        self._session.background(
            lambda: import_masks(project, Path(folder)), on_result=done, on_failed=failed
        )
