"""One viewer at a time works in a project: two would write over each other's labels."""

from __future__ import annotations

import datetime
import os
import socket
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import WriteError, read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ViewerLock"]


class ViewerLock:
    """Hold a project; the system lets go by itself when the process dies.

    Parameters
    ----------
    folder : Path
        The project folder.

    Raises
    ------
    MedsslError
        If another viewer has the project open; the message names its process, machine and hour.
    """

    reason: str
    """Why nothing is held, where the folder cannot be written and so nothing needs protection; empty otherwise."""

    def __init__(self, folder: Path) -> None:
        self._who = folder / "viewer.json"
        self.reason = ""
        # thread_local=False: a viewer opens its project in one thread and closes it in another.
        self._lock = FileLock(folder / "viewer.lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0.2, poll_interval=0.05)
            now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
            write_json(self._who, {"host": socket.gethostname(), "pid": os.getpid(), "since": now})
        except Timeout as error:
            raise MedsslError(
                f"The project {folder.name} is open in {_told(self._who)}.",
                advice="Close it there first: two viewers would write over each other's labels.",
            ) from error
        except (WriteError, OSError) as error:
            self._lock.release()
            self.reason = f"The project {folder} cannot be written ({_words(error)})."

    @property
    def held(self) -> bool:
        """Whether this process holds the project."""
        return self._lock.is_locked

    def release(self) -> None:
        """Let go; may be done twice."""
        if self.held:
            self._who.unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def _told(file: Path) -> str:
    """Tell who holds a project; whoever just took it may not have written that yet."""
    try:
        who: dict[str, Any] = read_json(file)
        return f"another viewer (process {who['pid']} on {who['host']}, since {who['since']})"
    except (MedsslError, LookupError, TypeError):
        return "another viewer"


def _words(error: WriteError | OSError) -> str:
    return error.message if isinstance(error, WriteError) else error.strerror or str(error)
