"""Folders for what is being made and has no name yet; those that a kill left behind are deleted by the next."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from typing import TYPE_CHECKING

from napari_medssl.project.checkpoint import TEMPORARY_PREFIX
from napari_medssl.project.locks import held, is_held

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Unfinished", "sweep"]

_LOCK = "lock"


class Unfinished:
    """A folder of a name that nobody reads, held until `end`: the system lets go by itself when a process dies.

    Parameters
    ----------
    parent : Path
        Where; made where missing.

    Raises
    ------
    WriteError
        If the system refuses.
    """

    path: Path
    """Write here, and move away what is finished."""

    def __init__(self, parent: Path) -> None:
        self.path = parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(4)}"
        self._held = contextlib.ExitStack()
        self._held.enter_context(
            held(
                self.path / _LOCK,
                busy=f"Another process is writing {self.path}.",
                unwritable=f"{parent} cannot be written",
            )
        )

    def end(self) -> None:
        """Delete it, with what is still in it."""
        self._held.close()
        shutil.rmtree(self.path, ignore_errors=True)  # its name says that it is unfinished


def sweep(parent: Path) -> None:
    """Delete the folders that killed processes left; those that a living one works in stay."""
    for left in parent.glob(f"{TEMPORARY_PREFIX}*"):
        if left.is_dir() and not is_held(left / _LOCK):
            shutil.rmtree(left, ignore_errors=True)  # the next sweep finds what stays
