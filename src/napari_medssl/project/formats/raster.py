"""PNG, JPEG, BMP and WebP, by Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from PIL import Image

from napari_medssl.project.formats.header import (
    Header,
    Layout,
    UnreadableImageError,
    check_index,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["decode_raster", "raster_header"]

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""Not all that Pillow knows: some of its readers start other programs."""

_KINDS = {
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
"""Pillow's mode -> channels without alpha, type."""


def raster_header(path: Path) -> Header:
    """Read the header of a PNG, JPEG, BMP or WebP file."""
    with Image.open(path, formats=_FORMATS) as image:
        channels, dtype = _kind(image)
        return Header(
            (image.height, image.width),
            channels,
            "uint16" if _is_png_16bit_colour(path) else dtype,
            _looks_complete(path, image.format or ""),
            stored_axes="YX" if channels == 1 else "YXS",
            rgb=channels == 3,
        )


def decode_raster(path: Path, index: tuple[int, ...]) -> NDArray[Any]:
    """Decode a PNG, JPEG, BMP or WebP file as (C, Y, X)."""
    check_index(index, "", ())
    with Image.open(path, formats=_FORMATS) as image:
        _kind(image)
        if _is_png_16bit_colour(path):
            # Pillow would cut it to 8 bits without a word.
            return _channels_first(np.asarray(imagecodecs.png_decode(path.read_bytes())))
        if image.mode == "1":
            return _channels_first(np.asarray(image.convert("L")) > 0)
        if image.mode in ("P", "PA"):
            # RGB would warn about transparency
            return _channels_first(np.asarray(image.convert("RGBA")))
        return _channels_first(np.asarray(image))


def _kind(image: Image.Image) -> tuple[int, str]:
    if image.format in ("PNG", "WEBP") and getattr(image, "n_frames", 1) > 1:
        raise UnreadableImageError("an animation; only single images are read")
    if image.mode not in _KINDS:
        raise UnreadableImageError(f"colour mode {image.mode} is not read; grey and RGB are")
    Layout.of("YX", (image.height, image.width), {})  # refuses what is too small or too large
    return _KINDS[image.mode]


def _looks_complete(path: Path, kind: str) -> bool:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(max(0, size - 4096))
        tail = file.read()
    if kind == "PNG":
        return tail.endswith(b"IEND\xaeB`\x82")
    if kind == "BMP":
        return 0 < int.from_bytes(start[2:6], "little") <= size
    if kind == "WEBP":
        return int.from_bytes(start[4:8], "little") + 8 <= size
    return kind == "JPEG" and b"\xff\xd9" in tail


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
