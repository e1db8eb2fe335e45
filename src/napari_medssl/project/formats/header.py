"""What every format says of a file before it is decoded, and how stored axes become planes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "MAX_PIXELS",
    "MAX_PLANES",
    "MIN_SIDE",
    "Header",
    "Layout",
    "UnreadableImageError",
    "check_index",
    "check_pixel_type",
    "check_pixels",
    "joined",
]

MIN_SIDE = 8
"""Smaller images hold nothing to learn from."""

MAX_PIXELS = 1 << 29
"""Of one plane, over all its channels: 2 GiB in single precision. Damaged headers claim more."""

MAX_PLANES = 1_000_000
"""Of one file."""


class UnreadableImageError(MedsslError):
    """An image file that cannot be used.

    Parameters
    ----------
    message : str
        The reason, to be shown beside the file's name.
    passing : bool
        Whether the reason may pass while the file stays as it is: a permission, a library to install.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True)
class Header:
    """What is known of a file before it is decoded."""

    shape: tuple[int, int]
    """(Y, X) of each of its planes."""
    channels: int
    """As `decode` gives them: without alpha, a palette looked up."""
    dtype: str
    complete: bool = True
    """False where the end of the file looks wrong, so that only decoding can tell."""
    plane_axes: str = ""
    """Letters of the axes that tell its planes apart, outermost first: T, Z, or P for positions, pages and others."""
    plane_sizes: tuple[int, ...] = ()
    """How many there are along each."""
    stored_axes: str = "YX"
    """All axes as the file names them, for example ``TZCYX``; Q or I where it does not tell."""
    channel_names: tuple[str, ...] = ()
    """One per channel, or none where the file names none."""
    rgb: bool = False
    """Whether its channels are stored as red, green and blue."""
    pixel_size: tuple[float, float] | None = None
    """(y, x) in micrometres per pixel; None where the file does not say, or cannot be believed."""


@dataclass(frozen=True)
class Layout:
    """The axes of a stored array and what each of them means."""

    letters: str
    """One letter per axis: X, Y, S (samples of a pixel), C, Z, T or P."""
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, stored_axes: str, sizes: Sequence[int], axes: Mapping[str, str]) -> Layout:
        """Read stored axes as `axes` says, otherwise as they are; letters that say nothing become P.

        Raises
        ------
        UnreadableImageError
            If they do not describe planes of a usable size.
        """
        meant = axes.get(stored_axes, stored_axes).upper()
        if len(meant) != len(sizes):
            raise UnreadableImageError(
                f"has {len(sizes)} axes ({stored_axes}) and cannot be read as {meant}"
            )
        letters = "".join(letter if letter in "XYSCZTP" else "P" for letter in meant)
        if any(letters.count(letter) != 1 for letter in "YX"):
            raise UnreadableImageError(f"its axes {meant} are no planes of Y and X")
        if any(letters.count(letter) > 1 for letter in "CSZT"):
            raise UnreadableImageError(f"its axes {meant} name one of them twice")
        layout = cls(letters, tuple(int(size) for size in sizes))
        if min(layout.sizes) < 1:
            raise UnreadableImageError(
                f"one of its axes is empty (axes {meant}, shape {_times(layout.sizes)})"
            )
        if min(layout.shape) < MIN_SIDE:
            raise UnreadableImageError(f"too small ({_times(layout.shape)} pixels)")
        check_pixels(*layout.shape, layout.channels)
        if math.prod(layout.plane_sizes) > MAX_PLANES:
            raise UnreadableImageError(
                f"claims {math.prod(layout.plane_sizes)} planes; at most {MAX_PLANES} are read"
            )
        return layout

    @property
    def shape(self) -> tuple[int, int]:
        """(Y, X)."""
        return self.sizes[self.letters.index("Y")], self.sizes[self.letters.index("X")]

    @property
    def channels(self) -> int:
        """Product of the axes C and S."""
        return math.prod(size for letter, size in self._axes if letter in "CS")

    @property
    def plane_axes(self) -> str:
        """Letters of the axes along which there is more than one plane."""
        return "".join(letter for letter, size in self._axes if letter in "ZTP" and size > 1)

    @property
    def plane_sizes(self) -> tuple[int, ...]:
        """How many planes there are along each of `plane_axes`."""
        return tuple(size for letter, size in self._axes if letter in "ZTP" and size > 1)

    def selection(self, index: tuple[int, ...]) -> tuple[int | slice, ...]:
        """Say which part of the stored array is the plane of that index.

        Raises
        ------
        UnreadableImageError
            If there is no such plane.
        """
        check_index(index, self.plane_axes, self.plane_sizes)
        rest = iter(index)

        def along(letter: str, size: int) -> int | slice:
            if letter in "ZTP":
                return next(rest) if size > 1 else 0
            return slice(0, size)

        return tuple(along(letter, size) for letter, size in self._axes)

    def channels_first(self, part: NDArray[Any]) -> NDArray[Any]:
        """Order what `selection` cut out as (C, Y, X)."""
        letters = [letter for letter in self.letters if letter in "YXCS"]
        ordered = part.transpose([letters.index(letter) for letter in "CSYX" if letter in letters])
        return np.ascontiguousarray(ordered).reshape(-1, *ordered.shape[-2:])

    @property
    def _axes(self) -> list[tuple[str, int]]:
        return list(zip(self.letters, self.sizes, strict=True))


