"""Label images for other programs: TIFF, PNG and OME-Zarr files in a folder of the user's choice."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import atomic, read_labels_note, write_tiff
from napari_medssl.project.images import extension_of, split_plane
from napari_medssl.project.label_zarr import MadeFrom, ZarrLabels, read_zarr_note
from napari_medssl.project.paths import inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project.project import Project
    from napari_medssl.project.settings import ClassInfo

__all__ = ["EXTENSION", "LabelExport", "LabelFormat", "label_export"]

LabelFormat = Literal["tiff", "png", "ome-zarr"]

EXTENSION: Mapping[LabelFormat, str] = {"tiff": ".tif", "png": ".png", "ome-zarr": ".ome.zarr"}

_NOTE = "medssl"


class LabelExport(Protocol):
    """Takes label images one by one, the planes of a stack one after the other."""

    def has(self, image: str) -> bool:
        """Whether the file of an image is complete, and was made by the same weights from this very image file."""

    def write(self, image: str, labels: NDArray[np.integer]) -> Path | None:
        """Write labels, or numbered objects, (Y, X).

        Gives the file if it is complete now, which takes all planes of a volume.
        """

    def leave_out(self, image: str) -> Path | None:
        """Say that an image will not come; gives the volume that is complete without it."""

    def close(self) -> None:
        """Throw away what is not complete."""


def label_export(
    kind: LabelFormat,
    folder: Path,
    project: Project,
    images: Sequence[str],
    *,
    classes: Sequence[ClassInfo] | None,
    note: Mapping[str, Any],
) -> LabelExport:
    """Open a folder for the labels of some images, or for their objects.

    Parameters
    ----------
    kind : {"tiff", "png", "ome-zarr"}
        TIFF of 16 bits; PNG of 8 bits, or of 16 where there are more than 255 label values; OME-Zarr 0.5, a stack in
        one volume.
    folder : Path
        Made where missing.
    project : Project
        Whose images.
    images : sequence of str
        All that will come, in that order. They are named as their image where no two would get the same file, else
        with its extension kept.
    classes : sequence of ClassInfo or None
        What the label values mean; None where they number objects.
    note : mapping
        JSON, kept in each file with size and time of the image's; `has` takes only files that hold the same. With the
        ``weights`` that predict.

    Raises
    ------
    MedsslError
        If a file that would be written is there already and did not come from here: it may be a drawn mask.
    """
    note = dict(note) | ({"numbers": "objects"} if classes is None else {})
    bits = 8 if classes is not None and max(info.value for info in classes) < 1 << 8 else 16
    if kind == "ome-zarr":
        files = _named(_files(images), folder, EXTENSION[kind])
        _spare_others(files.values(), read_zarr_note)
        return ZarrLabels(project, images, files, classes=classes, note=note)
    files = _named(images, folder, EXTENSION[kind])
    if kind == "png":
        _spare_others(files.values(), _read_png_note)
        return _PngLabels(project, files, bits=bits, note=note)
    _spare_others(files.values(), read_labels_note)
    return _TiffLabels(project, files, note=note)


def _spare_others(files: Iterable[Path], read: Callable[[Path], Mapping[str, Any] | None]) -> None:
    """Refuse to write over what is no export of ours; a damaged file of that name is written anew."""
    for path in files:
        try:
            if not path.exists() or "weights" in (read(path) or {}):
                continue
        except MedsslError:
            continue
        raise MedsslError(
            f"{path} is there already and holds no prediction: it would be lost.",
            advice="Choose another folder, or move that file away.",
        )


class _TiffLabels:
    def __init__(
        self, project: Project, files: Mapping[str, Path], *, note: dict[str, Any]
    ) -> None:
        self._files, self._note, self._made_from = files, note, MadeFrom(project)

    def has(self, image: str) -> bool:
        path = self._files[image]
        try:
            found = read_labels_note(path) if path.is_file() else None
        except MedsslError:  # damaged, so it is written anew
            return False
        return found == {"medssl": 1} | self._note | self._made_from(image)

    def write(self, image: str, labels: NDArray[np.integer]) -> Path:
        wide = labels.max(initial=0) >= 1 << 16
        values = labels.astype(np.uint32 if wide else np.uint16, copy=False)
        note = self._note | self._made_from(image)
        write_tiff(self._files[image], values, note=note)
        return self._files[image]

    def leave_out(self, image: str) -> None:
        """Do nothing: each image has its own file."""

    def close(self) -> None:
        """Do nothing: each file is complete."""


class _PngLabels:
    def __init__(
        self, project: Project, files: Mapping[str, Path], *, bits: int, note: dict[str, Any]
    ) -> None:
        self._files, self._note, self._made_from = files, note, MadeFrom(project)
        self._type = np.uint8 if bits == 8 else np.uint16

    def has(self, image: str) -> bool:
        path = self._files[image]
        try:
            found = _read_png_note(path) if path.is_file() else None
        except MedsslError:  # damaged, so it is written anew
            return False
        return found == self._note | self._made_from(image)

    def write(self, image: str, labels: NDArray[np.integer]) -> Path:
        highest = int(labels.max(initial=0))
        if highest > np.iinfo(self._type).max:
            raise MedsslError(
                f"{image} holds the value {highest}; PNG has room for {np.iinfo(self._type).max}.",
                advice="Write TIFF or OME-Zarr.",
            )
        text = PngInfo()
        text.add_text(_NOTE, json.dumps(self._note | self._made_from(image)))
        with atomic(self._files[image]) as temporary:
            Image.fromarray(labels.astype(self._type)).save(temporary, pnginfo=text)
        return self._files[image]

    def leave_out(self, image: str) -> None:
        """Do nothing: each image has its own file."""

    def close(self) -> None:
        """Do nothing: each file is complete."""


def _read_png_note(path: Path) -> dict[str, Any] | None:
    """Read what `_PngLabels` noted in a file that is whole; None where another program wrote it."""
    try:
        with Image.open(path) as stored:
            stored.verify()
            text = stored.info.get(_NOTE)
        found = None if text is None else json.loads(text)
    except (OSError, SyntaxError, ValueError) as error:
        raise MedsslError(f"The file {path} is damaged: {error}.") from error
    return found if isinstance(found, dict) else None


def _files(images: Iterable[str]) -> list[str]:
    """Give the files that the images are planes of, each once."""
    return list(dict.fromkeys(split_plane(image)[0] for image in images))


def _named(names: Sequence[str], folder: Path, extension: str) -> dict[str, Path]:
    """Give each image or file its own file in the folder."""
    stems = [_stem(name) for name in names]
    if len({stem.casefold() for stem in stems}) < len(stems):  # some systems know no case
        stems = list(names)
    return {
        name: inside(folder, stem, suffix=extension)
        for name, stem in zip(names, stems, strict=True)
    }


def _stem(name: str) -> str:
    path = PurePosixPath(name)
    ending = len(extension_of(name))
    stem = path.name[:-ending] if ending else path.name
    return str(path.with_name(stem.removesuffix(".ome") or path.name))
