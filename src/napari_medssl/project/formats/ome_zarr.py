"""OME-Zarr 0.1 to 0.5, and plain Zarr arrays."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medssl.project.formats.header import (
    MIN_SIDE,
    Header,
    Layout,
    UnreadableImageError,
    check_index,
    check_pixel_type,
    check_pixels,
    joined,
)
from napari_medssl.project.formats.pixel_size import micrometres, plausible_pixel_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

__all__ = ["decode_zarr", "zarr_header"]

_CODECS = frozenset(
    {
        "adler32",
        "bitround",
        "blosc",
        "bytes",
        "bz2",
        "crc32",
        "crc32c",
        "delta",
        "endian",
        "fixedscaleoffset",
        "fletcher32",
        "gzip",
        "lz4",
        "lzma",
        "packbits",
        "quantize",
        "sharding_indexed",
        "shuffle",
        "transpose",
        "zlib",
        "zstd",
    }
)
"""Codecs of numbers. Not pickle, which Zarr would decode as well: it runs whatever program the file holds."""

_MAX_CHUNKS = 1 << 14
"""Of a plane; more take many seconds to read."""


def zarr_header(path: Path, axes: Mapping[str, str]) -> Header:
    """Read the metadata of a Zarr folder."""
    return joined([image.header for image in _images(path, axes)])


def decode_zarr(path: Path, index: tuple[int, ...], axes: Mapping[str, str]) -> NDArray[Any]:
    """Decode one plane of a Zarr folder as (C, Y, X), reading only its chunks."""
    images = _images(path, axes)
    header = joined([image.header for image in images])
    check_index(index, header.plane_axes, header.plane_sizes)
    image, rest = (images[index[0]], index[1:]) if len(images) > 1 else (images[0], index)
    part = image.array[image.layout.selection(rest)]
    return image.layout.channels_first(np.asarray(part))


@dataclass(frozen=True)
class _Image:
    """The largest level of one image."""

    array: zarr.Array[Any]
    layout: Layout
    header: Header


@dataclass(frozen=True)
class _Node:
    """A folder with Zarr metadata."""

    folder: Path
    version: Literal[2, 3]
    """Of the Zarr format."""
    metadata: dict[str, Any]
    """Of an array; of a group, nothing of interest."""
    attributes: dict[str, Any]
    is_array: bool


def _images(path: Path, axes: Mapping[str, str]) -> list[_Image]:
    root = _node(path)
    if root is None:
        raise UnreadableImageError("holds no Zarr metadata (zarr.json, .zarray or .zgroup)")
    if root.is_array:
        return [_image(root, _plain_axes(root), axes, (), {})]
    metadata = root.attributes.get("ome", root.attributes)
    if "multiscales" in metadata:
        return [_multiscale(root, metadata, axes)]
    if "plate" in metadata or "well" in metadata:
        raise UnreadableImageError("a plate of wells; single images are read")
    if "bioformats2raw.layout" in metadata:
        images: list[_Image] = []
        while (node := _node(path / str(len(images)))) is not None:
            images.append(_multiscale(node, node.attributes.get("ome", node.attributes), axes))
        if images:
            return images
    raise UnreadableImageError("a Zarr group without the metadata of an OME-Zarr image")


def _multiscale(node: _Node, metadata: Mapping[str, Any], axes: Mapping[str, str]) -> _Image:
    try:
        multiscale = metadata["multiscales"][0]
        dataset = multiscale["datasets"][0]["path"]
        named = _axis_letters(multiscale.get("axes"))
        channels = metadata.get("omero", {}).get("channels", [])
        labels = tuple(str(channel.get("label") or "") for channel in channels)
    except (LookupError, TypeError, AttributeError) as error:
        raise UnreadableImageError("its OME metadata are damaged or incomplete") from error
    folder = node.folder / str(dataset)
    if not folder.resolve().is_relative_to(node.folder.resolve()):
        raise UnreadableImageError(f"its metadata lead out of it, to {dataset!r}")
    array = _node(folder)
    if array is None or not array.is_array:
        raise UnreadableImageError(f"its full-size array {dataset!r} is missing")
    return _image(array, named, axes, labels, multiscale)


def _axis_letters(described: Sequence[Any] | None) -> str:
    if described is None:
        return "TCZYX"  # until version 0.2 there was nothing to describe
    letters = ""
    for axis in described:
        name, kind = (axis, None) if isinstance(axis, str) else (axis["name"], axis.get("type"))
        letters += (
            name.upper() if len(name) == 1 else {"channel": "C", "time": "T"}.get(kind or "", "Q")
        )
    return letters


def _spacing(multiscale: Mapping[str, Any]) -> list[float]:
    """Return micrometres along each axis of the largest level; empty where no scale is stated."""
    scales = [
        transformation["scale"]
        for scaled in (multiscale["datasets"][0], multiscale)
        for transformation in scaled.get("coordinateTransformations") or ()
        if transformation["type"] == "scale"
    ]
    if not scales:
        return []
    units = [micrometres(1, axis.get("unit")) for axis in multiscale["axes"]]
    return [math.prod(map(float, factors)) for factors in zip(units, *scales, strict=True)]


def _plain_axes(node: _Node) -> str:
    shape = node.metadata.get("shape", ())
    names = node.metadata.get("dimension_names")
    if isinstance(names, list) and all(isinstance(name, str) and name for name in names):
        return _axis_letters(names)
    if len(shape) == 3 and shape[2] <= 4 and min(shape[:2]) >= MIN_SIDE:
        return "YXC"
    return ("Q" * len(shape) + "YX")[-len(shape) :]


def _image(
    node: _Node,
    stored_axes: str,
    axes: Mapping[str, str],
    channel_names: tuple[str, ...],
    multiscale: Mapping[str, Any],
) -> _Image:
    _check_codecs(node.metadata)
    array = _opened(node)
    check_pixel_type(array.dtype)
    if len(stored_axes) != array.ndim:
        raise UnreadableImageError(
            f"its metadata name the axes {stored_axes}, its array has {array.ndim}"
        )
    layout = Layout.of(stored_axes, array.shape, axes)
    check_pixels(*array.chunks)
    chunks = math.prod(
        -(-size // chunk)
        for letter, size, chunk in zip(layout.letters, layout.sizes, array.chunks, strict=True)
        if letter in "CSYX"
    )
    if chunks > _MAX_CHUNKS:
        raise UnreadableImageError(
            f"each plane of it lies in {chunks} chunks; at most {_MAX_CHUNKS} are read"
        )
    if not any(
        name != "zarr.json" and not name.startswith(".")
        for _, _, names in os.walk(node.folder)
        for name in names
    ):
        raise UnreadableImageError("holds no pixels: all its chunks are missing")
    return _Image(
        array,
        layout,
        Header(
            layout.shape,
            layout.channels,
            array.dtype.name,
            plane_axes=layout.plane_axes,
            plane_sizes=layout.plane_sizes,
            stored_axes=stored_axes,
            channel_names=(
                channel_names
                if len(channel_names) == layout.channels and all(channel_names)
                else ()
            ),
            pixel_size=plausible_pixel_size(layout, lambda: _spacing(multiscale)),
        ),
    )


def _opened(node: _Node) -> zarr.Array[Any]:
    import zarr  # takes a third of a second, and most folders hold none
    from zarr.storage import LocalStore

    store = LocalStore(node.folder, read_only=True)
    return zarr.open_array(store, mode="r", zarr_format=node.version)


def _check_codecs(metadata: Mapping[str, Any]) -> None:
    codecs = list(metadata.get("codecs") or [])
    codecs += metadata.get("filters") or []
    codecs += [metadata["compressor"]] if metadata.get("compressor") else []
    while codecs:
        codec = codecs.pop()
        name = str(codec if isinstance(codec, str) else codec.get("name", codec.get("id")))
        if name.removeprefix("numcodecs.") not in _CODECS:
            raise UnreadableImageError(f"its codec {name} is not read")
        if isinstance(codec, dict):
            inner = codec.get("configuration") or {}
            codecs += [*(inner.get("codecs") or []), *(inner.get("index_codecs") or [])]


def _node(folder: Path) -> _Node | None:
    document = _json(folder / "zarr.json")
    if document is not None:
        return _Node(
            folder,
            3,
            document,
            document.get("attributes") or {},
            document.get("node_type") == "array",
        )
    array = _json(folder / ".zarray")
    group = _json(folder / ".zgroup")
    if array is None and group is None:
        return None
    attributes = _json(folder / ".zattrs") or {}
    return _Node(folder, 2, array or {}, attributes, array is not None)


def _json(file: Path) -> dict[str, Any] | None:
    """Read a metadata file; None where there is none."""
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        stored = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UnreadableImageError(f"its metadata file {file.name} is damaged") from error
    if not isinstance(stored, dict):
        raise UnreadableImageError(f"its metadata file {file.name} is damaged")
    return stored
