"""The part of the step "Annotate" that turns live prediction on and says how it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QLabel, QVBoxLayout, QWidget

from napari_medssl.widgets.live import LivePredictor
from napari_medssl.widgets.rows import button, equal_row
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["LiveBar"]


class LiveBar(QWidget):
    """On and off, once, how it is drawn, and a sentence.

    Parameters
    ----------
    session : Session
        Whose open image is predicted.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._live = LivePredictor.of(session)
        self.switch = button(
            "",
            "Predict this image anew after every stroke, from all that is painted in all images.\n"
            "It learns from brightness, edges and texture, and from the features of the current run if there is one.",
        )
        self.switch.setCheckable(True)
        self.once = button(
            "Update once (Shift+L)",
            "Predict this image from what is painted now, and then no more.",
        )
        self.outlines = QCheckBox("Outlines")
        self.outlines.setToolTip("Draw the border of each class instead of filling it.")
        self.uncertainty = QCheckBox("Uncertainty")
        self.uncertainty.setToolTip(
            "Add a layer that is bright where the classes are equally probable: paint there next."
        )
        self.looks = QWidget()
        looks = equal_row(self.outlines, self.uncertainty)
        looks.setContentsMargins(0, 0, 0, 0)
        self.looks.setLayout(looks)
        self.text = QLabel()
        self.text.setWordWrap(True)
        set_role(self.text, "hint")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(equal_row(self.switch, self.once))
        column.addWidget(self.looks)
        column.addWidget(self.text)
        self.switch.clicked.connect(self._live.set_on)
        self.once.clicked.connect(lambda: self._live.update_once())
        self.outlines.toggled.connect(self._live.layers.set_outlines)
        self.uncertainty.toggled.connect(self._live.layers.show_uncertainty)
        self._live.changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what is true now."""
        live = self._live
        self.switch.setChecked(live.on)
        self.switch.setText(
            "\u25cf Live prediction on (L)" if live.on else "\u25cb Live prediction off (L)"
        )
        self.outlines.setChecked(live.layers.outlines)
        self.uncertainty.setChecked(live.layers.uncertain)
        self.looks.setVisible(live.result is not None)
        text = self._sentence()
        self.text.setText(text)
        self.text.setVisible(bool(text))

    def _sentence(self) -> str:
        live = self._live
        working, refused = live.features.working, live.features.refused
        working = f"{working.capitalize()} ..." if working else ""
        if live.result is None:
            return " ".join(part for part in (live.why_not, working) if part)
        images = "1 image" if live.images == 1 else f"{live.images} images"
        parts = [f"Learned from {live.result.pixels:,} pixels of {images}."]
        if not live.with_features:
            parts.append("There is no network yet: it sees brightness, edges and texture alone.")
        if working:
            parts.append(working)
        elif refused:
            parts.append(f"Features are missing: {refused}")
        return " ".join(parts)
