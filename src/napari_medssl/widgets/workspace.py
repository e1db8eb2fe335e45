"""The workspace: the steps from a folder to its segmentation, in one dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_medssl.events import Progress
from napari_medssl.widgets.banner import Banner
from napari_medssl.widgets.device_badge import DeviceBadge
from napari_medssl.widgets.navigator import KEY, NavigatorDock
from napari_medssl.widgets.rows import button
from napari_medssl.widgets.run_strip import RunStrip
from napari_medssl.widgets.session import Session
from napari_medssl.widgets.steps import STEPS
from napari_medssl.widgets.theme import colors_of, set_role, style_sheet

if TYPE_CHECKING:
    import napari

    from napari_medssl.widgets.steps import StepInfo

__all__ = ["StepView", "Workspace"]


class StepView:
    """Heading and scrollable content of one step.

    Parameters
    ----------
    number : int
        Its place, from 1.
    info : StepInfo
        What it is.
    session : Session
        Passed on to its content.
    """

    def __init__(self, number: int, info: StepInfo, session: Session) -> None:
        self.info = info
        self.number = number
        self._session = session
        self.button = QPushButton()
        self.button.setCheckable(True)
        set_role(self.button, "step")
        self.state = QLabel(self.button)
        self.state.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        set_role(self.state, "hint")
        inside = QHBoxLayout(self.button)
        inside.setContentsMargins(8, 0, 8, 0)
        inside.addWidget(self.state, 1, Qt.AlignmentFlag.AlignRight)
        self.content = info.make(session)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QScrollArea.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setWidget(self.content)
        self.area.setVisible(False)
        self.refresh()

    @property
    def possible(self) -> bool:
        """Whether the step can be opened now."""
        return not self.info.why_not(self._session)

    def refresh(self) -> None:
        """Bring the heading up to date."""
        why_not = self.info.why_not(self._session)
        state = why_not or self.info.state(self._session)
        self.button.setEnabled(not why_not)
        self.button.setText(f"{self.number}  {self.info.title}")
        self.button.setAccessibleName(f"Step {self.number}: {self.info.title}")
        self.button.setAccessibleDescription(state)
        self.button.setToolTip(f"{self.info.title}: {why_not}" if why_not else "")
        self.state.setText(state)

    def set_open(self, on: bool) -> None:
        """Show or hide the content."""
        self.button.setChecked(on)
        self.area.setVisible(on)


class Workspace(QWidget):
    """The plugin's main dock widget.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Given by napari.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.session = Session.of(napari_viewer)
        self.setObjectName("medssl-workspace")
        self.banner = Banner(self.session, self)
        self.strip = RunStrip(self.session, self)
        self.project_name = QElidingLabel()  # a long name must not widen the dock
        self.project_name.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.project_name.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        set_role(self.project_name, "heading")
        self.all_images = button(
            f"All images ({KEY})",
            "All images as a table: sort, filter, search; press again to hide.",
        )
        self.badge = DeviceBadge(self.session, self)
        self.steps = {
            info.title: StepView(number, info, self.session)
            for number, info in enumerate(STEPS, start=1)
        }
        self._lay_out()
        for title, step in self.steps.items():
            step.button.clicked.connect(lambda _, title=title: self.open_step(title))
        self.strip.wanted.connect(self.open_step)
        session = self.session
        self.all_images.clicked.connect(NavigatorDock.of(session).toggle)
        session.planner.accepted.connect(lambda: self.open_step("Pretrain"))
        session.project_changed.connect(self._on_project)
        session.image_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        session.busy_changed.connect(self.refresh)
        session.overview.changed.connect(self.refresh)
        session.run_event.connect(self._on_event)
        session.viewer.events.theme.connect(self._on_theme)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(400)
        self._soon.timeout.connect(self.refresh)
        self._on_theme()
        self.open_step("Project")
        self.refresh()

    @property
    def open_title(self) -> str:
        """The title of the open step."""
        return next(title for title, step in self.steps.items() if step.button.isChecked())

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return a size that fits beside the canvas on a small screen."""
        return QSize(390, 640)

    def open_step(self, title: str) -> None:
        """Open a step and close the others; nothing happens if it is not possible yet."""
        if not self.steps[title].possible:
            return
        for other, step in self.steps.items():
            step.set_open(other == title)
        self.refresh()

    def refresh(self) -> None:
        """Bring headings, strip and name up to date."""
        self.all_images.setEnabled(self.session.project is not None)
        for step in self.steps.values():
            step.refresh()
        self.strip.refresh(self.open_title)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(self.project_name, 1)
        top.addWidget(self.all_images)
        top.addWidget(self.badge)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(3)
        column.addLayout(top)
        column.addWidget(self.banner)
        for step in self.steps.values():
            column.addWidget(step.button)
            column.addWidget(step.area, 1)
        column.addWidget(self.strip)
        self.setMinimumWidth(340)

    def _on_project(self) -> None:
        project = self.session.project
        self.project_name.setText(project.name if project is not None else "No project")
        self.project_name.setToolTip(str(project.path) if project is not None else "")
        if project is None or not self.steps[self.open_title].possible:
            self.open_step("Project")
        self.refresh()

    def _on_event(self, event: object) -> None:
        if isinstance(event, Progress):  # many a second; the headings need not follow each
            if not self._soon.isActive():
                self._soon.start()
        else:
            self.refresh()

    def _on_theme(self) -> None:
        self.setStyleSheet(style_sheet(colors_of(self.session.viewer.theme)))
