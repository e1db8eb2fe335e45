"""Where a project is, and where one may be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import TEMPORARY_PREFIX
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_place", "project_folder"]

_PARTS = frozenset(
    {"derived", "embeddings", "labels", "layers", "objects", "predictions", "queries", "runs"}
)


def project_folder(path: str | Path) -> Path:
    """Give the folder of a project that is named by it, or by the ``project.json`` in it."""
    folder = given(path).resolve()
    return folder.parent if folder.name == "project.json" else folder


def check_place(path: Path, images: Path) -> None:
    """Refuse to make a project where something else is.

    Parameters
    ----------
    path : Path
        The folder that is to become a project.
    images : Path
        Its image folder.

    Raises
    ------
    MedsslError
        If it is taken.
    """
    if path == images:
        raise MedsslError(
            f"The project cannot be made in the image folder itself ({images}).",
            advice="Choose a folder beside it.",
        )
    if (path / "project.json").exists():
        raise MedsslError(f"There is a project in {path} already.", advice="Open it instead.")
    if path.exists() and not path.is_dir():
        raise MedsslError(f"{path} is a file; a project is a folder.")
    # A creation that was killed may have left parts; they are taken over.
    held = [item.name for item in path.iterdir()] if path.is_dir() else []
    others = [n for n in held if n not in _PARTS and not n.startswith(TEMPORARY_PREFIX)]
    if others:
        raise MedsslError(
            f"The folder {path} holds other things ({', '.join(sorted(others)[:3])}).",
            advice="Choose a new or empty folder for the project.",
        )
