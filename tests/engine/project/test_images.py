from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_medssl.project.images import (
    Header,
    UnreadableImageError,
    decode,
    plane_names,
    read_header,
    split_plane,
)
from napari_medssl.project.planes import limits, luminance, rescale

RNG = np.random.default_rng(0)
GREY8 = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
RGB16 = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
FLOAT = RNG.normal(0, 1e4, (20, 30)).astype(np.float32)
RGBA8 = np.dstack([RGB8, np.full((20, 30), 255, np.uint8)])
PALETTE = Image.fromarray(RGB8).quantize(17)


def pillow(image: np.ndarray | Image.Image):
    return lambda path: (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        path
    )


def tiff(image: np.ndarray, **options):
    return lambda path: tifffile.imwrite(path, image, **options)


def cv(image: np.ndarray):
    return lambda path: cv2.imwrite(str(path), image[..., ::-1])


CASES = {
    "grey 8-bit.png": (pillow(GREY8), GREY8),
    "grey 16-bit.png": (pillow(GREY16), GREY16),
    "rgb 8-bit.png": (pillow(RGB8), RGB8),
    "rgb 16-bit.png": (cv(RGB16), RGB16),  # written by another program than reads it
    "rgba.png": (pillow(RGBA8), RGB8),
    "grey and alpha.png": (pillow(Image.fromarray(RGBA8).convert("LA")), None),
    "bits.png": (pillow(Image.fromarray(GREY8 > 100)), (GREY8 > 100).astype(np.uint8)),
    "palette.png": (pillow(PALETTE), np.asarray(PALETTE.convert("RGB"))),
    "grey.bmp": (pillow(GREY8), GREY8),
    "rgb.bmp": (pillow(RGB8), RGB8),
    "grey.jpg": (pillow(GREY8), None),
    "rgb.webp": (lambda path: Image.fromarray(RGB8).save(path, lossless=True), RGB8),
    "rgb.JPEG": (pillow(RGB8), None),
    "grey 8-bit.tif": (tiff(GREY8), GREY8),
    "grey 16-bit.tiff": (tiff(GREY16, compression="zlib", predictor=True), GREY16),
    "big-endian.tif": (tiff(GREY16, byteorder=">"), GREY16),
    "lzw.tif": (tiff(GREY16, compression="lzw"), GREY16),
    "float.tif": (tiff(FLOAT), FLOAT),
    "double.tif": (tiff(FLOAT.astype(np.float64)), FLOAT),
    "rgb.tif": (tiff(RGB8, photometric="rgb"), RGB8),
    "rgb 16-bit.tif": (tiff(RGB16, photometric="rgb"), RGB16),
    "rgba.tif": (tiff(RGBA8, photometric="rgb"), RGB8),
    "planar.tif": (
        tiff(np.moveaxis(RGB16, -1, 0).copy(), photometric="rgb", planarconfig="separate"),
        RGB16,
    ),
    "half.tif": (tiff(FLOAT.astype(np.float16)), FLOAT.astype(np.float16)),
    "signed 32-bit.tif": (tiff(GREY16.astype(np.int32) - 30000), GREY16.astype(np.int32) - 30000),
    "unsigned 64-bit.tif": (tiff(GREY16.astype(np.uint64)), GREY16),
    "two channels.tif": (
        tiff(RGB16[..., :2], photometric="minisblack", planarconfig="contig"),
        RGB16[..., :2],
    ),
    "tiled.ome.tif": (tiff(GREY16, tile=(16, 16), metadata={"axes": "YX"}), GREY16),
}


@pytest.mark.parametrize("name", CASES)
def test_each_format_gives_its_pixels_and_the_header_agrees(name: str, tmp_path: Path) -> None:
    write, expected = CASES[name]
    path = tmp_path / name
    write(path)
    image = decode(path)
    header = read_header(path)
    assert (header.channels, *header.shape) == image.shape
    assert header.shape == (20, 30)
    assert header.complete
    assert image.dtype.isnative
    if expected is not None:
        planes = expected[np.newaxis] if expected.ndim == 2 else np.moveaxis(expected, -1, 0)
        np.testing.assert_array_equal(image, planes)


