"""The head of the step "Annotate": which image is open, how far it is annotated and saved, and the ways to others."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget
from superqt import QElidingLabel

from napari_medssl.widgets import annotation_commands as commands
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.plane_bar import PlaneBar
from napari_medssl.widgets.rows import button, row
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.widgets.session import Session

__all__ = ["AnnotateHeader"]

_STATUS = {
    "none": "\u25cb not annotated",  # shapes differ, not only words: circle, half circle, disc
    "partial": "\u25d0 partly annotated",
    "done": "\u25cf done, locked",
}


class AnnotateHeader(QWidget):
    """Name, place in the project, status and saving of the open image.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._annotator = Annotator.of(session)
        self._build()
        self._connect()
        self.refresh()

    def _build(self) -> None:
        self.name = (
            QElidingLabel()
        )  # a long name must not widen the dock; the tooltip has all of it
        self.name.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        set_role(self.name, "heading")
        self.place = QLabel()
        set_role(self.place, "hint")
        self.status = QLabel()
        self.saved = QLabel()
        self.saved.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.done = button(
            "Mark done (M)",
            "Say that you are finished with this image. It is locked then; press again to change it.",
        )
        self.save_now = button("Save again", "Try once more to write the annotations to disk.")
        self.previous = button(
            "Previous (Shift+N)", "Open the previous image. What you painted is saved."
        )
        self.next = button("Next (N)", "Open the next image. What you painted is saved.")
        self.unannotated = button(
            "Not annotated (U)", "Open the next image on which nothing is painted yet."
        )
        self.planes = PlaneBar(self._session)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addLayout(row(self.name, self.place, stretch=self.name))
        column.addLayout(row(self.status, self.saved, self.done, stretch=self.saved))
        column.addWidget(self.planes)
        column.addWidget(self.save_now)
        column.addLayout(row(self.previous, self.next, self.unannotated, stretch=self.next))

    def _connect(self) -> None:
        annotator, session = self._annotator, self._session
        for made, key in (
            (self.next, "N"),
            (self.previous, "Shift-N"),
            (self.unannotated, "U"),
            (self.done, "M"),
        ):
            made.clicked.connect(partial(_run, commands.SHORTCUTS[key], annotator))
        self.save_now.clicked.connect(annotator.saving.save_again)
        annotator.layer_changed.connect(self.refresh)
        annotator.state_changed.connect(self.refresh)
        session.image_changed.connect(self.refresh)
        session.project_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)

    def refresh(self) -> None:
        """Show what is true now."""
        session, annotator = self._session, self._annotator
        project, name = session.project, session.image
        there = annotator.layer is not None
        images = project.images if project is not None else ()
        self.name.setText(name or "No image is open")
        self.name.setToolTip(name or "")
        at = images.index(name) if name in images else -1
        self.place.setText(f"{at + 1} of {len(images)}" if at >= 0 else "")
        self.status.setText(_STATUS[annotator.status] if there else "")
        self.previous.setEnabled(at > 0)
        self.next.setEnabled(0 <= at < len(images) - 1)
        self.unannotated.setEnabled(bool(images))
        self.done.setEnabled(there)
        self.done.setText("Unlock (M)" if annotator.done else "Mark done (M)")
        self._refresh_saved()

    def _refresh_saved(self) -> None:
        annotator = self._annotator
        saved_at = annotator.saving.saved_at
        at = time.strftime("%H:%M", time.localtime(saved_at))
        text, role = {
            "none": ("", "hint"),
            "saved": (f"saved {at}" if saved_at else "", "hint"),
            "unsaved": ("saving soon", "hint"),
            "saving": ("saving", "hint"),
            "failed": ("NOT SAVED", "error"),
        }[annotator.state]
        self.saved.setText(text)
        set_role(self.saved, role)
        self.save_now.setVisible(annotator.state == "failed" or bool(annotator.store.unsaved))


def _run(command: Callable[[Annotator], None], annotator: Annotator, _: bool) -> None:
    command(annotator)
