"""What is in an image folder: every usable image, and what was skipped and why."""

from __future__ import annotations

import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import read_json, write_json
from napari_medssl.project.images import (
    EXTENSIONS,
    FOREIGN_EXTENSIONS,
    UnreadableImageError,
    decode,
    read_header,
)
from napari_medssl.project.planes import is_colour
from napari_medssl.project.report import FolderReport, Skipped, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "DECODE_ALL",
    "DECODE_SAMPLE",
    "Entry",
    "Listing",
    "examine",
    "list_files",
    "load_cache",
    "natural",
    "report",
    "save_cache",
    "scan",
]

DECODE_ALL = 500
"""Folders of up to so many images are decoded whole when they are scanned."""

DECODE_SAMPLE = 200
"""Of larger folders, so many images, evenly spread."""

_CACHE_VERSION = 1


class Entry(Config):
    """What is known of one image file; kept in the project's ``derived/scan.json``."""

    size: int
    mtime: int
    """Nanoseconds; with `size` it tells whether the file is still the one that was looked at."""
    shape: tuple[int, int] = (0, 0)
    """(Y, X)"""
    channels: int = 0
    dtype: str = ""
    colour: bool | None = None
    """Whether R, G and B differ anywhere; None where the image was not decoded."""
    constant: bool = False
    reason: str = ""
    """Why it cannot be used; empty for a usable image."""


@dataclass
class Listing:
    """The names found in a folder, nothing opened yet."""

    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name of each candidate (POSIX, relative) -> size, modification time in nanoseconds."""
    skipped: list[Skipped] = field(default_factory=list)
    others: int = 0
    """Files that are no images at all."""
    projects: list[str] = field(default_factory=list)
    """Project folders inside the image folder; left out."""


def scan(
    folder: str | Path,
    *,
    recursive: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> FolderReport:
    """Look through a folder of images without making a project; writes nothing.

    Parameters
    ----------
    folder : path
        The image folder.
    recursive : bool
        Look into its folders too.
    progress : callable, optional
        Called with (done, total) files.

    Raises
    ------
    MedsslError
        If there is no such folder.
    """
    root = Path(folder).expanduser().resolve()
    listing = list_files(root, recursive=recursive)
    return report(listing, examine(root, listing.files, progress=progress))


def list_files(root: Path, *, recursive: bool, excluded: Sequence[str] = ()) -> Listing:
    """List the image files of a folder, in natural order of their names.

    Parameters
    ----------
    root : Path
        The image folder.
    recursive : bool
        Look into its folders too. Links to folders are followed, each folder is visited once.
    excluded : sequence of str
        Folders and files to leave out, relative to `root`.

    Raises
    ------
    MedsslError
        If `root` is not a folder that can be read.
    """
    listing = Listing()
    try:
        status = root.stat()
        found = list(_walk(root, "", recursive, set(excluded), {_identity(status)}, listing))
    except NotADirectoryError as error:
        raise MedsslError(
            f"{root} is a file.", advice="Choose the folder that holds it."
        ) from error
    except FileNotFoundError as error:
        raise MedsslError(f"There is no folder {root}.") from error
    except PermissionError as error:
        raise MedsslError(f"The folder {root} may not be read.") from error
    found.sort(key=lambda item: natural(item[0]))
    listing.files = dict(found)
    return listing


def examine(
    root: Path,
    files: Mapping[str, tuple[int, int]],
    *,
    known: Mapping[str, Entry] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Entry]:
    """Find out size, kind and usability of image files.

    All headers are read. Up to `DECODE_ALL` files are decoded too, of more an even sample; besides, always those
    whose values may be NaN (floating point) and those whose end looks wrong.

    Parameters
    ----------
    root : Path
        The image folder.
    files : mapping
        Name -> (size, modification time), as `Listing.files`.
    known : mapping, optional
        Entries of an earlier look; those of unchanged files are taken over.
    progress : callable, optional
        Called with (done, total) in the calling thread.
    """
    known = known or {}
    entries: dict[str, Entry] = {}
    fresh: list[str] = []
    for name, (size, mtime) in files.items():
        entry = known.get(name)
        if entry is not None and (entry.size, entry.mtime) == (size, mtime):
            entries[name] = entry
        else:
            fresh.append(name)
    count = len(fresh)
    chosen = (
        set(fresh)
        if count <= DECODE_ALL
        else {fresh[i * count // DECODE_SAMPLE] for i in range(DECODE_SAMPLE)}
    )

    def look(name: str) -> Entry:
        return _look(root / name, *files[name], decoding=name in chosen)

    if fresh:
        # More threads than cores: on network drives the time goes into waiting.
        with ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1))) as pool:
            try:
                for done, (name, entry) in enumerate(
                    zip(fresh, pool.map(look, fresh), strict=True), start=1
                ):
                    entries[name] = entry
                    if progress is not None:
                        progress(done, count)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return {name: entries[name] for name in files}


def report(listing: Listing, entries: Mapping[str, Entry]) -> FolderReport:
    """Sum up a listing and what `examine` found of its files."""
    usable = [entry for entry in entries.values() if not entry.reason]
    skipped = listing.skipped + [
        Skipped(name=name, reason=entry.reason) for name, entry in entries.items() if entry.reason
    ]
    return summarise(
        sizes=Counter(entry.shape for entry in usable),
        dtypes=Counter(entry.dtype for entry in usable),
        stored_grey=sum(entry.channels == 1 for entry in usable),
        coloured=sum(entry.colour is True for entry in usable),
        constant=sum(entry.constant for entry in usable),
        decoded=sum(entry.colour is not None for entry in usable),
        skipped=sorted(skipped, key=lambda item: natural(item.name)),
        others=listing.others,
        projects=listing.projects,
        names=[name for name, entry in entries.items() if not entry.reason],
    )


def natural(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key by which ``a2.png`` comes before ``a10.png``."""
    parts = tuple(
        (0, int(part), part) if part.isdecimal() and part.isascii() else (1, 0, part.casefold())
        for part in re.split(r"([0-9]+)", name)
        if part
    )
    return parts, name