def test_jpeg_grey_values_are_close_and_its_grey_stays_grey(tmp_path: Path) -> None:
    smooth = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    Image.fromarray(smooth).convert("RGB").save(tmp_path / "a.jpg", quality=95)
    image = decode(tmp_path / "a.jpg")
    assert np.abs(image[0].astype(int) - smooth).max() <= 3
    np.testing.assert_array_equal(luminance(image), image[0])


STACK = RNG.integers(0, 65536, (3, 4, 2, 20, 30), dtype=np.uint16)  # (T, Z, C, Y, X)
NAMES = ("DAPI", "GFP")


def ome_tiff(path: Path) -> None:
    metadata = {"axes": "TZCYX", "Channel": {"Name": NAMES}}
    tifffile.imwrite(path, STACK, metadata=metadata, photometric="minisblack", compression="zlib")


def imagej(path: Path) -> None:
    metadata = {"axes": "TZCYX", "Labels": list(NAMES) * 12}
    tifffile.imwrite(path, STACK, imagej=True, metadata=metadata)


def positions(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for position in STACK:
            metadata = {"axes": "ZCYX", "Channel": {"Name": NAMES}}
            writer.write(position, metadata=metadata, photometric="minisblack")


def volumetric(path: Path) -> None:
    tifffile.imwrite(
        path, STACK[0, :, 0], photometric="minisblack", volumetric=True, tile=(16, 16, 16)
    )


def pages(path: Path) -> None:
    first, *others = [Image.fromarray(plane) for plane in STACK[0, :, 0]]
    first.save(path, save_all=True, append_images=others)  # by another program than reads it


def ome_zarr(version: str):
    """OME-Zarr as the specification describes it, with a second level that must not be taken."""

    def write(path: Path) -> None:
        group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
        for level, step in (("0", 1), ("1", 2)):
            data = STACK[..., ::step, ::step]
            group.create_array(level, data=data, chunks=(1, 1, 1, 16, 16))
        kinds = {"t": "time", "c": "channel"}
        axes = [{"name": name, "type": kinds.get(name, "space")} for name in "tzcyx"]
        datasets = [{"path": "0"}, {"path": "1"}]
        metadata = {
            "multiscales": [{"version": version, "axes": axes, "datasets": datasets}],
            "omero": {"channels": [{"label": name} for name in NAMES]},
        }
        group.attrs.update(metadata if version == "0.4" else {"ome": metadata})

    return write


def bioformats2raw(path: Path) -> None:
    zarr.open_group(path, mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    for number, position in enumerate(STACK):
        group = zarr.open_group(path / str(number), mode="w", zarr_format=2)
        group.create_array("0", data=position[:, 0], chunks=(1, 16, 16))
        group.attrs["multiscales"] = [{"axes": ["z", "y", "x"], "datasets": [{"path": "0"}]}]


def nifti(path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    nibabel.save(nibabel.Nifti1Image(STACK[:, :, 0].T, np.eye(4)), path)


def dicom(path: Path, pixels: np.ndarray = STACK[0, :, 0], **changes: object) -> None:
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = pixels.tobytes()
    for name, value in changes.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)


STACKS = {
    "movie.ome.tif": (ome_tiff, "TZ", STACK, NAMES),
    "imagej.tif": (imagej, "TZ", STACK, NAMES),
    "positions.ome.tif": (positions, "PZ", STACK, NAMES),
    "volumetric.tif": (volumetric, "Z", STACK[0, :, :1], ()),
    "pages.tif": (pages, "P", STACK[0, :, :1], ()),
    "04.ome.zarr": (ome_zarr("0.4"), "TZ", STACK, NAMES),
    "05.zarr": (ome_zarr("0.5"), "TZ", STACK, NAMES),
    "raw.zarr": (bioformats2raw, "PZ", STACK[:, :, :1], ()),
    "volume.nii": (nifti, "TZ", STACK[:, :, :1], ()),
    "volume.nii.gz": (nifti, "TZ", STACK[:, :, :1], ()),
    "frames.dcm": (dicom, "P", STACK[0, :, :1], ()),
}


@pytest.mark.parametrize("name", STACKS)
def test_each_plane_of_a_stack_is_read_by_its_name(name: str, tmp_path: Path) -> None:
    write, axes, expected, channel_names = STACKS[name]
    path = tmp_path / name
    write(path)
    header = read_header(path)
    assert header.complete
    assert (header.plane_axes, header.plane_sizes) == (axes, expected.shape[:-3])
    assert (header.channels, *header.shape) == expected.shape[-3:]
    assert (header.dtype, header.channel_names) == ("uint16", channel_names)
    names = plane_names(f"folder/{name}", header)
    assert len(set(names)) == len(names) == math.prod(header.plane_sizes)
    for plane in names:
        file, index = split_plane(plane)
        assert file == f"folder/{name}"
        np.testing.assert_array_equal(decode(path, index), expected[index])
    with pytest.raises(UnreadableImageError, match=r"a stack of .*one plane of it is needed"):
        decode(path)
    with pytest.raises(UnreadableImageError, match="it has no plane"):
        decode(path, expected.shape[:-3])


def test_plane_names_are_padded_and_split_without_the_disk() -> None:
    header = Header((20, 30), 1, "uint8", plane_axes="TZ", plane_sizes=(120, 9))
    names = plane_names("a/movie.tif", header)
    assert (names[0], names[-1]) == ("a/movie.tif/t000_z0", "a/movie.tif/t119_z8")
    assert names == sorted(names)
    assert split_plane("a/movie.tif/t003_z5") == ("a/movie.tif", (3, 5))
    assert split_plane("a.ome.zarr/p1") == ("a.ome.zarr", (1,))
    for single in ("a/movie.tif", "a.tif/b.tif", "folder/z1", "a.tif/extra"):
        assert split_plane(single) == (single, ())


def test_unnamed_axes_are_planes_unless_told_otherwise(tmp_path: Path) -> None:
    tiff(STACK[0, :, 0], photometric="minisblack")(tmp_path / "a.tif")
    zarr.create_array(tmp_path / "a.zarr", data=STACK[0, :, 0])
    for path in (tmp_path / "a.tif", tmp_path / "a.zarr"):
        header = read_header(path)
        assert (header.stored_axes, header.plane_axes, header.channels) == ("QYX", "P", 1)
        told = read_header(path, axes={"QYX": "CYX"})
        assert (told.plane_axes, told.channels) == ("", 4)
        np.testing.assert_array_equal(decode(path, axes={"QYX": "CYX"}), STACK[0, :, 0])
        with pytest.raises(UnreadableImageError, match="cannot be read as TZYX"):
            read_header(path, axes={"QYX": "TZYX"})


def test_only_the_asked_plane_is_read(tmp_path: Path) -> None:
    """The rest of the file may be gone: what is there is read all the same."""
    ome_tiff(tmp_path / "a.ome.tif")
    ome_zarr("0.5")(tmp_path / "a.zarr")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        where = tif.pages[-1].dataoffsets[0]
    with (tmp_path / "a.ome.tif").open("r+b") as file:
        file.seek(where)
        file.write(bytes(20))
    for chunk in (tmp_path / "a.zarr" / "0" / "c" / "2" / "3").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"damaged")
    for path in (tmp_path / "a.ome.tif", tmp_path / "a.zarr"):
        np.testing.assert_array_equal(decode(path, (2, 2)), STACK[2, 2])
        with pytest.raises(UnreadableImageError, match="damaged or truncated"):
            decode(path, (2, 3))


def test_the_largest_level_of_a_pyramid_is_taken_and_its_names_do_not_change(
    tmp_path: Path,
) -> None:
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB8, photometric="rgb", subifds=1, tile=(16, 16))
        writer.write(RGB8[::2, ::2], photometric="rgb", subfiletype=1, tile=(16, 16))
        writer.write(RGB8[::2, ::2], photometric="rgb", subfiletype=1)  # a thumbnail beside it
    assert read_header(path).shape == (20, 30)
    assert plane_names("slide.tif", read_header(path)) == ["slide.tif"]
    np.testing.assert_array_equal(decode(path), np.moveaxis(RGB8, -1, 0))


