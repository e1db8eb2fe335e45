"""Label images as OME-Zarr 0.5: a multiscale of label values, the planes of a stack in one volume."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import WriteError, read_json, write_json
from napari_medssl.project.images import split_plane
from napari_medssl.project.listing import identity_of
from napari_medssl.project.unfinished import Unfinished, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import zarr
    from numpy.typing import NDArray

    from napari_medssl.project.project import Project
    from napari_medssl.project.settings import ClassInfo

__all__ = ["MadeFrom", "ZarrLabels", "read_zarr_note"]

CHUNK = 1024
"""Side of a chunk, pixels; a chunk holds one plane."""
SMALLEST = 256
"""Levels are added until both sides of a plane are at most so long, pixels."""

_AXES = {
    "T": {"name": "t", "type": "time"},
    "P": {"name": "position"},
    "Z": {"name": "z", "type": "space"},
    "Y": {"name": "y", "type": "space"},
    "X": {"name": "x", "type": "space"},
}
"""In the order that OME-Zarr demands: time, what is neither time nor space, space."""


@dataclass
class _Volume:
    """A volume that is being written."""

    place: Unfinished
    levels: list[zarr.Array[Any]]
    stack: _Stack
    written: set[str] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        return self.place.path / "volume"


@dataclass(frozen=True)
class _Stack:
    """The axes that tell the planes of a file apart, and their places in the volume."""

    letters: str
    sizes: tuple[int, ...]

    @property
    def axes(self) -> str:
        return "".join(letter for letter in _AXES if letter in self.letters)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(math.prod(self._sizes(letter)) for letter in self.axes)

    def place(self, index: tuple[int, ...]) -> tuple[int, ...]:
        """Give the place of a plane; several axes of positions become one."""
        return tuple(
            int(np.ravel_multi_index(self._along(letter, index), self._sizes(letter)))
            for letter in self.axes
        )

    def _sizes(self, letter: str) -> tuple[int, ...]:
        return self._along(letter, self.sizes)

    def _along(self, letter: str, values: tuple[int, ...]) -> tuple[int, ...]:
        pairs = zip(self.letters, values, strict=True)
        return tuple(value for other, value in pairs if other == letter)


class MadeFrom:
    """What exports note of the image that they are of: size and time of its file, as they were when first asked for.

    Parameters
    ----------
    project : Project
        Whose images.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._known: dict[Path, list[int] | None] = {}  # all planes of a stack are in one file

    def __call__(self, image: str) -> dict[str, Any]:
        """Give the note on an image; of a file that is gone it holds nothing."""
        path = self._project.image_path(image)
        if path not in self._known:
            try:
                self._known[path] = list(identity_of(path))
            except OSError:
                self._known[path] = None
        return {"image": self._known[path]}


