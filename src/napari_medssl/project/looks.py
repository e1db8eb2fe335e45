"""How each image file was last looked at: contrast and camera, in ``views.json`` of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from napari_medssl.config import Config, refuse_newer
from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["MOST", "Look", "View", "read_looks", "write_looks"]

SCHEMA_VERSION = 1
MOST = 2_000
"""Files that are remembered; those that were looked at longest ago are forgotten first."""


class View(Config):
    """Where the camera is."""

    centre: tuple[float, float]
    """(y, x) in the world."""
    zoom: float = Field(gt=0)
    """Canvas pixels per unit of the world."""


class Look(Config):
    """How an image was looked at; None where the user left what the program chose."""

    contrast: tuple[float, float] | None = None
    """The values that are black and white."""
    channels: tuple[str, ...] = ()
    """What was shown then: the contrast means nothing to other channels."""
    view: View | None = None


class _Stored(Config):
    schema_version: int
    images: dict[str, Look]
    """The one looked at last comes last."""


def read_looks(project: Path) -> dict[str, Look]:
    """Read how the image files of a project were looked at; the one looked at last comes last.

    Parameters
    ----------
    project : Path
        The project folder.

    Raises
    ------
    MedsslError
        If the file is damaged, or of a newer version.
    """
    path = _path(project)
    if not path.is_file():
        return {}
    try:
        stored = read_json(path)
        refuse_newer(stored, SCHEMA_VERSION, what=str(path))
        images: dict[str, Look] = _Stored.parse(stored, where=str(path)).images
    except MedsslError as error:
        raise MedsslError(
            error.message,
            advice=f"{error.advice} Or delete it: contrast and zoom are remembered anew.".lstrip(),
        ) from error
    return images


def write_looks(project: Path, looks: Mapping[str, Look]) -> None:
    """Write how the image files of a project were looked at, atomically.

    Parameters
    ----------
    project : Path
        The project folder.
    looks : mapping of str to Look
        By file, whose planes share it. The one looked at last comes last.

    Raises
    ------
    WriteError
        If the system refuses.
    """
    images = {name: look.model_dump(mode="json") for name, look in list(looks.items())[-MOST:]}
    write_json(_path(project), {"schema_version": SCHEMA_VERSION, "images": images})


def _path(project: Path) -> Path:
    return project / "views.json"
