"""Every image comes back as it was looked at: its contrast and where the camera was."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from napari_medssl.project import WriteError
from napari_medssl.project.images import split_plane
from napari_medssl.project.looks import MOST, Look, View, read_looks, write_looks
from napari_medssl.widgets.background import wait_for_background

if TYPE_CHECKING:
    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["ViewMemory"]

_log = logging.getLogger(__name__)


class ViewMemory(QObject):
    """Keeps what the user set of each image, in the session and in the project.

    What the user leaves alone is not kept: the contrast stays the automatic one, and the camera stays where it is. The
    planes of a stack are looked at alike, so that nothing jumps or flickers from one to the next.

    Parameters
    ----------
    session : Session
        Whose images.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._project: Project | None = None
        # by file; the one looked at last comes last
        self._looks: OrderedDict[str, Look] = OrderedDict()
        # the file of the open image, and how it came; that of the image before, and how it went
        self._at_first: tuple[str, Look] | None = None
        self._at_last: tuple[str, Look] | None = None
        self._stored = False  # whether the file was read, and may be written
        session.project_changed.connect(self._on_project)
        session.image_changed.connect(self._on_image)
        session.image_closing.connect(self.keep)

    def keep(self) -> None:
        """Remember how the open image is looked at, if the user changed that; returns at once."""
        if self._note() and self._project is not None:
            self._write(self._project)

    def flush(self) -> None:
        """Do the same before returning: the viewer closes."""
        if not self._note() or self._project is None:
            return
        wait_for_background(lane="saving")  # else an older state could be written over this one
        try:
            write_looks(self._project.path, self._looks)
        except WriteError as error:  # nobody is left to be told
            _log.warning("How %s was looked at is not remembered.", self._project, exc_info=error)

    def _note(self) -> bool:
        """Note how the open image is looked at; tell whether that is to be written."""
        now, at_first = self._now(), self._at_first
        self._at_first = self._at_last = None
        if now is None or at_first is None:
            return False
        file, before = at_first
        self._at_last = (file, now)
        known = self._looks.get(file, Look())
        look = Look(
            contrast=known.contrast if now.contrast == before.contrast else now.contrast,
            channels=known.channels if now.contrast == before.contrast else before.channels,
            view=known.view if now.view == before.view else now.view,
        )
        if look == known:
            return False
        self._remember({file: look})
        return self._stored

    def _on_project(self) -> None:
        project = self._session.project
        if project is self._project:  # only its settings changed
            return
        self._project, self._stored = project, False
        self._looks.clear()
        if project is None:
            return

        def show(looks: dict[str, Look]) -> None:
            if project is not self._project:
                return
            meanwhile = dict(self._looks)
            self._looks = OrderedDict(looks)
            self._remember(meanwhile)
            self._stored = True
            name, before = self._at_first or ("", None)
            # shown before it was known, not touched since
            if name in looks and before == self._now():
                self._restore(name)

        # where it cannot be read it is not written either: it may be of a newer version
        self._session.background(
            lambda: read_looks(project.path),
            on_result=show,
            doing="reading how the images were looked at",
        )

    def _on_image(self) -> None:
        name = self._session.image
        if name is None:
            self._at_first = None
            return
        file, _ = split_plane(name)
        if self._at_first is None or self._at_first[0] != file:  # else it is only shown again
            self._restore(file)

    def _restore(self, file: str) -> None:
        """Show the open image as its file was looked at, and note how it is shown."""
        last, look = self._at_last, self._looks.get(file)
        if last is not None and last[0] == file:  # another plane of it
            self._show(last[1])
        elif look is not None:
            self._looks.move_to_end(file)
            self._show(look)
        now = self._now()
        self._at_first = (file, now) if now is not None else None

    def _show(self, look: Look) -> None:
        layer, project = self._session.image_layer, self._project
        if layer is None or project is None:
            return
        same_channels = look.channels == project.settings.channels
        if look.contrast is not None and same_channels and not layer.rgb:
            layer.contrast_limits = look.contrast
        if look.view is not None:
            camera = self._session.viewer.scene.camera
            camera.center = look.view.centre
            camera.zoom = look.view.zoom

    def _now(self) -> Look | None:
        """Tell how the open image is looked at; None where none is open."""
        session, project = self._session, self._project
        layer = session.image_layer
        if layer is None or project is None:
            return None
        camera = session.viewer.scene.camera
        low, high = layer.contrast_limits
        y, x = camera.center[-2:]
        return Look(
            contrast=None if layer.rgb else (float(low), float(high)),
            channels=project.settings.channels,
            view=View(centre=(float(y), float(x)), zoom=float(camera.zoom)),
        )

    def _remember(self, looks: dict[str, Look]) -> None:
        for file, look in looks.items():
            self._looks[file] = look
            self._looks.move_to_end(file)
        while len(self._looks) > MOST:
            self._looks.popitem(last=False)

    def _write(self, project: Project) -> None:
        looks = dict(self._looks)

        def failed(error: BaseException) -> None:
            # said once, not with every image; within the session they are kept
            self._stored = False
            self._session.show_error(error, doing="remembering how the images were looked at")

        self._session.background(
            lambda: write_looks(project.path, looks),
            on_result=lambda _: None,
            on_failed=failed,
            lane="saving",
        )
