"""How far the annotation of the project is, kept up to date off the GUI thread."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_medssl.widgets.one_by_one import OneByOne

if TYPE_CHECKING:
    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["Annotated", "Overview"]


@dataclass(frozen=True)
class Annotated:
    """What is annotated in a project.

    Parameters
    ----------
    statuses : dict of str to str
        Status by image name: none, partial, done.
    pixels : dict of int to int
        Annotated pixels by label value, over all images.
    """

    statuses: dict[str, str] = field(default_factory=dict)
    pixels: dict[int, int] = field(default_factory=dict)

    @cached_property
    def images(self) -> tuple[str, ...]:
        """The images with any annotation."""
        return tuple(name for name, status in self.statuses.items() if status != "none")

    @classmethod
    def of(cls, project: Project) -> Annotated:
        """Read it from the headers of the label files."""
        statuses = {str(k): str(v) for k, v in project.annotations.statuses().items()}
        pixels: dict[int, int] = {}
        for name, status in statuses.items():
            if status != "none":
                for value, count in project.annotations.counts(name).items():
                    if value > 0:
                        pixels[value] = pixels.get(value, 0) + count
        return cls(statuses, pixels)


class Overview(QObject):
    """Reads `Annotated` again whenever project or labels change.

    Parameters
    ----------
    session : Session
        Whose project this is.
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.annotated = Annotated()
        self._reading = OneByOne(session, self.refresh)
        session.project_changed.connect(self._on_project)
        session.labels_changed.connect(self.refresh)

    def refresh(self) -> None:
        """Read again; returns at once."""
        project = self._session.project
        if project is None:
            return
        if self._reading.postponed():  # one more after it: things changed meanwhile
            return

        def show(found: Annotated) -> None:
            if self._session.project is project:
                self.annotated = found
                self.changed.emit()

        def failed(error: BaseException) -> None:
            self._session.show_error(error, doing="reading the annotations")

        self._reading.start(lambda: Annotated.of(project), on_result=show, on_failed=failed)

    def _on_project(self) -> None:
        self.annotated = Annotated()
        self.changed.emit()
        self.refresh()
