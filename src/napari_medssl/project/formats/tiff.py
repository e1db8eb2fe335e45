"""TIFF in its dialects: plain, OME, ImageJ, tifffile's own; pages, stacks, tiles, pyramids."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from napari_medssl.project.formats.header import (
    MAX_PLANES,
    Header,
    Layout,
    UnreadableImageError,
    check_index,
    check_pixel_type,
    check_pixels,
    joined,
)
from napari_medssl.project.formats.pixel_size import (
    micrometres,
    per_axis,
    plausible_pixel_size,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from tifffile import TiffFrame, TiffPage, TiffPageSeries

__all__ = ["decode_tiff", "tiff_header"]

_PHOTOMETRIC = tifffile.PHOTOMETRIC
_COLOURS = frozenset({_PHOTOMETRIC.RGB, _PHOTOMETRIC.YCBCR})
_READ = _COLOURS | {_PHOTOMETRIC.MINISBLACK, _PHOTOMETRIC.MINISWHITE, _PHOTOMETRIC.PALETTE}
_REDUCED, _MASK = 1, 4  # bits of NewSubfileType: a smaller copy, a transparency mask

_DIALECTS = {"shaped": "tifffile", "ome": "OME", "imagej": "ImageJ"}
"""What tifffile calls the writers of metadata -> what people call them."""

_TAGS = frozenset({258, 270, 273, 279, 320, 324, 325, 330, 50838, 50839})
"""Bits, description, offsets and lengths of strips and tiles, colour map, further pages, ImageJ's metadata."""

