"""Any image file of a folder -> planes ``(C, Y, X)``. Headers are read without decoding.

The entrance: which files are images, how their planes are named, and what to say of one that cannot be used. How each
format is read stands in `napari_medssl.project.formats`.
"""

from __future__ import annotations

import errno
import itertools
import re
import stat
import struct
import zlib
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from napari_medssl.project.formats.header import MIN_SIDE, Header, UnreadableImageError
from napari_medssl.project.formats.medical import (
    decode_dicom,
    decode_nifti,
    dicom_header,
    nifti_header,
)
from napari_medssl.project.formats.ome_zarr import decode_zarr, zarr_header
from napari_medssl.project.formats.raster import decode_raster, raster_header
from napari_medssl.project.formats.tiff import decode_tiff, tiff_header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "DECODING_ERRORS",
    "EXTENSIONS",
    "FOLDER_EXTENSIONS",
    "FOREIGN_EXTENSIONS",
    "MIN_SIDE",
    "TIFF",
    "Header",
    "UnreadableImageError",
    "decode",
    "extension_of",
    "plane_names",
    "read_header",
    "reason_of",
    "split_plane",
]

TIFF = frozenset({".tif", ".tiff"})
_RASTER = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp"})
_NIFTI = frozenset({".nii", ".nii.gz"})
_DICOM = frozenset({".dcm", ".dicom"})

EXTENSIONS = TIFF | _RASTER | _NIFTI | _DICOM
"""Files that are read; NIfTI and DICOM where the extra ``medical`` is installed."""

FOLDER_EXTENSIONS = frozenset({".zarr"})
"""Folders that are one image each."""

FOREIGN_EXTENSIONS: Mapping[str, str] = MappingProxyType(
    {
        extension: f"{extension} is not read; save it as TIFF or OME-Zarr, or open it in napari and use that layer"
        for extension in (
            ".czi",
            ".dng",
            ".dv",
            ".gif",
            ".h5",
            ".hdf5",
            ".ims",
            ".jp2",
            ".lif",
            ".lsm",
            ".mha",
            ".mhd",
            ".mrc",
            ".nd2",
            ".ndpi",
            ".nrrd",
            ".npy",
            ".oib",
            ".oif",
            ".oir",
            ".qptiff",
            ".scn",
            ".stk",
            ".svs",
            ".vsi",
        )
    }
)
"""Images too, but not read -> why: they are reported as skipped, where other files are only counted."""

DECODING_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,  # Pillow, for a broken PNG
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    RuntimeError,  # imagecodecs' errors and NotImplementedError
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What the libraries raise for a damaged file. One stray file must not end a job on a folder."""

_NONSENSE = (TypeError, LookupError, ArithmeticError, AssertionError, AttributeError)
"""What a library stumbles over without having words for it."""

_NO_AXES: Mapping[str, str] = MappingProxyType({})
_PLANE = re.compile(r"[a-z][0-9]+(_[a-z][0-9]+)*")

_RASTER_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"RIFF")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_STEPS = 256
"""Shades that an image must have room for."""


def read_header(path: Path, *, axes: Mapping[str, str] = _NO_AXES) -> Header:
    """Read size, axes and kind of an image without decoding it.

    Parameters
    ----------
    path : Path
        A file with one of `EXTENSIONS` or a folder with one of `FOLDER_EXTENSIONS`.
    axes : mapping
        How stored axes are to be read where the file does not tell, for example ``{"QYX": "CYX"}``.

    Raises
    ------
    UnreadableImageError
        With the reason, if it holds no planes that can be used or is damaged.
    """
    try:
        match _format(path):
            case "zarr":
                return zarr_header(path, axes)
            case "nifti":
                return nifti_header(path, axes)
            case "dicom":
                return dicom_header(path, axes)
            case "tiff":
                return tiff_header(path, axes)
            case _:
                return raster_header(path)
    except DECODING_ERRORS as error:
        raise _unreadable(path, error) from error


def decode(
    path: Path, index: tuple[int, ...] = (), *, axes: Mapping[str, str] = _NO_AXES
) -> NDArray[Any]:
    """Decode one plane of an image; values as stored, floating point as float32, bits as 0 and 1.

    May be called from several threads at once.

    Parameters
    ----------
    path : Path
        See `read_header`. A rotation noted in EXIF or NIfTI is not applied: masks are drawn on the stored pixels.
    index : tuple of int
        One number for each of the header's ``plane_axes``.
    axes : mapping
        See `read_header`.

    Returns
    -------
    ndarray, (C, Y, X)
        All stored channels; alpha is dropped, a palette is looked up.

    Raises
    ------
    UnreadableImageError
        With the reason.
    """
    try:
        match _format(path):
            case "zarr":
                image = decode_zarr(path, index, axes)
            case "nifti":
                image = decode_nifti(path, index, axes)
            case "dicom":
                image = decode_dicom(path, index, axes)
            case "tiff":
                image = decode_tiff(path, index, axes)
            case _:
                image = decode_raster(path, index)
    except DECODING_ERRORS as error:
        raise _unreadable(path, error) from error
    if image.dtype.kind == "b":
        return image.view(np.uint8)
    image = image.astype(image.dtype.newbyteorder("="), copy=False)
    if image.dtype.kind == "f":
        single = _single(image)
        if image.dtype.itemsize > 4:
            _check_precision(image)
        return single
    if image.dtype.itemsize >= 4:
        _check_precision(image)
    return image


def plane_names(file: str, header: Header) -> list[str]:
    """Name the planes of a file: its own name for a single one, else ``movie.tif/t003_z05`` and so on.

    Parameters
    ----------
    file : str
        Name of the file in its project, POSIX.
    header : Header
        Of the file.

    Returns
    -------
    list of str
        In order of the index, the last axis fastest.
    """
    if not header.plane_sizes:
        return [file]
    parts = [
        [f"{axis.lower()}{i:0{len(str(size - 1))}}" for i in range(size)]
        for axis, size in zip(header.plane_axes, header.plane_sizes, strict=True)
    ]
    return [f"{file}/{'_'.join(plane)}" for plane in itertools.product(*parts)]


def split_plane(name: str) -> tuple[str, tuple[int, ...]]:
    """Give the file and the index of a plane, from its name alone; the inverse of `plane_names`."""
    file, _, plane = name.rpartition("/")
    if _PLANE.fullmatch(plane) and extension_of(file) in EXTENSIONS | FOLDER_EXTENSIONS:
        return file, tuple(int(part[1:]) for part in plane.split("_"))
    return name, ()


def extension_of(name: str) -> str:
    """Give the extension of a name in lower case, with its dot; ``.nii.gz`` is one."""
    lower = name.lower()
    if lower.endswith(".nii.gz"):
        return ".nii.gz"
    return PurePosixPath(lower).suffix


def reason_of(error: BaseException) -> str:
    """Put an exception's message into one line without a full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _format(path: Path) -> str:
    """Say how to read a file: by its content, as names are often wrong, where that tells; else by its name."""
    extension = extension_of(path.name)
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        if extension in FOLDER_EXTENSIONS:
            return "zarr"
        raise UnreadableImageError("a folder that is named like an image")
    if not stat.S_ISREG(mode):
        raise UnreadableImageError("not a file but a device or a pipe")  # reading might never end
    if extension in FOLDER_EXTENSIONS:
        raise UnreadableImageError(f"a file; {extension} is read where it is a folder")
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise UnreadableImageError("the file is empty")
    if extension in _NIFTI:
        return "nifti"
    if extension in _DICOM:
        return "dicom"
    if start in _TIFF_STARTS:
        return "tiff"
    if start.startswith(_RASTER_STARTS):
        return "raster"
    raise _not_an_image(path)