def load_cache(path: Path) -> dict[str, Entry]:
    """Read what an earlier scan stored; nothing where there is no such file or it is of another version."""
    if not path.is_file():
        return {}
    try:
        stored = read_json(path)
        if stored["version"] != _CACHE_VERSION:
            return {}
        return {
            name: Entry(
                size=row[0],
                mtime=row[1],
                shape=(row[2], row[3]),
                channels=row[4],
                dtype=row[5],
                colour=row[6],
                constant=row[7],
                reason=row[8],
            )
            for name, row in stored["files"].items()
        }
    except (MedsslError, ValidationError, TypeError, LookupError, AttributeError):
        return {}  # only a cache: everything is looked at again and the file written anew


def save_cache(path: Path, entries: Mapping[str, Entry]) -> None:
    """Store entries for the next opening, but not those whose reason may pass (a file that may not be read)."""
    rows = {
        name: [
            entry.size,
            entry.mtime,
            *entry.shape,
            entry.channels,
            entry.dtype,
            entry.colour,
            entry.constant,
            entry.reason,
        ]
        for name, entry in entries.items()
        if entry.mtime >= 0
    }
    write_json(path, {"version": _CACHE_VERSION, "files": rows})


def _walk(
    folder: Path,
    prefix: str,
    recursive: bool,
    excluded: set[str],
    visited: set[tuple[int, int]],
    listing: Listing,
) -> Iterator[tuple[str, tuple[int, int]]]:
    with os.scandir(folder) as items:
        for item in items:
            name = prefix + item.name
            if item.name.startswith(".") or name in excluded:
                continue
            extension = _extension(item.name)
            try:
                status = item.stat()
            except OSError as error:  # a dangling link, a loop of links, a file just deleted
                if extension in EXTENSIONS:
                    reason = f"cannot be reached ({error.strerror})"
                    listing.skipped.append(Skipped(name=_printable(name), reason=reason))
                continue
            if extension in FOREIGN_EXTENSIONS:
                reason = f"{extension} is not read yet; PNG, JPEG, BMP and TIFF are"
                listing.skipped.append(Skipped(name=_printable(name), reason=reason))
            elif item.is_dir():
                if not recursive or _identity(status) in visited:
                    continue
                if is_project(Path(item.path)):
                    listing.projects.append(_printable(name))
                    continue
                visited.add(_identity(status))
                try:
                    yield from _walk(
                        Path(item.path), name + "/", recursive, excluded, visited, listing
                    )
                except OSError as error:
                    reason = f"the folder cannot be read ({error.strerror})"
                    listing.skipped.append(Skipped(name=_printable(name), reason=reason))
            elif extension not in EXTENSIONS:
                listing.others += 1
            elif reason := _unusable_name(item.name):
                listing.skipped.append(Skipped(name=_printable(name), reason=reason))
            else:
                yield name, (status.st_size, status.st_mtime_ns)


def is_project(folder: Path) -> bool:
    """Tell whether a folder is one of our projects."""
    file = folder / "project.json"
    if not file.is_file():
        return False
    try:
        stored = read_json(file)
    except MedsslError:
        return False
    return isinstance(stored, dict) and {"schema_version", "image_root"} <= stored.keys()


def _look(path: Path, size: int, mtime: int, *, decoding: bool) -> Entry:
    try:
        header = read_header(path)
        colour, constant = None, False
        if decoding or not header.complete or header.dtype.startswith("float"):
            image = decode(path)
            colour = is_colour(image)
            constant = bool(image.min() == image.max())
    except UnreadableImageError as error:
        # Negative: looked at again at the next opening, for the reason may have passed.
        passing = isinstance(error.__cause__, PermissionError | FileNotFoundError)
        return Entry(size=size, mtime=-1 if passing else mtime, reason=error.message)
    return Entry(
        size=size,
        mtime=mtime,
        shape=header.shape,
        channels=header.channels,
        dtype=header.dtype,
        colour=colour,
        constant=constant,
    )


def _extension(name: str) -> str:
    lower = name.lower()
    if lower.endswith(".nii.gz"):
        return ".nii.gz"
    _, dot, extension = lower.rpartition(".")
    return dot + extension


def _unusable_name(name: str) -> str:
    # Label and prediction files carry the same name with an extension added, and names are stored as JSON.
    if "\\" in name:
        return "its name holds a backslash"
    try:
        if len(name.encode()) > 250:
            return "its name is too long (over 250 bytes)"
    except UnicodeEncodeError:
        return "its name is not valid text"
    return ""


def _printable(name: str) -> str:
    return os.fsencode(name).decode(errors="replace")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