_TYPE_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each TIFF type; those not here have one."""

_PRINTED = (72, 96, 300)
"""Dots per inch that programs note without being asked: they say nothing of what is in the image."""

_MOST_COMPRESSED = 1 << 15
"""No codec makes more of a byte; a header that claims more is damaged."""


def tiff_header(path: Path, axes: Mapping[str, str]) -> Header:
    """Read the header of a TIFF file, and look whether all its pages are within it."""
    _check_chain(path)
    size = path.stat().st_size
    with tifffile.TiffFile(path) as tiff:
        images = _images(tiff, axes)
        for image in images:
            image.check(size)
        return joined([image.header for image in images])


def decode_tiff(path: Path, index: tuple[int, ...], axes: Mapping[str, str]) -> NDArray[Any]:
    """Decode one plane of a TIFF file as (C, Y, X), reading no other."""
    if not index:  # a stack of which one page is left must not be taken for a single plane
        _check_chain(path)
    size = path.stat().st_size
    with tifffile.TiffFile(path) as tiff:
        images = _images(tiff, axes)
        header = joined([image.header for image in images])
        check_index(index, header.plane_axes, header.plane_sizes)
        if len(images) > 1:
            return images[index[0]].plane(index[1:], size)
        return images[0].plane(index, size)


@dataclass(frozen=True)
class _Image:
    """One series of pages."""

    series: TiffPageSeries
    layout: Layout
    header: Header

    def plane(self, index: tuple[int, ...], file_size: int) -> NDArray[Any]:
        within = self.layout.selection(index)
        outer = len(self.series.shape) - len(self.series.keyframe.shape)
        outer_shape = self.series.shape[:outer]
        # Which pages hold the plane: several, where its channels are pages of their own.
        numbers = np.arange(math.prod(outer_shape)).reshape(outer_shape)[within[:outer]]
        pages = [self._page(int(n), file_size)[within[outer:]] for n in np.ravel(numbers)]
        part = np.stack(pages).reshape(np.shape(numbers) + pages[0].shape)
        image = self.layout.channels_first(part)
        if self._has_palette:
            return _looked_up(image[0], np.asarray(self.series.keyframe.colormap))
        return image

    def check(self, file_size: int) -> None:
        """Find out whether the pages of all planes are within the file.

        Raises
        ------
        UnreadableImageError
            If some are missing or cut.
        """
        if self.series.dataoffset is not None:
            _check_ends([self.series.dataoffset + self.series.nbytes], file_size)
            return
        outer = len(self.series.shape) - len(self.series.keyframe.shape)
        count = math.prod(self.series.shape[:outer])
        if count > len(self.series.pages):
            raise UnreadableImageError(
                f"truncated or damaged: {len(self.series.pages)} of its {count} pages are there"
            )
        for number in range(count):
            self._stored_page(number, file_size)

    @property
    def _has_palette(self) -> bool:
        return (
            self.series.keyframe.photometric == _PHOTOMETRIC.PALETTE and self.layout.channels == 1
        )

    def _page(self, number: int, file_size: int) -> NDArray[Any]:
        series = self.series
        if series.dataoffset is None:
            return np.asarray(self._stored_page(number, file_size).asarray(maxworkers=1))
        # All pages lie one after the other, maybe described by the first alone.
        shape = series.keyframe.shape
        tiff: Any = series.parent
        dtype = np.dtype(series.dtype).newbyteorder(tiff.byteorder)
        count = math.prod(shape)
        start = series.dataoffset + number * count * dtype.itemsize
        _check_ends([start + count * dtype.itemsize], file_size)
        handle = tiff.filehandle
        handle.seek(start)
        return np.frombuffer(handle.read(count * dtype.itemsize), dtype).reshape(shape)

    def _stored_page(self, number: int, file_size: int) -> TiffPage | TiffFrame:
        page = self.series.pages[number] if number < len(self.series.pages) else None
        if page is None:
            raise UnreadableImageError(f"page {number + 1} of its planes is missing")
        _check_page(page, file_size)
        return page


def _images(tiff: tifffile.TiffFile, axes: Mapping[str, str]) -> list[_Image]:
    dialects = [name for name in _DIALECTS if getattr(tiff, f"is_{name}")]
    described = _ome_images(tiff.ome_metadata or "") if "ome" in dialects else []
    every = list(tiff.series)
    if not every:
        raise UnreadableImageError("holds no image")
    fit = not dialects or every[0].kind in dialects
    if every[0].kind == "shaped":
        claimed = [math.prod(one["shape"]) for one in tiff.shaped_metadata or () if "shape" in one]
        fit = sum(claimed) == sum(math.prod(series.shape) for series in every)
    if not fit:  # tifffile would go on with the bare pages, or with the first alone
        raise UnreadableImageError(
            f"its {_DIALECTS[dialects[-1]]} metadata do not fit its pages: damaged or truncated"
        )
    images = []
    for number, series in enumerate(every):
        if int(series.keyframe.subfiletype) & (_REDUCED | _MASK) and len(every) > 1:
            continue
        names, pixels = described[number] if number < len(described) else ((), {})
        if series.kind == "imagej":
            names = _imagej_channel_names(tiff, series)
        images.append(_image(series, axes, names, pixels))
    if not images:
        raise UnreadableImageError("holds no image, only reduced copies of one")
    return images


def _image(
    series: TiffPageSeries,
    axes: Mapping[str, str],
    channel_names: tuple[str, ...],
    ome_pixels: Mapping[str, str],
) -> _Image:
    page = series.keyframe
    dtype = series.dtype
    if dtype is None:
        raise UnreadableImageError(f"pixels of {page.bitspersample} bits are not read")
    check_pixel_type(dtype)
    photometric = page.photometric
    if photometric not in _READ:
        kind = getattr(photometric, "name", photometric)
        kind = "CMYK" if kind == "SEPARATED" else kind
        raise UnreadableImageError(f"colours stored as {kind} are not read; grey and RGB are")
    if page.compression not in tifffile.TIFF.DECOMPRESSORS:
        kind = getattr(page.compression, "name", page.compression)
        raise UnreadableImageError(f"compression {kind} is not read")
    outer = len(series.shape) - len(page.shape)
    if outer < 0 or series.shape[outer:] != page.shape:
        raise UnreadableImageError(
            f"its pages of shape {page.shape} do not fit the image of shape {series.shape}"
        )
    sizes = list(series.shape)
    if "S" in series.axes:
        samples = sizes[series.axes.index("S")]
        # One unnamed extra channel beside RGB is alpha as many programs write it; beside grey it is data.
        alphas = sum(
            extra != 0 or (photometric == _PHOTOMETRIC.RGB and samples == 4)
            for extra in page.extrasamples
        )
        sizes[series.axes.index("S")] = max(samples - alphas, 1)
    layout = Layout.of(series.axes, sizes, axes)
    check_pixels(*page.shape)
    if page.is_tiled:
        check_pixels(page.tiledepth, page.tilelength, page.tilewidth)
    rgb = photometric in _COLOURS and layout.channels == 3 and "C" not in layout.letters
    palette = photometric == _PHOTOMETRIC.PALETTE and layout.channels == 1
    channels = 3 if palette else layout.channels
    return _Image(
        series,
        layout,
        Header(
            layout.shape,
            channels,
            "uint8" if palette else dtype.name,
            plane_axes=layout.plane_axes,
            plane_sizes=layout.plane_sizes,
            stored_axes=series.axes,
            channel_names=channel_names if len(channel_names) == channels else (),
            rgb=rgb or palette,
            pixel_size=plausible_pixel_size(layout, lambda: _spacing(series, ome_pixels)),
        ),
    )


def _spacing(series: TiffPageSeries, ome_pixels: Mapping[str, str]) -> list[float]:
    """Return micrometres along each axis as OME or ImageJ metadata state them, or else the tags in centimetres."""
    if "PhysicalSizeX" in ome_pixels:
        y, x = (
            micrometres(
                ome_pixels[f"PhysicalSize{axis}"],
                ome_pixels.get(f"PhysicalSize{axis}Unit", "um"),
            )
            for axis in "YX"
        )
        return per_axis(series.axes, y, x)
    tiff: Any = series.parent
    tags = series.keyframe.tags
    fractions = [tags[name].value for name in ("YResolution", "XResolution")]
    unit = tiff.imagej_metadata.get("unit") if series.kind == "imagej" else None
    if unit is None and tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER:
        dots = [2.54 * pixels / length for pixels, length in fractions]
        if not any(abs(found - printed) < 1 for found in dots for printed in _PRINTED):
            unit = "cm"
    y, x = (micrometres(length / pixels, unit) for pixels, length in fractions)
    return per_axis(series.axes, y, x)


def _check_page(page: TiffPage | TiffFrame, file_size: int) -> None:
    keyframe: Any = page.keyframe
    stored = sum(page.databytecounts)
    if not page.dataoffsets or 0 in page.databytecounts:
        raise UnreadableImageError("truncated: a part of its pixels was never written")
    _check_ends(
        [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)], file_size
    )
    if keyframe.compression == tifffile.COMPRESSION.NONE:
        bits = math.prod(keyframe.shape) * keyframe.bitspersample
        if keyframe.photometric == _PHOTOMETRIC.YCBCR:
            bits //= 4  # colour may be stored at a quarter of the points
        missing = bits // 8 - stored
    else:
        missing = keyframe.nbytes // _MOST_COMPRESSED - stored
    if missing > 0:
        raise UnreadableImageError(f"truncated: at least {missing} bytes of its pixels are missing")


def _check_ends(ends: list[int], file_size: int) -> None:
    missing = max(ends, default=0) - file_size
    if missing > 0:
        raise UnreadableImageError(f"truncated: {missing} bytes are missing")


def _check_chain(path: Path) -> None:
    """Follow the pages from one to the next, and look whether what describes them is within the file.

    tifffile would take a broken chain for the end of the stack, and a description that was cut off for none.

    Raises
    ------
    UnreadableImageError
        If the file is cut, or its pages go round in a circle.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16)
        order = "<" if start[:2] == b"II" else ">"
        big = start[2:4] in (b"+\0", b"\0+")
        pointer = struct.Struct(order + ("Q" if big else "I"))
        counter = struct.Struct(order + ("Q" if big else "H"))
        entry = struct.Struct(order + ("HHQQ" if big else "HHII"))  # tag, type, count, value
        (offset,) = pointer.unpack_from(start, 8 if big else 4)
        visited: set[int] = set()
        while offset:
            if offset in visited:
                raise UnreadableImageError(
                    f"damaged: after page {len(visited)} its pages begin anew without an end"
                )
            visited.add(offset)
            if len(visited) > MAX_PLANES:
                raise UnreadableImageError(f"holds more than {MAX_PLANES} pages")
            length = -1
            if offset < size:
                file.seek(offset)
                head = file.read(counter.size)
                if len(head) == counter.size:
                    length = counter.unpack(head)[0] * entry.size
            rest = file.read(length + pointer.size) if 0 <= length < size else b""
            if len(rest) < length + pointer.size:
                raise UnreadableImageError(
                    f"truncated: it breaks off at page {len(visited)}; the file has {size} bytes"
                )
            ends = [
                value + count * _TYPE_SIZES.get(kind, 1)
                for tag, kind, count, value in entry.iter_unpack(rest[:length])
                if tag in _TAGS and count * _TYPE_SIZES.get(kind, 1) > pointer.size
            ]
            _check_ends(ends, size)
            (offset,) = pointer.unpack_from(rest, length)
    if not visited:
        raise UnreadableImageError("holds no image")


