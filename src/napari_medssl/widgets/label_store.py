"""Annotations on their way to the disk: in order, off the GUI thread, and never lost on the way."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["Annotation", "LabelStore", "counts_of"]

Status = Literal["none", "partial", "done"]

_RETRY_MS = 3000


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
    project: Project
    annotation: Annotation
    number: int
    failed: BaseException | None = None
    """Why the last try to write this image failed, until one succeeds."""
    on_its_way: bool = True


class LabelStore(QObject):
    """Reads and writes the annotations of a session's projects.

    What is not on the disk yet, because it is being written or could not be, stays here and is what
    `read` returns: changing to another image and back, or a full disk, costs nothing. What could not be
    written is tried again every few seconds, until it can be.

    Parameters
    ----------
    session : Session
        Whose project, background threads and messages are used.
    """

    written = Signal(str)
    """An image whose annotation is now on the disk."""
    failed = Signal(str, object)
    """An image whose annotation could not be written, and why: every time that it is tried in vain."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._waiting: dict[tuple[Path, str], _Waiting] = {}
        self._number = 0
        self._lock = (
            threading.Lock()
        )  # one write at a time, and never an older one over a newer one
        self._on_disk: dict[tuple[Path, str], int] = {}
        self._again = QTimer(self)
        self._again.setInterval(_RETRY_MS)
        self._again.timeout.connect(self.retry)

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
        entry = self.put(project, name, annotation)
        key = (project.path, name)

        def worked(_: object) -> None:
            self._settle(key, entry, None)

        def failed(error: BaseException) -> None:
            self._settle(key, entry, error)

        self._session.background(
            lambda: self._write(key, entry), on_result=worked, on_failed=failed, lane="saving"
        )

    def put(self, project: Project, name: str, annotation: Annotation) -> _Waiting:
        """Keep an annotation for `flush`, which must follow."""
        key = (project.path, name)
        before = self._waiting.get(key)
        self._number += 1
        entry = _Waiting(project, annotation, self._number, before.failed if before else None)
        self._waiting[key] = entry
        return entry

    def write_now(self, project: Project, name: str, annotation: Annotation) -> None:
        """Write an annotation and return when it is on the disk: for background threads."""
        with self._lock:
            project.annotations.write(name, annotation.labels, done=annotation.done)

    def retry(self) -> None:
        """Try again to write what could not be written."""
        for (_, name), entry in list(self._waiting.items()):
            if entry.failed is not None and not entry.on_its_way:
                self.write(entry.project, name, entry.annotation)

    def flush(self) -> dict[str, BaseException]:
        """Write all that waits now, in this thread: before something closes for good.

        Returns
        -------
        dict
            Name of the image -> why it cannot be written; empty when everything is on the disk.
        """
        for key, entry in list(self._waiting.items()):
            try:
                self._write(key, entry)
            except (MedsslError, OSError) as error:
                self._settle(key, entry, error)
            else:
                self._settle(key, entry, None)
        return {
            name: entry.failed
            for (_, name), entry in self._waiting.items()
            if entry.failed is not None
        }

    def discard(self) -> None:
        """Give up what could not be written: the user said so."""
        self._waiting = {key: e for key, e in self._waiting.items() if e.failed is None}
        self._again.stop()

    def _write(self, key: tuple[Path, str], entry: _Waiting) -> None:
        with self._lock:
            if self._on_disk.get(key, 0) >= entry.number:
                return
            annotation = entry.annotation
            entry.project.annotations.write(key[1], annotation.labels, done=annotation.done)
            self._on_disk[key] = entry.number

    def _settle(self, key: tuple[Path, str], entry: _Waiting, error: BaseException | None) -> None:
        entry.on_its_way = False
        if self._waiting.get(key) is entry:
            if error is None:
                del self._waiting[key]
            else:
                entry.failed = error
        if not self.unsaved:
            self._again.stop()
        elif not self._again.isActive():
            self._again.start()
        if error is None:
            self.written.emit(key[1])
        elif key in self._waiting:
            self.failed.emit(key[1], error)
