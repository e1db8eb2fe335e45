"""Explore, section "Compare": the same query asked of several runs, before and after training, side by side."""

from __future__ import annotations

from functools import partial
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
from napari_medssl.widgets.compare_probe import CompareProbe
from napari_medssl.widgets.compare_view import CompareView, Heat, picture_of
from napari_medssl.widgets.heat_view import limits_of
from napari_medssl.widgets.long_work import ProgressRow
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.run_features import Network, RunFeatures, RunState, Wanted
from napari_medssl.widgets.session import in_use
from napari_medssl.widgets.theme import colors_of, set_role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_medssl.explore.query import Query
    from napari_medssl.widgets.explorer import Explorer
    from napari_medssl.widgets.problem import Problem
    from napari_medssl.widgets.run_features import Stored
    from napari_medssl.widgets.session import Session

__all__ = ["CompareSection"]

_MOST = 4
_ROWS = 8
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
        self._source = explorer.source
        self._networks: tuple[Network, ...] = ()  # that are compared now
        self._image = ""
        self._known: dict[tuple[Network, str], PixelEmbedding] = {}
        self._probe: CompareProbe | None = None
        self._drawing = OneByOne(session, self._draw)
        self._features = RunFeatures(session, self)
        self._build()
        self.compare_button.clicked.connect(self.compare)
        self.runs.itemChanged.connect(self.refresh)
        self.progress.stop_clicked.connect(self._stop)
        self._features.advanced.connect(self.progress.advance)
        self._features.finished.connect(self._on_finished)
        self._features.failed.connect(self._on_failed)
        explorer.query_changed.connect(self._catch_up)
        explorer.changed.connect(self._on_explorer)
        session.runs_changed.connect(self._list_runs)
        session.overview.changed.connect(self.refresh)
        session.image_changed.connect(self._catch_up)
        session.project_changed.connect(self._on_project)
        session.viewer.events.theme.connect(self._on_theme)
        self.destroyed.connect(partial(_leave, self, session))
        self._list_runs()

    def _build(self) -> None:
        self.runs = QListWidget()
        self.runs.setAccessibleName("Runs to compare")
        self.runs.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.separability = QCheckBox()
        self.separability.setToolTip(
            "A linear probe on the features of your annotated pixels, always tested on images of other groups than it\n"
            "was fitted on: how well a straight line separates the classes as this network sees them."
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
        session = self._session
        if session.image_layer is None or session.project is None or self._why_not():
            return
        self._known, self._probe = {}, None  # all is asked anew: the files may have changed
        networks = self._networks_of(self.chosen)
        if self.separability.isChecked() and self._annotated() > 1:
            names = {network.state.run for network in networks}
            runs = tuple(run for run in session.usable_runs if run.name in names)
            self._probe = CompareProbe(session, session.project, runs, self._say)
        self._begin(networks)
        if self._probe is not None:
            self._probe.choose(self._on_chosen)

    def _begin(self, networks: tuple[Network, ...]) -> None:
        """Show pictures of the open image."""
        image, layer = self._session.image, self._session.image_layer
        if image is None or layer is None:
            return
        view = self._window(len(networks))
        self._networks, self._image = networks, image
        view.show_runs([network.state.title for network in networks], picture_of(layer))
        self._say()
        self._gather()
        self.refresh()

    def _gather(self) -> None:
        """Ask for what is not here, instead of what is asked for now: features of the maps, then of the probe."""
        needed = {(network, name) for network in self._networks for name in self._needed()}
        self._known = {key: found for key, found in self._known.items() if key in needed}
        wanted = [
            self._wanted(network, name)
            for network in self._networks
            for name in self._needed()
            if (network, name) not in self._known
        ]
        if self._probe is not None:
            wanted += self._probe.missing(self._networks)
        self.progress.begin(f"Features by {len(self._networks)} networks ...")
        self._draw()
        self._features.ask(wanted)

    def _on_chosen(self, probe: CompareProbe) -> None:
        if probe is self._probe:
            self._gather()

    def refresh(self) -> None:
        """Show what is true now."""
        annotated = self._annotated()
        self.separability.setText(f"Separability, of {annotated} annotated images")
        self.separability.setEnabled(annotated > 1)
        self.compare_button.setEnabled(not self._why_not())
        self.hint.setText(self._why_not() or self._hint(annotated))

    # -- showing ---------------------------------------------------------------------------------

    def _why_not(self) -> str:
        """Say what stands against comparing the ticked networks; empty where nothing does."""
        chosen, source = self.chosen, self._explorer.source
        if not 2 <= len(chosen) <= _MOST:
            return f"{len(chosen)} networks are ticked: tick two to {_MOST}."
        if source != "mix" and any(state.at_start for state in chosen):
            return (
                f"The network before training cannot be asked for its {source}: untick it, or choose the "
                "features from all decoder stages in one of the other tabs."
            )
        return ""

    def _hint(self, annotated: int) -> str:
        if not self._networks and self.view is not None:
            return "Press Compare to ask the networks as they are now."
        if not self._networks:
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

    def _annotated(self) -> int:
        """Give how many images there are to take pixels from."""
        return len(self._session.overview.annotated.images)

    def _networks_of(self, states: Iterable[RunState]) -> tuple[Network, ...]:
        """Look at the networks as they are now; those of deleted runs are left out."""
        runs = {run.name: run for run in self._session.usable_runs}
        source = self._explorer.source
        return tuple(
            Network.of(runs[state.run], state, source) for state in states if state.run in runs
        )

    def _wanted(self, network: Network, image: str) -> Wanted:
        def read(stored: Stored) -> PixelEmbedding:
            return PixelEmbedding.open(stored.path, stride=stored.stride, shape=stored.shape)

        def take(features: PixelEmbedding) -> None:
            self._known[network, image] = features
            self._draw()

        return Wanted(network, image, read, take)

    def _ready(self) -> list[int]:
        """Give the numbers of the networks whose features for the maps are here."""
        return [
            number
            for number, network in enumerate(self._networks)
            if all((network, name) in self._known for name in self._needed())
        ]

    def _draw(self) -> None:
        """Compute the maps in a thread, once those features are here that they take; the newest query is next."""
        query, networks, images = self._explorer.query, self._networks, self._needed()
        view, image, ready = self.view, self._image, self._ready()
        if view is None or not networks:
            return
        for number in range(len(networks)):
            if query is None:
                view.remove_heat(number, "Click a pixel to ask for it.")
            elif number not in ready:  # a map that is there answers another question
                view.remove_heat(number, "Waiting for the features.")
        if query is None or not ready or self._drawing.postponed():
            return
        known = {n: {name: self._known[networks[n], name] for name in images} for n in ready}

        def work() -> dict[int, NDArray[np.float32]]:
            return {
                n: found[image].heat(query.prototypes(found.__getitem__))
                for n, found in known.items()
            }

        def done(maps: dict[int, NDArray[np.float32]]) -> None:
            if (networks, image, query) == (self._networks, self._image, self._explorer.query):
                for number, heat in maps.items():
                    self._show(number, heat, query)

        def failed(error: BaseException) -> None:
            self._session.show_error(error, doing="comparing the pixels")

        self._drawing.start(work, on_result=done, on_failed=failed)

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

    def _say(self) -> None:
        """Show beside each network how well it separates the classes."""
        if self.view is None:
            return
        for number, network in enumerate(self._networks):
            self.view.say(number, *(self._probe.said(network) if self._probe else ("", "")))

    def _on_finished(self) -> None:
        self.progress.end()
        if self._probe is not None:
            self._probe.measure(self._networks)
            self._say()

    def _on_failed(self, problem: Problem) -> None:
        self._stop()
        self._session.problem.emit(problem)

    def _stop(self) -> None:
        self._features.stop()
        self.progress.end()
        if self._probe is not None:
            self._probe.stop()
        if self.view is not None and self._explorer.query is not None:
            for number in set(range(len(self._networks))) - set(self._ready()):
                self.view.remove_heat(number, "No features: they were not made.")

    def _window(self, count: int) -> CompareView:
        """Give the dock widget with the pictures, made again if it was closed; it floats until it is docked."""
        window = self._session.viewer.window
        if self.view is None:
            self.view = CompareView(colors_of(self._session.viewer.theme))
            self.view.clicked.connect(self._on_click)
            self.view.destroyed.connect(self._on_gone)
            self.view.shown.connect(self._catch_up)
            dock = window.add_dock_widget(self.view, name=_DOCK, area="bottom")
            dock.destroyed.connect(self._on_closed)
            dock.setFloating(True)
            around = window._qt_window.geometry()
            dock.move(around.x() + 30, around.y() + 80)
        dock = self.view.parentWidget()
        if dock is not None and dock.isWindow():
            dock.resize(_WIDTH * count, _HEIGHT)
        return self.view

    # -- what others change ----------------------------------------------------------------------

    def _on_closed(self) -> None:
        view = self.view
        self._on_gone()
        if view is not None:  # napari took it out of the dock widget that it deleted
            view.deleteLater()

    def _on_gone(self) -> None:
        self.view = None
        self._clear()

    def _clear(self) -> None:
        """Show nothing: what was asked is of networks that are others now, or nobody sees it."""
        self._stop()
        self._networks, self._known, self._probe = (), {}, None
        if self.view is not None:
            self.view.show_runs((), np.zeros((1, 1, 3), np.uint8))
        self.refresh()

    def _on_click(self, y: int, x: int) -> None:
        if self._session.image == self._image:
            self._explorer.ask(y, x)

    def _catch_up(self) -> None:
        """Follow the query and the open image while the window is seen, and once it is seen again."""
        if self.view is None or not self._networks or not self.view.isVisible():
            return
        if self._outdated():
            self._clear()
        elif self._session.image not in (None, self._image):
            self._begin(self._networks)
        elif len(self._ready()) < len(self._networks):
            self._gather()
        else:
            self._draw()
        self.refresh()

    def _outdated(self) -> bool:
        """Whether a network that is compared was trained further or deleted, or is looked at otherwise."""
        now = self._networks_of(network.state for network in self._networks)
        return now != self._networks

    def _on_explorer(self) -> None:
        if self._explorer.source != self._source:
            self._source = self._explorer.source
            self._clear()

    def _on_project(self) -> None:
        if self._session.project is not self._project:  # and not its settings alone
            self._project = self._session.project
            self._clear()

    def _list_runs(self) -> None:
        """Offer every network that has weights, and the one that it began with."""
        if self._outdated():
            self._clear()
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


def _leave(section: CompareSection, session: Session, *_: object) -> None:
    """End what a section asked for that is gone, and close its window: no click in it would do anything."""
    if not in_use(session):
        return
    view = section.view
    section._features.stop()
    section.view, section._networks, section._probe = None, (), None
    if view is not None:
        session.viewer.window.remove_dock_widget(view)
        view.deleteLater()
