"""Shows one image of the project at a time in a layer of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject

from napari_medssl.widgets.layers import find_layer, mark, remove_layer

if TYPE_CHECKING:
    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["ImageView", "Picture"]


@dataclass(frozen=True)
class Picture:
    """An image as napari shows it.

    Parameters
    ----------
    data : numpy.ndarray
        ``(Y, X)`` in the file's units, or ``(Y, X, 3)`` for colour.
    limits : tuple of float
        Contrast limits that show the bulk of the values.
    """

    data: np.ndarray
    limits: tuple[float, float]

    @classmethod
    def of(cls, project: Project, name: str) -> Picture:
        """Read an image of the project."""
        raw = project.read(name)  # (C, Y, X)
        if raw.shape[0] == 1:
            low, high = np.percentile(raw, [0.1, 99.9])
            low, high = float(low), float(high)
            return cls(raw[0], (low, high if high > low else low + 1.0))
        if raw.max() <= 255 and raw.min() >= 0 and bool(np.all(raw == np.rint(raw))):
            return cls(np.moveaxis(raw, 0, -1).astype(np.uint8), (0, 255))
        return cls(np.moveaxis(project.planes(name), 0, -1), (0.0, 1.0))


class ImageView(QObject):
    """Reads images off the GUI thread and keeps the layer.

    Parameters
    ----------
    session : Session
        Whose image this is.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.name: str | None = None
        self._wanted = 0
        self._limits: dict[str, tuple[float, float]] = {}

    def open(self, name: str) -> None:
        """Read the image, then show it, unless another one was asked for meanwhile."""
        project = self._session.project
        if project is None:
            return
        self._wanted += 1
        ticket = self._wanted

        def show(picture: Picture) -> None:
            if ticket == self._wanted and self._session.project is project:
                self._show(name, picture)

        def failed(error: BaseException) -> None:
            self._session.show_error(error, doing=f"reading {name}")

        self._session.background(
            lambda: Picture.of(project, name), on_result=show, on_failed=failed
        )

    def close(self) -> None:
        """Remove the image; its labels and predictions go with it."""
        self._wanted += 1
        if self.name is None:
            return
        self._session.image_closing.emit()
        self.name = None
        self._limits.clear()
        remove_layer(self._session.viewer, "image")
        self._session.image_changed.emit()

    def _show(self, name: str, picture: Picture) -> None:
        session = self._session
        if self.name is not None and self.name != name:
            session.image_closing.emit()
        viewer = session.viewer
        layer = find_layer(viewer, "image")
        rgb = picture.data.ndim == 3
        if layer is not None and self.name is not None and not layer.rgb:
            self._limits[self.name] = tuple(layer.contrast_limits)
        if layer is not None and (layer.rgb != rgb or layer.data.dtype != picture.data.dtype):
            viewer.layers.remove(layer)
            layer = None
        reshaped = layer is None or layer.data.shape != picture.data.shape
        if layer is None:
            layer = Image(picture.data, rgb=rgb, name=name)
            mark(layer, "image", image=name)
            viewer.layers.insert(0, layer)
        else:
            layer.data = picture.data
            layer.name = name
            mark(layer, "image", image=name)
        if not rgb:
            layer.reset_contrast_limits_range()
            layer.contrast_limits = self._limits.get(name, picture.limits)
        self.name = name
        if reshaped:
            viewer.reset_view()
        session.image_changed.emit()
