"""The layers of the colour views: they lie on the open image, move with it and go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from scipy import ndimage

from napari_medssl.widgets.gl_guard import guard_canvas
from napari_medssl.widgets.layers import find_layer, mark, remove_layer
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.placement import follow, transforms

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_medssl.widgets.session import Session

__all__ = ["ColourLayers"]

_DARKER = 185
"""Opacity, of 255, of the shade over what is not lit up."""


class ColourLayers(PerSession):
    """Shows a colouring of the open image, and a part of it lit up; one per session, see `ColourLayers.of`.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        guard_canvas(session.viewer)
        self.opacity = 1.0
        self._ends: dict[str, Callable[[], None]] = {}
        session.image_closing.connect(self._on_image_closing)

    @property
    def shown(self) -> Layer | None:
        """The layer with the colours or the clusters."""
        return find_layer(self._session.viewer, "colours")

    def show_picture(self, picture: NDArray[np.uint8], name: str) -> None:
        """Show colours ``(Y, X, 3)``."""
        layer = self.shown
        if isinstance(layer, Image) and layer.data.shape == picture.shape:
            layer.data, layer.name = picture, name
            return
        self._replace("colours", Image(picture, rgb=True, name=name, **self._place()))

    def show_clusters(self, clusters: NDArray[np.uint16], colours: NDArray[np.uint8]) -> None:
        """Show clusters ``(Y, X)``, from 1 on, in their colours ``(K, 3)``."""
        table: dict[int | None, Any] = {None: np.zeros(4), 0: np.zeros(4)}
        for number, colour in enumerate(colours, start=1):
            table[number] = np.array([*(colour / 255), 1.0])
        colormap = DirectLabelColormap(color_dict=table)
        layer = Labels(clusters, name="clusters", colormap=colormap, **self._place())
        self._replace("colours", layer)
        layer.editable = False  # they are no annotation

    def light_up(self, mask: NDArray[np.bool_] | None) -> None:
        """Darken all but a part of the image ``(Y, X)`` and rim that part; None ends it."""
        if mask is None or not mask.any():
            self._remove("lit")
            return
        shade = np.zeros((*mask.shape, 4), np.uint8)
        shade[..., 3][~mask] = _DARKER
        rim = mask & ~ndimage.binary_erosion(mask, border_value=1)
        shade[rim] = 255
        layer = find_layer(self._session.viewer, "lit")
        if layer is not None and layer.data.shape == shade.shape:
            layer.data = shade
            return
        self._replace("lit", Image(shade, rgb=True, name="lit up", **self._place()))

    def set_opacity(self, opacity: float) -> None:
        """Set how strongly the colours cover the image, from 0 to 1."""
        self.opacity = opacity
        layer = self.shown
        if layer is not None:
            layer.opacity = opacity

    def clear(self) -> None:
        """Remove both."""
        for role in ("colours", "lit"):
            self._remove(role)

    def _on_image_closing(self) -> None:
        if self._session.on_screen:
            self.clear()

    def _place(self) -> dict[str, Any]:
        image = self._session.image_layer
        return {} if image is None else transforms(image)

    def _replace(self, role: str, layer: Layer) -> None:
        session = self._session
        viewer, image = session.viewer, session.image_layer
        if image is None:
            return
        self._remove(role)
        active = viewer.layers.selection.active
        mark(layer, role, image=session.image, run=session.current_run)
        if role == "colours":
            layer.opacity = self.opacity
            viewer.layers.insert(viewer.layers.index(image) + 1, layer)  # under labels and crosses
        else:
            viewer.layers.append(layer)
        if active is not None and active in viewer.layers:  # one goes on painting where one was
            viewer.layers.selection.active = active
        self._ends[role] = follow(image, layer)

    def _remove(self, role: str) -> None:
        if role in self._ends:
            self._ends.pop(role)()
        remove_layer(self._session.viewer, role)
