"""What was drawn: one label file per image, with its counts in the header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import read_labels, read_labels_note, write_tiff_labels
from napari_medssl.project.image_files import ImageFiles, label_files
from napari_medssl.project.listing import Identity, identity_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project.fingerprints import Fingerprint
    from napari_medssl.project.project import Project

__all__ = ["Annotations", "Status", "counts_of"]

Status = Literal["none", "partial", "done"]

_FEW_VALUES = 8
"""Below this, to count one value after the other is faster."""


class _Header(NamedTuple):
    """What the header of a label file tells."""

    identity: Identity
    """Of the label file."""
    counts: dict[int, int]
    done: bool
    image: Fingerprint | None
    """Of the image when it was first annotated; unknown in older files."""
    origins: tuple[str, ...] = ()
    """Runs of which predictions were taken over."""

    @property
    def status(self) -> Status:
        if self.done:
            return "done"
        return "partial" if any(self.counts) else "none"


class Annotations(ImageFiles):
    """The label files of a project: 0 = not annotated, 1 = background, 2 and up = classes.

    Parameters
    ----------
    project : Project
        Whose images they belong to.
    """

    def __init__(self, project: Project) -> None:
        super().__init__(project, "labels")
        self._headers: dict[str, _Header] = {}
        self._damaged: dict[str, str] = {}
        self._taken: dict[str, frozenset[str]] = {}  # runs, which the next write keeps

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
        return self._read(name, read_labels, np.uint16)

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
        labels = self._checked(name, labels)
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

    def counts(self, name: str) -> dict[int, int]:
        """Count the pixels of each label value, without decoding them.

        Returns
        -------
        dict
            Value -> pixels, without values that do not occur.
        """
        y, x = self._project.shape(name)
        path = self.path(name)
        return self._header(name, identity_of(path)).counts if path.is_file() else {0: y * x}

    def status(self, name: str) -> Status:
        """Tell how far an image is annotated; ``done`` is what the user called so, a damaged file is ``partial``."""
        self._project.shape(name)  # refuses unknown names
        path = self.path(name)
        return self._status(name, identity_of(path)) if path.is_file() else "none"

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

    def changed_images(self) -> tuple[str, ...]:
        """Give the annotated images whose content is another one than when they were first annotated.

        Those whose file is of the same size and time are not read. Not known of labels that an older version wrote,
        until they are stored again.
        """
        seen = {}
        for name in self.annotated():
            if name not in self._damaged:
                image = self._header(name, identity_of(self.path(name))).image
                if image is not None:
                    seen[name] = image
        changed = self._project.fingerprints.changed(seen)
        return tuple(name for name in seen if name in changed)

    def take_from(self, name: str, run: str) -> None:
        """Remember that a prediction of a run is being taken into the labels of an image.

        It is kept with the labels from the next time on that they are stored, until they are empty.
        """
        self._taken[name] = self._taken.get(name, frozenset()) | {run}

    def origins(self, name: str) -> tuple[str, ...]:
        """Give the runs whose predictions were taken into the stored labels of an image, as `take_from` was told."""
        stored = self._stored(name)
        return stored.origins if stored is not None else ()

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
            image = self._project.fingerprints.of(name)
        except OSError as error:
            raise MedsslError(f"The image {name} cannot be read: {error.strerror}.") from error
        self._write(name, labels, done=done, image=image)

    def _write(
        self,
        name: str,
        labels: NDArray[np.uint16],
        *,
        done: bool,
        image: Fingerprint | None,
    ) -> None:
        counts = {str(value): n for value, n in counts_of(labels).items()}
        note: dict[str, Any] = {"counts": counts, "done": done}
        if labels.any():
            stored = self._stored(name)
            before = stored.origins if stored is not None else ()
            if origins := self._taken.get(name, frozenset()).union(before):
                note["taken_from"] = sorted(origins)
        else:
            self._taken.pop(name, None)
        if image is not None:
            (size, mtime), digest = image
            note |= {"image_sha256": digest, "image_size": size, "image_mtime": mtime}
        write_tiff_labels(self.path(name), labels, note=note)

    def _first_image(self, name: str) -> Fingerprint | None:
        """Give the fingerprint that the labels of an image keep, or that of the image as it is now."""
        stored = self._stored(name)
        if stored is not None and stored.image is not None:
            return stored.image
        try:
            return self._project.fingerprints.of(name)
        except (OSError, MedsslError):
            return None  # gone or damaged meanwhile: strokes are stored all the same

    def _stored(self, name: str) -> _Header | None:
        """Tell of the labels of an image; None where there are none, or the file is damaged and says nothing."""
        path = self.path(name)
        if not path.is_file():
            return None
        try:
            header = self._header(name, identity_of(path))
        except MedsslError:
            return None
        return header if header.status != "none" else None

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
        return _Header(identity, counts_of(read_labels(path)), False, None)
    try:
        counts = {int(value): int(n) for value, n in note["counts"].items()}
        image = None
        if "image_sha256" in note:
            seen = int(note["image_size"]), int(note["image_mtime"])
            image = (seen, str(note["image_sha256"]))
        origins = tuple(str(run) for run in note.get("taken_from", ()))
        return _Header(identity, counts, bool(note["done"]), image, origins)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise MedsslError(f"The label file {path} is damaged: its note is {note}.") from error


def counts_of(labels: NDArray[np.uint16]) -> dict[int, int]:
    """Count the pixels of each label value that occurs."""
    highest = int(labels.max(initial=0))
    if highest < _FEW_VALUES:  # bincount makes eight bytes of every pixel first
        counts = [int(np.count_nonzero(labels == value)) for value in range(highest + 1)]
    else:
        counts = np.bincount(labels.ravel()).tolist()
    return {value: count for value, count in enumerate(counts) if count}
