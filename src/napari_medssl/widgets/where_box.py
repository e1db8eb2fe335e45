"""The box on the open image that says where to look first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes
from qtpy.QtCore import Signal

from napari_medssl.widgets.layers import find_layer, mark, remove_layer
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.placement import transforms

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_medssl.explore.uncertainty import Box
    from napari_medssl.widgets.session import Session

__all__ = ["WhereBox"]

_ROLE = "where"
_SHARE = 0.5
"""Of the canvas, that the box takes when it is shown."""
_TEXT = "look here"


class WhereBox(PerSession):
    """One per session; get it with `WhereBox.of`.

    Parameters
    ----------
    session : Session
        On whose open image it is drawn.
    """

    changed = Signal()
    """It is shown now, or is not."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        session.image_closing.connect(self._on_closing)

    @property
    def shown(self) -> bool:
        """Whether there is a box."""
        return find_layer(self.session.viewer, _ROLE) is not None

    def show(self, box: Box) -> None:
        """Draw a box (y0, x0, y1, x1; pixels of the open image) and bring it into view."""
        picture = self.session.image_layer
        if picture is None:
            return
        viewer = self.session.viewer
        active = viewer.layers.selection.active
        remove_layer(viewer, _ROLE)
        layer = _drawn(box, picture)
        mark(layer, _ROLE, image=self.session.image)
        viewer.add_layer(layer)
        layer.editable = False
        if active in viewer.layers:
            viewer.layers.selection.active = active
        self._look_at(box, picture)
        self.changed.emit()

    def hide(self) -> None:
        """Remove the box; the camera stays."""
        if self.shown:
            remove_layer(self.session.viewer, _ROLE)
            self.changed.emit()

    def _on_closing(self) -> None:
        if self.session.on_screen:
            self.hide()

    def _look_at(self, box: Box, picture: Image) -> None:
        viewer = self.session.viewer
        viewer.reset_view()  # the image fills the canvas
        image = np.array(picture.data.shape[:2], float)
        sides = np.array([box[2] - box[0], box[3] - box[1]], float)
        middle = (np.array(box[:2]) + box[2:] - 1) / 2
        viewer.scene.camera.zoom *= max(1.0, _SHARE * float((image / sides).min()))
        viewer.scene.camera.center = picture.data_to_world(middle)[-2:]


def _drawn(box: Box, picture: Image) -> Shapes:
    """Draw a dark line with a bright one on it, which is seen on any image, and words within."""
    y0, x0, y1, x1 = box
    # edges lie between pixels; the outermost within the image
    corners = np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)], float) - 0.5
    side = max(y1 - y0, x1 - x0)
    line = max(0.4, 0.006 * side)
    return Shapes(
        [corners, corners],
        shape_type="polygon",
        edge_color=["black", "white"],
        edge_width=[3 * line, line],
        face_color="transparent",
        opacity=1.0,
        text={
            "string": ["", _TEXT],
            "anchor": "upper_left",
            "translation": (0.12 * side, 0.03 * side),  # within the box, which may lie at the edge
            "color": "#3a9bdc",  # stands out on dark and bright images, and on the first class
            "size": 10,
        },
        name="where to look",
        **transforms(picture),
    )
