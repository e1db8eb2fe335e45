"""The outline of what is similar enough, live on the map, and labels of it on the open image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import Signal

from napari_medssl.explore.annotate import above
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.explorer import Explorer
from napari_medssl.widgets.layers import find_layer, mark
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.pixel_change import change_pixels
from napari_medssl.widgets.placement import transforms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.widgets.session import Session

__all__ = ["Outline", "put_label"]

_COLOUR = "#7cff6b"


class Outline(PerSession):
    """One per session; get it with `Outline.of`.

    Parameters
    ----------
    session : Session
        Whose map is outlined.
    """

    changed = Signal()
    """A setting or `mask` differs."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._explorer = Explorer.of(session)
        self.shown = False
        self.chosen: float | None = None
        """The threshold that the user chose; None for halfway between the similarities that are shown."""
        self.smoothing = 1.0
        """Standard deviation of the Gaussian that the map is smoothed with, pixels."""
        self.minimum_area = 16
        """Smaller pieces are left out and smaller holes filled, pixels."""
        self.overwrite = False
        """Whether labels that are there may be covered."""
        self.mask: NDArray[np.bool_] | None = None
        """What is similar enough in the open image; None while that is not known."""
        self._work = OneByOne(session, self._update)
        self._explorer.heat_changed.connect(self._update)
        self._explorer.view.changed.connect(self._on_view)
        self._outlined: float | None = None

    @property
    def threshold(self) -> float:
        """From which similarity on a pixel is within."""
        low, high = self._explorer.view.limits
        return (low + high) / 2 if self.chosen is None else self.chosen

    def show(self, on: bool) -> None:
        """Draw the outline, or no longer."""
        if on != self.shown:
            self.shown = on
            if on:
                Annotator.of(
                    self._session
                )  # so that there is a layer to label by the time that is wanted
            self._update()

    def set_threshold(self, threshold: float | None) -> None:
        """Outline from this similarity on."""
        self.chosen = threshold
        self._update()

    def set_smoothing(self, pixels: float) -> None:
        """Smooth the map before."""
        self.smoothing = pixels
        self._update()

    def set_minimum_area(self, pixels: int) -> None:
        """Leave out what is smaller."""
        self.minimum_area = pixels
        self._update()

    def set_overwrite(self, on: bool) -> None:
        """Let labels that are there be covered, or not."""
        self.overwrite = on
        self.changed.emit()

    def label(self, value: int) -> int | None:
        """Give what is outlined a class, in the open image; napari's undo takes it back.

        Returns
        -------
        int or None
            Number of pixels that changed; None if there is no outline or no annotation layer.
        """
        mask, image = self.mask, self._session.image
        if mask is None or image is None:
            return None
        changed = put_label(self._session, image, mask, value, overwrite=self.overwrite)
        if changed:
            self._raise_labels()
        return changed

    def _raise_labels(self) -> None:
        """Put the annotation above the map, so that what was labelled is seen."""
        layers, labels = self._session.viewer.layers, self._session.labels_layer
        heat = self._explorer.heat
        if labels is not None and heat is not None and layers.index(labels) < layers.index(heat):
            layers.move(layers.index(labels), layers.index(heat) + 1)

    def _on_view(self) -> None:
        if self.chosen is None and self.threshold != self._outlined:
            self._update()

    def _update(self) -> None:
        """Outline anew; one at a time, in a thread, and the newest setting is next."""
        layer = self._explorer.heat
        if not self.shown or layer is None:
            self.mask = None
            self._outlined = None
            self._explorer.view.remove("outline")
            self.changed.emit()
            return
        if self._work.postponed():
            return
        heat, threshold = np.asarray(layer.data), self.threshold
        smoothing, area = self.smoothing, self.minimum_area

        def done(mask: NDArray[np.bool_]) -> None:
            self._outlined = threshold
            found = self._explorer.heat
            if self.shown and found is not None and found.data is heat:
                self.mask = mask
                self._draw(mask)
                self.changed.emit()

        def failed(error: BaseException) -> None:
            self._session.show_error(error, doing="outlining what is similar")

        self._work.start(
            lambda: above(heat, threshold, smoothing=smoothing, minimum_area=area),
            on_result=done,
            on_failed=failed,
        )

    def _draw(self, mask: NDArray[np.bool_]) -> None:
        viewer, image_layer = self._session.viewer, self._session.image_layer
        layer = find_layer(viewer, "outline")
        if image_layer is None:
            return
        drawn = mask.astype(np.uint8)
        if layer is not None:
            layer.data = drawn
            return
        colours = {0: "transparent", 1: _COLOUR, None: "#ff00ff"}
        layer = Labels(
            drawn,
            name="similar enough",
            opacity=1.0,
            colormap=DirectLabelColormap(color_dict=colours),
            **transforms(image_layer),
        )
        layer.contour = 2
        layer.editable = False
        mark(layer, "outline", image=self._session.image)
        self._explorer.view.add(layer)


def put_label(
    session: Session, image: str, mask: NDArray[np.bool_], value: int, *, overwrite: bool
) -> int | None:
    """Give a region of the open image a class, as painting does: it is saved, and napari's undo takes it back.

    Parameters
    ----------
    session : Session
        Whose Labels layer.
    image : str
        Name of the open image.
    mask : ndarray of bool, (Y, X)
        The region.
    value : int
        Value of the class.
    overwrite : bool
        Whether labels that are there may be covered.

    Returns
    -------
    int or None
        Number of pixels that changed; None if the layer of that image is not there.
    """
    annotator = Annotator.of(session)
    layer = annotator.layer
    if layer is None or annotator.image != image or layer.data.shape != mask.shape:
        return None
    wanted = mask if overwrite else mask & (layer.data == 0)
    return change_pixels(layer, np.where(wanted, value, layer.data))
