"""What is shown of a prediction: its labels, the probability of a class, or the uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QWidget

from napari_medssl.widgets.prediction_maps import MapChoice, PredictionMaps

if TYPE_CHECKING:
    from napari_medssl.project import ClassInfo
    from napari_medssl.widgets.session import Session

__all__ = ["ShownPrediction"]


class ShownPrediction(QWidget):
    """A row with a tick and a choice.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._maps = PredictionMaps.of(session)
        self.on = QCheckBox("Show")
        self.on.setChecked(session.predictions.visible)
        self.on.setToolTip("Show the prediction over the image")
        self.what = QComboBox()
        self.what.setAccessibleName("What is shown of the prediction")
        self.what.setToolTip(
            "The labels, or from 0 (dark) to 1 (bright) the probability of a class or the uncertainty;"
            " these are made for the open image where they were not kept"
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.on)
        row.addWidget(self.what, 1)
        self.on.toggled.connect(self._apply)
        self.what.activated.connect(self._on_chosen)
        session.project_changed.connect(self._fill)
        session.predictions.applied_changed.connect(self._fill)
        session.predictions.visible_changed.connect(self._on_visible)
        self._fill()

    def _fill(self) -> None:
        chosen = self.what.currentText()
        self.what.clear()
        self.what.addItem("Labels", None)
        for info in self._classes():
            text = f"Probability of {info.name}"
            self.what.addItem(text, MapChoice("probability", text.lower(), info.value))
        self.what.addItem("Uncertainty", MapChoice("uncertainty", "uncertainty"))
        self.what.setCurrentIndex(max(0, self.what.findText(chosen)))
        if self.what.currentData() != self._maps.choice:
            self._apply()

    def _classes(self) -> tuple[ClassInfo, ...]:
        project, foreign = self._session.project, self._session.predictions.foreign
        if foreign is not None:
            return foreign.classes
        return project.settings.classes if project is not None else ()

    def _on_visible(self) -> None:
        """Follow napari's layer list; while a map is shown the labels are hidden anyway."""
        if self.what.currentData() is None:
            self.on.setChecked(self._session.predictions.visible)

    def _on_chosen(self) -> None:
        """Show it: nobody chooses what is not to be seen."""
        self.on.setChecked(True)
        self._apply()

    def _apply(self) -> None:
        choice: MapChoice | None = self.what.currentData()
        on = self.on.isChecked()
        self._session.predictions.set_visible(on and choice is None)
        wanted = choice if on else None
        if wanted != self._maps.choice:
            self._maps.show(wanted)