def _ome_images(xml: str) -> list[tuple[tuple[str, ...], Mapping[str, str]]]:
    """Return the channel names of each image in OME-XML, and what it states of its pixels.

    Raises
    ------
    UnreadableImageError
        If it is damaged, or describes more than this file.
    """
    try:
        root = ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError) as error:
        raise UnreadableImageError(f"its OME metadata are damaged ({error})") from error
    own = root.get("UUID")
    uuids = {item.text for item in root.iterfind(".//{*}TiffData/{*}UUID")}
    if root.find("{*}BinaryOnly") is not None or len(uuids | ({own} if own else set())) > 1:
        raise UnreadableImageError(
            "a part of an OME-TIFF of several files; only OME-TIFF in one file is read"
        )
    images: list[tuple[tuple[str, ...], Mapping[str, str]]] = []
    for pixels in root.iterfind("{*}Image/{*}Pixels"):
        size = {axis: int(pixels.get(f"Size{axis}", "1")) for axis in "XYZCT"}
        check_pixels(size["Y"], size["X"])
        planes = size["Z"] * size["C"] * size["T"]
        # How many pages a block of data has; tifffile would list as many as are claimed.
        blocks = [
            int(data.get("PlaneCount", data.get("NumPlanes", "1")))
            for data in pixels.iterfind("{*}TiffData")
        ]
        if min(planes, *blocks, 1) < 0 or max(planes, *blocks, 0) > MAX_PLANES:
            raise UnreadableImageError(f"its OME metadata claim {max(planes, *blocks, 0)} planes")
        found = tuple(channel.get("Name", "") for channel in pixels.iterfind("{*}Channel"))
        images.append((found if all(found) else (), pixels.attrib))
    return images


def _imagej_channel_names(tiff: tifffile.TiffFile, series: TiffPageSeries) -> tuple[str, ...]:
    """Give the labels of the first slice of each channel, where they tell the channels apart."""
    labels = (tiff.imagej_metadata or {}).get("Labels")
    if not isinstance(labels, list) or "C" not in series.axes:
        return ()
    # Channels come first in ImageJ's order of slices.
    first = labels[: series.shape[series.axes.index("C")]]
    return tuple(map(str, first)) if len(set(first)) == len(first) and all(first) else ()


def _looked_up(indices: NDArray[Any], colormap: NDArray[Any]) -> NDArray[Any]:
    # TIFF colour maps are 16-bit by definition, mostly 8-bit colours times 257.
    colours = colormap[:, indices]
    return (colours >> 8).astype(np.uint8) if colormap.max() > 255 else colours.astype(np.uint8)
