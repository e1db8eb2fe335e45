"""What a prediction of the whole folder does with what is there already, and what it keeps besides the labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QSizePolicy, QVBoxLayout, QWidget

from napari_medssl.project.project import PREDICTED_MAPS
from napari_medssl.widgets.fold import Fold
from napari_medssl.widgets.predicted_images import PredictedImages

if TYPE_CHECKING:
    from napari_medssl.project.project import PredictedMap
    from napari_medssl.widgets.session import Session

__all__ = ["PredictOptions"]

_KEEP: dict[PredictedMap, tuple[str, str]] = {
    "probability": ("Probability of each class", "2 bytes a pixel and class, before compression"),
    "uncertainty": ("Uncertainty of each pixel", "2 bytes a pixel, before compression"),
}


class PredictOptions(QWidget):
    """Skip or predict again, and the maps to keep.

    Parameters
    ----------
    session : Session
        Whose images.
    """

    changed = Signal()

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._predicted = PredictedImages.of(session)
        self.existing = QComboBox()
        self.existing.setAccessibleName("Images that are predicted already")
        self.existing.setToolTip(
            "Predicted already are images whose prediction is complete and was made by this run as it is now"
        )
        self.existing.addItem("", False)
        self.existing.addItem("", True)
        self.maps = {which: QCheckBox(text) for which, (text, _) in _KEEP.items()}
        self.fold = Fold("Keep more than labels")
        kept = QVBoxLayout()
        for which, box in self.maps.items():
            box.setToolTip(f"TIFF files in the project, {_KEEP[which][1]}")
            kept.addWidget(box)
        self.fold.set_content_layout(kept)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.existing)
        column.addWidget(self.fold)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.existing.activated.connect(self.changed)
        for box in self.maps.values():
            box.toggled.connect(self.refresh)
        self._predicted.changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        self.refresh()

    @property
    def kept(self) -> tuple[PredictedMap, ...]:
        """The maps to keep."""
        return tuple(which for which in PREDICTED_MAPS if self.maps[which].isChecked())

    @property
    def overwrite(self) -> bool:
        """Whether images are predicted again."""
        return bool(self.existing.currentData())

    @property
    def waiting(self) -> int:
        """How many images would be predicted."""
        project = self._session.project
        if project is None:
            return 0
        return len(project.images) - (0 if self.overwrite else len(self._predicted.done(self.kept)))

    def refresh(self) -> None:
        """Show what is true now."""
        project = self._session.project
        done = len(self._predicted.done(self.kept))
        total = len(project.images) if project is not None else 0
        self.existing.setItemText(0, f"Skip the {done} of {total} images predicted already")
        self.existing.setItemText(1, f"Predict all {total} images again")
        self.existing.setVisible(bool(done))
        self.changed.emit()

    def fields(self) -> dict[str, Any]:
        """Give the fields of a job."""
        kept = self.kept
        return {
            "overwrite": self.overwrite,
            "probabilities": "probability" in kept,
            "uncertainty": "uncertainty" in kept,
        }
