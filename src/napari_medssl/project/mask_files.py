"""The values of one mask, from any file that masks come in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import read_labels, read_labels_note
from napari_medssl.project.images import (
    DECODING_ERRORS,
    TIFF,
    UnreadableImageError,
    decode,
    extension_of,
    read_header,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project.images import Header

__all__ = ["Mask"]

_Planes = tuple[str, tuple[int, ...]]


@dataclass(frozen=True)
class Mask:
    """Where the mask of an image is."""

    path: Path
    index: tuple[int, ...] = ()
    """Its place in a mask stack, outermost axis first."""
    stack: _Planes | None = None
    """The image's plane axes and their sizes, which a mask stack must have too; None where they are not known."""

    def of(self, image: Header) -> Mask:
        """Give the same mask, bound to the file its image is in."""
        return replace(self, stack=(image.plane_axes, image.plane_sizes))

    @property
    def is_ours(self) -> bool:
        """Whether this program wrote it as labels."""
        try:
            note = read_labels_note(self.path) if extension_of(self.path.name) in TIFF else None
            return note is not None and "objects" not in note
        except MedsslError:
            return False  # reading finds the words for it

    def read(self) -> NDArray[Any]:
        """Read its values, (Y, X) of integers; a palette's indices stay indices.

        Raises
        ------
        MedsslError
            If it is damaged, no mask, or not shaped like its image.
        """
        if self.is_ours:
            return read_labels(self.path)
        name = self.path.name
        try:
            values = _indices(self.path)
            if values is None:
                values = self._decoded()
        except UnreadableImageError as error:
            raise MedsslError(f"The mask {name} cannot be used: {error.message}.") from error
        if extension_of(name) in (".jpg", ".jpeg"):
            # Lossy: around every edge the values swing.
            return np.where(values > 127, np.uint8(255), np.uint8(0))
        if values.dtype.kind == "f":
            whole = values.astype(np.int64)
            if not np.array_equal(whole, values):
                raise MedsslError(f"The mask {name} holds fractions; masks hold whole numbers.")
            values = whole
        if values.dtype.kind == "i" and values.min() < 0:
            raise MedsslError(
                f"The mask {name} holds the value {values.min()}; masks hold 0 and above."
            )
        return values

    def _decoded(self) -> NDArray[Any]:
        header = read_header(self.path)
        found = (header.plane_axes, header.plane_sizes)
        wanted = self.stack
        if len(found[1]) != len(self.index) or (wanted is not None and not _alike(found, wanted)):
            image = _told(wanted or ("", ())) if wanted or not self.index else "is one of a stack"
            raise MedsslError(f"The mask {self.path.name} {_told(found)}, its image {image}.")
        planes = decode(self.path, self.index)
        if any(not np.array_equal(planes[0], other) for other in planes[1:]):
            kind = "a colour picture" if header.rgb else f"an image of {len(planes)} channels"
            raise MedsslError(
                f"The mask {self.path.name} is {kind}; masks hold one number per pixel."
            )
        values: NDArray[Any] = planes[0]
        return values


def _alike(mask: _Planes, image: _Planes) -> bool:
    # Many programs write masks without naming their axes; these come as P.
    return mask[1] == image[1] and (mask[0] == image[0] or set(mask[0]) == {"P"})


def _told(planes: _Planes) -> str:
    axes, sizes = planes
    if not sizes:
        return "is a single plane"
    return f"has {' x '.join(map(str, sizes))} planes ({' x '.join(axes)})"


def _indices(path: Path) -> NDArray[Any] | None:
    """Give the indices of a palette image; None for any other."""
    if extension_of(path.name) not in (".png", ".bmp"):
        return None
    try:
        with Image.open(path) as image:
            return np.asarray(image) if image.mode == "P" else None
    except DECODING_ERRORS:
        return None  # decoding finds the words for it
