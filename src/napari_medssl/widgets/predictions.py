"""Shows the prediction that the current run made of the open image, and asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_medssl.events import Done, Saved
from napari_medssl.project import read_labels
from napari_medssl.widgets.layers import class_colormap, find_layer, mark, marked, remove_layer
from napari_medssl.widgets.placement import place, transforms

if TYPE_CHECKING:
    from napari_medssl.events import AnyEvent
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

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._shown: tuple[str, str] | None = None  # run, image
        self.asking = False
        """Whether a prediction of one image is awaited."""
        session.image_closing.connect(self._forget)
        session.image_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        session.project_changed.connect(self._recolour)
        session.run_event.connect(self._on_event)

    def predict(self, run: str | None = None) -> None:
        """Predict the open image with a run (the current one); returns at once."""
        image = self._session.image
        run = run or self._session.current_run
        if image is None or run is None:
            return
        self.asking = True
        self.asking_changed.emit()

        def answered(_: dict[str, Any]) -> None:
            self.asking = False
            self.asking_changed.emit()
            self._session.saved_prediction.emit(run, image)
            self._shown = None
            self.refresh()

        def failed(problem: object) -> None:
            self.asking = False
            self.asking_changed.emit()
            self._session.problem.emit(problem)

        self._session.request("predict", run=run, image=image, on_result=answered, on_failed=failed)

    def refresh(self) -> None:
        """Show the prediction on disk, if there is one that is not shown yet."""
        session = self._session
        project, image, run = session.project, session.image, session.current_run
        if project is None or image is None or run is None:
            self._drop()
            return
        layer = find_layer(session.viewer, _ROLE)
        if self._shown == (run, image) and layer is not None:
            return
        path = project.prediction_path(run, image)
        if not path.is_file():
            self._forget()
            return

        def show(labels: np.ndarray) -> None:
            now = (session.project, session.current_run, session.image)
            if now == (project, run, image):
                self._show(run, image, labels)

        session.background(
            lambda: read_labels(path), on_result=show, doing=f"reading the prediction of {image}"
        )

    def _show(self, run: str, image: str, labels: np.ndarray) -> None:
        session = self._session
        picture, project = session.image_layer, session.project
        if picture is None or project is None:
            return
        layer = find_layer(session.viewer, _ROLE)
        if layer is not None:  # kept from image to image: making textures anew is what takes time
            layer.data = labels
            place(layer, picture)
        else:
            active = session.viewer.layers.selection.active
            layer = Labels(
                labels,
                name="prediction",
                opacity=0.45,
                colormap=class_colormap(project.settings.classes, background_alpha=0.0),
                **transforms(picture),
            )
            above = session.viewer.layers.index(picture) + 1  # over the image, under the labels
            session.viewer.layers.insert(above, layer)
            layer.editable = False
            if active is not None and active in session.viewer.layers:
                session.viewer.layers.selection.active = active
        mark(layer, _ROLE, run=run, image=image)
        self._shown = (run, image)

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

    def _recolour(self) -> None:
        project, layer = self._session.project, find_layer(self._session.viewer, _ROLE)
        if project is not None and layer is not None and marked(layer).get("role") == _ROLE:
            layer.colormap = class_colormap(project.settings.classes, background_alpha=0.0)

    def _on_event(self, event: AnyEvent) -> None:
        session, active = self._session, self._session.jobs.last
        if active is None:
            return
        if isinstance(event, Saved) and event.what == "prediction":
            run = str(active.job.get("run") or "")
            session.saved_prediction.emit(run, event.image)
            if event.image == session.image and run == session.current_run:
                self._shown = None
                self.refresh()
        if isinstance(event, Done) and active.kind == "finetune" and event.run:
            session.choose_run(event.run)
            self.predict(event.run)
