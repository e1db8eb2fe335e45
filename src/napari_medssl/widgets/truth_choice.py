"""What a run is compared with: the annotations that it did not learn from, or a folder of masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QFileDialog, QLabel, QVBoxLayout, QWidget

from napari_medssl.widgets.evaluations import Evaluations
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["TruthChoice"]

_CHOOSE = "Choose a folder of masks ..."


class TruthChoice(QWidget):
    """A choice, a sentence about the images that would be scored, and whether those beside what taught are.

    Parameters
    ----------
    session : Session
        Whose current run.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._evaluations = Evaluations.of(session)
        self._project: Project | None = None
        self._folder: Path | None = None  # that was chosen last
        self.box = QComboBox()
        self.box.setAccessibleName("Truth")
        self.box.setToolTip("What the predictions are compared with")
        self.box.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.box.setMinimumContentsLength(12)
        self.plan = QLabel()
        self.plan.setWordWrap(True)
        self.plan.setTextFormat(Qt.TextFormat.PlainText)
        self.related = QCheckBox("Score that group or file, too")
        self.related.setToolTip(
            "Images of one group (a patient) and planes of one file are alike: where some taught, the scores of the"
            " others flatter"
        )
        self.related.hide()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for part in (self.box, self.plan, self.related):
            column.addWidget(part)
        self.box.activated.connect(self._on_chosen)
        self.related.clicked.connect(self._on_related)
        self._evaluations.plan_changed.connect(self.refresh)
        self._evaluations.changed.connect(self.refresh)
        self.refresh()

    @property
    def possible(self) -> bool:
        """Whether there is something to score."""
        plan = self._evaluations.plan
        return plan is not None and not plan.refused

    def refresh(self) -> None:
        """Show what is true now."""
        truth, plan = self._evaluations.truth, self._evaluations.plan
        self.box.clear()
        self.box.addItem("Annotated images it has not learned from", None)
        if self._session.project is not self._project:
            self._project, self._folder = self._session.project, None
        self._folder = truth or self._folder
        if self._folder is not None:
            self.box.addItem(f"Masks in {self._folder.name}", str(self._folder))
            self.box.setItemData(1, str(self._folder), Qt.ItemDataRole.ToolTipRole)
        self.box.insertSeparator(self.box.count())
        self.box.addItem(_CHOOSE, _CHOOSE)
        self.box.setCurrentIndex(0 if truth is None else 1)
        if plan is None:
            self.plan.setText(
                "Looking which images can be scored ..." if self._evaluations.run else ""
            )
        else:
            self.plan.setText(plan.text(masks=truth is not None))
            self.related.setVisible(plan.related > 0)
        self.related.setChecked(self._evaluations.units == "image")
        set_role(self.plan, "warning" if plan is not None and plan.refused else "hint")

    def use_folder(self, folder: str | Path) -> None:
        """Take the masks of this folder as truth; returns at once."""
        self._evaluations.compare_with(folder)
        self.refresh()

    def _on_related(self, wanted: bool) -> None:
        self._evaluations.keep_apart("image" if wanted else "group")

    def _on_chosen(self) -> None:
        chosen = self.box.currentData()
        if chosen != _CHOOSE:
            self._evaluations.compare_with(chosen)
            return
        self.refresh()  # until one is chosen, what was chosen stays
        folder = QFileDialog.getExistingDirectory(self, "A folder of masks, named as the images")
        if folder:
            self.use_folder(folder)
