"""Images that are no longer those that were annotated: told when one is opened, until the user has looked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_medssl.widgets.problem import Action, Problem

if TYPE_CHECKING:
    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["ChangedImages"]

_ABOUT = "a changed image"


class ChangedImages(QObject):
    """Compares annotated images with what they were, off the GUI thread.

    Parameters
    ----------
    session : Session
        Whose project this is.
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._project: Project | None = None
        self.names: frozenset[str] = frozenset()
        session.project_changed.connect(self._on_project)
        session.image_changed.connect(self._tell)

    def refresh(self) -> None:
        """Compare again; returns at once."""
        project = self._session.project
        if project is None:
            self._show(frozenset())
            return

        def show(names: tuple[str, ...]) -> None:
            if self._session.project is project:
                self._show(frozenset(names))

        self._session.background(
            project.annotations.changed_images,
            on_result=show,
            doing="comparing the images with those that were annotated",
            lane="checking",
        )

    def accept(self, name: str) -> None:
        """Take the user's word that the labels still fit; returns at once."""
        project = self._session.project
        if project is None:
            return

        def accepted(_: object) -> None:
            if self._session.project is project:
                self._show(self.names - {name})

        self._session.background(
            lambda: project.annotations.accept_image(name),
            on_result=accepted,
            doing=f"accepting the labels of {name}",
            lane="saving",
        )

    def _show(self, names: frozenset[str]) -> None:
        if names != self.names:
            self.names = names
            self.changed.emit()
        self._tell()

    def _on_project(self) -> None:
        # also emitted when settings change, which changes no image
        if self._session.project is not self._project:
            self._project = self._session.project
            self.names = frozenset()
            self.refresh()

    def _tell(self) -> None:
        name = self._session.image
        self._session.settled.emit(_ABOUT)
        if name is None or name not in self.names:
            return
        self._session.problem.emit(
            Problem(
                f"{name} changed since it was annotated.",
                "Look whether the labels still lie on what they were drawn on.",
                level="warning",
                about=_ABOUT,
                actions=(Action("Labels still fit", partial(self.accept, name)),),
            )
        )
