"""A layer that lies on the open image: it moves with it, and goes when the image does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.widgets.layers import mark
from napari_medssl.widgets.placement import follow

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer

    from napari_medssl.widgets.session import Session

__all__ = ["OverImage"]


class OverImage:
    """Puts one layer at a time on the open image.

    Parameters
    ----------
    session : Session
        Whose open image.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layer: Layer | None = None
        self._end: Callable[[], None] | None = None
        session.image_closing.connect(self._on_closing)

    @property
    def layer(self) -> Layer | None:
        """What lies there; None where nothing does, or somebody removed it by hand."""
        layer = self._layer
        return layer if layer is not None and layer in self._session.viewer.layers else None

    def put(
        self,
        layer: Layer,
        role: str,
        *,
        run: str | None,
        begin: tuple[int, int] = (0, 0),
        on_top: bool = False,
    ) -> None:
        """Take away what lies there, and put this layer in its place; the user's layer stays the active one.

        Parameters
        ----------
        layer : napari.layers.Layer
            Placed by `transforms` of the open image, of which there is one.
        role : str
            Its mark.
        run : str or None
            The run that it tells of.
        begin : tuple of int
            The pixel of the image (Y, X) at which the layer begins.
        on_top : bool
            Whether it lies over all layers; else it is the first one over the image.
        """
        self.remove()
        session = self._session
        layers, picture = session.viewer.layers, session.image_layer
        assert picture is not None  # so the caller has found it
        active = layers.selection.active
        mark(layer, role, image=session.image, run=run)
        self._layer = layer
        layers.insert(len(layers) if on_top else layers.index(picture) + 1, layer)
        if active is not None and active in layers:
            layers.selection.active = active
        self._end = follow(picture, layer, begin)

    def remove(self) -> None:
        """Take it away, if it is there."""
        if self._end is not None:
            self._end()
        layer, self._layer, self._end = self.layer, None, None
        if layer is not None:
            self._session.viewer.layers.remove(layer)

    def _on_closing(self) -> None:
        if self._session.on_screen:
            self.remove()
