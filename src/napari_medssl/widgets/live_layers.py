"""The layers of live prediction: what it sees, how sure it is, and the stored prediction that makes room for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import QObject

from napari_medssl.widgets.gl_guard import guard_canvas
from napari_medssl.widgets.layers import class_colormap, find_layer, mark, marked, remove_layer
from napari_medssl.widgets.placement import follow, place, transforms

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_medssl.explore.live_probe import LivePrediction
    from napari_medssl.widgets.session import Session

__all__ = ["LiveLayers"]

_LABELS, _UNCERTAINTY = "live", "live uncertainty"
_OUTLINE = 2
"""Width of the outlines, pixels."""


class LiveLayers(QObject):
    """Draws live predictions of the open image, over it and under its annotation.

    Parameters
    ----------
    session : Session
        In whose viewer.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        guard_canvas(session.viewer)
        self.outlines = False
        """Whether the classes are outlined, not filled."""
        self.uncertain = False
        """Whether the uncertainty is shown, too."""
        self._drawn: LivePrediction | None = None
        self._open = False
        self._hidden: Labels | None = None
        self._ends: dict[str, Callable[[], None]] = {}
        session.viewer.layers.events.inserted.connect(self._on_inserted)
        session.project_changed.connect(self._recolour)

    def draw(self, prediction: LivePrediction) -> None:
        """Show a prediction of the open image."""
        layer = self._layer(_LABELS)
        if layer is None:
            self._add(_LABELS, self._new_labels(prediction))
        elif self._drawn is not prediction:
            self._renew(_LABELS, layer, prediction.labels)
        first = self._drawn is None or not self._open
        if self._drawn is not prediction or not self._open:
            self._drawn = prediction
            self._draw_uncertainty()
        if not self._open:
            self._open = True
            self._set_visible(True)
        if first:
            self._hide_stored()

    def set_outlines(self, on: bool) -> None:
        """Outline the classes, or fill them."""
        self.outlines = on
        layer = self._layer(_LABELS)
        if layer is not None:
            layer.contour = _OUTLINE if on else 0

    def show_uncertainty(self, on: bool) -> None:
        """Show how unsure each pixel is, or no longer."""
        self.uncertain = on
        if on and self._open:
            self._draw_uncertainty()
        elif not on:
            self._remove(_UNCERTAINTY)

    def close(self) -> None:
        """Show it no longer; the stored prediction comes back if it made room."""
        if not self._open:
            return
        self._open = False
        self._set_visible(False)
        self._show_stored()

    def empty(self) -> None:
        """Forget what is shown; the layers stay for what comes next, as far as they are seen.

        Until then the stored prediction is seen: nothing is there that it would have to make room for.
        """
        self._drawn = None
        self._show_stored()
        for role in (_LABELS, _UNCERTAINTY):
            layer = self._layer(role)
            if layer is None:
                continue
            if self._open:
                # one pixel, for the view of the next image is fitted to all layers
                layer.data = np.zeros((1, 1), layer.data.dtype)
                mark(layer, role)
            else:
                self._remove(role)

    # -- the layers ------------------------------------------------------------------------------

    def _layer(self, role: str) -> Any:
        return find_layer(self._session.viewer, role)

    def _new_labels(self, prediction: LivePrediction) -> Labels:
        project = self._session.project
        classes = project.settings.known_classes if project is not None else ()
        layer = Labels(
            prediction.labels.copy(),
            name="live prediction",
            opacity=0.45,
            colormap=class_colormap(classes, background_alpha=0.0),
        )
        layer.contour = _OUTLINE if self.outlines else 0
        return layer

    def _draw_uncertainty(self) -> None:
        if not self.uncertain or self._drawn is None:
            return
        layer = self._layer(_UNCERTAINTY)
        if layer is None:
            layer = Image(
                self._drawn.uncertainty.copy(),
                name="live uncertainty",
                colormap="inferno",
                blending="additive",
                contrast_limits=(0.0, 1.0),
                opacity=0.7,
                interpolation2d="nearest",
            )
            self._add(_UNCERTAINTY, layer)
        else:
            self._renew(_UNCERTAINTY, layer, self._drawn.uncertainty)

    def _renew(self, role: str, layer: Layer, values: NDArray[Any]) -> None:
        """Show other values, perhaps of another image, in a layer that is there."""
        if layer.data.shape == values.shape:
            layer.data[...] = values  # half as long as giving it other data: its extent stays
            layer.refresh(extent=False)
        else:
            layer.data = values.copy()
        image_layer = self._session.image_layer
        if image_layer is not None and marked(layer).get("image") != self._session.image:
            place(layer, image_layer)
            self._follow(role, layer, image_layer)  # which may be another one than before
            mark(layer, role, image=self._session.image, run=self._session.current_run)

    def _add(self, role: str, layer: Layer) -> None:
        """Put the uncertainty over the image, the classes under the annotation; what is selected stays selected."""
        session = self._session
        viewer, image_layer, labels = session.viewer, session.image_layer, session.labels_layer
        if image_layer is None:
            return
        mark(layer, role, image=session.image, run=session.current_run)
        for name, value in transforms(image_layer).items():
            setattr(layer, name, value)
        active = viewer.layers.selection.active
        at = viewer.layers.index(image_layer) + 1
        if role == _LABELS and labels is not None:
            at = max(at, viewer.layers.index(labels))
        viewer.layers.insert(at, layer)
        layer.editable = False
        if active is not None and active in viewer.layers:
            viewer.layers.selection.active = active
        self._follow(role, layer, image_layer)

    def _follow(self, role: str, layer: Layer, image_layer: Layer) -> None:
        if role in self._ends:  # also of one that was removed by hand
            self._ends.pop(role)()
        self._ends[role] = follow(image_layer, layer)

    def _remove(self, role: str) -> None:
        if role in self._ends:
            self._ends.pop(role)()
        remove_layer(self._session.viewer, role)

    def _set_visible(self, on: bool) -> None:
        for role in (_LABELS, _UNCERTAINTY):
            layer = self._layer(role)
            if layer is not None:
                layer.visible = on

    def _recolour(self) -> None:
        project, layer = self._session.project, self._layer(_LABELS)
        if project is not None and layer is not None:
            layer.colormap = class_colormap(project.settings.known_classes, background_alpha=0.0)

    # -- the stored prediction -------------------------------------------------------------------

    def _hide_stored(self) -> None:
        layer = self._layer("prediction")
        if layer is None or layer is self._hidden:
            return
        # made anew, as hidden as the one before: it takes its place
        if layer.visible or self._hidden is not None:
            layer.visible = False
            layer.events.visible.connect(self._on_eye)
            self._hidden = layer

    def _show_stored(self) -> None:
        stored = self._hidden
        if stored is not None and stored in self._session.viewer.layers:
            self._hidden = None
            stored.events.visible.disconnect(self._on_eye)
            stored.visible = True

    def _on_eye(self) -> None:
        """Leave the layer alone from now on: the user wants to see it."""
        if self._hidden is not None:
            self._hidden.events.visible.disconnect(self._on_eye)
            self._hidden = None

    def _on_inserted(self, event: Any) -> None:
        if not self._open or marked(event.value).get("role") != "prediction":
            return
        if self._drawn is not None:
            self._hide_stored()
        elif self._hidden is not None:  # made anew, as hidden as the one before was
            self._hidden = None
            event.value.visible = True
