"""Where the prediction of the open image is right and where it errs, as a layer of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import Signal

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.error_map import Outcome, error_map
from napari_medssl.project import read_labels
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.evaluations import Evaluations
from napari_medssl.widgets.gl_guard import guard_canvas
from napari_medssl.widgets.layers import find_layer, marked
from napari_medssl.widgets.over_image import OverImage
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.placement import transforms
from napari_medssl.widgets.shortcuts import bind_on_our_layers

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from napari_medssl.widgets.session import Session

__all__ = ["COLOURS", "KEY", "WORDS", "ErrorOverlay"]

KEY = "Shift-E"
COLOURS = {
    Outcome.RIGHT: "#f0f0f0",
    Outcome.TOO_MUCH: "#e69f00",
    Outcome.MISSED: "#56b4e9",
    Outcome.CONFUSED: "#cc79a7",
}
"""Those of the report: Okabe and Ito's, which colour-blind eyes tell apart."""
WORDS = {
    Outcome.RIGHT: "right",
    Outcome.TOO_MUCH: "too much",
    Outcome.MISSED: "missed",
    Outcome.CONFUSED: "another class",
}
_ROLE = "errors"
_CLEAR = {Outcome.RIGHT: 0.35}
"""Opacity of what is to let the image through; the rest is opaque."""
_HIDDEN = ("labels", "prediction", "uncertainty", "probability")
"""Roles of layers that show classes in colours of their own, and would be taken for errors."""


