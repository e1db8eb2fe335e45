"""Explore: click a pixel, see which others the network finds alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)
from superqt import QDoubleRangeSlider

from napari_medssl.widgets.explorer import Explorer
from napari_medssl.widgets.session import Session
from napari_medssl.widgets.theme import colors_of, set_role, style_sheet

if TYPE_CHECKING:
    import napari

__all__ = ["ExplorePanel", "ExploreWidget"]


class ExplorePanel(QWidget):
    """The controls of `Explorer`; a step of the workspace.

    Parameters
    ----------
    session : Session
        Whose open image is explored.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.explorer = Explorer.of(session)
        self._showing = False
        self._build()
        self.run.activated.connect(self._on_run)
        self.explore.clicked.connect(self.explorer.set_active)
        self.follow.clicked.connect(self.explorer.set_following)
        self.automatic.clicked.connect(self.explorer.set_automatic)
        self.range.valueChanged.connect(self._on_range)
        self.opacity.valueChanged.connect(self._on_opacity)
        self.clear.clicked.connect(self.explorer.clear)
        self.explorer.changed.connect(self.refresh)
        session.image_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        self.refresh()

    def _build(self) -> None:
        self.missing = QLabel()
        self.missing.setWordWrap(True)
        self.run = QComboBox()
        self.run.setAccessibleName("Run")
        self.run.setToolTip("The network whose features are compared.")
        self.run.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.run.setMinimumContentsLength(8)
        self.explore = QPushButton("Explore (Q)")
        self.explore.setCheckable(True)
        self.explore.setToolTip(
            "While this is pressed in, a click in the image asks which pixels are like that one.\n"
            "Dragging moves the image as always."
        )
        set_role(self.explore, "primary")
        self.follow = QPushButton("Follow the cursor (hold W)")
        self.follow.setCheckable(True)
        self.follow.setToolTip("Compare with the pixel under the cursor, without clicking.")
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self.hint.setMinimumHeight(2 * self.hint.fontMetrics().lineSpacing())
        self.hint.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        set_role(self.hint, "hint")
        self.range = QDoubleRangeSlider(Qt.Orientation.Horizontal)  # type: ignore[no-untyped-call]
        self.range.setRange(-1.0, 1.0)
        self.range.setSingleStep(0.01)
        self.range.setAccessibleName("Similarities shown")
        self.range.setToolTip(
            "Pixels at or below the lower similarity stay dark; those at the upper one are brightest."
        )
        self.low, self.high = QLabel(), QLabel()
        for label in (self.low, self.high):
            label.setMinimumWidth(label.fontMetrics().horizontalAdvance("-0.000"))
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.automatic = QCheckBox("automatic")
        self.automatic.setToolTip("For each map anew: from its median to 1.")
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(0, 100)
        self.opacity.setAccessibleName("Opacity")
        self.opacity.setToolTip("How strongly the map shows over the image.")
        self.clear = QPushButton("Clear")
        self.clear.setToolTip("Forget the clicked pixels and remove the map.")
        self._lay_out()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(6, 6, 6, 6)
        column.setSpacing(6)
        column.addWidget(self.missing)
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        grid.addWidget(QLabel("Run"), 0, 0)
        grid.addWidget(self.run, 0, 1, 1, 3)
        grid.addWidget(self.explore, 1, 0, 1, 4)
        grid.addWidget(self.follow, 2, 0, 1, 4)
        grid.addWidget(self.hint, 3, 0, 1, 4)
        grid.addWidget(QLabel("Similarity"), 4, 0)
        grid.addWidget(self.automatic, 4, 1, 1, 3, Qt.AlignmentFlag.AlignRight)
        grid.addWidget(self.low, 5, 0)
        grid.addWidget(self.range, 5, 1, 1, 2)
        grid.addWidget(self.high, 5, 3)
        grid.addWidget(QLabel("Opacity"), 6, 0)
        grid.addWidget(self.opacity, 6, 1, 1, 3)
        grid.addWidget(self.clear, 7, 0, 1, 4)
        self.controls = QWidget()
        grid.setContentsMargins(0, 0, 0, 0)
        self.controls.setLayout(grid)
        column.addWidget(self.controls)
        column.addStretch(1)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)

    # -- showing ---------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show what is true now."""
        session, explorer = self._session, self.explorer
        missing = self._what_is_missing()
        self.missing.setText(missing)
        self.missing.setVisible(bool(missing))
        self.controls.setEnabled(not missing)
        self._showing = True
        names = [run.name for run in session.usable_runs]
        if names != [self.run.itemText(i) for i in range(self.run.count())]:
            self.run.clear()
            self.run.addItems(names)
        self.run.setCurrentText(session.current_run or "")
        self.run.setToolTip(f"{session.current_run}\nThe network whose features are compared.")
        self.explore.setChecked(explorer.active)
        self.explore.setText("Stop exploring (Q)" if explorer.active else "Explore (Q)")
        self.follow.setChecked(explorer.following)
        self.follow.setText(
            "Stop following (W)" if explorer.following else "Follow the cursor (hold W)"
        )
        self.hint.setText("" if missing else self._hint())
        low, high = explorer.limits
        self.range.setValue((low, high))
        self.low.setText(f"{low:.2f}")
        self.high.setText(f"{high:.2f}")
        self.automatic.setChecked(explorer.automatic)
        self.opacity.setValue(round(100 * explorer.opacity))
        self.clear.setEnabled(bool(explorer.queries) or explorer.heat is not None)
        self._showing = False

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

    def _hint(self) -> str:
        explorer = self.explorer
        if explorer.state == "computing":
            return f"Computing the features of {self._session.image} ..."
        if explorer.state == "failed":
            return f"No features: {explorer.why}"
        if not explorer.active:
            return "Press Explore, then click in the image."
        if self._session.viewer.dims.ndisplay != 2:
            return "Show the image in 2D to click in it."
        if explorer.following:
            return "Move the cursor over the image."
        if not explorer.queries:
            return "Click a pixel in the image."
        if len(explorer.queries) == 1:
            y, x = explorer.queries[0]
            return f"Compared with the pixel at y {y}, x {x}. Shift+click adds another one."
        return f"Compared with the mean of {len(explorer.queries)} pixels. A click starts anew."

    # -- acting ----------------------------------------------------------------------------------

    def _on_run(self, index: int) -> None:
        self._session.choose_run(self.run.itemText(index))

    def _on_range(self, limits: tuple[float, float]) -> None:
        if not self._showing:
            self.explorer.set_limits(*limits)

    def _on_opacity(self, percent: int) -> None:
        if not self._showing:
            self.explorer.set_opacity(percent / 100)


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
