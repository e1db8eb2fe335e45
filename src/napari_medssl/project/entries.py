"""What is known of one image file, how it is found out, and how it is kept for the next opening."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import atomic, read_json
from napari_medssl.project.images import Header, UnreadableImageError, decode, read_header
from napari_medssl.project.planes import is_colour

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Entry", "digest_of", "load_entries", "look", "save_entries"]

_CACHE_VERSION = 3
_HEADERS = TypeAdapter(list[Header])


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one image file. Lean, for a folder may hold many thousands; files alike share a header."""

    size: int
    mtime: int
    """Nanoseconds; with `size` it tells whether the file is still the one that was looked at."""
    header: Header | None = None
    """None while the file was never opened, or its header cannot be read."""
    seen: int = 0
    """How many of its planes were decoded."""
    coloured: int = 0
    """In how many of these red, green and blue differ."""
    constant: int = 0
    """How many of these have the same value everywhere."""
    reason: str = ""
    """Why the file cannot be used; empty for a usable one."""
    passing: bool = False
    """Whether the reason may pass while the file stays as it is, such as a missing permission."""
    bad: tuple[tuple[int, str], ...] = ()
    """Planes of a stack that cannot be used, by their number, and why."""
    digest: str = ""
    """SHA-256 of its bytes; empty where no other file has its size, or nobody asked yet."""

    @property
    def opened(self) -> bool:
        """Whether it was opened, be it in vain."""
        return self.header is not None or bool(self.reason)

    @property
    def planes(self) -> int:
        """How many planes it has; one as long as that is not known."""
        return math.prod(self.header.plane_sizes) if self.header is not None else 1

    @property
    def checked(self) -> bool:
        """Whether there is nothing left to find out by decoding."""
        return bool(self.reason) or self.seen == self.planes


def look(
    path: Path,
    entry: Entry,
    *,
    axes: Mapping[str, str],
    planes: int | None = 0,
    patient: bool = True,
    stopped: Callable[[], bool] = lambda: False,
) -> Entry:
    """Open a file and find out what it holds.

    Parameters
    ----------
    path : Path
        The file.
    entry : Entry
        What is known of it.
    axes : mapping
        How stored axes are to be read, see `ProjectSettings.axes`.
    planes : int, optional
        How many planes to decode; None for all. A file whose header leaves doubts (its end looks wrong, it may hold
        NaN) is decoded whole in any case,
    patient : bool
        but not if it is a stack and somebody waits for an answer.
    stopped : callable
        Asked before each plane; where it says so, what was known before is given back.
    """
    try:
        header = entry.header if entry.header is not None else read_header(path, axes=axes)
    except UnreadableImageError as error:
        return replace(entry, reason=error.message, passing=error.passing)
    found = replace(entry, header=header)
    doubtful = not header.complete or header.dtype.startswith("float")
    if planes is None or (doubtful and (patient or found.planes == 1)):
        planes = found.planes
    seen = coloured = constant = 0
    bad: list[tuple[int, str]] = []
    for number, index in zip(range(planes), np.ndindex(*header.plane_sizes), strict=False):
        if stopped():
            return entry
        try:
            image = decode(path, index, axes=axes)
        except UnreadableImageError as error:
            if found.planes == 1 or error.passing:
                return replace(found, reason=error.message, passing=error.passing)
            bad.append((number, error.message))
        else:
            coloured += header.rgb and is_colour(image)
            constant += bool(image.min() == image.max())
        seen += 1
    if seen <= entry.seen:
        return found
    if len(bad) == found.planes:
        return replace(found, reason=f"none of its planes can be read ({bad[0][1]})")
    return replace(found, seen=seen, coloured=coloured, constant=constant, bad=tuple(bad))


def digest_of(path: Path) -> str:
    """Give the SHA-256 of a file's bytes.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_entries(path: Path, *, axes: Mapping[str, str]) -> dict[str, Entry]:
    """Read what an earlier look stored.

    Nothing where there is no such file, it is of another version, or axes were read differently then: it is only a
    cache, and all is looked at again.
    """
    if not path.is_file():
        return {}
    try:
        stored = read_json(path)
        if stored["version"] != _CACHE_VERSION or stored["axes"] != dict(axes):
            return {}
        headers = _HEADERS.validate_python(stored["headers"])
        return {
            name: Entry(
                size=int(size),
                mtime=int(mtime),
                header=headers[header] if header is not None else None,
                seen=int(seen),
                coloured=int(coloured),
                constant=int(constant),
                reason=str(reason),
                bad=tuple((int(number), str(why)) for number, why in bad),
                digest=str(digest),
            )
            for name, (
                size,
                mtime,
                header,
                seen,
                coloured,
                constant,
                reason,
                bad,
                digest,
            ) in stored["files"].items()
        }
    except (MedsslError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError):
        return {}


def save_entries(path: Path, entries: Mapping[str, Entry], *, axes: Mapping[str, str]) -> None:
    """Store entries for the next opening, but not those that say nothing, or whose reason may pass.

    Raises
    ------
    WriteError
        If the system refuses.
    """
    headers: dict[Header, int] = {}
    rows = {}
    for name, entry in entries.items():
        if not entry.opened or entry.passing:
            continue
        number = None
        if entry.header is not None:
            number = headers.setdefault(entry.header, len(headers))
        rows[name] = [
            entry.size,
            entry.mtime,
            number,
            entry.seen,
            entry.coloured,
            entry.constant,
            entry.reason,
            entry.bad,
            entry.digest,
        ]
    stored = {
        "version": _CACHE_VERSION,
        "axes": dict(axes),
        "headers": [asdict(header) for header in headers],
        "files": rows,
    }
    text = json.dumps(stored, separators=(",", ":"))  # indented, it would take ten times as long
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
