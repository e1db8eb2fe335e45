"""One file per image of a project, named as the image: its labels, its objects."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import TEMPORARY_PREFIX
from napari_medssl.project.paths import inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from napari_medssl.project.listing import Identity
    from napari_medssl.project.project import Project

__all__ = ["ImageFiles", "label_files"]

T = TypeVar("T", bound=np.integer)


class ImageFiles:
    """A folder with one TIFF of whole numbers per image; an image that has none is 0 everywhere.

    Parameters
    ----------
    project : Project
        Whose images they belong to.
    what : str
        Name of the folder, and what it holds in sentences: ``labels``.
    """

    def __init__(self, project: Project, what: str) -> None:
        self._project = project
        self._what = what
        self._folder = project.path / what

    def path(self, name: str) -> Path:
        """Give the file of image `name`, which may not exist yet."""
        return inside(self._folder, name, suffix=".tif")

    def clear(self, name: str) -> None:
        """Delete the file of an image, if there is one."""
        self.path(name).unlink(missing_ok=True)

    def stored(self) -> tuple[str, ...]:
        """Give the names of all files, also of those whose image is gone."""
        return tuple(name for name, _ in label_files(self._folder))

    def _read(self, name: str, read: Callable[[Path], NDArray[T]], empty: type[T]) -> NDArray[T]:
        """Read the file of an image; zeros of the type `empty` where there is none."""
        shape = self._project.shape(name)
        path = self.path(name)
        if not path.is_file():
            return np.zeros(shape, empty)
        values = read(path)
        if values.shape != shape:
            raise MedsslError(
                f"The {self._what} of {name} are {_size(values.shape)} pixels, the image is {_size(shape)}:"
                " the image was replaced by another one.",
                advice=f"Bring the image back, or delete {path}.",
            )
        return values

    def _checked(self, name: str, values: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """Give what is to be written as an array; refuses one of another shape than the image's."""
        values = np.asarray(values)
        shape = self._project.shape(name)
        if values.shape != shape:
            raise MedsslError(
                f"The {self._what} for {name} have shape {values.shape}, the image has {shape}."
            )
        if values.dtype.kind not in "ui":
            raise MedsslError(
                f"The {self._what} for {name} are {values.dtype}; {self._what} are whole numbers."
            )
        return values


def label_files(folder: Path, prefix: str = "") -> Iterator[tuple[str, Identity]]:
    """Yield image name and file identity of every label file (or file of objects) in a folder."""
    if not folder.is_dir():
        return
    try:
        with os.scandir(folder) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    yield from label_files(folder / item.name, f"{prefix}{item.name}/")
                elif item.name.endswith(".tif") and not item.name.startswith(TEMPORARY_PREFIX):
                    status = item.stat(follow_symlinks=not _dangling(item))
                    yield (
                        prefix + item.name.removesuffix(".tif"),
                        (status.st_size, status.st_mtime_ns),
                    )
    except OSError as error:
        raise MedsslError(
            f"The annotations in {folder} cannot be read: {error.strerror}."
        ) from error


def _dangling(item: os.DirEntry[str]) -> bool:
    return item.is_symlink() and not os.path.exists(item.path)  # noqa: PTH110 - a thousand times


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
