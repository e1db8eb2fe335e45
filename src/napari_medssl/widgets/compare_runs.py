"""Explore, section "Compare": the same query asked of several runs, before and after training, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medssl.explore.similarity import PixelEmbedding
from napari_medssl.widgets.compare_view import CompareView, Heat
from napari_medssl.widgets.heat_view import limits_of
from napari_medssl.widgets.long_work import ProgressRow
from napari_medssl.widgets.run_features import RunFeatures, RunState
from napari_medssl.widgets.theme import colors_of, set_role
from napari_medssl.widgets.thumbnails import as_colour

if TYPE_CHECKING:
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_medssl.explore.query import Query
    from napari_medssl.explore.separability import Separability
    from napari_medssl.project import Project
    from napari_medssl.widgets.explorer import Explorer
    from napari_medssl.widgets.problem import Problem
    from napari_medssl.widgets.run_features import Stored
    from napari_medssl.widgets.session import Session

__all__ = ["CompareSection"]

_MOST = 4
_ROWS = 8
_WAITING = "separability: waiting for the features"
_DOCK = "Compare runs"
_WIDTH, _HEIGHT = 300, 400


class CompareSection(QWidget):
    """Chooses runs, gathers their features, and keeps the pictures up to date with the query.

    Parameters
    ----------
    session : Session
        Whose open image.
    explorer : Explorer
        Whose query; a click in a picture changes it.
    """

    def __init__(self, session: Session, explorer: Explorer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._explorer = explorer
        self._project = session.project
        self._states: tuple[RunState, ...] = ()  # that are compared now
        self._image = ""
        self._known: dict[tuple[RunState, str], PixelEmbedding] = {}
        self._probed: dict[RunState, dict[str, Stored]] = {}
        self._drawing = self._draw_again = False
        self._features = RunFeatures(session, self)
        self._build()
        self.compare_button.clicked.connect(self.compare)
        self.runs.itemChanged.connect(self.refresh)
        self.progress.stop_clicked.connect(self._stop)
        self._features.arrived.connect(self._on_features)
        self._features.advanced.connect(self.progress.advance)
        self._features.finished.connect(self._on_finished)
        self._features.failed.connect(self._on_failed)
        explorer.query_changed.connect(self._on_query)
        session.runs_changed.connect(self._list_runs)
        session.overview.changed.connect(self.refresh)
        session.image_changed.connect(self._on_image)
        session.project_changed.connect(self._on_project)
        session.viewer.events.theme.connect(self._on_theme)
        self._list_runs()

    def _build(self) -> None:
        self.runs = QListWidget()
        self.runs.setAccessibleName("Runs to compare")
        self.runs.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.separability = QCheckBox()
        self.separability.setToolTip(
            "A linear probe on the features of your annotated pixels, always tested on other images than it was\n"
            "fitted on: how well a straight line separates the classes as this network sees them."
        )
        self.separability.setChecked(True)
        self.compare_button = QPushButton("Compare")
        set_role(self.compare_button, "primary")
        self.progress = ProgressRow()
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        set_role(self.hint, "hint")
        self.view: CompareView | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        column.addWidget(QLabel(f"Networks to compare, two to {_MOST}"))
        for part in (self.runs, self.separability, self.compare_button, self.progress, self.hint):
            column.addWidget(part)

    # -- commands --------------------------------------------------------------------------------

    @property
    def chosen(self) -> tuple[RunState, ...]:
        """The ticked networks."""
        items = [self.runs.item(row) for row in range(self.runs.count())]
        return tuple(
            item.data(Qt.ItemDataRole.UserRole)
            for item in items
            if item is not None and item.checkState() == Qt.CheckState.Checked
        )

    def compare(self) -> None:
        """Gather the features of the open image and of the query, then show the pictures; returns at once."""
        session, layer = self._session, self._session.image_layer
        if session.image is None or layer is None or not 2 <= len(self.chosen) <= _MOST:
            return
        self._states, self._image = self.chosen, session.image
        self._probed = {state: {} for state in self._states}
        view = self._window()
        view.show_runs([state.title for state in self._states], _picture(layer))
        probe = self._to_probe() if self.separability.isChecked() else ()
        if len(probe) > 1:
            for number in range(len(self._states)):
                view.say(number, _WAITING)
            self._gather(probe)
        else:
            self._gather()
        self._draw()
        self.refresh()

    def _gather(self, probe: tuple[str, ...] = ()) -> None:
        """Ask for the features that are not here: for the maps first, then for the probe."""
        needed = [(state, name) for state in self._states for name in self._needed()]
        self._known = {key: found for key, found in self._known.items() if key in needed}
        self.progress.begin(f"Features by {len(self._states)} networks ...")
        self._features.ask(
            [
                *(key for key in needed if key not in self._known),
                *((state, name) for state in self._states for name in probe),
            ],
            source=self._explorer.source,
        )

    def refresh(self) -> None:
        """Show what is true now."""
        count, annotated = len(self.chosen), len(self._to_probe())
        self.separability.setText(f"Separability, of {annotated} annotated images")
        self.separability.setEnabled(annotated > 1)
        self.compare_button.setEnabled(2 <= count <= _MOST)
        self.hint.setText(self._hint(count, annotated))

    # -- showing ---------------------------------------------------------------------------------

    def _hint(self, count: int, annotated: int) -> str:
        if not 2 <= count <= _MOST:
            return f"{count} networks are ticked: tick two to {_MOST}."
        if not self._states:
            return "The pictures open in a window of their own, with one query, zoom and cursor."
        if self._explorer.query is None:
            return "Click in one of the pictures: every network is asked for that pixel."
        if annotated < 2:
            return (
                "Annotate two images or more to see how well each network separates your classes."
            )
        return ""

    def _needed(self) -> tuple[str, ...]:
        """Give the images whose features the maps take."""
        query = self._explorer.query
        return tuple(dict.fromkeys((self._image, *(query.images if query is not None else ()))))

    def _to_probe(self) -> tuple[str, ...]:
        from napari_medssl.explore.labelled import MOST_IMAGES

        return self._session.overview.annotated.images[:MOST_IMAGES]

    def _on_features(self, state: RunState, image: str, stored: Stored) -> None:
        if state in self._probed and image in self._to_probe():
            self._probed[state][image] = stored
        if image not in self._needed() or (state, image) in self._known:
            return

        def opened(features: PixelEmbedding) -> None:
            if state in self._states:
                self._known[state, image] = features
                self._draw()

        self._session.background(
            lambda: PixelEmbedding.open(stored.path, stride=stored.stride, shape=stored.shape),
            on_result=opened,
            doing=f"reading the features of {image}",
        )

    def _draw(self) -> None:
        """Compute the maps in a thread, once those features are here that they take; the newest query is next."""
        query, states, images = self._explorer.query, self._states, self._needed()
        view, image = self.view, self._image
        if view is None or not states:
            return
        if query is None:
            for number in range(len(view.panels)):
                view.show_heat(number, None, "")
            return
        if self._drawing:
            self._draw_again = True
            return
        ready = [
            number
            for number, state in enumerate(states)
            if all((state, name) in self._known for name in images)
        ]
        if not ready:
            return
        known = {n: {name: self._known[states[n], name] for name in images} for n in ready}
        self._drawing = True

        def work() -> dict[int, NDArray[np.float32]]:
            return {
                n: found[image].heat(query.prototypes(found.__getitem__))
                for n, found in known.items()
            }

        def done(maps: dict[int, NDArray[np.float32]]) -> None:
            self._drawing = False
            if (states, image) == (self._states, self._image):
                for number, heat in maps.items():
                    self._show(number, heat, query)
            self._once_more()

        def failed(error: BaseException) -> None:
            self._drawing = False
            self._session.show_error(error, doing="comparing the pixels")
            self._once_more()

        self._session.background(work, on_result=done, on_failed=failed)

    def _once_more(self) -> None:
        if self._draw_again:
            self._draw_again = False
            self._draw()

    def _show(self, number: int, heat: NDArray[np.float32], query: Query) -> None:
        if self.view is None:
            return
        points = [point for point in query.points if point.image == self._image]
        contrast = query.how == "contrast"
        shown = Heat(
            heat,
            limits_of(heat, contrast=contrast),
            [(point.y, point.x) for point in points if point.positive],
            [(point.y, point.x) for point in points if not point.positive],
        )
        self.view.show_heat(number, shown, self._explorer.view.colormap)

    def _on_finished(self) -> None:
        self.progress.end()
        project, probed = self._session.project, self._probed
        if project is None or not all(len(found) > 1 for found in probed.values()):
            return
        for number, state in enumerate(self._states):
            self._probe(project, number, state, probed[state])

    def _probe(
        self, project: Project, number: int, state: RunState, stored: dict[str, Stored]
    ) -> None:
        """Measure how well a network separates the annotated classes, in a thread."""
        states = self._states

        def work() -> Separability | None:
            from napari_medssl.explore.labelled import labelled_cells
            from napari_medssl.explore.separability import separability_of

            def grid(name: str) -> tuple[NDArray[np.float16], int]:
                return np.load(stored[name].path, mmap_mode="r"), stored[name].stride

            labels = ((name, project.annotations.read(name)) for name in stored)
            return separability_of(labelled_cells(grid, labels))

        def done(found: Separability | None) -> None:
            if states == self._states and self.view is not None:
                if found is None:
                    self.view.say(number, "separability: needs two images with two classes")
                    return
                chance = 1 / found.classes
                text = f"separability {found.balanced_accuracy:.3f}, chance {chance:.2f}"
                self.view.say(number, text, found.text())

        self._session.background(
            work, on_result=done, doing=f"separating the classes by {state.title}", lane="fitting"
        )

    def _on_failed(self, problem: Problem) -> None:
        self._stop()
        self._session.problem.emit(problem)

    def _stop(self) -> None:
        self._features.stop()
        self.progress.end()
        if self.view is not None:
            for number, panel in enumerate(self.view.panels):
                if panel.more.text() == _WAITING:
                    self.view.say(number, "separability: stopped")

    def _window(self) -> CompareView:
        """Give the dock widget with the pictures, made again if it was closed; it floats until it is docked."""
        window = self._session.viewer.window
        if self.view is None:
            self.view = CompareView(colors_of(self._session.viewer.theme))
            self.view.clicked.connect(self._on_click)
            self.view.destroyed.connect(self._on_gone)
            dock = window.add_dock_widget(self.view, name=_DOCK, area="bottom")
            dock.destroyed.connect(self._on_closed)
            dock.setFloating(True)
            around = window._qt_window.geometry()
            dock.move(around.x() + 30, around.y() + 80)
        dock = self.view.parentWidget()
        if dock is not None and dock.isWindow():
            dock.resize(_WIDTH * len(self._states), _HEIGHT)
        return self.view

    # -- what others change ----------------------------------------------------------------------

    def _on_closed(self) -> None:
        view = self.view
        self._on_gone()
        if view is not None:  # napari took it out of the dock widget that it deleted
            view.deleteLater()

    def _on_gone(self) -> None:
        self.view, self._states = None, ()
        self._stop()

    def _on_click(self, y: int, x: int) -> None:
        if self._session.image == self._image:
            self._explorer.ask(y, x)

    def _on_query(self) -> None:
        if self.view is None or not self._states or not self.view.isVisible():
            return
        if all((state, name) in self._known for state in self._states for name in self._needed()):
            self._draw()
        elif not self.progress.isVisible():
            self._gather()
        self.refresh()

    def _on_image(self) -> None:
        shown = self.view is not None and self.view.isVisible()
        if shown and self._states and self._session.image not in (None, self._image):
            self.compare()

    def _on_project(self) -> None:
        if self._session.project is not self._project:  # and not its settings alone
            self._project = self._session.project
            self._stop()
            self._states, self._known, self._probed = (), {}, {}
            if self.view is not None:
                self.view.show_runs((), np.zeros((1, 1, 3), np.uint8))

    def _list_runs(self) -> None:
        """Offer every network that has weights, and the one that it began with."""
        before = set(self.chosen)
        states = [
            RunState(run.name, at_start)
            for run in self._session.usable_runs
            for at_start in (False, True)
        ]
        first = not before.intersection(states)
        self.runs.blockSignals(True)
        self.runs.clear()
        for state in states:
            item = QListWidgetItem(state.title)
            item.setToolTip(state.title)
            item.setData(Qt.ItemDataRole.UserRole, state)
            wanted = state.run == self._session.current_run if first else state in before
            item.setCheckState(Qt.CheckState.Checked if wanted else Qt.CheckState.Unchecked)
            self.runs.addItem(item)
        self.runs.blockSignals(False)
        row = max(self.runs.sizeHintForRow(0), 1)
        self.runs.setFixedHeight(row * min(max(len(states), 2), _ROWS) + 2 * self.runs.frameWidth())
        self.refresh()

    def _on_theme(self) -> None:
        if self.view is not None:
            self.view.set_colors(colors_of(self._session.viewer.theme))


def _picture(layer: Image) -> NDArray[np.uint8]:
    """Give the image as its layer shows it, ``(Y, X, 3)``."""
    data = np.asarray(layer.data)
    if layer.rgb:
        low, high = 0.0, 255.0 if data.dtype == np.uint8 else 1.0
    else:
        low, high = layer.contrast_limits
    return as_colour(data, low, high)
