"""Annotations on their way to the disk: in order, off the GUI thread, and never lost on the way."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["Annotation", "LabelStore", "counts_of"]

Status = Literal["none", "partial", "done"]


@dataclass(frozen=True)
class Annotation:
    """The annotation of one image at one moment.

    Parameters
    ----------
    labels : numpy.ndarray
        uint16 ``(Y, X)``; nobody changes it any more.
    done : bool
        Whether the user called it done.
    counts : dict
        Pixels per label value.
    """

    labels: NDArray[np.uint16]
    done: bool
    counts: dict[int, int]

    @property
    def status(self) -> Status:
        """Stand of the annotation, as the project names it."""
        if self.done:
            return "done"
        return "partial" if any(n for value, n in self.counts.items() if value) else "none"


def counts_of(labels: NDArray[np.uint16]) -> dict[int, int]:
    """Count the pixels of each label value that occurs."""
    found = np.bincount(labels.ravel())
    return {int(value): int(found[value]) for value in np.flatnonzero(found)}


@dataclass
class _Waiting:
    annotation: Annotation
    number: int
    failed: BaseException | None = None


class LabelStore(QObject):
    """Reads and writes the annotations of a session's projects.

    What is not on the disk yet, because it is being written or could not be, stays here and is what
    `read` returns: changing to another image and back, or a full disk, costs nothing.

    Parameters
    ----------
    session : Session
        Whose project, background threads and messages are used.
    """

    written = Signal(str)
    """An image whose annotation is now on the disk."""
    failed = Signal(str, object)
    """An image whose annotation could not be written, and why."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._waiting: dict[tuple[Path, str], _Waiting] = {}
        self._number = 0
        self._lock = (
            threading.Lock()
        )  # one write at a time, and never an older one over a newer one
        self._on_disk: dict[tuple[Path, str], int] = {}

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Images whose last annotation could not be written."""
        return tuple(name for (_, name), entry in self._waiting.items() if entry.failed is not None)

    def waiting(self, project: Project, name: str) -> Annotation | None:
        """Return the newest annotation of an image if it is not on the disk yet."""
        entry = self._waiting.get((project.path, name))
        return entry.annotation if entry is not None else None

    def read(
        self,
        project: Project,
        name: str,
        *,
        on_result: Callable[[Annotation], None],
        on_failed: Callable[[BaseException], None],
    ) -> None:
        """Fetch an annotation, then call back in the GUI thread."""
        waiting = self.waiting(project, name)
        if waiting is not None:
            on_result(waiting)
            return

        def work() -> Annotation:
            labels = project.annotations.read(name)
            done = project.annotations.status(name) == "done"
            return Annotation(labels, done, counts_of(labels))

        self._session.background(work, on_result=on_result, on_failed=on_failed)

    def write(self, project: Project, name: str, annotation: Annotation) -> None:
        """Put an annotation on its way to the disk; returns at once, `written` or `failed` follows."""
        key = (project.path, name)
        self._number += 1
        number = self._number
        self._waiting[key] = _Waiting(annotation, number)

        def work() -> None:
            with self._lock:
                if self._on_disk.get(key, 0) > number:
                    return
                project.annotations.write(name, annotation.labels, done=annotation.done)
                self._on_disk[key] = number

        def worked(_: object) -> None:
            entry = self._waiting.get(key)
            if entry is not None and entry.number == number:
                del self._waiting[key]
            self.written.emit(name)

        def failed(error: BaseException) -> None:
            entry = self._waiting.get(key)
            if entry is not None and entry.number == number:
                entry.failed = error
                self.failed.emit(name, error)

        self._session.background(work, on_result=worked, on_failed=failed)

    def write_now(self, project: Project, name: str, annotation: Annotation) -> None:
        """Write an annotation and return when it is on the disk: for background threads."""
        with self._lock:
            project.annotations.write(name, annotation.labels, done=annotation.done)

    def retry(self, project: Project) -> None:
        """Try again to write what could not be written."""
        for (path, name), entry in list(self._waiting.items()):
            if path == project.path and entry.failed is not None:
                self.write(project, name, entry.annotation)
