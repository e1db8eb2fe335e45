"""Any image file of a folder -> planes ``(C, Y, X)``. Headers are read without decoding."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DECODING_ERRORS",
    "EXTENSIONS",
    "FOREIGN_EXTENSIONS",
    "MIN_SIDE",
    "TIFF",
    "Header",
    "UnreadableImageError",
    "decode",
    "read_header",
    "reason_of",
]

TIFF = frozenset({".tif", ".tiff"})
EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp"}) | TIFF
"""What is read."""

FOREIGN_EXTENSIONS = frozenset(
    {
        ".czi",
        ".dcm",
        ".dicom",
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
        ".nii",
        ".nii.gz",
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
        ".webp",
        ".zarr",
    }
)
"""Images too, but not read yet: they are reported as skipped, where other files are only counted."""

MIN_SIDE = 8
"""Smaller images hold nothing to learn from."""

DECODING_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,  # Pillow, for a broken PNG
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    RuntimeError,  # imagecodecs' errors and NotImplementedError
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow, tifffile and imagecodecs raise for a damaged file. One stray file must not end a job on a folder."""


class UnreadableImageError(MedsslError):
    """An image file that cannot be used; the message is the reason, to be shown beside its name."""


@dataclass(frozen=True)
class Header:
    """What is known of an image before it is decoded."""

    shape: tuple[int, int]
    """(Y, X)"""
    channels: int
    """1 or 3, as stored."""
    dtype: str
    complete: bool = True
    """False where the end of the file looks wrong, so that only decoding can tell."""


def read_header(path: Path) -> Header:
    """Read size and kind of an image without decoding it.

    Parameters
    ----------
    path : Path
        PNG, JPEG, BMP or TIFF.

    Raises
    ------
    UnreadableImageError
        With the reason, if it is not one plane of 1 or 3 channels (alpha aside) or is damaged.
    """
    try:
        header = _tiff_header(path) if path.suffix.lower() in TIFF else _pillow_header(path)
    except DECODING_ERRORS as error:
        raise UnreadableImageError(_unreadable(path, error)) from error
    height, width = header.shape
    if min(height, width) < MIN_SIDE:
        raise UnreadableImageError(f"too small ({height} x {width} pixels)")
    return header


