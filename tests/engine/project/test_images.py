from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_medssl.project.images import UnreadableImageError, decode, read_header
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


def stack(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((5, 20, 30), np.uint8), photometric="minisblack")


def cut(write, keep: float):
    def damaged(path: Path) -> None:
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])

    return damaged


def nan(path: Path) -> None:
    image = FLOAT.copy()
    image[3, 4:6] = np.nan, np.inf
    tifffile.imwrite(path, image)


BAD = {
    "empty.png": (lambda path: path.write_bytes(b""), "is empty"),
    "empty.tif": (lambda path: path.write_bytes(b""), "is empty"),
    "text.png": (lambda path: path.write_text("no image" * 30), "not a PNG image"),
    "text.tif": (lambda path: path.write_text("no image" * 30), "not a TIF image"),
    "cut.png": (cut(pillow(RGB8), 0.5), "truncated"),
    "cut 16-bit.png": (cut(cv(RGB16), 0.5), "truncated"),
    "cut.jpg": (cut(pillow(RGB8), 0.6), "truncated"),
    "cut.bmp": (cut(pillow(RGB8), 0.6), "truncated"),
    "cut.tif": (cut(tiff(GREY16), 0.6), "truncated"),
    "dot.png": (pillow(np.zeros((1, 1), np.uint8)), "too small"),
    "stack.tif": (stack, "stack"),
    "nan.tif": (nan, "2 of its values are NaN or infinite"),
    "two.tif": (
        tiff(np.zeros((20, 30, 2), np.uint8), photometric="minisblack", planarconfig="contig"),
        "2 channels",
    ),
    "complex.tif": (tiff(np.zeros((20, 30), np.complex64)), "complex64"),
    "cmyk.jpg": (pillow(Image.new("CMYK", (30, 20))), "CMYK"),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_files_are_refused_with_their_reason(name: str, tmp_path: Path) -> None:
    write, reason = BAD[name]
    path = tmp_path / name
    write(path)

    def look() -> None:
        if read_header(path).complete is False or name == "nan.tif":
            decode(path)

    with pytest.raises(UnreadableImageError, match=reason):
        look()


@pytest.mark.parametrize("plane", [GREY8, GREY16, FLOAT, GREY8[:1, :9]], ids=str)
def test_percentiles_are_numpys(plane: np.ndarray) -> None:
    np.testing.assert_allclose(limits(plane, 1.0, 99.8), np.percentile(plane, (1.0, 99.8)))


def test_normalisation_of_a_constant_and_of_a_few_bright_spots() -> None:
    assert not rescale(GREY8 * 0 + 7, *limits(GREY8 * 0 + 7, 1, 99.8)).any()
    spots = np.zeros((100, 100), np.uint16)
    spots[5, 5] = 900  # fewer than 0.2 percent
    assert rescale(spots, *limits(spots, 1, 99.8))[5, 5] == 1
