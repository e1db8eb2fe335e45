"""What the masks of the truth hold, and what an evaluation scores besides the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.project import MasksAs
from napari_medssl.widgets.evaluations import Evaluations
from napari_medssl.widgets.fold import Fold

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["EvaluateOptions"]


_MEANINGS: dict[str, str] = {
    "auto": "told from their values",
    "binary": "foreground and background",
    "classes": "numbers of classes",
    "instances": "numbers of objects",
    "labels": "labels of this program",
}


class EvaluateOptions(Fold):
    """The meaning of masks, outlines, objects and volumes, under a heading.

    Parameters
    ----------
    session : Session
        Whose project.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__("Options", parent)
        self._session = session
        self._evaluations = Evaluations.of(session)
        self.masks_as = QComboBox()
        self.masks_as.setAccessibleName("What the masks hold")
        for key in get_args(MasksAs):
            self.masks_as.addItem(_MEANINGS[key], key)
        self.meaning = QWidget()
        meaning = QHBoxLayout(self.meaning)
        meaning.setContentsMargins(0, 0, 0, 0)
        meaning.addWidget(QLabel("Masks hold"))
        meaning.addWidget(self.masks_as, 1)
        self.boundary = QCheckBox("Outlines, near enough within")
        self.boundary.setToolTip(
            "Surface Dice within this distance, and the Hausdorff distance (95%)"
        )
        self.tolerance = QDoubleSpinBox()
        self.tolerance.setAccessibleName("What deviation of an outline is near enough")
        self.tolerance.setRange(0.0, 1000.0)
        self.tolerance.setDecimals(1)
        self.tolerance.setSingleStep(0.5)
        self.tolerance.setValue(2.0)
        self.tolerance.setSuffix(" px")
        self.objects = QCheckBox("Objects, where the truth numbers them")
        self.objects.setToolTip("AJI+, panoptic quality, and F1 over overlaps of .5 to .95")
        self.objects.setChecked(True)
        self.volumes = QCheckBox("Volumes: each group of images counted as one")
        self.background = QCheckBox("with background as a class")
        self.background.setToolTip("Some papers count it, and score higher")
        edge = QHBoxLayout()
        edge.addWidget(self.boundary)
        edge.addWidget(self.tolerance)
        edge.addStretch(1)
        inner = QHBoxLayout()
        inner.addSpacing(18)
        inner.addWidget(self.background)
        column = QVBoxLayout()
        column.addWidget(self.meaning)
        column.addLayout(edge)
        column.addWidget(self.objects)
        column.addWidget(self.volumes)
        column.addLayout(inner)
        self.set_content_layout(column)
        self.boundary.toggled.connect(self.refresh)
        self.volumes.toggled.connect(self.refresh)
        session.project_changed.connect(self.refresh)
        self._evaluations.plan_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Offer what is possible now."""
        project = self._session.project
        grouped = project is not None and project.settings.groups is not None
        self.meaning.setVisible(self._evaluations.truth is not None)
        self.tolerance.setEnabled(self.boundary.isChecked())
        self.volumes.setEnabled(grouped)
        if not grouped:
            self.volumes.setChecked(False)
        self.volumes.setToolTip(
            "3-D Dice"
            if grouped
            else "Say which images belong together (a patient's slices): step Project, Groups"
        )
        self.background.setEnabled(self.volumes.isChecked())

    def fields(self) -> dict[str, Any]:
        """Give the fields of a job, the truth among them."""
        truth = self._evaluations.truth
        compared = {} if truth is None else {"masks_as": self.masks_as.currentData()}
        return {
            "truth": None if truth is None else str(truth),
            **compared,
            "boundary": self.boundary.isChecked(),
            "tolerance": self.tolerance.value(),
            "objects": "auto" if self.objects.isChecked() else "none",
            "volumes": self.volumes.isChecked(),
            "background": self.background.isChecked(),
        }