def decode(path: Path) -> NDArray[Any]:
    """Decode an image; values as stored, floating point as float32, bits as 0 and 1.

    Parameters
    ----------
    path : Path
        PNG, JPEG, BMP or TIFF. A rotation noted in EXIF is not applied: masks are drawn on the stored pixels.

    Returns
    -------
    ndarray, (C, Y, X)
        C is 1 or 3; alpha is dropped, a palette is looked up.

    Raises
    ------
    UnreadableImageError
        With the reason.
    """
    try:
        image = _decode_tiff(path) if path.suffix.lower() in TIFF else _decode_pillow(path)
    except DECODING_ERRORS as error:
        raise UnreadableImageError(_unreadable(path, error)) from error
    if image.dtype.kind == "b":
        return image.view(np.uint8)
    if image.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold is reported as infinite
            image = image.astype(np.float32)
        if bad := int(image.size - np.isfinite(image).sum()):
            raise UnreadableImageError(f"{bad} of its values are NaN or infinite")
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def reason_of(error: BaseException) -> str:
    """Put an exception's message into one line without a full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _unreadable(path: Path, error: BaseException) -> str:
    if isinstance(error, MedsslError):
        return error.message
    if isinstance(error, FileNotFoundError):
        return "the file is no longer there"
    if isinstance(error, PermissionError):
        return "reading it is not permitted"
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: {reason_of(error)}"
    if isinstance(error, UnidentifiedImageError) or "not a TIFF file" in str(error):
        return f"not a {path.suffix[1:].upper()} image, or damaged from the start"
    return f"damaged or truncated ({reason_of(error)})"


def _pillow_header(path: Path) -> Header:
    with Image.open(path) as image:
        if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
            raise UnreadableImageError("an animation; only single images are read yet")
        channels, dtype = _pillow_kind(image)
        if _is_png_16bit_colour(path):
            dtype = "uint16"
        complete = _looks_complete(path, image.format or "")
        return Header((image.height, image.width), channels, dtype, complete)


def _looks_complete(path: Path, kind: str) -> bool:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(6)
        file.seek(max(0, size - 4096))
        tail = file.read()
    if kind == "PNG":
        return tail.endswith(b"IEND\xaeB`\x82")
    if kind == "BMP":
        return 0 < int.from_bytes(start[2:6], "little") <= size
    return kind == "JPEG" and b"\xff\xd9" in tail


def _pillow_kind(image: Image.Image) -> tuple[int, str]:
    kinds = {
        "1": (1, "bool"),
        "L": (1, "uint8"),
        "LA": (1, "uint8"),
        "I;16": (1, "uint16"),
        "I;16B": (1, "uint16"),
        "I": (1, "int32"),
        "P": (3, "uint8"),
        "PA": (3, "uint8"),
        "RGB": (3, "uint8"),
        "RGBA": (3, "uint8"),
    }
    if image.mode not in kinds:
        raise UnreadableImageError(f"colour mode {image.mode} is not read; grey and RGB are")
    return kinds[image.mode]


def _decode_pillow(path: Path) -> NDArray[Any]:
    with Image.open(path) as image:
        _pillow_kind(image)
        if image.format == "PNG" and _is_png_16bit_colour(path):
            # Pillow would cut it to 8 bits without a word.
            return _channels_first(np.asarray(imagecodecs.png_decode(path.read_bytes())))
        if image.mode == "1":
            return _channels_first(np.asarray(image.convert("L")) > 0)
        if image.mode in ("P", "PA"):
            return _channels_first(
                np.asarray(image.convert("RGBA"))
            )  # RGB would warn about transparency
        return _channels_first(np.asarray(image))


def _is_png_16bit_colour(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(26)
    # Signature, length and name of IHDR, width, height; then bit depth and colour type: 2 RGB, 4 grey and alpha,
    # 6 RGB and alpha.
    return (
        len(start) == 26
        and start.startswith(b"\x89PNG\r\n\x1a\n")
        and start[24] == 16
        and start[25] in (2, 4, 6)
    )


def _channels_first(image: NDArray[Any]) -> NDArray[Any]:
    if image.ndim == 2:
        return image[np.newaxis]
    colour = image[..., : 1 if image.shape[-1] < 3 else 3]
    return np.ascontiguousarray(np.moveaxis(colour, -1, 0))


def _tiff_header(path: Path) -> Header:
    with tifffile.TiffFile(path) as tiff:
        return _single_plane(tiff, path)[1]


def _single_plane(tiff: tifffile.TiffFile, path: Path) -> tuple[tifffile.TiffPageSeries, Header]:
    if not tiff.series:
        raise UnreadableImageError("holds no image")
    if len(tiff.series) > 1:
        raise UnreadableImageError(
            f"holds {len(tiff.series)} images; only single planes are read yet"
        )
    series = tiff.series[0]
    page = series.keyframe
    axes, shape = series.axes, series.shape
    if sorted(axes) not in (["X", "Y"], ["S", "X", "Y"]):
        raise UnreadableImageError(
            f"a stack of shape {shape} (axes {axes}); only single planes are read yet"
        )
    if series.dtype.kind not in "buif":
        raise UnreadableImageError(f"pixel type {series.dtype} is not read")
    sizes = dict(zip(axes, shape, strict=True))
    samples = sizes.get("S", 1)
    # One unnamed extra channel beside RGB is alpha as many programs write it; beside grey it is data.
    colours = samples - sum(
        extra != 0 or (page.photometric == tifffile.PHOTOMETRIC.RGB and samples == 4)
        for extra in page.extrasamples
    )
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        channels = 3
    elif colours in (1, 3) and page.photometric in (
        tifffile.PHOTOMETRIC.MINISBLACK,
        tifffile.PHOTOMETRIC.MINISWHITE,
        tifffile.PHOTOMETRIC.RGB,
        tifffile.PHOTOMETRIC.YCBCR,
    ):
        channels = colours
    else:
        kind = getattr(page.photometric, "name", page.photometric)
        raise UnreadableImageError(f"{colours} channels ({kind}); 1 or 3 are read")
    ends = [
        offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
    ]
    size = path.stat().st_size
    if ends and max(ends) > size:
        raise UnreadableImageError(f"truncated: {max(ends) - size} bytes are missing")
    return series, Header((sizes["Y"], sizes["X"]), channels, series.dtype.name, bool(ends))


def _decode_tiff(path: Path) -> NDArray[Any]:
    with tifffile.TiffFile(path) as tiff:
        series, header = _single_plane(tiff, path)
        image = np.asarray(series.asarray(maxworkers=1))
        page = series.keyframe
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            return _looked_up(image, np.asarray(page.colormap))
        if "S" in series.axes:
            image = np.moveaxis(image, series.axes.index("S"), 0)[: header.channels]
            return np.ascontiguousarray(image)
        return image[np.newaxis]


def _looked_up(indices: NDArray[Any], colormap: NDArray[Any]) -> NDArray[Any]:
    # TIFF colour maps are 16-bit by definition, mostly 8-bit colours times 257.
    colours = colormap[:, indices]
    return (colours >> 8).astype(np.uint8) if colormap.max() > 255 else colours.astype(np.uint8)