def _single(image: NDArray[Any]) -> NDArray[np.float32]:
    """Give an image as float32, in which everything is computed.

    Raises
    ------
    UnreadableImageError
        For NaN, infinity, and what is infinite in single precision.
    """
    with np.errstate(over="ignore"):
        single = image.astype(np.float32, copy=False)
    if bad := int(image.size - np.isfinite(single).sum()):
        raise UnreadableImageError(f"{bad} of its values are NaN or infinite")
    return single


def _check_precision(image: NDArray[Any]) -> None:
    """Refuse an image that loses its contrast in single precision: large numbers that hardly differ.

    Raises
    ------
    UnreadableImageError
        If less than `_STEPS` values can be told apart between the lowest and the highest.
    """
    low, high = image.min(), image.max()
    largest = max(abs(float(low)), abs(float(high)))
    if image.dtype.kind in "iu" and largest <= 1 << 24:
        return  # exact
    if low < high and float(high) - float(low) < _STEPS * np.spacing(np.float32(largest)):
        raise UnreadableImageError(
            f"its values, {low} to {high}, are too close together to be told apart in single precision"
        )


def _unreadable(path: Path, error: BaseException) -> UnreadableImageError:
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            return UnreadableImageError("a link to a file that is not there", passing=True)
        return UnreadableImageError("the file is no longer there", passing=True)
    if isinstance(error, PermissionError):
        return UnreadableImageError("reading it is not permitted", passing=True)
    if isinstance(error, MemoryError):
        return UnreadableImageError("there is not enough memory to read it", passing=True)
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return UnreadableImageError("a link that leads back to itself", passing=True)
    if isinstance(error, OSError) and error.errno == errno.EIO:
        return UnreadableImageError(f"the disk fails to read it ({error.strerror})", passing=True)
    if isinstance(error, Image.DecompressionBombError):
        return UnreadableImageError(f"too large: {reason_of(error)}")
    if isinstance(error, UnidentifiedImageError):
        return _not_an_image(path)
    if isinstance(error, NotImplementedError):
        return UnreadableImageError(f"a variant that is not read ({reason_of(error)})")
    if isinstance(error, _NONSENSE):
        return UnreadableImageError("damaged: what it says of itself makes no sense")
    return UnreadableImageError(f"damaged or truncated ({reason_of(error)})")


def _not_an_image(path: Path) -> UnreadableImageError:
    kind = extension_of(path.name)[1:].upper()
    return UnreadableImageError(f"not a {kind} image, or damaged from the start")
