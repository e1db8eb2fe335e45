"""What was drawn, on its way to the disk: in order, off the GUI thread, and never lost on the way."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["WriteBehind"]

T = TypeVar("T")

_RETRY_MS = 3000


@dataclass
class _Waiting(Generic[T]):
    project: Project
    drawn: T
    number: int
    failed: BaseException | None = None
    """Why the last try to write this image failed, until one succeeds."""
    on_its_way: bool = True


class WriteBehind(QObject, Generic[T]):
    """Reads and writes one thing per image of a session's projects; a kind of thing is a class with `load` and `save`.

    What is not on the disk yet, because it is being written or could not be, stays here and is what
    `read` returns: changing to another image and back, or a full disk, costs nothing. What could not be
    written is tried again every few seconds, until it can be.

    Parameters
    ----------
    session : Session
        Whose project, background threads and messages are used.
    """

    written = Signal(str)
    """An image whose newest state is now on the disk."""
    failed = Signal(str, object)
    """An image that could not be written, and why: every time that it is tried in vain."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self._waiting: dict[tuple[Path, str], _Waiting[T]] = {}
        self._number = 0
        # one write at a time, and never an older one over a newer one
        self._lock = threading.Lock()
        self._on_disk: dict[tuple[Path, str], int] = {}
        self._again = QTimer(self)
        self._again.setInterval(_RETRY_MS)
        self._again.timeout.connect(self.retry)

    def load(self, project: Project, name: str) -> T:
        """Read from the disk; called in background threads."""
        raise NotImplementedError

    def save(self, project: Project, name: str, drawn: T) -> None:
        """Write to the disk; called in any thread, one at a time."""
        raise NotImplementedError

    @property
    def unsaved(self) -> tuple[str, ...]:
        """Images whose newest state could not be written."""
        return tuple(name for (_, name), entry in self._waiting.items() if entry.failed is not None)

    def waiting(self, project: Project, name: str) -> T | None:
        """Return the newest state of an image if it is not on the disk yet."""
        entry = self._waiting.get((project.path, name))
        return entry.drawn if entry is not None else None

    def read(
        self,
        project: Project,
        name: str,
        *,
        on_result: Callable[[T], None],
        on_failed: Callable[[BaseException], None],
    ) -> None:
        """Fetch the newest state of an image, then call back in the GUI thread."""
        waiting = self.waiting(project, name)
        if waiting is not None:
            on_result(waiting)
            return
        self._session.background(
            lambda: self.load(project, name), on_result=on_result, on_failed=on_failed
        )

    def write(self, project: Project, name: str, drawn: T) -> None:
        """Put it on its way to the disk; returns at once, `written` or `failed` follows."""
        entry = self.put(project, name, drawn)
        key = (project.path, name)

        def worked(_: object) -> None:
            self._settle(key, entry, None)

        def failed(error: BaseException) -> None:
            self._settle(key, entry, error)

        self._session.background(
            lambda: self._write(key, entry), on_result=worked, on_failed=failed, lane="saving"
        )

    def put(self, project: Project, name: str, drawn: T) -> _Waiting[T]:
        """Keep it for `flush`, which must follow."""
        key = (project.path, name)
        before = self._waiting.get(key)
        self._number += 1
        entry = _Waiting(project, drawn, self._number, before.failed if before else None)
        self._waiting[key] = entry
        return entry

    def write_now(self, project: Project, name: str, drawn: T) -> None:
        """Write it and return when it is on the disk: for background threads."""
        with self._lock:
            self.save(project, name, drawn)

    def retry(self) -> None:
        """Try again to write what could not be written."""
        for (_, name), entry in list(self._waiting.items()):
            if entry.failed is not None and not entry.on_its_way:
                self.write(entry.project, name, entry.drawn)

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

    def _write(self, key: tuple[Path, str], entry: _Waiting[T]) -> None:
        with self._lock:
            if self._on_disk.get(key, 0) >= entry.number:
                return
            self.save(entry.project, key[1], entry.drawn)
            self._on_disk[key] = entry.number

    def _settle(
        self, key: tuple[Path, str], entry: _Waiting[T], error: BaseException | None
    ) -> None:
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
