"""Where the open image lies in its stack, and the way to the other planes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider, QToolButton, QWidget

from napari_medssl.project.images import split_plane
from napari_medssl.widgets.annotation_commands import plane
from napari_medssl.widgets.annotator import Annotator

if TYPE_CHECKING:
    from napari_medssl.widgets.session import Session

__all__ = ["PlaneBar"]

_REST_MS = 120  # a plane is opened when the slider rests, not at each step on its way
_TIP = (
    "Each plane of a stack or time series is an image of its own, with labels of its own.\n"
    "A volume is learned and predicted plane by plane: a network sees one slice, never its neighbours."
)


class PlaneBar(QWidget):
    """Hidden for an image that is not in a stack.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._planes: tuple[str, ...] = ()
        self.text = QLabel()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setAccessibleName("Plane of the stack")
        self.slider.setPageStep(1)
        for widget in (self, self.text, self.slider):
            widget.setToolTip(_TIP)
        self.up = _arrow(Qt.ArrowType.LeftArrow, "PgUp", "Previous plane of the stack (PageUp)")
        self.down = _arrow(Qt.ArrowType.RightArrow, "PgDn", "Next plane of the stack (PageDown)")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.text)
        row.addWidget(self.slider, 1)
        row.addWidget(self.up)
        row.addWidget(self.down)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._open)
        annotator = Annotator.of(session)
        self.up.clicked.connect(partial(_step, annotator, -1))
        self.down.clicked.connect(partial(_step, annotator, 1))
        self.slider.valueChanged.connect(self._on_moved)
        session.image_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what is true now."""
        project, name = self._session.project, self._session.image
        known = project is not None and name in project.images
        planes = project.planes_in(name) if project and name and known else ()
        if planes != self._planes:
            self._rest.stop()  # what the slider was moved to is no plane of this stack
        self._planes = planes
        self.setVisible(len(self._planes) > 1)
        if name is None or len(self._planes) < 2:
            return
        at = self._planes.index(name)
        with QSignalBlocker(self.slider):
            self.slider.setRange(0, len(self._planes) - 1)
            if not self._rest.isActive():  # else it was moved on while a plane on its way was read
                self.slider.setValue(at)
        self._say(self.slider.value())
        self.up.setEnabled(at > 0)
        self.down.setEnabled(at < len(self._planes) - 1)

    def _say(self, at: int) -> None:
        file, index = split_plane(self._planes[at])
        short = self._planes[at].removeprefix(f"{file}/")
        where = f" ({short})" if len(index) > 1 else ""  # time and depth: both are in the name
        self.text.setText(f"plane {at + 1} of {len(self._planes)}{where}")

    def _on_moved(self, at: int) -> None:
        self._say(at)
        self._rest.start()

    def _open(self) -> None:
        name = self._planes[self.slider.value()]
        if name != self._session.image:
            self._session.open_image(name)


def _arrow(kind: Qt.ArrowType, key: str, tip: str) -> QToolButton:
    made = QToolButton()
    made.setText(key)
    made.setArrowType(kind)
    made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    made.setToolTip(tip)
    made.setAccessibleName(tip)
    return made


def _step(annotator: Annotator, by: int, _: bool) -> None:
    plane(annotator, by)