class ErrorOverlay(PerSession):
    """One per session; get it with `ErrorOverlay.of`. Follows the open image while it is on.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    changed = Signal()
    """`on`, `value`, `outcomes`, `visible` or `why_not` differ."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.on = False
        """Whether errors are shown of every image that is opened."""
        self.visible = True
        """Whether the layer is; the user hides it in napari's layer list, too."""
        self.value: int | None = None
        """Label value of the class that is compared; None for all at once."""
        self.outcomes: frozenset[Outcome] = frozenset(WORDS)
        """What is shown."""
        self.why_not = ""
        """Why nothing is shown of the open image, in a sentence; empty if something is, or is being compared."""
        guard_canvas(session.viewer)
        self._evaluations = Evaluations.of(session)
        self._wanted: tuple[object, ...] | None = None
        self._over = OverImage(session)
        self._covered: set[str] = set()  # roles of layers that we hid
        self._evaluations.changed.connect(self._refresh)
        session.image_closing.connect(self._on_closing)
        session.image_changed.connect(self._refresh)
        session.saved_prediction.connect(self._on_saved)
        Annotator.of(session).layer_changed.connect(self._on_layer)
        session.viewer.layers.events.inserted.connect(self._on_inserted, position="last")
        bind_on_our_layers(session.viewer, {KEY: lambda _: self._toggle()})

    def set_on(self, on: bool) -> None:
        """Show the errors of the open image and of those to come, or end it; returns at once."""
        if on != self.on:
            self.on = on
            self._wanted = None
            self._refresh()
            self.changed.emit()

    def compare_class(self, value: int | None) -> None:
        """Show the errors of this class, or (None) of all at once."""
        if value != self.value:
            self.value = value
            self._refresh()
            self.changed.emit()

    def show_outcomes(self, outcomes: Collection[Outcome]) -> None:
        """Show these alone."""
        self.outcomes = frozenset(outcomes)
        layer = self._over.layer
        if layer is not None:
            layer.colormap = _colormap(self.outcomes)
        self.changed.emit()

    def set_visible(self, on: bool) -> None:
        """Show the layer, or hide it; the next image's too."""
        layer = self._over.layer
        if layer is not None:
            layer.visible = on  # comes back through its event
        elif on != self.visible:
            self.visible = on
            if on:  # the layer may have been removed by hand
                self._wanted = None
                self._refresh()
            self.changed.emit()

    def _toggle(self) -> None:
        if self.on:
            self.set_visible(not self.visible)

    def _refresh(self) -> None:
        """Compare the open image, if that was not done yet."""
        session, value, evaluation = self._session, self.value, self._evaluations.evaluation
        project, image, run = session.project, session.image, self._evaluations.run
        if not self.on or project is None or image is None or run is None or evaluation is None:
            self._wanted = None
            self._remove()
            self._say("")
            return
        wanted = (project, run, image, value, evaluation)
        before = self._wanted
        if before is not None and all(a is b for a, b in zip(before, wanted, strict=True)):
            return
        self._wanted = wanted
        if image not in {row.image for row in evaluation.images}:
            self._remove()
            why = evaluation.skipped.get(image, "it was not among the images to score")
            self._say(f"{image} has no score: {why}.")
            return
        self._say("")
        path = project.prediction_path(run, image)

        def compare() -> NDArray[np.uint8]:
            truth = self._evaluations.open_truth(evaluation)
            return error_map(read_labels(path), truth[image], value)

        def show(found: NDArray[np.uint8]) -> None:
            if self._wanted is wanted:
                self._show(found)

        def failed(error: BaseException) -> None:
            if self._wanted is not wanted:
                return
            self._remove()
            if isinstance(error, MedsslError):
                self._say(str(error))
            else:
                session.show_error(error, doing=f"comparing {image} with its truth")

        session.background(compare, on_result=show, on_failed=failed)

    def _show(self, outcomes: NDArray[np.uint8]) -> None:
        picture = self._session.image_layer
        if picture is None:
            return
        self._cover()
        layer = self._over.layer
        if layer is not None and layer.data.shape == outcomes.shape:
            layer.data = outcomes
            return
        words = [WORDS.get(outcome, "no class") for outcome in Outcome]
        layer = Labels(
            outcomes,
            name="errors",
            opacity=0.8,
            visible=self.visible,
            colormap=_colormap(self.outcomes),
            features={"index": list(range(len(words))), "pixel": words},  # said in the status bar
            **transforms(picture),
        )
        layer.events.visible.connect(self._on_visible)
        self._over.put(layer, _ROLE, run=self._evaluations.run, on_top=True)
        layer.editable = False

    def _on_visible(self) -> None:
        layer = self._over.layer
        if layer is not None and layer.visible != self.visible:
            self.visible = layer.visible
            self.changed.emit()

    def _on_saved(self, run: str, image: str) -> None:
        if run == self._evaluations.run and image == self._session.image:
            self._wanted = None
            self._refresh()

    def _on_closing(self) -> None:
        self._wanted = None

    def _say(self, why_not: str) -> None:
        if why_not != self.why_not:
            self.why_not = why_not
            self.changed.emit()

    def _remove(self) -> None:
        self._over.remove()
        self._uncover()

    def _cover(self) -> None:
        """Hide the layers that show classes."""
        for role in _HIDDEN:
            layer = find_layer(self._session.viewer, role)
            if layer is not None and layer.visible:
                layer.visible = False
                self._covered.add(role)

    def _uncover(self) -> None:
        """Show what was hidden; a layer that is gone, once it is there again: it would come back hidden."""
        for role in sorted(self._covered):
            layer = find_layer(self._session.viewer, role)
            if layer is not None:
                self._covered.remove(role)
                layer.visible = True

    def _on_inserted(self, event: Any) -> None:
        if (
            marked(event.value).get("role") != "labels"
        ):  # of which the annotator tells once it is ready
            self._on_layer()

    def _on_layer(self) -> None:
        """Hide classes that came after the errors, or show those that were not there when the errors went."""
        if self._over.layer is not None:
            self._cover()
        elif self._wanted is None or self.why_not:  # else the errors are on their way
            self._uncover()


def _colormap(outcomes: Collection[Outcome]) -> DirectLabelColormap:
    table: dict[int | None, Any] = {None: np.zeros(4), Outcome.NONE.value: np.zeros(4)}
    for outcome, colour in COLOURS.items():
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        alpha = _CLEAR.get(outcome, 1.0) if outcome in outcomes else 0.0
        table[outcome.value] = np.array([red, green, blue, alpha])
    return DirectLabelColormap(color_dict=table)
