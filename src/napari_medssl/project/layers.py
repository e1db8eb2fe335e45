"""Open napari layers as images of a project: written plane by plane, with their place in the world."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tifffile
from pydantic import Field

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import atomic, read_json, write_json
from napari_medssl.project.paths import inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Indexable", "Placement", "read_placement", "write_layer"]

_STORED = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


class Indexable(Protocol):
    """An array of any library: numpy, dask, zarr."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each axis."""

    @property
    def dtype(self) -> Any:
        """Type of the values."""

    def __getitem__(self, key: Any, /) -> Any:
        """Give a part of it."""


class Placement(Config):
    """Where a layer lies in the world: what napari calls its scale and translate, of Y and X."""

    scale: tuple[float, float] = Field(default=(1.0, 1.0))
    translate: tuple[float, float] = Field(default=(0.0, 0.0))


@dataclass(frozen=True)
class _Source:
    """The planes of a layer, and the channels of each, whatever the order of its axes."""

    data: Indexable
    axes: str
    plane_axes: str
    samples: int
    """How many of its axis S are stored: red, green and blue without alpha; 0 where there is no such axis."""

    @property
    def plane_sizes(self) -> tuple[int, ...]:
        return tuple(self.data.shape[self.axes.index(axis)] for axis in self.plane_axes)

    @property
    def channels(self) -> int:
        return self.data.shape[self.axes.index("C")] if "C" in self.axes else 1

    def page(self, index: tuple[int, ...], channel: int) -> NDArray[Any]:
        """Give one page, (Y, X) or (Y, X, S)."""
        at = dict(zip(self.plane_axes, index, strict=True)) | {"C": channel}
        part = np.asarray(self.data[tuple(at.get(axis, slice(None)) for axis in self.axes)])
        rest = "".join(axis for axis in self.axes if axis in "YXS")
        part = part.transpose([rest.index(axis) for axis in "YXS" if axis in rest])
        return part[..., : self.samples] if self.samples else part


def write_layer(
    folder: Path,
    data: Indexable,
    *,
    name: str,
    axes: str,
    channel_names: Sequence[str] = (),
    placement: Placement,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Write a layer as an OME-TIFF, one page at a time.

    Parameters
    ----------
    folder : Path
        Where layers are kept.
    data : array-like
        Only one page of it is in memory at once.
    name : str
        The layer's; what no file name may hold is replaced, and a number added where it is taken.
    axes : str
        A letter for each axis of `data`: T, Z, C (channels), S (red, green, blue, alpha last), and Y and X.
    channel_names : sequence of str
        One for each of C; may be empty.
    placement : Placement
        Kept beside it. A positive scale other than one is also the pixel size of the file, in micrometres.
    progress : callable, optional
        Called with (done, total) pages.

    Returns
    -------
    str
        The file's name.

    Raises
    ------
    MedsslError
        If the axes or the values cannot be stored.
    WriteError
        If the system refuses.
    """
    source = _source(data, axes, name)
    stored = _stored_type(np.dtype(data.dtype), name)
    if channel_names and len(channel_names) != source.channels:
        raise MedsslError(
            f"The layer {name} has {source.channels} channels and {len(channel_names)} names for them."
        )
    total = math.prod(source.plane_sizes) * source.channels

    def pages() -> Iterator[NDArray[Any]]:
        every = itertools.product(np.ndindex(*source.plane_sizes), range(source.channels))
        for done, (index, channel) in enumerate(every, start=1):
            page = _converted(source.page(index, channel), stored, name)
            if progress is not None:
                progress(done, total)
            yield page

    rows, columns = (data.shape[axes.index(axis)] for axis in "YX")
    shape: tuple[int, ...] = (*source.plane_sizes, source.channels, rows, columns)
    metadata: dict[str, Any] = {"axes": source.plane_axes + "CYX" + "S" * bool(source.samples)}
    if channel_names:
        metadata["Channel"] = {"Name": list(channel_names)}
    if source.samples:
        shape += (source.samples,)
    # One is napari's own and says nothing; OME has no flipped pixels.
    if placement.scale != (1.0, 1.0) and min(placement.scale) > 0:
        metadata["PhysicalSizeY"], metadata["PhysicalSizeX"] = placement.scale
    file = _free_name(folder, name)
    path = inside(folder, file)
    with atomic(path) as temporary:
        tifffile.imwrite(
            temporary,
            pages(),
            shape=shape,
            dtype=stored,
            ome=True,
            photometric="rgb" if source.samples == 3 else "minisblack",
            compression="zlib",
            metadata=metadata,
        )
        # Before the image has its name: killed in between, this belongs to none.
        write_json(path.with_suffix(".json"), placement.model_dump(mode="json"))
    return file


def read_placement(path: Path) -> Placement:
    """Read where a layer lay, from beside its file; as in a file where nothing is kept.

    Raises
    ------
    MedsslError
        If what is kept is damaged.
    """
    kept = path.with_suffix(".json")
    if not kept.is_file():
        return Placement()
    placement: Placement = Placement.parse(read_json(kept), where=str(kept))
    return placement


def _source(data: Indexable, axes: str, name: str) -> _Source:
    shape = tuple(data.shape)
    letters = sorted(axes)
    if len(axes) != len(shape) or set(axes) - set("TZCSYX") or len(set(letters)) < len(letters):
        raise MedsslError(
            f"The layer {name} has shape {shape} and cannot be read with the axes {axes or '(none)'}.",
            advice="Each axis has one letter of T, Z, C, S, Y and X, each at most once.",
        )
    if not {"Y", "X"} <= set(axes):
        raise MedsslError(f"The layer {name} has no axes Y and X ({axes}).")
    if {"C", "S"} <= set(axes):
        raise MedsslError(f"The layer {name} has channels (C) and colours (S); only one may be.")
    if 0 in shape:
        raise MedsslError(f"The layer {name} is empty (shape {shape}).")
    samples = 0
    if "S" in axes:
        samples = min(3, shape[axes.index("S")])
        if samples < 3:
            raise MedsslError(f"The layer {name} has {samples} colours; red, green, blue are 3.")
    return _Source(data, axes, "".join(a for a in axes if a in "TZ"), samples)


def _stored_type(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Give the type that values are stored as: their own where TIFF and this program know it."""
    if dtype.name in _STORED:
        return np.dtype(dtype.name)
    stored = {
        "bool": "uint8",
        "float16": "float32",
        "float64": "float32",
        "int64": "int32",
        "uint64": "uint32",
    }.get(dtype.name)
    if stored is None:
        raise MedsslError(f"The layer {name} holds {dtype}, which is no grey value.")
    return np.dtype(stored)


def _converted(page: NDArray[Any], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    if dtype.kind == "f" or page.dtype.itemsize <= dtype.itemsize:
        with np.errstate(over="ignore"):  # found as infinite when the image is looked at
            return page.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    low, high = int(page.min()), int(page.max())
    if low < limits.min or high > limits.max:
        raise MedsslError(f"The layer {name} holds values from {low} to {high}: too large.")
    return page.astype(dtype)


def _free_name(folder: Path, name: str) -> str:
    clean = re.sub(r"[^\w.()+-]+", " ", name).strip(". ")[:100] or "layer"
    number, free = 1, f"{clean}.tif"
    while (folder / free).exists():
        number += 1
        free = f"{clean} {number}.tif"
    return free
