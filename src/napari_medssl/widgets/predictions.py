"""Shows the prediction of the open image by the run that is applied, and asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_medssl.events import Done, Saved
from napari_medssl.project import Run, read_labels
from napari_medssl.project.applied_run import applied_run
from napari_medssl.widgets.layers import class_colormap, find_layer, mark, marked, remove_layer
from napari_medssl.widgets.placement import place, transforms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medssl.events import AnyEvent
    from napari_medssl.project import Project
    from napari_medssl.project.applied_run import AppliedRun
    from napari_medssl.project.project import PredictedMap
    from napari_medssl.widgets.session import Session

__all__ = ["Predictions"]

_ROLE = "prediction"


class Predictions(QObject):
    """Keeps the prediction layer in step with image and run.

    Parameters
    ----------
    session : Session
        Whose image this is.
    """

    asking_changed = Signal()
    applied_changed = Signal()
    visible_changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._shown: tuple[str, str] | None = None  # name of the predictions, image
        self._project: Project | None = None
        self._foreign: AppliedRun | None = None
        self._reads = 0  # how often a file was asked for: an older one may come later
        self.visible = True
        """Whether the layer is shown; the user hides it in napari's layer list, too."""
        self.asking = False
        """Whether a prediction of one image is awaited."""
        session.image_closing.connect(self._forget)
        session.image_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        session.project_changed.connect(self._on_project)
        session.run_event.connect(self._on_event)

    @property
    def foreign(self) -> AppliedRun | None:
        """The run of another project that is applied; None while one of this project is."""
        return self._foreign

    @property
    def run(self) -> str | None:
        """The run that is applied, as jobs and requests call it: its name, or the path of another project's."""
        return self._session.current_run if self._foreign is None else self._foreign.run

    @property
    def name(self) -> str | None:
        """Under which its predictions are kept in the project."""
        return self._session.current_run if self._foreign is None else self._foreign.name

    def apply(self, foreign: AppliedRun | None) -> None:
        """Apply a run of another project from now on, or again the current one of this project."""
        if foreign != self._foreign:
            self._foreign = foreign
            self.applied_changed.emit()
            self.refresh()

    def predict(self, run: str | None = None, *, maps: Sequence[PredictedMap] = ()) -> None:
        """Predict the open image; returns at once.

        Parameters
        ----------
        run : str, optional
            A run of this project; by default the one that is applied.
        maps : sequence of {"probability", "uncertainty"}
            Kept with the prediction.
        """
        session = self._session
        project, image, name = session.project, session.image, run or self.name
        run = run or self.run
        if image is None or run is None or name is None:
            return
        self.asking = True
        self.asking_changed.emit()

        def answered(_: dict[str, Any]) -> None:
            self.asking = False
            self.asking_changed.emit()
            if (
                session.project is not project
            ):  # another one may have a run and an image of that name
                return
            session.saved_prediction.emit(name, image)
            self._shown = None
            self.refresh()

        def failed(problem: object) -> None:
            self.asking = False
            self.asking_changed.emit()
            session.problem.emit(problem)

        session.request(
            "predict", run=run, image=image, maps=tuple(maps), on_result=answered, on_failed=failed
        )

    def set_visible(self, on: bool) -> None:
        """Show the layer, or hide it; the next image's too."""
        self.visible = on
        layer = find_layer(self._session.viewer, _ROLE)
        if layer is not None:
            layer.visible = on

    def refresh(self) -> None:
        """Show the prediction on disk, if there is one that is not shown yet."""
        session = self._session
        project, image, name = session.project, session.image, self.name
        if project is None or image is None or name is None:
            self._drop()
            return
        layer = find_layer(session.viewer, _ROLE)
        if self._shown == (name, image) and layer is not None:
            return
        path = project.prediction_path(name, image)
        if not path.is_file():
            self._forget()
            return

        self._reads += 1
        number = self._reads

        def show(labels: np.ndarray) -> None:
            now = (session.project, self.name, session.image, self._reads)
            if now == (project, name, image, number):
                self._show(name, image, labels)

        session.background(
            lambda: read_labels(path), on_result=show, doing=f"reading the prediction of {image}"
        )

    def _show(self, name: str, image: str, labels: np.ndarray) -> None:
        session = self._session
        picture, project = session.image_layer, session.project
        if picture is None or project is None:
            return
        layer = find_layer(session.viewer, _ROLE)
        if layer is not None:  # kept from image to image: making textures anew is what takes time
            layer.data = labels
            place(layer, picture)
            mark(layer, _ROLE, run=name, image=image)
        else:
            active = session.viewer.layers.selection.active
            layer = Labels(
                labels,
                name="prediction",
                opacity=0.45,
                visible=self.visible,
                colormap=class_colormap(project.settings.known_classes, background_alpha=0.0),
                **transforms(picture),
            )
            mark(layer, _ROLE, run=name, image=image)
            layer.events.visible.connect(self._on_visible)
            above = session.viewer.layers.index(picture) + 1  # over the image, under the labels
            session.viewer.layers.insert(above, layer)
            layer.editable = False
            if active is not None and active in session.viewer.layers:
                session.viewer.layers.selection.active = active
        self._shown = (name, image)

    def _forget(self) -> None:
        """Empty the layer: what it shows belongs to an image that goes."""
        self._shown = None
        layer = find_layer(self._session.viewer, _ROLE)
        picture = self._session.image_layer
        if layer is not None and picture is not None:
            layer.data = np.zeros(picture.data.shape[:2], dtype=np.uint16)
            mark(layer, _ROLE)

    def _drop(self) -> None:
        self._shown = None
        remove_layer(self._session.viewer, _ROLE)

    def _on_visible(self) -> None:
        layer = find_layer(self._session.viewer, _ROLE)
        if layer is not None and layer.visible != self.visible:
            self.visible = layer.visible
            self.visible_changed.emit()

    def _on_project(self) -> None:
        project, layer = self._session.project, find_layer(self._session.viewer, _ROLE)
        if project is not self._project:
            self._project = project
            self.apply(None)
        elif project is not None and self._foreign is not None:
            self._look_again(project, self._foreign)
        if project is not None and layer is not None and marked(layer).get("role") == _ROLE:
            layer.colormap = class_colormap(project.settings.known_classes, background_alpha=0.0)

    def _look_again(self, project: Project, foreign: AppliedRun) -> None:
        """Find out what the classes of another project's run are here, now that the settings changed."""

        def show(found: AppliedRun) -> None:
            if self._foreign is foreign:
                self.apply(found)

        def failed(error: BaseException) -> None:
            if self._foreign is foreign:
                self.apply(None)
                self._session.show_error(error, doing=f"applying {foreign.run}")

        self._session.background(
            lambda: applied_run(project, Run(foreign.run)), on_result=show, on_failed=failed
        )

    def _on_event(self, event: AnyEvent) -> None:
        session, active = self._session, self._session.jobs.last
        if active is None:
            return
        if isinstance(event, Saved) and event.what == "prediction":
            foreign = self._foreign
            run = str(active.job.get("run") or "")
            name = foreign.name if foreign is not None and foreign.run == run else run
            session.saved_prediction.emit(name, event.image)
            if event.image == session.image and name == self.name:
                self._shown = None
                self.refresh()
        if isinstance(event, Done) and active.kind == "finetune" and event.run:
            self.apply(None)
            session.choose_run(event.run)
            self.predict(event.run)