def test_a_wrong_extension_does_not_matter(tmp_path: Path) -> None:
    Image.fromarray(GREY8).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", GREY8)
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    (tmp_path / "b.tif").rename(tmp_path / "b.png")
    for name in ("a.tif", "b.png"):
        np.testing.assert_array_equal(decode(tmp_path / name)[0], GREY8)
        assert read_header(tmp_path / name).shape == GREY8.shape


def test_red_green_and_blue_are_told_from_three_stains(tmp_path: Path) -> None:
    tiff(RGB8, photometric="rgb")(tmp_path / "rgb.tif")
    stains = np.moveaxis(RGB8, -1, 0).copy()
    tiff(stains, photometric="minisblack", imagej=True, metadata={"axes": "CYX"})(
        tmp_path / "stains.tif"
    )
    assert read_header(tmp_path / "rgb.tif").rgb
    assert not read_header(tmp_path / "stains.tif").rgb
    for name in ("rgb.tif", "stains.tif"):
        assert read_header(tmp_path / name).channels == 3
        np.testing.assert_array_equal(decode(tmp_path / name), stains)


def test_dicom_gives_hounsfield_units(tmp_path: Path) -> None:
    stored = RNG.integers(0, 3000, (1, 20, 30), dtype=np.uint16)
    dicom(tmp_path / "ct.dcm", stored, RescaleSlope=2, RescaleIntercept=-1024)
    header = read_header(tmp_path / "ct.dcm")
    assert (header.plane_axes, header.dtype) == ("", "float32")
    np.testing.assert_array_equal(decode(tmp_path / "ct.dcm"), stored * 2.0 - 1024)


