"""Files that survive a kill: written whole or not at all, and logs that forgive a torn last line."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import tifffile

from napari_medssl.errors import MedsslError
from napari_medssl.project.images import DECODING_ERRORS, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "TEMPORARY_PREFIX",
    "WriteError",
    "append_line",
    "atomic",
    "read_ids",
    "read_json",
    "read_labels",
    "read_labels_note",
    "read_lines",
    "read_lines_backwards",
    "read_map",
    "write_json",
    "write_tiff",
    "write_tiff_labels",
]

_CHUNK = 1 << 16
_NOTE = b'{"medssl": '

TEMPORARY_PREFIX = ".tmp-"
"""Names of unfinished files begin so; a kill may leave one behind, and nothing ever reads it."""


class WriteError(MedsslError):
    """A file could not be written: the disk is full, the folder read-only, the share gone."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Write a file so that at any moment `path` is the old one or the whole new one.

    Parameters
    ----------
    path : Path
        The file to make or replace; its folder is made where missing.

    Yields
    ------
    Path
        Write here. A name in the same folder with the same suffix, renamed to `path` at the end and removed
        where the block raises.

    Raises
    ------
    WriteError
        If the system refuses; `path` is as before.
    """
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(4)}{path.suffix}"
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            _replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically.

    Parameters
    ----------
    path : Path
        The file.
    value : object
        Anything `json.dumps` takes.
    """
    text = json.dumps(value, indent=1) + "\n"
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    MedsslError
        If the file is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MedsslError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise MedsslError(f"{path} is damaged: {error}.") from error


def append_line(path: Path, line: str) -> None:
    """Add one line to a log.

    A last line torn by a kill (one that has no end) is cut off first: it never was a line, and the new one must
    begin cleanly. Only one process may write a log at a time.

    Parameters
    ----------
    path : Path
        The log; made where missing, its folder not.
    line : str
        The line or lines, without the last line end.

    Raises
    ------
    WriteError
        If the system refuses.
    """
    with _explained(path), path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        whole = _end_of_whole_lines(file, end)
        if whole < end:
            file.truncate(whole)
        file.write(line.encode() + b"\n")


def read_lines(path: Path) -> list[str]:
    """Read the whole lines of a log; a torn last line is left out, a missing file has none.

    Parameters
    ----------
    path : Path
        The log.
    """
    return list(reversed(list(read_lines_backwards(path))))


def read_lines_backwards(path: Path) -> Iterator[str]:
    """Yield the whole lines of a log, the last one first, reading no more than is asked for.

    Parameters
    ----------
    path : Path
        The log.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        position = _end_of_whole_lines(file, file.seek(0, os.SEEK_END))
        rest = b""
        while position > 0:
            start = max(0, position - _CHUNK)
            file.seek(start)
            rest, *lines = (file.read(position - start) + rest).split(b"\n")
            position = start
            for line in reversed(lines):
                if line:
                    yield line.decode("utf-8", errors="replace")
        if rest:
            yield rest.decode("utf-8", errors="replace")


def write_tiff_labels(path: Path, labels: NDArray[np.uint16], *, note: dict[str, Any]) -> None:
    """Write labels as a compressed TIFF, atomically.

    Parameters
    ----------
    path : Path
        The file.
    labels : ndarray of uint16, (Y, X)
        The labels.
    note : dict
        Kept as JSON in the TIFF's description, where `read_labels_note` finds it without decoding pixels.
    """
    write_tiff(path, labels, note=note)


def write_tiff(path: Path, plane: NDArray[Any], *, note: dict[str, Any]) -> None:
    """Write a plane of numbers of any type as a compressed TIFF, atomically; see `write_tiff_labels`."""
    description = json.dumps({"medssl": 1, **note})
    with atomic(path) as temporary:
        tifffile.imwrite(
            temporary,
            plane,
            photometric="minisblack",
            compression="zlib",
            description=description,
            metadata=None,
        )


def read_labels(path: Path) -> NDArray[np.uint16]:
    """Read a label TIFF, (Y, X).

    Raises
    ------
    MedsslError
        If it is missing, damaged or not an integer plane.
    """
    advice = "Restore it from a copy, or delete it and annotate the image again."
    labels = _read_plane(path, "ui", what="label file", holds="labels are", advice=advice)
    return labels.astype(np.uint16, copy=False)


def read_ids(path: Path) -> NDArray[np.int32]:
    """Read a TIFF of numbered objects, (Y, X); errors as of `read_labels`."""
    advice = "Restore it from a copy, or delete it."
    ids = _read_plane(path, "ui", what="object file", holds="ids of objects are", advice=advice)
    return ids.astype(np.int32, copy=False)


def read_map(path: Path) -> NDArray[np.float32]:
    """Read a TIFF of values between whole numbers, (Y, X); errors as of `read_labels`."""
    advice = "Delete it and make it again."
    values = _read_plane(path, "f", what="map", holds="its values are", advice=advice)
    return values.astype(np.float32, copy=False)


def _read_plane(path: Path, kinds: str, *, what: str, holds: str, advice: str) -> NDArray[Any]:
    """Read a TIFF of shape (Y, X) whose values are of one of these `kinds` (numpy's letters)."""
    try:
        plane = np.asarray(tifffile.imread(path))
    except FileNotFoundError as error:
        raise MedsslError(f"There is no {what} {path}.") from error
    except DECODING_ERRORS as error:
        raise MedsslError(
            f"The {what} {path} is damaged: {reason_of(error)}.", advice=advice
        ) from error
    if plane.ndim != 2 or plane.dtype.kind not in kinds:
        numbers = "fractions" if kinds == "f" else "whole numbers"
        raise MedsslError(
            f"The {what} {path} holds {plane.dtype} of shape {plane.shape};"
            f" {holds} {numbers} of shape (Y, X)."
        )
    return plane


def read_labels_note(path: Path) -> dict[str, Any] | None:
    """Read the note of a label TIFF from its header.

    Returns
    -------
    dict or None
        None where another program wrote the file.

    Raises
    ------
    MedsslError
        If it is not a TIFF.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4096)
        if (
            begin := start.find(_NOTE)
        ) >= 0:  # our own files: fifty times faster than parsing the TIFF
            return _parsed_note(start[begin : start.index(b"\0", begin)].decode())
        with tifffile.TiffFile(path) as tiff:
            description = tiff.pages.first.description
    except DECODING_ERRORS as error:
        raise MedsslError(
            f"The label file {path} is damaged: {reason_of(error)}.",
            advice="Restore it from a copy, or delete it and annotate the image again.",
        ) from error
    return _parsed_note(description)


def _parsed_note(description: str) -> dict[str, Any] | None:
    try:
        note = json.loads(description)
    except ValueError:
        return None
    return note if isinstance(note, dict) and "medssl" in note else None


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"{path} cannot be written: {error.strerror or error}.",
            advice="Free some space on that disk."
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            else "Make the folder writable.",
        ) from error


def _replace(source: Path, target: Path) -> None:
    # Windows refuses to replace a file while another process has it open, be it for a moment.
    waits = (0.01, 0.05, 0.2, 0.5) if os.name == "nt" else ()
    for wait in waits:
        try:
            source.replace(target)
        except PermissionError:
            time.sleep(wait)
        else:
            return
    source.replace(target)


def _sync_folder(folder: Path) -> None:
    # The rename itself must reach the disk too. Windows cannot open folders and does this by itself.
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _end_of_whole_lines(file: BinaryIO, end: int) -> int:
    position = end
    while position > 0:
        start = max(0, position - _CHUNK)
        file.seek(start)
        found = file.read(position - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0
