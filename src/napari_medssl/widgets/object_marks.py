"""The outlines of the selected objects, and the line that cuts one: one Shapes layer for both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from qtpy.QtCore import QTimer, Signal

from napari_medssl.instances.outlines import outlines
from napari_medssl.widgets.layers import mark
from napari_medssl.widgets.object_editor import ObjectEditor
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.placement import place

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer

    from napari_medssl.widgets.session import Session

    Corners = list[tuple[float, float]]

__all__ = ["ObjectMarks"]

_MOST = 50  # outlines that are drawn; more tell nothing, and take time
_QUIET_MS = 40
_COLOUR = "white"
_LINES = (("black", 2.0), (_COLOUR, 1.0))


class ObjectMarks(PerSession):
    """One per session; get it with `ObjectMarks.of`.

    Parameters
    ----------
    session : Session
        Whose objects.
    """

    changed = Signal()
    """`drawing` differs."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._editor = ObjectEditor.of(session)
        self.layer: Shapes | None = None
        self._cut: Callable[[Corners], None] | None = None
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(_QUIET_MS)
        self._soon.timeout.connect(self._draw)
        self._editor.selection_changed.connect(self.refresh)
        self._editor.layer_changed.connect(self.refresh)
        session.viewer.layers.events.removed.connect(self._on_removed)

    @property
    def drawing(self) -> bool:
        """Whether a line is awaited."""
        return self._cut is not None

    def refresh(self) -> None:
        """Outline what is selected: soon, for drawing takes longer than what comes in quick succession."""
        if self.drawing:
            self.stop()
        self._soon.start()

    def _draw(self) -> None:
        if self.drawing or self.session.closed:
            return
        objects, layer = self._editor.layer, self.layer
        if layer is not None and self.session.image is None:
            self.session.viewer.layers.remove(layer)
            return
        if objects is None or not self._editor.selected:
            if layer is not None and layer.visible:
                layer.data = []
                layer.visible = False
            return
        layer = self._there()
        lines = outlines(objects.data, self._editor.selected[-_MOST:])
        width = _width(objects.data.shape)
        layer.data = []
        layer.add_paths(
            lines * len(_LINES),
            edge_width=[wide * width for _, wide in _LINES for _ in lines],
            edge_color=[colour for colour, _ in _LINES for _ in lines],
        )
        layer.visible = True

    def draw_line(self, on_drawn: Callable[[Corners], None]) -> None:
        """Let the user draw one line; calls back with its corners, (y, x) in pixels of the image."""
        objects = self._editor.layer
        if objects is None:
            return
        layer = self._there()
        self._cut = on_drawn
        layer.visible, layer.editable = True, True
        layer.current_edge_width = _width(objects.data.shape)
        self.session.viewer.layers.selection.active = layer
        layer.mode = "add_path"
        self.changed.emit()

    def stop(self) -> None:
        """Await no line any more."""
        self._cut = None
        layer, objects = self.layer, self._editor.layer
        if layer is not None:
            layer.mode = "pan_zoom"
            layer.editable = False
        if objects is not None:
            self.session.viewer.layers.selection.active = objects
        self._soon.start()  # what was selected while a line was awaited
        self.changed.emit()

    def _there(self) -> Shapes:
        objects = self._editor.layer
        if self.layer is None:
            layer = Shapes(ndim=2, name="selected objects", edge_color=_COLOUR, opacity=1.0)
            mark(layer, "object marks")
            layer.events.data.connect(self._on_drawn)
            active = self.session.viewer.layers.selection.active
            self.session.viewer.add_layer(layer)
            layer.editable = False
            self.session.viewer.layers.selection.active = active
            self.layer = layer
        if objects is not None and not _same_place(self.layer, objects):
            place(self.layer, objects)
        return self.layer

    def _on_drawn(self, event: Any) -> None:
        if self._cut is not None and str(getattr(event, "action", "")) == "added":
            QTimer.singleShot(0, self._take_line)  # napari is still in the middle of the stroke

    def _take_line(self) -> None:
        cut, layer = self._cut, self.layer
        if cut is None or layer is None or not len(layer.data):
            return
        line = [(float(y), float(x)) for y, x in np.asarray(layer.data[-1])[:, -2:]]
        self.stop()
        cut(line)
        self.refresh()

    def _on_removed(self, event: Any) -> None:
        if event.value is self.layer:
            self.layer, self._cut = None, None
            self.changed.emit()


def _same_place(one: Layer, other: Layer) -> bool:
    corners = np.array([(0, 0), (0, 1), (1, 0)])  # of an affine map, three pixels tell all
    return all(np.allclose(one.data_to_world(c), other.data_to_world(c)) for c in corners)


def _width(shape: tuple[int, ...]) -> float:
    """Give a width that is seen at any size of image, pixels."""
    return max(0.5, max(shape) / 300)