def test_without_the_extra_medical_images_name_it(tmp_path: Path) -> None:
    """In a child, where the libraries cannot be imported."""
    for name in ("a.nii.gz", "a.dcm"):
        (tmp_path / name).write_bytes(b"something")
    script = """
import sys
from pathlib import Path
sys.modules["nibabel"] = sys.modules["pydicom"] = None
from napari_medssl.project.images import UnreadableImageError, read_header
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        read_header(path)
    except UnreadableImageError as error:
        print(error.message, error.passing)
"""
    told = subprocess.run(
        [sys.executable, "-c", script, tmp_path], check=True, capture_output=True, text=True
    ).stdout
    assert told.splitlines() == [
        f'{kind} needs an extra: pip install "napari-medssl[medical]" True'
        for kind in ("DICOM", "NIfTI")
    ]


def test_planes_are_decoded_from_many_threads_at_once(tmp_path: Path) -> None:
    ome_tiff(tmp_path / "a.ome.tif")
    ome_zarr("0.4")(tmp_path / "a.zarr")
    work = [
        (tmp_path / name, index) for index in np.ndindex(3, 4) for name in ("a.ome.tif", "a.zarr")
    ] * 4
    with ThreadPoolExecutor(8) as pool:
        for (_, index), image in zip(work, pool.map(lambda item: decode(*item), work), strict=True):
            np.testing.assert_array_equal(image, STACK[index])


@pytest.mark.parametrize("plane", [GREY8, GREY16, FLOAT, GREY8[:1, :9]], ids=str)
def test_percentiles_are_numpys(plane: np.ndarray) -> None:
    np.testing.assert_allclose(limits(plane, 1.0, 99.8), np.percentile(plane, (1.0, 99.8)))


def test_normalisation_of_a_constant_and_of_a_few_bright_spots() -> None:
    assert not rescale(GREY8 * 0 + 7, *limits(GREY8 * 0 + 7, 1, 99.8)).any()
    spots = np.zeros((100, 100), np.uint16)
    spots[5, 5] = 900  # fewer than 0.2 percent
    assert rescale(spots, *limits(spots, 1, 99.8))[5, 5] == 1
