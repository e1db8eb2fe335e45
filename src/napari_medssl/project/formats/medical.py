"""NIfTI volumes and DICOM files. The libraries for both come with the extra ``medical``."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medssl.project.formats.header import (
    Header,
    Layout,
    UnreadableImageError,
    check_pixel_type,
)
from napari_medssl.project.formats.pixel_size import (
    micrometres,
    per_axis,
    plausible_pixel_size,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import nibabel
    import pydicom
    from numpy.typing import NDArray

__all__ = ["decode_dicom", "decode_nifti", "dicom_header", "nifti_header"]

_GZIP_RATIO = 1032
"""Deflate makes at most so many bytes of one."""

_PIXELS = (b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10")
"""Tag of the element Pixel Data, in both byte orders."""

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})


@contextlib.contextmanager
def _dicom_errors() -> Iterator[None]:
    """Say in words that pydicom is missing, and what its own errors mean; for use as a decorator."""
    try:
        from pydicom.errors import BytesLengthException, InvalidDicomError
    except ImportError as error:
        raise _missing("DICOM") from error
    try:
        yield
    except InvalidDicomError as error:
        raise UnreadableImageError("not a DICOM file, or damaged from the start") from error
    except BytesLengthException as error:
        raise UnreadableImageError("damaged: an element of a wrong length") from error


def _missing(kind: str) -> UnreadableImageError:
    return UnreadableImageError(
        f'{kind} needs an extra: pip install "napari-medssl[medical]"', passing=True
    )


def nifti_header(path: Path, axes: Mapping[str, str]) -> Header:
    """Read the header of a NIfTI file; its slices along the third axis are the planes."""
    image, layout = _nifti(path, axes)
    proxy: Any = image.dataobj
    stored = proxy.dtype
    check_pixel_type(stored)
    needed = int(proxy.offset) + math.prod(image.shape) * stored.itemsize
    size = path.stat().st_size
    complete = True
    if path.suffix.lower() == ".gz":
        if needed > size * _GZIP_RATIO:
            raise UnreadableImageError(f"truncated: {size} bytes cannot hold {needed}")
        with path.open("rb") as file:
            file.seek(-4, 2)
            # Where gzip notes the length of what it holds, a cut file has something else.
            complete = int.from_bytes(file.read(), "little") == needed % (1 << 32)
    elif needed > size:
        raise UnreadableImageError(f"truncated: {needed - size} bytes are missing")
    scaled = (proxy.slope, proxy.inter) != (1, 0)
    return _header(
        layout,
        "float64" if scaled else stored.name,
        _nifti_axes(image),
        complete,
        plausible_pixel_size(layout, lambda: _nifti_spacing(image)),
    )


def decode_nifti(path: Path, index: tuple[int, ...], axes: Mapping[str, str]) -> NDArray[Any]:
    """Decode one plane of a NIfTI file as (C, Y, X), in its units, unturned."""
    image, layout = _nifti(path, axes)
    proxy: Any = image.dataobj
    check_pixel_type(proxy.dtype)
    part = np.asarray(proxy[layout.selection(index)[::-1]])
    return layout.channels_first(part.T)


@_dicom_errors()
def dicom_header(path: Path, axes: Mapping[str, str]) -> Header:
    """Read the header of a DICOM file; several frames are planes along P."""
    file = _dicom(path, axes)
    dataset = file.dataset
    bits = int(dataset.BitsAllocated)
    if bits not in (8, 16, 32):
        raise UnreadableImageError(f"pixels of {bits} bits are not read")
    compressed = dataset.file_meta.TransferSyntaxUID.is_compressed
    if not compressed:
        needed = math.prod(file.layout.sizes) * bits // 8
        if dataset.PhotometricInterpretation == "YBR_FULL_422":
            needed = needed * 2 // 3
        missing = file.pixels_at + needed - path.stat().st_size
        if missing > 0:
            raise UnreadableImageError(f"truncated: {missing} bytes are missing")
    kind = "int" if dataset.get("PixelRepresentation", 0) else "uint"
    dtype = f"{kind}{bits}" if _rescale(dataset) is None else "float32"
    pixel_size = plausible_pixel_size(file.layout, lambda: _dicom_spacing(file))
    return _header(file.layout, dtype, file.axes, not compressed, pixel_size)


@_dicom_errors()
def decode_dicom(path: Path, index: tuple[int, ...], axes: Mapping[str, str]) -> NDArray[Any]:
    """Decode one frame of a DICOM file as (C, Y, X), in its units (Hounsfield, for example)."""
    file = _dicom(path, axes)
    frame = file.layout.selection(index)[0] if file.axes.startswith("P") else 0
    if not isinstance(frame, int):
        raise UnreadableImageError(f"its frames cannot be read as {file.layout.letters[0]}")
    from pydicom.pixels.utils import pixel_array

    try:
        pixels = np.asarray(pixel_array(path, index=frame))
    except RuntimeError as error:  # its message is several paragraphs on plugins
        raise UnreadableImageError("damaged or truncated: its pixels cannot be decoded") from error
    image = file.layout.channels_first(pixels)
    scale = _rescale(file.dataset)
    if scale is None:
        return image
    return image.astype(np.float32) * np.float32(scale[0]) + np.float32(scale[1])


@dataclass(frozen=True)
class _Dicom:
    """A DICOM file before its pixels are read."""

    dataset: pydicom.FileDataset
    axes: str
    """As stored."""
    layout: Layout
    pixels_at: int
    """Where in the file their first byte is."""


def _nifti(path: Path, axes: Mapping[str, str]) -> tuple[nibabel.nifti1.Nifti1Image, Layout]:
    try:
        import nibabel
    except ImportError as error:
        raise _missing("NIfTI") from error
    try:
        image = nibabel.load(path)
    except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
        raise UnreadableImageError("not a NIfTI image, or damaged from the start") from error
    if not isinstance(image, nibabel.nifti1.Nifti1Image):  # NIfTI-2 is derived from it
        raise UnreadableImageError("not a NIfTI image, or damaged from the start")
    return image, Layout.of(_nifti_axes(image), image.shape[::-1], axes)


def _nifti_axes(image: nibabel.nifti1.Nifti1Image) -> str:
    # Told outermost first, as all other formats do; in NIfTI X is the first. The fifth holds the values of a point.
    return "QQCTZYX"[7 - len(image.shape) :]


def _nifti_spacing(image: nibabel.nifti1.Nifti1Image) -> list[float]:
    header: Any = image.header
    unit, _ = header.get_xyzt_units()
    # Many programs leave the unit out; millimetres are then meant.
    unit = "mm" if unit == "unknown" else unit
    return [micrometres(side, unit) for side in header.get_zooms()[::-1]]


def _dicom(path: Path, axes: Mapping[str, str]) -> _Dicom:
    import pydicom
    from pydicom.pixels.decoders.base import get_decoder

    with path.open("rb") as file:
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
        element = file.read(4)  # it stopped right before
        pixels_at = file.tell() + 4 + 4 * (not dataset.original_encoding[0])
    if element not in _PIXELS:
        raise UnreadableImageError("a DICOM file without an image, or truncated before it")
    colours = str(dataset.PhotometricInterpretation)
    if colours not in _GREY | _COLOUR:
        raise UnreadableImageError(f"colours stored as {colours} are not read; grey and RGB are")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not (decoder := get_decoder(syntax)).is_available:
        needed = "; ".join(decoder.missing_dependencies)
        raise UnreadableImageError(
            f"compression {syntax.name} needs another library ({needed})", passing=True
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    samples = int(dataset.SamplesPerPixel)
    sizes = [int(dataset.Rows), int(dataset.Columns)]
    stored = "YX"
    if frames != 1:
        stored, sizes = "P" + stored, [frames, *sizes]
    if samples != 1:
        stored, sizes = stored + "S", [*sizes, samples]
    return _Dicom(dataset, stored, Layout.of(stored, sizes, axes), pixels_at)


def _dicom_spacing(file: _Dicom) -> list[float]:
    dataset = file.dataset
    # In the patient, at the detector of an X-ray machine, or (microscopes, enhanced CT and MR) of all frames.
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    if not spacing:
        frames = dataset.SharedFunctionalGroupsSequence[0]
        spacing = frames.PixelMeasuresSequence[0].PixelSpacing
    y, x = (micrometres(side, "mm") for side in spacing)
    return per_axis(file.axes, y, x)


def _rescale(dataset: pydicom.FileDataset) -> tuple[float, float] | None:
    scale = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    return None if scale == (1.0, 0.0) else scale


def _header(
    layout: Layout,
    dtype: str,
    stored_axes: str,
    complete: bool,
    pixel_size: tuple[float, float] | None,
) -> Header:
    return Header(
        layout.shape,
        layout.channels,
        dtype,
        complete,
        plane_axes=layout.plane_axes,
        plane_sizes=layout.plane_sizes,
        stored_axes=stored_axes,
        rgb="S" in layout.letters and layout.channels == 3,
        pixel_size=pixel_size,
    )
