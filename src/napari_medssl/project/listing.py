"""The names in an image folder: every candidate, and what is skipped at sight. No file is opened."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import read_json
from napari_medssl.project.images import (
    EXTENSIONS,
    FOLDER_EXTENSIONS,
    FOREIGN_EXTENSIONS,
    extension_of,
)
from napari_medssl.project.natural import natural
from napari_medssl.project.report import Skipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["LAYERS", "Identity", "Listing", "identity_of", "is_project", "list_files"]

LAYERS = "(layers)"
"""Names of images that came from a napari layer begin with this folder, which therefore no image folder may have."""

Identity = tuple[int, int]
"""Size in bytes and modification time in nanoseconds: where both are as before, so is the file."""


@dataclass
class Listing:
    """The names found in a folder, nothing opened yet."""

    files: dict[str, Identity] = field(default_factory=dict)
    """Name of each candidate (POSIX, relative) and its identity, in natural order."""
    skipped: list[Skipped] = field(default_factory=list)
    others: int = 0
    """Files that are no images at all."""
    projects: list[str] = field(default_factory=list)
    """Project folders inside the image folder; left out."""

    def skip(self, name: str, reason: str) -> None:
        """Note a file or folder that looks like an image and cannot be one."""
        self.skipped.append(Skipped(name=_printable(name), reason=reason))


def list_files(
    root: Path, *, recursive: bool, excluded: Sequence[str] = (), stacks: bool = False
) -> Listing:
    """List the image files of a folder, in natural order of their names.

    Parameters
    ----------
    root : Path
        The image folder.
    recursive : bool
        Look into its folders too. Links to folders are followed, each folder is visited once.
    excluded : sequence of str
        Folders and files to leave out, relative to `root`.
    stacks : bool
        Also look into folders named like an image: the labels of a stack's planes lie in such folders.

    Raises
    ------
    MedsslError
        If `root` is not a folder that can be read.
    """
    walk = _Walk(Listing(), recursive, frozenset(excluded), stacks)
    try:
        status = root.stat()
        walk.visited.add((status.st_dev, status.st_ino))
        found = list(walk.through(root, ""))
    except NotADirectoryError as error:
        raise MedsslError(
            f"{root} is a file.", advice="Choose the folder that holds it."
        ) from error
    except FileNotFoundError as error:
        raise MedsslError(f"There is no folder {root}.") from error
    except PermissionError as error:
        raise MedsslError(f"The folder {root} may not be read.") from error
    found.sort(key=lambda item: natural(item[0]))
    walk.listing.files = dict(found)
    return walk.listing


@dataclass
class _Walk:
    listing: Listing
    recursive: bool
    excluded: frozenset[str]
    stacks: bool
    visited: set[tuple[int, int]] = field(default_factory=set)
    """Device and number of the folders that were entered: links may lead in circles."""

    def through(self, folder: Path, prefix: str) -> Iterator[tuple[str, Identity]]:
        with os.scandir(folder) as items:
            for item in items:
                name = prefix + item.name
                if item.name.startswith(".") or name in self.excluded:
                    continue
                extension = extension_of(item.name)
                try:
                    status = item.stat()
                except OSError as error:  # a dangling link, a loop of links, a file just deleted
                    if extension in EXTENSIONS | FOLDER_EXTENSIONS or item.is_symlink():
                        self.listing.skip(name, f"cannot be reached ({error.strerror})")
                    continue
                if extension in FOREIGN_EXTENSIONS:
                    self.listing.skip(name, FOREIGN_EXTENSIONS[extension])
                elif stat.S_ISDIR(status.st_mode):
                    yield from self._folder(Path(item.path), name, extension, status)
                elif extension not in EXTENSIONS:
                    self.listing.others += 1
                elif not stat.S_ISREG(status.st_mode):
                    self.listing.skip(name, "not a file but a device or a pipe")
                elif reason := _unusable_name(item.name):
                    self.listing.skip(name, reason)
                else:
                    yield name, (status.st_size, status.st_mtime_ns)

    def _folder(
        self, path: Path, name: str, extension: str, status: os.stat_result
    ) -> Iterator[tuple[str, Identity]]:
        if extension in FOLDER_EXTENSIONS:
            if reason := _unusable_name(path.name):
                self.listing.skip(name, reason)
                return
        elif extension in EXTENSIONS and not self.stacks:
            self.listing.skip(name, "a folder that is named like an image")
            return
        elif name == LAYERS:
            self.listing.skip(
                name, "this name is reserved for layers added in napari; rename the folder"
            )
            return
        elif not self.recursive or (status.st_dev, status.st_ino) in self.visited:
            return
        try:
            if extension in FOLDER_EXTENSIONS:
                yield name, identity_of(path)
            elif is_project(path):
                self.listing.projects.append(_printable(name))
            else:
                self.visited.add((status.st_dev, status.st_ino))
                yield from self.through(path, name + "/")
        except OSError as error:
            self.listing.skip(name, f"the folder cannot be read ({error.strerror})")


def identity_of(path: Path) -> Identity:
    """Give size and modification time of a file, or of all files in a folder that is one image.

    Raises
    ------
    OSError
        If it cannot be reached.
    """
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size, status.st_mtime_ns
    size, newest = 0, status.st_mtime_ns
    for folder, _, files in os.walk(path):
        for file in files:
            found = os.stat(os.path.join(folder, file))  # noqa: PTH116, PTH118 - there may be a million
            size, newest = size + found.st_size, max(newest, found.st_mtime_ns)
    return size, newest


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
