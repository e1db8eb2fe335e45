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

__all__ = ["held"]


@contextlib.contextmanager
def held(path: Path, *, busy: str, unwritable: str) -> Iterator[None]:
    """Hold a lock file.

    Parameters
    ----------
    path : Path
        The lock; its folder is made where missing.
    busy, unwritable : str
        What to say where somebody else holds it, and where the folder cannot be written (followed by the reason).

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
        # Not at once: asking whether it is held takes it for a moment, too.
        lock.acquire(timeout=1.0, poll_interval=0.02)
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
