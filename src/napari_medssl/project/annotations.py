"""What was drawn: one label file per image, with its counts in the header."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import (
    TEMPORARY_PREFIX,
    read_labels,
    read_labels_note,
    write_tiff_labels,
)
from napari_medssl.project.paths import inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project.project import Project

__all__ = ["Annotations", "Status"]

Status = Literal["none", "partial", "done"]


class Annotations:
    """The label files of a project: 0 = not annotated, 1 = background, 2 and up = classes.

    Parameters
    ----------
    project : Project
        Whose images they belong to.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._folder = project.path / "labels"
        self._headers: dict[str, tuple[tuple[int, int], dict[int, int], bool]] = {}

    def path(self, name: str) -> Path:
        """Give the label file of image `name`, which may not exist yet."""
        return inside(self._folder, name, suffix=".tif")

    def read(self, name: str) -> NDArray[np.uint16]:
        """Read the labels of an image.

        Parameters
        ----------
        name : str
            One of `Project.images`.

        Returns
        -------
        ndarray of uint16, (Y, X)
            Zeros where nothing was annotated.

        Raises
        ------
        MedsslError
            If the file is damaged or no longer fits the image.
        """
        shape = self._project.shape(name)
        path = self.path(name)
        if not path.is_file():
            return np.zeros(shape, np.uint16)
        labels = read_labels(path)
        if labels.shape != shape:
            raise MedsslError(
                f"The labels of {name} are {_size(labels.shape)} pixels, the image is {_size(shape)}:"
                " the image was replaced by another one.",
                advice=f"Bring the image back, or delete {path}.",
            )
        return labels

    def write(self, name: str, labels: NDArray[np.integer], *, done: bool = False) -> None:
        """Store the labels of an image, atomically and compressed.

        Parameters
        ----------
        name : str
            One of `Project.images`.
        labels : ndarray of integers, (Y, X)
            Replaces what was stored.
        done : bool
            The user calls this image finished.

        Raises
        ------
        MedsslError
            If the shape is not the image's or a value is no class of the project.
        """
        labels = np.asarray(labels)
        shape = self._project.shape(name)
        if labels.shape != shape:
            raise MedsslError(
                f"The labels for {name} have shape {labels.shape}, the image has {shape}."
            )
        if labels.dtype.kind not in "ui":
            raise MedsslError(
                f"The labels for {name} are {labels.dtype}; labels are whole numbers."
            )
        highest = len(self._project.settings.classes)
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high > highest:
            raise MedsslError(
                f"The labels for {name} hold the value {low if low < 0 else high};"
                f" this project has 0 (not annotated) to {highest}.",
                advice="Add the class to the project first.",
            )
        stored = labels.astype(np.uint16, copy=False)
        counts = _counts(stored)
        write_tiff_labels(
            self.path(name),
            stored,
            note={"counts": {str(value): n for value, n in counts.items()}, "done": done},
        )

    def clear(self, name: str) -> None:
        """Delete the labels of an image, if there are any."""
        self.path(name).unlink(missing_ok=True)

    def counts(self, name: str) -> dict[int, int]:
        """Count the pixels of each label value, without decoding them.

        Returns
        -------
        dict
            Value -> pixels, without values that do not occur.
        """
        y, x = self._project.shape(name)
        path = self.path(name)
        return self._header(name, _identity(path.stat()))[0] if path.is_file() else {0: y * x}

    def status(self, name: str) -> Status:
        """Tell how far an image is annotated; ``done`` is what the user called so."""
        self._project.shape(name)  # refuses unknown names
        path = self.path(name)
        return self._status(name, _identity(path.stat())) if path.is_file() else "none"

    def statuses(self) -> dict[str, Status]:
        """Tell it for all images, in their order."""
        files = dict(_label_files(self._folder))
        return {
            name: self._status(name, files[name]) if name in files else "none"
            for name in self._project.images
        }

    def annotated(self) -> tuple[str, ...]:
        """Give the images that have any label, in the project's order."""
        return tuple(name for name, status in self.statuses().items() if status != "none")

    def _status(self, name: str, identity: tuple[int, int]) -> Status:
        counts, done = self._header(name, identity)
        if done:
            return "done"
        return "partial" if any(counts) else "none"

    def _header(self, name: str, identity: tuple[int, int]) -> tuple[dict[int, int], bool]:
        known = self._headers.get(name)
        if known is not None and known[0] == identity:
            return known[1], known[2]
        path = self.path(name)
        note = read_labels_note(path)
        if note is None:  # edited with another program
            counts, done = _counts(read_labels(path)), False
        else:
            counts = {int(value): int(n) for value, n in note["counts"].items()}
            done = bool(note["done"])
        self._headers[name] = (identity, counts, done)
        return counts, done


def _label_files(folder: Path, prefix: str = "") -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield image name and file identity of every label file."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as items:
        for item in items:
            if item.is_dir(follow_symlinks=False):
                yield from _label_files(folder / item.name, f"{prefix}{item.name}/")
            elif item.name.endswith(".tif") and not item.name.startswith(TEMPORARY_PREFIX):
                yield prefix + item.name.removesuffix(".tif"), _identity(item.stat())


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _counts(labels: NDArray[np.uint16]) -> dict[int, int]:
    counts = np.bincount(labels.ravel())
    return {value: int(counts[value]) for value in np.flatnonzero(counts).tolist()}


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
