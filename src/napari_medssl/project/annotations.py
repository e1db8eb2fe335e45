"""What was drawn: one label file per image, with its counts in the header."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import (
    TEMPORARY_PREFIX,
    read_labels,
    read_labels_note,
    write_tiff_labels,
)
from napari_medssl.project.fingerprints import Fingerprints
from napari_medssl.project.listing import Identity, identity_of
from napari_medssl.project.paths import inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project.project import Project

__all__ = ["Annotations", "Status", "label_files"]

Status = Literal["none", "partial", "done"]


class _Header(NamedTuple):
    """What the header of a label file tells."""

    identity: Identity
    """Of the label file."""
    counts: dict[int, int]
    done: bool
    image: tuple[Identity, str] | None
    """Identity and fingerprint of the image when it was first annotated; unknown in older files."""

    @property
    def status(self) -> Status:
        if self.done:
            return "done"
        return "partial" if any(self.counts) else "none"


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
        self._fingerprints = Fingerprints(project.path / "derived" / "fingerprints.json")
        self._headers: dict[str, _Header] = {}
        self._damaged: dict[str, str] = {}

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

        With the first labels of an image, a fingerprint of the image is stored, see `changed_images`.

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
        known = [0, *(item.value for item in self._project.settings.classes)]
        strange = labels[~np.isin(labels, known, kind="table")]
        if strange.size:
            raise MedsslError(
                f"The labels for {name} hold the value {int(strange[0])}; this project has 0 (not annotated) and"
                f" {', '.join(str(value) for value in known[1:])}.",
                advice="Add the class to the project first.",
            )
        stored = labels.astype(np.uint16, copy=False)
        self._write(name, stored, done=done, image=self._first_image(name))

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
        return self._header(name, _identity(path.stat())).counts if path.is_file() else {0: y * x}

    def status(self, name: str) -> Status:
        """Tell how far an image is annotated; ``done`` is what the user called so, a damaged file is ``partial``."""
        self._project.shape(name)  # refuses unknown names
        path = self.path(name)
        return self._status(name, _identity(path.stat())) if path.is_file() else "none"

    def statuses(self) -> dict[str, Status]:
        """Tell it for all images, in their order."""
        files = dict(label_files(self._folder))
        return {
            name: self._status(name, files[name]) if name in files else "none"
            for name in self._project.images
        }

    def annotated(self) -> tuple[str, ...]:
        """Give the images that have any label, in the project's order."""
        return tuple(name for name, status in self.statuses().items() if status != "none")

    def versions(self) -> dict[str, Identity]:
        """Give the images that have any label, in the project's order, with size and time of their label files."""
        files = dict(label_files(self._folder))
        return {
            name: files[name]
            for name in self._project.images
            if name in files and self._status(name, files[name]) != "none"
        }

    def damaged(self) -> dict[str, str]:
        """Give the images whose label file cannot be read, and why."""
        self.statuses()
        return {name: self._damaged[name] for name in self._project.images if name in self._damaged}

    def stored(self) -> tuple[str, ...]:
        """Give the names of all label files, also of those whose image is gone."""
        return tuple(name for name, _ in label_files(self._folder))

    def changed_images(self) -> tuple[str, ...]:
        """Give the annotated images whose content is another one than when they were first annotated.

        Those whose file is of the same size and time are not read. Not known of labels that an older version wrote,
        until they are stored again.
        """
        changed, computed = [], False
        for name in self.annotated():
            if name in self._damaged:
                continue
            noted = self._header(name, _identity(self.path(name).stat())).image
            if noted is None:
                continue
            path = self._project.image_path(name)
            try:
                if identity_of(path) == noted[0]:
                    continue
                computed = True
                _, digest = self._fingerprint(name)
            except (OSError, MedsslError):
                continue  # it cannot be read any more, which the project's report tells
            if digest != noted[1]:
                changed.append(name)
        if computed:
            self._fingerprints.save()
        return tuple(changed)

    def accept_image(self, name: str) -> None:
        """Say that the labels of an image fit it although it changed.

        Raises
        ------
        MedsslError
            If the image cannot be read, or is of another size than its labels.
        """
        labels = self.read(name)
        done = self.status(name) == "done"
        try:
            image = self._fingerprint(name)
        except OSError as error:
            raise MedsslError(f"The image {name} cannot be read: {error.strerror}.") from error
        self._write(name, labels, done=done, image=image)

    def _write(
        self,
        name: str,
        labels: NDArray[np.uint16],
        *,
        done: bool,
        image: tuple[Identity, str] | None,
    ) -> None:
        counts = {str(value): n for value, n in _counts(labels).items()}
        note: dict[str, Any] = {"counts": counts, "done": done}
        if image is not None:
            (size, mtime), digest = image
            note |= {"image_sha256": digest, "image_size": size, "image_mtime": mtime}
        write_tiff_labels(self.path(name), labels, note=note)

    def _first_image(self, name: str) -> tuple[Identity, str] | None:
        """Give the fingerprint that the labels of an image keep, or that of the image as it is now."""
        path = self.path(name)
        if path.is_file():
            try:
                header = self._header(name, _identity(path.stat()))
            except MedsslError:
                header = None  # damaged, and about to be replaced
            if header is not None and header.image is not None and header.status != "none":
                return header.image
        try:
            return self._fingerprint(name)
        except (OSError, MedsslError):
            return None  # gone or damaged meanwhile: strokes are stored all the same

    def _fingerprint(self, name: str) -> tuple[Identity, str]:
        return self._fingerprints.of(
            name,
            self._project.image_path(name),
            self._project.index(name),
            axes=self._project.settings.axes,
        )

    def _status(self, name: str, identity: Identity) -> Status:
        try:
            status = self._header(name, identity).status
        except MedsslError as error:
            self._damaged[name] = error.message
            return "partial"  # something is there; reading it says what is wrong
        self._damaged.pop(name, None)
        return status

    def _header(self, name: str, identity: Identity) -> _Header:
        known = self._headers.get(name)
        if known is not None and known.identity == identity:
            return known
        header = _read_header(self.path(name), identity)
        self._headers[name] = header
        return header


def _read_header(path: Path, identity: Identity) -> _Header:
    note = read_labels_note(path)
    if note is None:  # edited with another program
        return _Header(identity, _counts(read_labels(path)), False, None)
    try:
        counts = {int(value): int(n) for value, n in note["counts"].items()}
        image = None
        if "image_sha256" in note:
            seen = int(note["image_size"]), int(note["image_mtime"])
            image = (seen, str(note["image_sha256"]))
        return _Header(identity, counts, bool(note["done"]), image)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise MedsslError(f"The label file {path} is damaged: its note is {note}.") from error


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
                    yield prefix + item.name.removesuffix(".tif"), _identity(status)
    except OSError as error:
        raise MedsslError(
            f"The annotations in {folder} cannot be read: {error.strerror}."
        ) from error


def _dangling(item: os.DirEntry[str]) -> bool:
    return item.is_symlink() and not os.path.exists(item.path)  # noqa: PTH110 - a thousand times


def _identity(status: os.stat_result) -> Identity:
    return status.st_size, status.st_mtime_ns


def _counts(labels: NDArray[np.uint16]) -> dict[int, int]:
    counts = np.bincount(labels.ravel())
    return {value: int(counts[value]) for value in np.flatnonzero(counts).tolist()}


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
