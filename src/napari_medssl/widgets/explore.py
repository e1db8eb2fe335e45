"""Explore: what a network sees, in sections that share one query."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QTabBar,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.widgets.colour_views import ColoursSection
from napari_medssl.widgets.compare_runs import CompareSection
from napari_medssl.widgets.explorer import Explorer
from napari_medssl.widgets.image_map import ImagesSection
from napari_medssl.widgets.outline import Outline
from napari_medssl.widgets.session import Session, in_use
from napari_medssl.widgets.similar_section import SimilarSection
from napari_medssl.widgets.theme import colors_of, style_sheet

if TYPE_CHECKING:
    from collections.abc import Callable

    import napari

__all__ = ["SECTIONS", "ExplorePanel", "ExploreWidget", "Section"]


@dataclass(frozen=True)
class Section:
    """One tab of Explore.

    Parameters
    ----------
    title : str
        Its name, one word.
    tip : str
        What it is for, a sentence.
    make : callable
        Makes its widget, when it is opened for the first time.
    """

    title: str
    tip: str
    make: Callable[[Session, Explorer], QWidget]


SECTIONS: tuple[Section, ...] = (
    Section("Similar", "Which pixels, and which images, look like this one?", SimilarSection),
    Section("Colours", "What is alike has the same colour, in every image.", ColoursSection),
    Section("Images", "Which images are alike, and which stand apart?", ImagesSection),
    Section("Compare", "The same query asked of several runs, side by side.", CompareSection),
)
"""In the order of the tabs."""


class ExplorePanel(QWidget):
    """The run that is explored, and the sections; a step of the workspace.

    Parameters
    ----------
    session : Session
        Whose open image is explored.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.explorer = Explorer.of(session)
        self.sections: dict[str, QWidget] = {}
        """The sections that were opened, by title."""
        self._build()
        self.open_section(SECTIONS[0].title)
        self.run.activated.connect(self._on_run)
        self.tabs.currentChanged.connect(self._on_tab)
        session.project_changed.connect(self.refresh)
        session.image_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        self.destroyed.connect(partial(_leave, session, self.explorer))
        self.refresh()

    def _build(self) -> None:
        self.missing = QLabel()
        self.missing.setWordWrap(True)
        self.run = QComboBox()
        self.run.setAccessibleName("Run")
        self.run.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.run.setMinimumContentsLength(8)
        self.tabs = QTabBar()
        self.tabs.setAccessibleName("Sections of Explore")
        self.tabs.setExpanding(False)
        self.tabs.setDrawBase(False)
        self.tabs.setUsesScrollButtons(True)
        for section in SECTIONS:
            self.tabs.setTabToolTip(self.tabs.addTab(section.title), section.tip)
        label = QLabel("Run")
        label.setBuddy(self.run)
        choice = QHBoxLayout()
        choice.addWidget(label)
        choice.addWidget(self.run, 1)
        self.controls = QWidget()
        self._pages = QVBoxLayout(self.controls)
        self._pages.setContentsMargins(0, 0, 0, 0)
        self._pages.setSpacing(6)
        self._pages.addLayout(choice)
        self._pages.addWidget(self.tabs)
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(6)
        column.addWidget(self.missing)
        column.addWidget(self.controls)
        column.addStretch(1)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)

    def open_section(self, title: str) -> QWidget:
        """Show a section and hide the others; returns its widget."""
        number, section = next((n, s) for n, s in enumerate(SECTIONS) if s.title == title)
        if title not in self.sections:
            self.sections[title] = section.make(self._session, self.explorer)
            self._pages.addWidget(self.sections[title])
        for other, widget in self.sections.items():
            widget.setVisible(other == title)
        self.tabs.setCurrentIndex(number)
        return self.sections[title]

    def refresh(self) -> None:
        """Show what is true now."""
        session = self._session
        missing = self._what_is_missing()
        self.missing.setText(missing)
        self.missing.setVisible(bool(missing))
        self.controls.setEnabled(not missing)
        names = [run.name for run in session.usable_runs]
        if names != [self.run.itemText(i) for i in range(self.run.count())]:
            self.run.clear()
            self.run.addItems(names)
        self.run.setCurrentText(session.current_run or "")
        self.run.setToolTip(f"{session.current_run}\nThe network whose features are compared.")

    def _what_is_missing(self) -> str:
        session = self._session
        if session.project is None:
            return "No project is open. Open one in the step Project of the Workspace."
        if session.current_run is None:
            return (
                "There is no trained network in this project yet. Pretrain one in the step Pretrain: "
                "a few minutes are enough for a first look."
            )
        if session.image is None:
            return "No image is open. Choose one in the step Project of the Workspace."
        return ""

    def _on_run(self, index: int) -> None:
        self._session.choose_run(self.run.itemText(index))

    def _on_tab(self, number: int) -> None:
        self.open_section(SECTIONS[number].title)


def _leave(session: Session, explorer: Explorer, *_: object) -> None:
    """Give the clicks in the image back once the panel is gone, and take its outline away."""
    if in_use(session):
        explorer.set_active(False)
        Outline.of(session).show(False)


class ExploreWidget(QWidget):
    """The same panel as a dock widget of its own, on the same session as the workspace.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that it docks in.
    """

    def __init__(self, napari_viewer: napari.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = Session.of(napari_viewer)
        self.panel = ExplorePanel(self._session)
        self.workspace = QPushButton("Open the Workspace")
        self.workspace.setToolTip("Projects are opened and networks are trained there.")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.panel)
        below = QVBoxLayout()
        below.setContentsMargins(6, 0, 6, 0)  # as wide as the panel's own controls
        below.addWidget(self.workspace)
        column.addLayout(below)
        column.addStretch(1)
        self.workspace.clicked.connect(self._open_workspace)
        self._session.project_changed.connect(self._refresh)
        self._session.runs_changed.connect(self._refresh)
        viewer = self._session.viewer
        viewer.events.theme.connect(self._on_theme)
        self._on_theme()
        self._refresh()

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the workspace's width: docking beside it must not widen it."""
        return QSize(390, super().sizeHint().height())

    def _refresh(self) -> None:
        self.workspace.setVisible(self._session.current_run is None)

    def _on_theme(self) -> None:
        self.setStyleSheet(style_sheet(colors_of(self._session.viewer.theme)))

    def _open_workspace(self) -> None:
        self._session.viewer.window.add_plugin_dock_widget("napari-medssl", "Workspace")