def check_pixels(*sizes: int) -> None:
    """Refuse an array that would not fit into memory, before it is allocated.

    Raises
    ------
    UnreadableImageError
        If it holds more than `MAX_PIXELS`.
    """
    if math.prod(sizes) > MAX_PIXELS:
        raise UnreadableImageError(
            f"too large: claims {_times([size for size in sizes if size != 1])} pixels"
        )


def check_pixel_type(dtype: np.dtype[Any]) -> None:
    """Refuse what is not a number per pixel: complex, objects, text, structures, dates.

    Raises
    ------
    UnreadableImageError
        With the type.
    """
    if dtype.kind not in "buif":
        raise UnreadableImageError(f"pixel type {dtype} is not read")


def check_index(index: tuple[int, ...], plane_axes: str, plane_sizes: tuple[int, ...]) -> None:
    """Refuse an index that names no plane.

    Raises
    ------
    UnreadableImageError
        With the planes that there are.
    """
    if len(index) == len(plane_sizes) and all(
        0 <= i < size for i, size in zip(index, plane_sizes, strict=True)
    ):
        return
    if not plane_sizes:
        raise UnreadableImageError("holds a single plane and is no stack any more")
    wanted = f"it has no plane {index}" if index else "one plane of it is needed"
    raise UnreadableImageError(f"a stack of {_times(plane_sizes)} planes ({plane_axes}); {wanted}")


def joined(headers: Sequence[Header]) -> Header:
    """Read several images of one file as one along an outer axis P.

    Raises
    ------
    UnreadableImageError
        If they differ.
    """
    first = headers[0]
    if len(headers) == 1:
        return first
    if any(
        (one.shape, one.channels, one.dtype, one.plane_axes, one.plane_sizes)
        != (first.shape, first.channels, first.dtype, first.plane_axes, first.plane_sizes)
        for one in headers
    ):
        sizes = ", ".join(dict.fromkeys(_times(one.shape) for one in headers))
        raise UnreadableImageError(
            f"holds {len(headers)} images that differ ({sizes}); save each in a file of its own"
        )
    return replace(
        first,
        complete=all(one.complete for one in headers),
        plane_axes="P" + first.plane_axes,
        plane_sizes=(len(headers), *first.plane_sizes),
        pixel_size=first.pixel_size if len({one.pixel_size for one in headers}) == 1 else None,
    )


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(str(size) for size in sizes)
