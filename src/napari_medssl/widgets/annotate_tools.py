"""What fills many pixels at once: the rest as background, and a prediction to correct."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_medssl.widgets.annotation_commands import rest_is_background
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.class_table import swatch
from napari_medssl.widgets.copying import (
    DONE,
    copy_class,
    copy_prediction,
    source_of,
    why_no_prediction,
)
from napari_medssl.widgets.live import LivePredictor
from napari_medssl.widgets.menu_button import MenuButton
from napari_medssl.widgets.rows import button, row

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["AnnotateTools"]

_REST = (
    "Everything on this image that is not painted becomes background.\n"
    "Use it when you painted all objects. Ctrl+Z takes it back."
)


class AnnotateTools(QWidget):
    """Buttons that annotate without a brush.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._annotator = annotator = Annotator.of(session)
        self.rest = button("Rest is background (R)", _REST)
        self.copy = button("Copy prediction (C)", "")
        self.only = MenuButton("Only", "Copy what is predicted to be of one class.")
        self.only.popup.aboutToShow.connect(self._fill_menu)
        self.pick = button("Pick objects (S)", "")
        self.pick.setCheckable(True)
        self.overwrite = QCheckBox("also over what I painted")
        self.overwrite.setToolTip(
            "Off: the prediction fills only pixels that are not annotated.\n"
            "On: it replaces what you painted, too. Ctrl+Z takes it back."
        )
        self.overwrite.setChecked(annotator.overwrite)
        self.layer_gone = button(
            "Show the annotation layer again", "The layer was removed; what you painted is on disk."
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.layer_gone)
        column.addLayout(row(self.rest, self.copy, self.only, stretch=self.copy))
        column.addLayout(row(self.pick, self.overwrite, stretch=self.overwrite))
        self._connect()
        self.refresh()

    def _connect(self) -> None:
        session, annotator = self._session, self._annotator
        self.rest.clicked.connect(lambda: rest_is_background(annotator))
        self.copy.clicked.connect(lambda: copy_prediction(annotator))
        self.pick.clicked.connect(annotator.picking.set_on)
        self.overwrite.toggled.connect(self._on_overwrite)
        self.layer_gone.clicked.connect(annotator.reopen)
        annotator.picking.changed.connect(self.refresh)
        annotator.layer_changed.connect(self.refresh)
        annotator.state_changed.connect(self.refresh)
        session.image_changed.connect(self.refresh)
        session.project_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        session.saved_prediction.connect(self._on_prediction)
        LivePredictor.of(session).changed.connect(self.refresh)

    def refresh(self) -> None:
        """Show what is true now."""
        session, annotator = self._session, self._annotator
        there = annotator.layer is not None
        self.layer_gone.setVisible(
            session.image is not None and not there and annotator.image is not None
        )
        self.rest.setEnabled(there and not annotator.locked)
        self.rest.setToolTip(DONE if annotator.locked else _REST)
        why, source = why_no_prediction(annotator), source_of(annotator)
        for widget in (self.copy, self.only, self.overwrite):
            widget.setEnabled(not why)
        self.pick.setEnabled(not why or annotator.picking.on)
        self.pick.setChecked(annotator.picking.on)
        self.pick.setText("Stop picking (S)" if annotator.picking.on else "Pick objects (S)")
        words = source.words if source is not None else ""
        self.copy.setToolTip(
            why or f"Take the prediction ({words}) into the annotation, to correct it there."
        )
        self.pick.setToolTip(
            why or f"Take single objects of the prediction ({words}): click them in the image."
        )

    def _fill_menu(self) -> None:
        self.only.popup.clear()
        for item in self._annotator.classes:
            action = self.only.popup.addAction(swatch(item.color), item.name)
            if action is not None:
                action.triggered.connect(partial(_copy, self._annotator, item.value))

    def _on_overwrite(self, on: bool) -> None:
        self._annotator.overwrite = on

    def _on_prediction(self, run: str, image: str) -> None:
        if run == self._session.predictions.name and image == self._session.image:
            self.refresh()


def _copy(annotator: Annotator, value: int, _: bool) -> None:
    copy_class(annotator, value)
