"""Holding what only one process may work on; the system lets go by itself when a process dies."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import WriteError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["held", "is_held"]


@contextlib.contextmanager
def held(path: Path, *, busy: str, unwritable: str, patience: float = 1.0) -> Iterator[None]:
    """Hold a lock file.

    Parameters
    ----------
    path : Path
        The lock; its folder is made where missing.
    busy, unwritable : str
        What to say where somebody else holds it, and where the folder cannot be written (followed by the reason).
    patience : float
        Seconds to wait for somebody else to let go. Never 0: asking whether a lock is held takes it for a moment, too.

    Raises
    ------
    MedsslError
        If another process (or another place in this one) holds it.
    WriteError
        If the system refuses.
    """
    # thread_local=False: a generator may be resumed, and closed, by another thread than began it.
    lock = FileLock(path, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=patience, poll_interval=0.02)
    except Timeout as error:
        raise MedsslError(busy, advice="Wait until it ends, or stop it there.") from error
    except OSError as error:
        raise WriteError(
            f"{unwritable}: {error.strerror or error}.",
            advice="Make its folder writable, or work on a copy of the project.",
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_held(path: Path) -> bool:
    """Tell whether a process holds a lock file; nobody does where it is missing, or can only be read."""
    if not path.is_file():
        return False
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except PermissionError:
        return False  # a read-only copy, on which nobody can work
    lock.release()
    return False
