"""The images of a project: found, checked and read."""

from __future__ import annotations

import difflib
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.catalogue import Catalogue
from napari_medssl.project.channels import pick, stored_names
from napari_medssl.project.checkpoint import WriteError
from napari_medssl.project.entries import save_entries
from napari_medssl.project.images import UnreadableImageError, decode
from napari_medssl.project.planes import limits, luminance, rescale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project.catalogue import Checked
    from napari_medssl.project.channels import Choice
    from napari_medssl.project.entries import Entry
    from napari_medssl.project.images import Header
    from napari_medssl.project.report import FolderReport
    from napari_medssl.project.settings import ProjectSettings

__all__ = ["ImageFolder"]

SAVE_SECONDS = 10.0
"""How often a check keeps what it found."""


class ImageFolder:
    """The images that a project's settings name; `Project` is one.

    Reading (`planes`, `read`, `grey`, `shape`) may be done from several threads at once, also while one of them
    goes through `check`.
    """

    path: Path
    """The project folder."""
    settings: ProjectSettings
    image_root: Path
    """The image folder, absolute."""

    def __init__(self, path: Path, settings: ProjectSettings, image_root: Path) -> None:
        self.path = path
        self.settings = settings
        self.image_root = image_root
        self._catalogue = Catalogue(
            image_root,
            path / "layers",
            recursive=settings.recursive,
            excluded=settings.excluded,
            axes=settings.axes,
            choice=(settings.channels, settings.channel_indices),
        )
        self._limits: dict[tuple[str, Choice, float, float], list[tuple[float, float]]] = {}
        self._unwritable = ""

    @property
    def name(self) -> str:
        """The project folder's name."""
        return self.path.name

    @property
    def images(self) -> tuple[str, ...]:
        """Usable images, in natural order: POSIX paths relative to `image_root`.

        A plane of a stack is ``<path>/t003_z05``, an image from a napari layer begins with ``(layers)/``.
        """
        return self._catalogue.images

    @property
    def report(self) -> FolderReport:
        """What was found in the image folder, and what was skipped and why."""
        found = self._catalogue.report()
        read, stored = self.settings.channels, self.stored_channels
        if self.settings.channel_indices is not None:
            note = f"The files have the channels {', '.join(stored)}; the project reads {', '.join(read)}."
        elif len(read) == 1 and found.colour:
            note = "The project is grey: images with colour are turned to grey."
        else:
            return found
        return found.model_copy(update={"notes": (*found.notes, note)})

    def rescan(
        self, *, quick: bool = False, progress: Callable[[int, int], None] | None = None
    ) -> FolderReport:
        """Look for images that came, went or changed since.

        Parameters
        ----------
        quick : bool
            Only list the files, as for `open`.
        progress : callable, optional
            Called with (done, total) files.
        """
        if self._find_images(None, quick=quick, progress=progress) and not quick:
            self._save_cache()
        return self.report

    @property
    def unchecked(self) -> int:
        """How many files were not yet looked at whole."""
        return self._catalogue.unchecked

    def check(self, stop: Callable[[], bool] | None = None) -> Iterator[Checked]:
        """Look at every file whole, one after the other, in a few threads; what is found appears at once.

        Afterwards `report` knows all that are cut short, hold NaN, are constant, or are copies of others. What was
        found is kept, also when the check ends early.

        Parameters
        ----------
        stop : callable, optional
            Asked often, from several threads; where it says so, the check ends.

        Yields
        ------
        Checked
            About every half second, and at the end.
        """
        saved = time.monotonic()
        try:
            for told in self._catalogue.check(stop if stop is not None else _never):
                if time.monotonic() - saved >= SAVE_SECONDS:
                    self._save_cache()
                    saved = time.monotonic()
                yield told
        finally:
            self._save_cache()

    @property
    def stored_channels(self) -> tuple[str, ...]:
        """Names of the channels that all files have, as far as they were looked at."""
        return self._catalogue.stored_channels

    @property
    def unknown_axes(self) -> tuple[str, ...]:
        """Stored axes, such as ``QYX``, of which a letter does not tell what it is; see ``settings.axes``."""
        stored = {header.stored_axes for header in self._catalogue.headers()}
        return tuple(sorted(axes for axes in stored if set(axes) - set("TZPCSYX")))

    def channels_of(self, name: str) -> tuple[str, ...]:
        """Name the stored channels of an image."""
        return stored_names(self._find(name)[2])

    def image_path(self, name: str) -> Path:
        """Give the file (or the folder, for OME-Zarr) that an image is in."""
        found = self._catalogue.find(name)
        if found is None:
            raise self._unknown(name)
        return self._catalogue.path(found[0])

    def index(self, name: str) -> tuple[int, ...]:
        """Give the place of a plane in its stack, outermost axis first; empty for an image that is a file."""
        found = self._catalogue.find(name)
        if found is None:
            raise self._unknown(name)
        return found[1]

    def planes_in(self, file: str) -> tuple[str, ...]:
        """Name the usable images in a file, which is opened if it never was.

        Parameters
        ----------
        file : str
            A file as `images` lists it before it was looked at, or an image in it.
        """
        found = self._catalogue.find(file)
        if found is None:
            raise self._unknown(file)
        return self._catalogue.images_in(found[0])

    def header(self, name: str) -> Header:
        """Give what is known of the file that an image is in."""
        return self._find(name)[2]

    def pixel_size(self, name: str) -> float | None:
        """Return the micrometres per pixel of an image, None where its file does not say.

        Parameters
        ----------
        name : str
            One of `images`; its file is opened if it never was.

        Returns
        -------
        float or None
            The geometric mean of both sides of a pixel; the header has (y, x).
        """
        return _mean_side(self.header(name))

    def typical_pixel_size(self) -> float | None:
        """Return the median `pixel_size` of the images that were looked at and say it; None where none does."""
        sizes = [
            size
            for entry in self._catalogue.files.values()
            if entry.header is not None and not entry.reason
            if (size := _mean_side(entry.header)) is not None
            for _ in range(entry.planes)
        ]
        return float(np.median(sizes)) if sizes else None

    def shape(self, name: str) -> tuple[int, int]:
        """Give (Y, X) of an image; also of one that was damaged since, for its labels are still of that size."""
        found = self._catalogue.find(name)
        if found is not None:
            header = self._catalogue.look(found[0]).header
            if header is not None and len(header.plane_sizes) == len(found[1]):
                return header.shape
        return self._find(name)[2].shape

    def read(self, name: str) -> NDArray[np.float32]:
        """Read an image.

        Parameters
        ----------
        name : str
            One of `images`.

        Returns
        -------
        ndarray of float32, (C, Y, X)
            In the file's units; C channels as in ``settings.channels``.

        Raises
        ------
        MedsslError
            If the project has no such image, or it cannot be read any more.
        """
        return self._stored(name).astype(np.float32)

    def planes(self, name: str) -> NDArray[np.float32]:
        """Read an image, normalised to [0, 1] by ``settings.normalisation``; (C, Y, X)."""
        image = self._stored(name)
        normalisation = self.settings.normalisation
        # Images do not change under an open project (a rescan forgets this), and percentiles cost more than decoding.
        key = (name, self._choice, normalisation.low, normalisation.high)
        known = self._limits.get(key)
        if known is None:
            known = [limits(plane, normalisation.low, normalisation.high) for plane in image]
            self._limits[key] = known
        scaled = [rescale(plane, *ends) for plane, ends in zip(image, known, strict=True)]
        return scaled[0][np.newaxis] if len(scaled) == 1 else np.stack(scaled)

    def grey(self, name: str) -> NDArray[np.float32]:
        """Read an image as grey (Y, X) before normalisation: 0.299 R + 0.587 G + 0.114 B, or the channels' mean."""
        image = self._decoded(name)
        if self.settings.channel_indices is None:
            return luminance(image)
        mean: NDArray[np.float32] = pick(image, self._choice).mean(axis=0, dtype=np.float32)
        return mean

    @property
    def _choice(self) -> Choice:
        return self.settings.channels, self.settings.channel_indices

    def _unknown(self, name: str) -> MedsslError:
        near = difflib.get_close_matches(name, self.images, n=3)
        return MedsslError(
            f"The project {self.name} has no image {name!r}.",
            advice=f"Did you mean {' or '.join(near)}?" if near else "",
        )

    def _find(self, name: str) -> tuple[str, tuple[int, ...], Header]:
        """Give file, index and header of a usable image."""
        found = self._catalogue.find(name)
        if found is None:
            raise self._unknown(name)
        if reason := self._catalogue.reason(name):
            raise MedsslError(f"The image {name} cannot be used: {reason}.")
        header = self._catalogue.look(found[0]).header
        assert header is not None  # there would be a reason
        return *found, header

    def _decoded(self, name: str) -> NDArray[Any]:
        file, index, header = self._find(name)
        path = self._catalogue.path(file)
        try:
            image = decode(path, index, axes=self.settings.axes)
        except UnreadableImageError as error:
            plane = f" ({name})" if index else ""
            raise UnreadableImageError(
                f"The image {path}{plane} cannot be read: {error.message}."
            ) from error
        if image.shape != (header.channels, *header.shape):
            raise MedsslError(
                f"The image {name} was {(header.channels, *header.shape)} and is {image.shape} now (C, Y, X).",
                advice="Open the project again.",
            )
        return image

    def _stored(self, name: str) -> NDArray[Any]:
        return pick(self._decoded(name), self._choice)

    def _find_images(
        self,
        known: Mapping[str, Entry] | None,
        *,
        quick: bool,
        sample: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> bool:
        """Find the images; tell whether anything differs from what is known."""
        changed = self._catalogue.refresh(known)
        if not quick:
            self._catalogue.examine(progress=progress)
        elif sample is not None:
            self._catalogue.examine(sample=sample, progress=progress)
            if not self._catalogue.headers():
                self._catalogue.examine(progress=progress)
        self._limits = {}
        return changed

    @property
    def _cache_path(self) -> Path:
        return self.path / "derived" / "scan.json"

    def _save_cache(self) -> None:
        self._store(
            lambda: save_entries(self._cache_path, self._catalogue.files, axes=self._catalogue.axes)
        )

    def _store(self, write: Callable[[], None]) -> None:
        """Write what the project can do without: one on a read-only share still opens, and says so."""
        try:
            write()
        except WriteError as error:
            self._unwritable = error.message
        else:
            self._unwritable = ""


def _mean_side(header: Header) -> float | None:
    return math.sqrt(math.prod(header.pixel_size)) if header.pixel_size is not None else None


def _never() -> bool:
    return False
