"""Takes predicted objects into the annotation, click by click."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_medssl.widgets.copying import copy_object, why_no_prediction
from napari_medssl.widgets.pixel_clicks import PixelClicks

if TYPE_CHECKING:
    from napari_medssl.widgets.annotator import Annotator

__all__ = ["Picking"]


class Picking(QObject):
    """While it is on, a click in the image takes the predicted object there.

    Parameters
    ----------
    annotator : Annotator
        Whose layer is filled. Painting ends it.
    """

    changed = Signal()
    """`on` differs."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__(annotator)
        self._annotator = annotator
        self.on = False
        self._clicks = PixelClicks(annotator.session, self)
        self._clicks.clicked.connect(lambda y, x: copy_object(annotator, y, x))
        annotator.class_changed.connect(self._on_class)

    def set_on(self, on: bool) -> None:
        """Begin to pick, or end it; says why where there is nothing to pick from."""
        annotator = self._annotator
        why = why_no_prediction(annotator) if on else ""
        if why:
            annotator.say(why)
            on = False
        if on and annotator.layer is not None:
            annotator.layer.mode = "pan_zoom"  # a click must not paint
            annotator.say("Click an object of the prediction to take it. Press S to end.")
        elif self.on:
            annotator.say("")
        self.on = on
        self._clicks.set_on(on)
        self.changed.emit()

    def _on_class(self) -> None:
        if self.on and self._annotator.painting:
            self.set_on(False)
