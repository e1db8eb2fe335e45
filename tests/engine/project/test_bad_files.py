"""Every kind of file that cannot be used is refused in one sentence, and those beside it are read."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_medssl.project.images import (
    UnreadableImageError,
    decode,
    plane_names,
    read_header,
    split_plane,
)

Write = Callable[[Path], Any]

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
STACK = RNG.integers(0, 256, (3, 20, 30), dtype=np.uint8)


def pillow(image: np.ndarray | Image.Image, **options: Any) -> Write:
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    return lambda path: picture.save(path, **options)


def tiff(image: np.ndarray, **options: Any) -> Write:
    return lambda path: tifffile.imwrite(path, image, **{"photometric": "minisblack", **options})


def cut(write: Write, keep: float) -> Write:
    def damaged(path: Path) -> None:
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])

    return damaged


def flipped(write: Write, where: float) -> Write:
    def damaged(path: Path) -> None:
        write(path)
        content = bytearray(path.read_bytes())
        content[int(len(content) * where)] ^= 0xFF
        path.write_bytes(content)

    return damaged


def changed(write: Write, old: bytes, new: bytes) -> Write:
    """Write a file, then replace one place in it."""

    def damaged(path: Path) -> None:
        write(path)
        content = path.read_bytes()
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))

    return damaged


def tag(write: Write, name: str, value: int) -> Write:
    """Write a TIFF, then give a tag of its first page another value."""

    def damaged(path: Path) -> None:
        write(path)
        with tifffile.TiffFile(path, mode="r+") as tiff:
            tiff.pages[0].tags[name].overwrite(value)

    return damaged


def with_value(value: float, dtype: type = np.float32) -> np.ndarray:
    image = GREY.astype(dtype)
    image[3, 4:6] = value
    return image


def loop_of_pages(path: Path) -> None:
    """The second page says that the first comes next."""
    tiff(STACK[:2], metadata=None)(path)
    with tifffile.TiffFile(path) as file:
        first, second = (page.offset for page in file.pages)
    content = bytearray(path.read_bytes())
    (count,) = struct.unpack_from("<H", content, second)
    struct.pack_into("<I", content, second + 2 + 12 * count, first)
    path.write_bytes(content)


def different_pages(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY)
        writer.write(GREY[:10])


def part_of_a_set(path: Path) -> None:
    others = "".join(
        f'<TiffData FirstT="{t}"><UUID FileName="{t}.ome.tif">urn:uuid:{t}</UUID></TiffData>'
        for t in range(2)
    )
    tiff(GREY, metadata=None, description=ome(SizeT=2, inner=others, uuid="urn:uuid:0"))(path)


def ome(*, inner: str = "<TiffData/>", uuid: str = "urn:uuid:0", **sizes: int) -> str:
    size = {"SizeX": 30, "SizeY": 20, "SizeC": 1, "SizeZ": 1, "SizeT": 1, **sizes}
    attributes = " ".join(f'{name}="{value}"' for name, value in size.items())
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{uuid}">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" {attributes}>'
        f"{inner}</Pixels></Image></OME>"
    )


def bmp_header(path: Path) -> None:
    """100,000 x 100,000 pixels, of which none is there."""
    path.write_bytes(
        struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 54, 0, 0, 54, 40, 10**5, 10**5, 1, 24, *[0] * 6)
    )


def array(**options: Any) -> Write:
    settings = {"data": STACK, "chunks": (1, 20, 30), **options}
    return lambda path: zarr.create_array(path, **settings)


def ome_zarr(path: Path, axes: str = "zyx", dataset: str = "0") -> None:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=STACK, chunks=(1, 20, 30))
    described = [{"name": name} for name in axes]
    group.attrs["multiscales"] = [{"axes": described, "datasets": [{"path": dataset}]}]


def with_json(write: Write, file: str, **changes: Any) -> Write:
    """Write a Zarr folder, then change a metadata file in it."""

    def damaged(path: Path) -> None:
        write(path)
        stored = json.loads((path / file).read_text())
        (path / file).write_text(json.dumps({**stored, **changes}))

    return damaged


def without(write: Write, pattern: str) -> Write:
    def damaged(path: Path) -> None:
        write(path)
        for file in [item for item in path.rglob(pattern) if item.is_file()]:
            file.unlink()

    return damaged


def half_of_a_chunk(path: Path) -> None:
    array(compressors=None)(path)
    cut(lambda _: None, 0.5)(path / "c" / "1" / "0" / "0")


def pickled(path: Path) -> None:
    array(zarr_format=2, compressors=None)(path)
    (path / ".zarray").write_text(
        json.dumps({**json.loads((path / ".zarray").read_text()), "filters": [{"id": "pickle"}]})
    )


def nifti(path: Path, dtype: type = np.uint8) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(STACK.T.astype(dtype), np.eye(4)), path)


def dicom(path: Path, *, pixels: bool = True, colours: str = "MONOCHROME2") -> None:
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.Rows, dataset.Columns = GREY.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = colours
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    if pixels:
        dataset.PixelData = GREY.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def link(target: str) -> Write:
    return lambda path: path.symlink_to(target)


TEXT = "no image " * 30
JPEG_2000 = struct.pack(">I4s4s", 12, b"jP  ", b"\r\n\x87\n")

BAD: dict[str, tuple[Write, str]] = {
    # nothing, or something else
    "empty.png": (lambda path: path.write_bytes(b""), "the file is empty"),
    "empty.tif": (lambda path: path.write_bytes(b""), "the file is empty"),
    "empty.nii.gz": (lambda path: path.write_bytes(b""), "the file is empty"),
    "empty.dcm": (lambda path: path.write_bytes(b""), "the file is empty"),
    "text.png": (lambda path: path.write_text(TEXT), "not a PNG image"),
    "text.tif": (lambda path: path.write_text(TEXT), "not a TIF image"),
    "text.nii": (lambda path: path.write_text(TEXT), "not a NIfTI image"),
    "text.nii.gz": (lambda path: path.write_text(TEXT), "not a NIfTI image"),
    "text.dcm": (lambda path: path.write_text(TEXT), "not a DICOM file"),
    "text.zarr": (lambda path: path.write_text(TEXT), "a file; .zarr is read where it is a folder"),
    "zeros.jpg": (lambda path: path.write_bytes(bytes(5000)), "not a JPG image"),
    "jpeg 2000.jpg": (lambda path: path.write_bytes(JPEG_2000 + bytes(99)), "not a JPG image"),
    "postscript.png": (lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n"), "not a PNG"),
    "folder.png": (lambda path: path.mkdir(), "a folder that is named like an image"),
    "pipe.tif": (lambda path: os.mkfifo(path), "not a file but a device or a pipe"),
    "dangling.tif": (link("nowhere.tif"), "a link to a file that is not there"),
    "circle.png": (link("circle.png"), "a link that leads back to itself"),
    "gone.png": (lambda path: None, "the file is no longer there"),
    # cut
    "cut.png": (cut(pillow(RGB), 0.5), "truncated"),
    "cut at the start.png": (cut(pillow(RGB), 0.01), "truncated|not a PNG"),
    "cut.jpg": (cut(pillow(RGB), 0.6), "truncated"),
    "cut.bmp": (cut(pillow(RGB), 0.6), "truncated"),
    "cut.webp": (cut(pillow(RGB), 0.6), "truncated|not a WEBP"),
    "cut.tif": (cut(tiff(GREY), 0.6), "truncated: .* bytes are missing"),
    "cut in the header.tif": (cut(tiff(GREY), 0.05), "truncated: it breaks off at page 1"),
    "cut stack.tif": (cut(tiff(STACK, metadata=None), 0.6), "truncated: it breaks off at page 2"),
    "cut zipped.tif": (cut(tiff(GREY, compression="zlib"), 0.9), "truncated"),
    "cut.ome.tif": (
        cut(tiff(STACK, ome=True, metadata={"axes": "ZYX"}), 0.9),
        "truncated: .* bytes are missing",
    ),
    "cut imagej.tif": (
        cut(tiff(STACK, imagej=True, truncate=True, metadata={"axes": "ZYX"}), 0.7),
        "ImageJ metadata do not fit its pages: damaged or truncated",
    ),
    "cut.nii": (cut(nifti, 0.7), "truncated: .* bytes are missing"),
    "cut.nii.gz": (cut(nifti, 0.7), "truncated"),
    "cut.dcm": (cut(dicom, 0.7), "truncated: .* bytes are missing"),
    # damaged
    "loop.tif": (loop_of_pages, "its pages begin anew without an end"),
    "no page.tif": (lambda path: path.write_bytes(b"II*\0\0\0\0\0"), "holds no image"),
    "flipped.png": (flipped(pillow(RGB), 0.5), "damaged or truncated"),
    "flipped.tif": (flipped(tiff(GREY, compression="zlib"), 0.8), "damaged or truncated"),
    "never written.tif": (
        tag(tiff(GREY, compression="zlib"), "StripByteCounts", 0),
        "was never written",
    ),
    "damaged.ome.tif": (
        changed(tiff(GREY, ome=True), b"</Pixels>", b"</Pixelz>"),
        "OME metadata are damaged",
    ),
    # numbers that are no intensities
    "nan.tif": (tiff(with_value(np.nan)), "2 of its values are NaN or infinite"),
    "infinite.tif": (tiff(with_value(-np.inf)), "2 of its values are NaN or infinite"),
    "too large for single.tif": (tiff(with_value(1e300, np.float64)), "2 of its values are NaN"),
    "half infinite.tif": (tiff(with_value(np.inf, np.float16)), "2 of its values are NaN"),
    "nan.zarr": (array(data=with_value(np.nan), chunks=(20, 30)), "2 of its values are NaN"),
    "nan.nii": (lambda path: nifti_nan(path), "of its values are NaN or infinite"),
    "64 bits.tif": (tiff(GREY.astype(np.uint64) + 2**60), "too close together"),
    "complex.tif": (tiff(GREY.astype(np.complex64)), "pixel type complex64 is not read"),
    "complex.zarr": (array(data=STACK.astype(np.complex64)), "pixel type complex64 is not read"),
    "complex.nii": (lambda path: nifti(path, np.complex64), "pixel type complex64 is not read"),
    # sizes
    "dot.png": (pillow(GREY[:1, :1]), r"too small \(1 x 1 pixels\)"),
    "line.tif": (tiff(GREY[:1]), r"too small \(1 x 30 pixels\)"),
    "small.zarr": (array(data=STACK[:, :4], chunks=(1, 4, 30)), r"too small \(4 x 30 pixels\)"),
    "bomb.bmp": (bmp_header, "too large"),
    "bomb.tif": (
        tag(tag(tiff(GREY), "ImageWidth", 10**5), "ImageLength", 10**5),
        "too large|damaged or truncated",
    ),
    "bomb.zarr": (
        with_json(array(), "zarr.json", shape=[3, 10**5, 10**5]),
        "too large: claims 100000 x 100000 pixels",
    ),
    "bomb chunk.zarr": (
        with_json(
            array(),
            "zarr.json",
            chunk_grid={"name": "regular", "configuration": {"chunk_shape": [1, 10**5, 10**5]}},
        ),
        "too large",
    ),
    "many chunks.zarr": (
        with_json(array(chunks=(1, 10, 10)), "zarr.json", shape=[3, 20, 10**6]),
        "each plane of it lies in 200000 chunks",
    ),
    "pages.ome.tif": (
        tiff(GREY, metadata=None, description=ome(inner='<TiffData PlaneCount="99999999"/>')),
        "its OME metadata claim 99999999 planes",
    ),
    "planes.ome.tif": (
        tiff(GREY, metadata=None, description=ome(SizeT=10**9)),
        "its OME metadata claim 1000000000 planes",
    ),
    "empty axis.zarr": (
        array(data=None, shape=(0, 20, 30), dtype="u1"),
        r"one of its axes is empty \(axes QYX, shape 0 x 20 x 30\)",
    ),
    # axes
    "line.zarr": (array(data=STACK[0, 0], chunks=(30,)), "axes X are no planes of Y and X"),
    "axes.zarr": (lambda path: ome_zarr(path, "tzyx"), "name the axes TZYX, its array has 3"),
    "no y.zarr": (lambda path: ome_zarr(path, "zcx"), "axes ZCX are no planes of Y and X"),
    "twice.zarr": (lambda path: ome_zarr(path, "xyx"), "are no planes of Y and X"),
    "differ.tif": (different_pages, r"holds 2 images that differ \(20 x 30, 10 x 30\)"),
    "set.ome.tif": (part_of_a_set, "a part of an OME-TIFF of several files"),
    # kinds
    "animation.png": (
        pillow(GREY, save_all=True, append_images=[Image.fromarray(255 - GREY)]),
        "an animation",
    ),
    "cmyk.jpg": (pillow(Image.new("CMYK", (30, 20))), "colour mode CMYK is not read"),
    "cmyk.tif": (
        tiff(np.zeros((20, 30, 4), np.uint8), photometric="separated"),
        "colours stored as CMYK are not read",
    ),
    "lab.tif": (tiff(RGB, photometric="cielab"), "colours stored as CIELAB are not read"),
    "compression.tif": (tag(tiff(GREY), "Compression", 34892 + 7), "compression 34899 is not read"),
    "palette.dcm": (lambda path: dicom(path, colours="PALETTE COLOR"), "colours stored as PALETTE"),
    "no pixels.dcm": (lambda path: dicom(path, pixels=False), "a DICOM file without an image"),
    # Zarr
    "bare.zarr": (lambda path: path.mkdir(), "holds no Zarr metadata"),
    "group.zarr": (lambda path: zarr.open_group(path, mode="w"), "without the metadata of an OME"),
    "plate.zarr": (
        lambda path: zarr.open_group(path, mode="w").attrs.update({"ome": {"plate": {}}}),
        "a plate of wells",
    ),
    "no level.zarr": (without(ome_zarr, ".zarray"), "its full-size array '0' is missing"),
    "no chunks.zarr": (without(ome_zarr, "*.0.0"), "all its chunks are missing"),
    "no metadata.zarr": (without(ome_zarr, ".z*"), "holds no Zarr metadata"),
    "damaged.zarr": (
        lambda path: (ome_zarr(path), (path / ".zattrs").write_text('{"multi')),
        "its metadata file .zattrs is damaged",
    ),
    "no datasets.zarr": (
        with_json(ome_zarr, ".zattrs", multiscales=[{}]),
        "its OME metadata are damaged or incomplete",
    ),
    "outside.zarr": (lambda path: ome_zarr(path, dataset="../.."), "its metadata lead out of it"),
    "half a chunk.zarr": (half_of_a_chunk, "damaged or truncated"),
    "objects.zarr": (pickled, "its codec pickle is not read"),
    "text in it.zarr": (
        with_json(array(zarr_format=2), ".zarray", dtype="<U1", fill_value=""),
        "pixel type .* is not read",
    ),
}


def nifti_nan(path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(np.full((30, 20), np.nan, np.float32), np.eye(4)), path)


def look(path: Path) -> None:
    """Do what a project does with a file: read its header, then every plane."""
    header = read_header(path)
    for name in plane_names(path.name, header):
        decode(path, split_plane(name)[1])


@pytest.mark.parametrize("name", BAD)
def test_an_unusable_file_is_refused_with_its_reason(name: str, tmp_path: Path) -> None:
    write, reason = BAD[name]
    write(tmp_path / name)
    with pytest.raises(UnreadableImageError, match=reason) as refused:
        look(tmp_path / name)
    message = refused.value.message
    assert "\n" not in message
    assert not message.endswith(".")  # it stands behind the file's name, in a list
    with pytest.raises(UnreadableImageError):
        decode(tmp_path / name, ())


def test_the_good_files_beside_them_are_read(tmp_path: Path) -> None:
    pillow(GREY)(tmp_path / "good.png")
    tiff(STACK)(tmp_path / "good.tif")
    ome_zarr(tmp_path / "good.zarr")
    for name, (write, _) in BAD.items():
        write(tmp_path / name)
    usable = []
    for path in sorted(tmp_path.iterdir()):
        try:
            look(path)
        except UnreadableImageError:
            continue
        usable.append(path.name)
    assert usable == ["good.png", "good.tif", "good.zarr"]


def test_a_file_that_may_not_be_read_is_said_to_be_so(tmp_path: Path) -> None:
    """As another user where the tests run as root, whom no permission stops."""
    path = tmp_path / "secret.png"
    pillow(GREY)(path)
    path.chmod(0)
    script = """
import os, sys
from pathlib import Path
from napari_medssl.project.images import UnreadableImageError, read_header
path = Path(sys.argv[1])
os.chdir(path.parent)
if os.geteuid() == 0:
    os.chmod(path.parent, 0o755)
    os.setuid(65534)
try:
    read_header(Path(path.name))
except UnreadableImageError as error:
    print(error.message, error.passing)
"""
    told = subprocess.run(
        [sys.executable, "-c", script, path], check=True, capture_output=True, text=True
    )
    assert told.stdout.strip() == "reading it is not permitted True"


def test_a_reason_that_may_pass_says_so(tmp_path: Path) -> None:
    """It must not be remembered together with the unchanged file."""
    for name in ("dangling.tif", "circle.png", "gone.png"):
        BAD[name][0](tmp_path / name)
        with pytest.raises(UnreadableImageError) as refused:
            read_header(tmp_path / name)
        assert refused.value.passing
    BAD["cut.tif"][0](tmp_path / "cut.tif")
    with pytest.raises(UnreadableImageError) as refused:
        read_header(tmp_path / "cut.tif")
    assert not refused.value.passing