class ZarrLabels:
    """Writes the labels of images, each file's planes into one volume; see `label_exports.LabelExport`.

    The label image is the root of its folder, with the `image-label` metadata there, and not in the group ``labels``
    of an image: it would lead nowhere without that image, of which no copy is made. Each level holds every second row
    and column of the one before, so that label values stay what they are.

    Parameters
    ----------
    project : Project
        Whose images; tells their size and place in the world.
    images : sequence of str
        All that will come. Planes that do not come are 0 in their volume.
    files : mapping
        Name of each image file -> the folder to write.
    classes : sequence of ClassInfo or None
        For names and colours; None where the values number objects, which are kept in 32 bits.
    note : dict
        JSON, kept in the attributes.
    """

    def __init__(
        self,
        project: Project,
        images: Sequence[str],
        files: Mapping[str, Path],
        *,
        classes: Sequence[ClassInfo] | None,
        note: dict[str, Any],
    ) -> None:
        self._project, self._files, self._classes, self._note = project, files, classes, note
        self._planes: dict[str, set[str]] = {}
        for image in images:
            self._planes.setdefault(split_plane(image)[0], set()).add(image)
        self._made_from = MadeFrom(project)
        self._open: dict[str, _Volume] = {}
        self._left_out: set[str] = set()
        for folder in {path.parent for path in files.values()}:
            sweep(folder)

    def has(self, image: str) -> bool:
        """Whether the volume is complete, with all planes that are asked for, and was made from this very file."""
        file = split_plane(image)[0]
        try:
            found = read_zarr_note(self._files[file])
        except MedsslError:  # damaged, so it is written anew
            return False
        return found == self._told(self._planes[file])

    def write(self, image: str, labels: NDArray[np.integer]) -> Path | None:
        """Write a plane; gives the volume if that was its last one.

        Raises
        ------
        WriteError
            If the system refuses.
        """
        file, index = split_plane(image)
        with self._explained(file):
            volume = self._open.get(file)
            if volume is None:
                volume = self._begin(file, image, labels.shape)
            place = volume.stack.place(index)
            for level, array in enumerate(volume.levels):
                array[place] = labels[:: 1 << level, :: 1 << level]
            volume.written.add(image)
            return self._complete(file)

    def leave_out(self, image: str) -> Path | None:
        """Say that a plane will not come; gives the volume if all others have."""
        file = split_plane(image)[0]
        self._left_out.add(image)
        with self._explained(file):
            return self._complete(file) if file in self._open else None

    def close(self) -> None:
        """Throw away the volumes that are not complete."""
        for volume in self._open.values():
            volume.place.end()
        self._open.clear()

    def _complete(self, file: str) -> Path | None:
        """Give the volume its name, if nothing of it is missing."""
        volume, path = self._open[file], self._files[file]
        if self._planes[file] - volume.written - self._left_out:
            return None
        metadata = volume.folder / "zarr.json"
        stored = read_json(metadata)
        stored["attributes"]["medssl"] = self._told(volume.written)
        write_json(metadata, stored)
        _put(volume.folder, path)
        volume.place.end()
        del self._open[file]
        return path

    def _told(self, planes: set[str]) -> dict[str, Any]:
        names = "\n".join(sorted(planes))
        digest = hashlib.sha256(names.encode()).hexdigest()[:16]
        return {**self._note, **self._made_from(next(iter(planes))), "planes": digest}

    def _begin(self, file: str, image: str, shape: tuple[int, ...]) -> _Volume:
        import zarr  # takes a third of a second, and few export to it

        path, header = self._files[file], self._project.header(image)
        stack = _Stack(header.plane_axes, header.plane_sizes)
        count = 1 + max(0, math.ceil(math.log2(max(shape) / SMALLEST)))
        scale, translate = self._project.placement(image)
        ome = _metadata(path, stack, count, scale, translate, self._classes)
        volume = self._open[file] = _Volume(Unfinished(path.parent), [], stack)
        group = zarr.create_group(volume.folder, zarr_format=3, attributes={"ome": ome})
        for level in range(count):
            sides = [-(-side // (1 << level)) for side in shape]
            array = group.create_array(
                str(level),
                shape=(*stack.shape, *sides),
                chunks=(*(1 for _ in stack.shape), *(min(CHUNK, side) for side in sides)),
                dtype="uint32" if self._classes is None else "uint16",
                fill_value=0,
                dimension_names=[_AXES[letter]["name"] for letter in stack.axes + "YX"],
            )
            volume.levels.append(array)
        return volume

    @contextlib.contextmanager
    def _explained(self, file: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WriteError(
                f"{self._files[file]} cannot be written: {error.strerror or error}.",
                advice="Make its folder writable, or free some space on that disk.",
            ) from error


def read_zarr_note(path: Path) -> dict[str, Any] | None:
    """Read what `ZarrLabels` noted in a volume; None where another program wrote it, or nothing is there.

    Raises
    ------
    MedsslError
        If its metadata is damaged.
    """
    attributes = path / "zarr.json"
    if not attributes.is_file():
        return None
    stored = read_json(attributes)
    try:
        found = stored["attributes"]["medssl"]
    except (LookupError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def _metadata(
    path: Path,
    stack: _Stack,
    count: int,
    scale: tuple[float, float],
    translate: tuple[float, float],
    classes: Sequence[ClassInfo] | None,
) -> dict[str, Any]:
    ones, zeros = [1.0 for _ in stack.shape], [0.0 for _ in stack.shape]
    # level 1 holds the pixels 0, 2, 4 ... of level 0, so that the first one of all levels lies at the same place
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [*ones, *(side * (1 << level) for side in scale)]},
                {"type": "translation", "translation": [*zeros, *translate]},
            ],
        }
        for level in range(count)
    ]
    return {
        "version": "0.5",
        "multiscales": [
            {
                "name": path.name.removesuffix(".ome.zarr"),
                "axes": [_AXES[letter] for letter in stack.axes + "YX"],
                "datasets": datasets,
                "type": "nearest",
            }
        ],
        "image-label": {"version": "0.5"} | ({} if classes is None else _meanings(classes)),
    }


def _meanings(classes: Sequence[ClassInfo]) -> dict[str, Any]:
    return {
        "colors": [{"label-value": info.value, "rgba": _rgba(info)} for info in classes],
        "properties": [{"label-value": info.value, "class": info.name} for info in classes],
    }


def _rgba(info: ClassInfo) -> list[int]:
    return [*(int(info.color[i : i + 2], 16) for i in (1, 3, 5)), 255]


def _put(folder: Path, path: Path) -> None:
    """Let a finished folder take a name, in the place of what had it."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with (Path(parent) / name).open("rb+") as file:
                os.fsync(file.fileno())
    if path.exists():  # no system replaces a folder that is not empty
        path.rename(folder.with_name("old"))
    folder.rename(path)
