"""Files state the size of a pixel in many ways; what they state is in micrometres, or None."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_medssl import Project
from napari_medssl.project.images import decode, read_header

Write = Callable[[Path], Any]

GREY = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
STACK = np.stack([GREY, GREY.T.reshape(20, 30)])
CENTIMETRE = "CENTIMETER"


def tiff(image: np.ndarray = GREY, **options: Any) -> Write:
    return lambda path: tifffile.imwrite(path, image, **{"photometric": "minisblack", **options})


def imagej(per_unit: tuple[float, float], **metadata: Any) -> Write:
    """As ImageJ does: pixels per unit along (x, y) in the tags, the unit in its own metadata."""
    return tiff(
        STACK,
        imagej=True,
        resolution=per_unit,
        metadata={"axes": "ZYX", "spacing": 7.0, **metadata},
    )


def ome(**physical: Any) -> Write:
    return tiff(STACK, ome=True, metadata={"axes": "ZYX", "PhysicalSizeZ": 7.0, **physical})


def positions(*sizes: float) -> Write:
    def write(path: Path) -> None:
        with tifffile.TiffWriter(path, ome=True) as writer:
            for size in sizes:
                metadata = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeY": size}
                writer.write(GREY, photometric="minisblack", metadata=metadata)

    return write


def ome_zarr(scale: Any, unit: Any, *, whole: Any = None, version: str = "0.4") -> Write:
    """One level of half the size must not be taken; `whole` scales all levels."""

    def write(path: Path) -> None:
        group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
        for level in ("0", "1"):
            group.create_array(level, data=STACK[:, :: 1 + int(level), :: 1 + int(level)])
        axes = [{"name": name, "type": "space"} for name in "zyx"]
        for axis in axes:
            axis |= {"unit": unit} if unit is not None else {}

        def scaled(by: Any) -> Any:
            return [
                {"type": "scale", "scale": by},
                {"type": "translation", "translation": [5, 5, 5]},
            ]

        datasets = [
            {"path": "0", "coordinateTransformations": scaled(scale)},
            {"path": "1", "coordinateTransformations": scaled([7, 8, 9])},
        ]
        multiscale = {"version": version, "axes": axes, "datasets": datasets}
        if whole is not None:
            multiscale["coordinateTransformations"] = scaled(whole)
        metadata = {"multiscales": [multiscale]}
        group.attrs.update(metadata if version == "0.4" else {"ome": metadata})

    return write


def nifti(zooms: tuple[float, ...], unit: str) -> Write:
    def write(path: Path) -> None:
        nibabel = pytest.importorskip("nibabel")
        image = nibabel.Nifti1Image(STACK.T, np.eye(4))
        image.header["pixdim"][1:4] = zooms
        image.header.set_xyzt_units(unit)
        nibabel.save(image, path)

    return write


def dicom(**elements: Any) -> Write:
    def write(path: Path) -> None:
        pydicom = pytest.importorskip("pydicom")
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
        meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset = pydicom.Dataset()
        dataset.file_meta = meta
        dataset.NumberOfFrames, dataset.Rows, dataset.Columns = STACK.shape
        dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        dataset.PixelData = STACK.tobytes()
        for name, value in elements.items():
            setattr(dataset, name, value)
        dataset.save_as(path, enforce_file_format=True)

    return write


def enhanced(path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    measures, frames = pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = [0.0005, 0.00025]
    frames.PixelMeasuresSequence = [measures]
    dicom(SharedFunctionalGroupsSequence=[frames])(path)


def dots(per_inch: float) -> Write:
    return tiff(resolution=(per_inch / 2.54,) * 2, resolutionunit=CENTIMETRE)


CASES: dict[str, tuple[Write, tuple[float, float] | None]] = {
    "ome.tif": (ome(PhysicalSizeX=0.25, PhysicalSizeY=0.5), (0.5, 0.25)),
    "ome nm.tif": (
        ome(
            PhysicalSizeX=65,
            PhysicalSizeXUnit="nm",
            PhysicalSizeY=0.13,
            PhysicalSizeYUnit="\u00b5m",
        ),
        (0.13, 0.065),
    ),
    "ome pixel.tif": (
        ome(PhysicalSizeX=1, PhysicalSizeXUnit="pixel", PhysicalSizeY=1, PhysicalSizeYUnit="pixel"),
        None,
    ),
    "ome without.tif": (ome(), None),
    "positions.ome.tif": (positions(0.5, 0.5), (0.5, 0.5)),
    "positions that differ.ome.tif": (positions(0.5, 0.25), None),
    "imagej.tif": (imagej((4, 2), unit="um"), (0.5, 0.25)),
    "imagej micron.tif": (imagej((1 / 0.325, 1 / 0.65), unit="micron"), (0.65, 0.325)),
    "imagej escaped.tif": (imagej((4, 2), unit=r"\u00B5m"), (0.5, 0.25)),
    "imagej nm.tif": (imagej((0.1, 0.05), unit="nm"), (0.02, 0.01)),
    "imagej pixel.tif": (imagej((4, 2), unit="pixel"), None),
    "imagej inch.tif": (imagej((4, 2), unit="inch"), None),
    "imagej without.tif": (imagej((4, 2)), None),
    "plain.tif": (tiff(), None),
    "centimetre.tif": (tiff(resolution=(20000, 10000), resolutionunit=CENTIMETRE), (1, 0.5)),
    "inch.tif": (tiff(resolution=(50800, 25400), resolutionunit="INCH"), None),
    "no unit.tif": (tiff(resolution=(20000, 10000), resolutionunit="NONE"), None),
    "72 dpi.tif": (dots(72), None),
    "96 dpi.tif": (dots(96), None),
    "300 dpi.tif": (dots(300), None),
    "118 per centimetre.tif": (dots(118 * 2.54), None),
    "04.ome.zarr": (ome_zarr([2, 0.5, 0.25], "micrometer"), (0.5, 0.25)),
    "05.ome.zarr": (ome_zarr([2, 0.5, 0.25], "nanometer", version="0.5"), (5e-4, 2.5e-4)),
    "twice.ome.zarr": (
        ome_zarr([1, 0.5, 0.25], "micrometer", whole=[1, 2, 2.0]),
        (1, 0.5),
    ),
    "no unit.ome.zarr": (ome_zarr([2, 0.5, 0.25], None), None),
    "plain.zarr": (lambda path: zarr.create_array(path, data=GREY), None),
    "mm.nii.gz": (nifti((0.7, 0.9, 3), "mm"), (900, 700)),
    "micron.nii": (nifti((0.7, 0.9, 3), "micron"), (0.9, 0.7)),
    "unknown.nii": (nifti((0.7, 0.9, 3), "unknown"), (900, 700)),
    "slice.dcm": (dicom(PixelSpacing=[0.5, 0.25]), (500, 250)),
    "x-ray.dcm": (dicom(ImagerPixelSpacing=[0.2, 0.1]), (200, 100)),
    "enhanced.dcm": (enhanced, (0.5, 0.25)),
    "without.dcm": (dicom(), None),
    "print.png": (lambda path: Image.fromarray(GREY).save(path, dpi=(25400, 25400)), None),
    "print.jpg": (lambda path: Image.fromarray(GREY).save(path, dpi=(254, 254)), None),
    "print.bmp": (lambda path: Image.fromarray(GREY).save(path, dpi=(254, 254)), None),
}


@pytest.mark.parametrize("name", CASES)
def test_each_format_states_it_in_its_way(name: str, tmp_path: Path) -> None:
    write, expected = CASES[name]
    write(tmp_path / name)
    assert read_header(tmp_path / name).pixel_size == expected


def test_it_follows_the_axes_as_they_are_read(tmp_path: Path) -> None:
    ome_zarr([2, 0.5, 0.25], "micrometer")(tmp_path / "a.zarr")
    path = tmp_path / "b.ome.tif"
    tiff(
        np.zeros((10, 20, 30), np.uint8),
        ome=True,
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5},
    )(path)
    assert read_header(tmp_path / "a.zarr", axes={"ZYX": "ZXY"}).pixel_size == (0.25, 0.5)
    assert read_header(path, axes={"ZYX": "ZXY"}).pixel_size == (0.25, 0.5)
    assert read_header(path, axes={"ZYX": "YZX"}).pixel_size is None  # that of Z is not read


NONSENSE = [0, -0.5, float("nan"), float("inf"), 1e9, 1e-9, 10**400, "", "abc", None, [], {}]


@pytest.mark.parametrize("value", NONSENSE, ids=lambda value: repr(value)[:12])
def test_nonsense_counts_as_none_and_the_image_is_read_all_the_same(
    value: Any, tmp_path: Path
) -> None:
    ome(PhysicalSizeX=20 * "V", PhysicalSizeY=0.5)(tmp_path / "a.ome.tif")
    content = (tmp_path / "a.ome.tif").read_bytes()
    # Of the same length, so that the file stays whole otherwise.
    text = str(value).replace('"', "")[:20].ljust(20).encode()
    assert content.count(20 * b"V") == 1
    (tmp_path / "a.ome.tif").write_bytes(content.replace(20 * b"V", text))
    ome_zarr([1, value, 0.5], "micrometer")(tmp_path / "value.zarr")
    ome_zarr([1, 0.5, 0.5], "micrometer", whole=[1, 1, value])(tmp_path / "whole.zarr")
    ome_zarr(value, "micrometer")(tmp_path / "scale.zarr")
    if value is not None:
        ome_zarr([1, 0.5, 0.5], value)(tmp_path / "unit.zarr")
    ome_zarr([1, 0.5, 0.5], "micrometer")(tmp_path / "list.zarr")
    attributes = tmp_path / "list.zarr" / ".zattrs"
    stored = json.loads(attributes.read_text())
    stored["multiscales"][0]["datasets"][0]["coordinateTransformations"] = value
    attributes.write_text(json.dumps(stored))
    for path in sorted(tmp_path.iterdir()):
        header = read_header(path)
        assert header.pixel_size is None, path.name
        np.testing.assert_array_equal(decode(path, (1,))[0], STACK[1])


@pytest.mark.parametrize("x", [(0, 1), (1, 0), (0, 0), (1, 2**32 - 1), (2**32 - 1, 1)], ids=str)
def test_nonsense_in_tags_counts_as_none(x: tuple[int, int], tmp_path: Path) -> None:
    tiff(resolution=(20000, 10000), resolutionunit=CENTIMETRE)(tmp_path / "a.tif")
    tiff(imagej=True, resolution=(20000, 10000), metadata={"unit": "cm"})(tmp_path / "b.tif")
    for name in ("a.tif", "b.tif"):
        assert read_header(tmp_path / name).pixel_size == (1, 0.5)
        with tifffile.TiffFile(tmp_path / name, mode="r+b") as file:
            file.pages[0].tags["XResolution"].overwrite(x)
        assert read_header(tmp_path / name).pixel_size is None
        np.testing.assert_array_equal(decode(tmp_path / name)[0], GREY)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9, 1e-12], ids=str)
def test_nonsense_in_nifti_counts_as_none(value: float, tmp_path: Path) -> None:
    nifti((value, 0.5, 1), "mm")(tmp_path / "a.nii")
    assert read_header(tmp_path / "a.nii").pixel_size is None
    np.testing.assert_array_equal(decode(tmp_path / "a.nii", (1,))[0], STACK[1])


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
@pytest.mark.parametrize(
    "value", [b"0\\0 ", b"-1\\1", b"1e9\\1 ", b"a\\b ", b"1 ", b"", b"1\\2\\3 "]
)
def test_nonsense_in_dicom_counts_as_none(value: bytes, tmp_path: Path) -> None:
    dicom(PixelSpacing=["1234", "5678"])(tmp_path / "a.dcm")
    content = (tmp_path / "a.dcm").read_bytes()
    assert content.count(b"1234\\5678 ") == 1
    padded = value.ljust(10) if value else b" " * 10
    (tmp_path / "a.dcm").write_bytes(content.replace(b"1234\\5678 ", padded))
    assert read_header(tmp_path / "a.dcm").pixel_size is None
    np.testing.assert_array_equal(decode(tmp_path / "a.dcm", (1,))[0], STACK[1])


def test_a_project_knows_it_after_it_was_closed_and_what_is_typical(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("a", 0.5), ("b", 1.0), ("c", 8.0)):
        metadata = {"PhysicalSizeX": size, "PhysicalSizeY": size / 4, "axes": "YX"}
        tiff(ome=True, metadata=metadata)(folder / f"{name}.ome.tif")
    project = Project.create(folder)
    assert project.pixel_size("a.ome.tif") == 0.25
    assert project.pixel_size("cell1.png") is None
    assert project.typical_pixel_size() == 0.5
    # Each plane of a stack is an image.
    nifti((0.006, 0.006, 1), "mm")(folder / "d.nii")
    nifti((0.006, 0.006, 1), "mm")(folder / "e.nii")
    project.rescan()
    assert project.typical_pixel_size() == 6

    monkeypatch.setattr("napari_medssl.project.entries.read_header", None)  # nothing is opened anew
    opened = Project.open(project.path, quick=True)
    assert opened.header("c.ome.tif").pixel_size == (2, 8)
    assert opened.typical_pixel_size() == 6


def test_what_an_older_version_kept_is_looked_at_again(folder: Path) -> None:
    tiff(resolution=(10000, 10000), resolutionunit=CENTIMETRE)(folder / "a.tif")
    project = Project.create(folder)
    cache = project.path / "derived" / "scan.json"
    stored = json.loads(cache.read_text())
    stored["version"] -= 1
    for header in stored["headers"]:
        del header["pixel_size"]
    cache.write_text(json.dumps(stored))
    assert Project.open(project.path).pixel_size("a.tif") == 1


def test_images_that_state_none_have_no_typical_size(project: Project) -> None:
    assert project.typical_pixel_size() is None


def test_a_layer_has_the_scale_that_it_had_in_the_viewer(project: Project) -> None:
    (name,) = project.add_layer(GREY, name="scaled", axes="YX", scale=(0.5, 0.125))
    assert project.pixel_size(name) == 0.25
    (name,) = project.add_layer(GREY, name="plain", axes="YX")
    assert project.pixel_size(name) is None
    (name,) = project.add_layer(GREY, name="flipped", axes="YX", scale=(-0.5, 0.5))
    assert project.pixel_size(name) is None
