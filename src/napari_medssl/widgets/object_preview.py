"""Objects that could be taken from a prediction or from what is painted, seen before they are."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QTimer, Signal

from napari_medssl.instances.by_class import FOREGROUND
from napari_medssl.widgets.layers import mark
from napari_medssl.widgets.live import LivePredictor
from napari_medssl.widgets.object_editor import ObjectEditor
from napari_medssl.widgets.object_sources import (
    SOURCES,
    Found,
    ObjectSettings,
    Recipe,
    find,
    only_free,
)
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.placement import place
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.project import Project
    from napari_medssl.widgets.object_sources import Source
    from napari_medssl.widgets.session import Session

__all__ = ["ObjectPreview"]

_QUIET_MS = 150  # between the last change and the next look
_ABOUT = "objects to take"


class ObjectPreview(PerSession):
    """One per session; get it with `ObjectPreview.of`.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    changed = Signal()
    """`found`, `settings`, `source` or what there is to choose from differs."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._editor = ObjectEditor.of(session)
        self._live = LivePredictor.of(session)
        self.on = False
        self.settings = ObjectSettings()
        self.chosen: Source | None = None
        """What the user chose; None for the best there is."""
        self.found: Found | None = None
        """The objects of the open image; None while they are not known."""
        self.why_not = ""
        """Why there is nothing to show; empty when there is, or it is about to come."""
        self._layer: Labels | None = None
        self._work = OneByOne(session, self._look)
        self._quiet = QTimer(self)
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(_QUIET_MS)
        self._quiet.timeout.connect(self._look)
        self._editor.layer_changed.connect(self._on_layer)
        self._editor.annotator.state_changed.connect(self._on_painted)
        self._live.changed.connect(self._on_live)
        session.image_changed.connect(self._on_image)
        session.saved_prediction.connect(self._on_prediction)
        session.runs_changed.connect(self.refresh)
        session.predictions.applied_changed.connect(self.refresh)
        session.viewer.layers.events.removed.connect(self._on_removed)

    # -- what there is ---------------------------------------------------------------------------

    @property
    def source(self) -> Source:
        """Where the objects come from: what was chosen, or else the first that there is."""
        if self.chosen is not None:
            return self.chosen
        return next((source for source in SOURCES if not self.missing(source)), "painted")

    def missing(self, source: Source) -> str:
        """Say why nothing can be taken from there; empty when something can."""
        session, labels = self.session, self._editor.annotator.layer
        project, image, run = session.project, session.image, session.predictions.name
        if project is None or image is None:
            return "Open an image first."
        if source == "painted":
            painted = labels is not None and any(
                value >= FOREGROUND for value in self._editor.annotator.counts
            )
            return "" if painted else "Nothing is painted on this image."
        if source == "live":
            return "" if self._live.result is not None else "Live prediction (L) is off."
        if run is None or not project.prediction_path(run, image).is_file():
            return "There is no prediction of this image: predict it in the step Predict."
        if source == "distance" and not project.predicted_distance_path(run, image).is_file():
            return f"{run} predicts no distance map: fine-tune with objects first."
        if source == "stored" and not project.predicted_objects_path(run, image).is_file():
            return f"{run} has stored no objects of this image."
        return ""

    # -- what can be asked -----------------------------------------------------------------------

    def set_on(self, on: bool) -> None:
        """Show the objects, or no longer."""
        if on == self.on or self.session.closed:
            return
        self.on = on
        if on:
            self.refresh()
        else:
            self._quiet.stop()
            self.found = None
            self._hide()

    def choose(self, source: Source) -> None:
        """Take the objects from there."""
        self.chosen = source
        self.refresh()

    def set_settings(self, settings: ObjectSettings) -> None:
        """Find them like this."""
        self.settings = settings
        self.refresh()

    def refresh(self) -> None:
        """Look soon; what comes in quick succession is looked at once."""
        self._quiet.start()
        self.changed.emit()

    def take(self, *, replace: bool) -> int:
        """Put the objects that are shown into the object layer, and their classes into the class layer.

        Pixels that a class was painted on keep it. Ctrl+Z takes all of it back.

        Parameters
        ----------
        replace : bool
            Whether they take the place of all objects; if not, only those are taken that lie where none is yet.

        Returns
        -------
        int
            Number of objects that there are more, or that replace the others.
        """
        editor, found, labels = self._editor, self.found, self._editor.annotator.layer
        if found is None or editor.layer is None or labels is None or editor.why_not:
            return 0
        old = editor.layer.data
        ids = found.objects.copy() if replace else only_free(old, found)
        new = ids != old
        taken = new & (ids > 0) & (labels.data < FOREGROUND)
        editor.change(ids, classes=np.where(taken, found.classes, 0))
        return len(np.unique(ids[new & (ids > 0)]))

    # -- finding ---------------------------------------------------------------------------------

    def _look(self) -> None:
        if self._work.postponed():
            return
        recipe, project = self._recipe(), self.session.project
        if recipe is None or project is None:
            self.found = None
            self._hide()
            self.changed.emit()
            return

        def failed(error: BaseException) -> None:
            self.found = None
            self._hide()
            problem = Problem.of(error, doing="finding objects")
            self.why_not = f"{problem.sentence} {problem.advice}".strip()
            self.changed.emit()

        self._work.start(
            partial(find, project, recipe),
            on_result=partial(self._show, project, recipe),
            on_failed=failed,
        )

    def _recipe(self) -> Recipe | None:
        """Say what to find them in; None, with `why_not`, when nothing is shown."""
        image, source = self.session.image, self.source
        self.why_not = ""
        if not self.on or image is None or self._editor.layer is None:
            return None
        self.why_not = self.missing(source)
        if self.why_not:
            return None
        return Recipe(
            source, image, self.session.predictions.name or "", self._labels(source), self.settings
        )

    def _labels(self, source: Source) -> NDArray[np.uint16] | None:
        layer, live = self._editor.annotator.layer, self._live.result
        if source == "painted" and layer is not None:
            return np.array(layer.data, np.uint16)
        if source == "live" and live is not None:
            return live.labels
        return None

    def _show(self, project: Project, recipe: Recipe, found: Found) -> None:
        objects, session = self._editor.layer, self.session
        now = session.project is project and session.image == recipe.image
        if not self.on or objects is None or not now:
            return
        self.found = found
        layer = self._layer
        if layer is None:
            layer = self._layer = Labels(found.objects, name="objects to take", opacity=0.5)
            mark(layer, "object preview")
            layers = session.viewer.layers
            active = layers.selection.active
            layers.insert(
                layers.index(objects), layer
            )  # under the outlines of those that are there
            layers.selection.active = active
            layer.editable = False
        else:
            layer.data = found.objects
        place(layer, objects)
        layer.visible = True
        self.changed.emit()

    def _hide(self) -> None:
        if self._layer is not None and self._layer.visible:
            self._layer.visible = False
            self._layer.data = np.zeros((1, 1), np.int32)

    # -- what happens ----------------------------------------------------------------------------

    def _on_layer(self) -> None:
        self.found = None
        self._hide()
        self.refresh()

    def _on_image(self) -> None:
        if self._layer is not None and self.session.image is None:
            self.session.viewer.layers.remove(self._layer)

    def _on_painted(self) -> None:
        self._on_source("painted")

    def _on_live(self) -> None:
        self._on_source("live")

    def _on_source(self, source: Source) -> None:
        if self.on and self.source == source:
            self.refresh()
        else:  # it may be there to choose now
            self.changed.emit()

    def _on_prediction(self, run: str, image: str) -> None:
        if run == self.session.predictions.name and image == self.session.image:
            self.refresh()

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._layer = None
