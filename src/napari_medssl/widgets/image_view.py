"""Shows one image of the project at a time in a layer of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject

from napari_medssl.errors import MedsslError
from napari_medssl.widgets.channel_colours import mixed_channels
from napari_medssl.widgets.layers import find_layer, mark, remove_layer

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

    Found = tuple[str, "Picture"]  # an image's name, and what to show

__all__ = ["ImageView", "Picture"]

_UNPLACED = ((1.0, 1.0), (0.0, 0.0))


@dataclass(frozen=True)
class Picture:
    """An image as napari shows it.

    Parameters
    ----------
    data : numpy.ndarray
        ``(Y, X)`` in the file's units, or ``(Y, X, 3)`` for colour.
    limits : tuple of float
        Contrast limits that show the bulk of the values.
    scale, translate : tuple of float
        Where it lies in the world (Y, X).
    """

    data: np.ndarray
    limits: tuple[float, float]
    scale: tuple[float, float] = (1.0, 1.0)
    translate: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, project: Project, name: str) -> Picture:
        """Read an image of the project."""
        raw = project.read(name)  # (C, Y, X)
        scale, translate = project.placement(name)
        if raw.shape[0] == 1:
            low, high = np.percentile(raw, [0.1, 99.9])
            low, high = float(low), float(high)
            limits = (low, high if high > low else low + 1.0)
            return cls(raw[0], limits, scale, translate)
        if project.settings.channel_indices is not None:
            mixed = mixed_channels(project.planes(name))
            return cls((255 * mixed).astype(np.uint8), (0, 255), scale, translate)
        if raw.max() <= 255 and raw.min() >= 0 and bool(np.all(raw == np.rint(raw))):
            return cls(np.moveaxis(raw, 0, -1).astype(np.uint8), (0, 255), scale, translate)
        return cls(np.moveaxis(project.planes(name), 0, -1), (0.0, 1.0), scale, translate)


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
        self._placement = _UNPLACED

    def open(self, name: str) -> None:
        """Read the image, then show it, unless another one was asked for meanwhile."""
        self._open(lambda project: _read(project, name), doing=f"reading {name}")

    def open_first(self, *, then: Callable[[], None] = lambda: None) -> None:
        """Show the first image of the project that can be read; what cannot is told by the project's report.

        Parameters
        ----------
        then : callable
            Called when it is shown, or none is.
        """
        self._open(_read_first, doing="reading the first image", then=then)

    def _open(
        self,
        read: Callable[[Project], Found | None],
        *,
        doing: str,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        project = self._session.project
        if project is None:
            return
        self._wanted += 1
        ticket = self._wanted
        before = project.images

        def show(found: Found | None) -> None:
            if self._session.project is not project:
                return
            if project.images is not before:  # a file that was opened turned out to be a stack
                self._session.images_changed.emit()
            if ticket == self._wanted and found is not None:
                self._show(*found)
            then()

        def failed(error: BaseException) -> None:
            self._session.show_error(error, doing=doing)
            then()

        self._session.background(lambda: read(project), on_result=show, on_failed=failed)

    def reload(self) -> None:
        """Read the open image again, or the first one if it is none of the project's any more."""
        project, name = self._session.project, self.name
        if project is None or name is None:
            return
        if name in project.images:
            self.open(name)
        else:
            self.close()
            self.open_first()

    def close(self) -> None:
        """Remove the image; its labels and predictions go with it."""
        self._wanted += 1
        if self.name is None:
            return
        self._session.image_closing.emit()
        self.name = None
        self._placement = _UNPLACED
        remove_layer(self._session.viewer, "image")
        self._session.image_changed.emit()

    def _show(self, name: str, picture: Picture) -> None:
        session = self._session
        viewer = session.viewer
        layer = find_layer(viewer, "image")
        same = layer is not None and self.name == name and _alike(layer.data, picture.data)
        if (
            self.name is not None and not same
        ):  # a file that is read otherwise is another image, too
            session.image_closing.emit()
        rgb = picture.data.ndim == 3
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
        if not rgb and not same:  # what the user chose for the image comes back after this
            layer.reset_contrast_limits_range()
            layer.contrast_limits = picture.limits
        placement = (picture.scale, picture.translate)
        if placement != self._placement:  # else the user may have moved the layer, for all images
            layer.scale, layer.translate = placement
            self._placement = placement
            reshaped = True
        self.name = name
        if reshaped:
            viewer.reset_view()
        session.image_changed.emit()


def _alike(shown: np.ndarray, read: np.ndarray) -> bool:
    return shown.dtype == read.dtype and np.array_equal(shown, read)


def _read(project: Project, name: str) -> Found:
    """Read an image, or the first plane of what turns out to be a stack."""
    planes = project.planes_in(name)
    if planes and name not in planes:
        name = planes[0]
    return name, Picture.of(project, name)


def _read_first(project: Project) -> Found | None:
    for name in project.images:
        try:
            return _read(project, name)
        except MedsslError:  # the project's report tells why it cannot be read
            continue
    return None
