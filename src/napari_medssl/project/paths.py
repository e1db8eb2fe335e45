"""The one place that turns names into paths."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from napari_medssl.errors import MedsslError

__all__ = ["given", "inside", "is_folder", "relative_posix"]


def inside(folder: Path, name: str, *, suffix: str = "") -> Path:
    """Give the path of `name` within `folder`, and refuse every name that leads out of it.

    Parameters
    ----------
    folder : Path
        Where the file belongs.
    name : str
        POSIX path relative to `folder`.
    suffix : str
        Added to the last part, whose own extension is kept.

    Raises
    ------
    MedsslError
        If the name is empty, absolute, holds ``..`` or a backslash, or goes through a link that leaves `folder`.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise MedsslError(
            f"{name!r} cannot name a file of {folder}: names are relative, without '..' and backslashes."
        )
    path = folder.joinpath(*parts[:-1], parts[-1] + suffix)
    try:
        stays = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        # A loop of links (RuntimeError until Python 3.12), or characters that no path has.
        raise MedsslError(f"{path} cannot be reached: {error}.") from error
    if not stays or (PureWindowsPath(name).drive and not path.is_relative_to(folder)):
        raise MedsslError(f"{name!r} leads out of {folder}, through a link or a drive.")
    return path


def given(path: str | Path) -> Path:
    """Read a path as a user gave it: ``~`` is the home folder; ``~name`` is a name where nobody has it."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_folder(path: Path) -> bool:
    """Tell whether there is such a folder; False for what no file system could name (too long, a null byte)."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def relative_posix(path: Path, start: Path) -> str:
    """Say how to get from folder `start` to `path`, with forward slashes.

    Raises
    ------
    MedsslError
        If there is no such way (two drives of a Windows machine).
    """
    try:
        # pathlib's own relative_to climbs up only from Python 3.12 on
        return Path(os.path.relpath(path, start)).as_posix()
    except ValueError as error:
        raise MedsslError(
            f"{path} and {start} are on different drives, and a project stores relative paths only.",
            advice="Put the project on the drive that holds the images.",
        ) from error
