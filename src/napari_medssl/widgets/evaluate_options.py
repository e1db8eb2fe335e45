"""What the masks of the truth hold, and what an evaluation scores besides the classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtCore import Qt
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
_OBJECTS: dict[str, tuple[str, str]] = {
    "auto": (
        "found as the run learned them",
        "In its map of distances; a run that did not learn objects has none, and none are scored",
    ),
    "distance": (
        "found in its map of distances",
        "As above; a run that did not learn objects is refused",
    ),
    "separate": (
        "classes parted at their necks",
        "For any run, also one that did not learn objects: best where they are roundish",
    ),
    "connected": (
        "each connected area is one",
        "For any run: areas of a class that touch become one object",
    ),
    "none": ("not scored", "Classes alone are scored"),
}
"""Where predicted objects come from -> in words, and more of them."""


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
        self.masks_as.setToolTip("What the values of the masks mean")
        for key in get_args(MasksAs):
            self.masks_as.addItem(_MEANINGS[key], key)
        self.meaning = QWidget()
        self.boundary = QCheckBox("Outlines, near enough within")
        self.boundary.setToolTip(
            "Surface Dice within this distance, and the Hausdorff distance (95%)"
        )
        self.tolerance = QDoubleSpinBox()
        self.tolerance.setAccessibleName("What deviation of an outline is near enough")
        self.tolerance.setToolTip("Such as what two experts differ by")
        self.tolerance.setRange(0.0, 1000.0)
        self.tolerance.setDecimals(1)
        self.tolerance.setSingleStep(0.5)
        self.tolerance.setValue(2.0)
        self.tolerance.setSuffix(" px")
        self.objects = QComboBox()
        self.objects.setAccessibleName("Predicted objects")
        self.objects.setToolTip(
            "Scored where the truth numbers objects: AJI+, panoptic quality (PQ), and F1 over overlaps of .5 to .95"
        )
        for key, (words, more) in _OBJECTS.items():
            self.objects.addItem(words, key)
            self.objects.setItemData(self.objects.count() - 1, more, Qt.ItemDataRole.ToolTipRole)
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
        objects = QWidget()
        titles = [_titled(self.meaning, "Masks hold", self.masks_as)]
        titles.append(_titled(objects, "Objects", self.objects))
        for title in titles:  # what is beside them begins at the same place
            title.setMinimumWidth(max(each.sizeHint().width() for each in titles))
        column = QVBoxLayout()
        column.addWidget(self.meaning)
        column.addWidget(objects)
        column.addLayout(edge)
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
            "objects": self.objects.currentData(),
            "volumes": self.volumes.isChecked(),
            "background": self.background.isChecked(),
        }


def _titled(line: QWidget, text: str, box: QComboBox) -> QLabel:
    """Put a box into a line, after its title."""
    title = QLabel(text)
    title.setBuddy(box)
    title.setToolTip(box.toolTip())
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    layout = QHBoxLayout(line)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(title)
    layout.addWidget(box, 1)
    return title
