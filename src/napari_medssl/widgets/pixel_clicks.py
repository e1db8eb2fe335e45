"""Clicks in the open image, told apart from drags and from painting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import napari

    from napari_medssl.widgets.session import Session

__all__ = ["PixelClicks", "is_drawing", "pixel_at"]

_CLICK_PIXELS = 4  # a mouse that moves further on the screen while pressed is dragging


class PixelClicks(QObject):
    """Listens to clicks of the left button while it is on.

    Parameters
    ----------
    session : Session
        Whose open image.
    modifiers : collection of str
        Keys that may be held, such as ``Shift``; a click with others is not told.
    """

    clicked = Signal(int, int)
    """The pixel (y, x)."""

    def __init__(
        self, session: Session, parent: QObject | None = None, *, modifiers: Collection[str] = ()
    ) -> None:
        super().__init__(parent)
        self._session = session
        self._on = False
        self._allowed = frozenset(modifiers)
        self.held: frozenset[str] = frozenset()
        """The keys that were held at the last click."""

    def set_on(self, on: bool) -> None:
        """Listen, or no longer."""
        if on == self._on or self._session.closed:
            return
        self._on = on
        callbacks = self._session.viewer.mouse_drag_callbacks
        if on:
            callbacks.append(self._on_press)
        else:
            callbacks.remove(self._on_press)

    def _on_press(self, viewer: napari.Viewer, event: Any) -> Iterator[None]:
        held = frozenset(str(getattr(key, "name", key)) for key in event.modifiers)
        if event.button != 1 or held - self._allowed or is_drawing(viewer):
            return
        start = np.asarray(event.pos, dtype=float)
        dragged = False
        yield
        while event.type == "mouse_move":
            # seen from the screen, so that it means the same at every zoom
            dragged |= bool(np.hypot(*(np.asarray(event.pos) - start)) > _CLICK_PIXELS)
            yield
        pixel = pixel_at(self._session, event.position)
        if not dragged and pixel is not None:
            self.held = held
            self.clicked.emit(*pixel)


def is_drawing(viewer: napari.Viewer) -> bool:
    """Whether a press in the canvas draws something, or the canvas shows no pixels but a volume."""
    active = viewer.layers.selection.active
    drawing = active is not None and active.mode not in ("pan_zoom", "transform")
    return drawing or viewer.dims.ndisplay != 2


def pixel_at(session: Session, position: Sequence[float]) -> tuple[int, int] | None:
    """Give the pixel (y, x) of the open image at a place in the world; None outside."""
    layer = session.image_layer
    if layer is None:
        return None
    y, x = (int(value) for value in np.round(layer.world_to_data(position))[-2:])
    inside = 0 <= y < layer.data.shape[0] and 0 <= x < layer.data.shape[1]
    return (y, x) if inside else None
