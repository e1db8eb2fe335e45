"""Masks made elsewhere, turned into labels: what their values mean, and the import."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import WriteError
from napari_medssl.project.images import split_plane
from napari_medssl.project.listing import list_files
from napari_medssl.project.mask_files import Mask
from napari_medssl.project.mask_names import match_masks, no_match
from napari_medssl.project.objects import HIGHEST_ID
from napari_medssl.project.paths import given
from napari_medssl.project.report import Skipped
from napari_medssl.project.settings import CLASS_COLORS, FOREGROUND, ClassInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project.project import Project

__all__ = [
    "ImportReport",
    "MasksAs",
    "Meaning",
    "find_masks",
    "import_masks",
    "read_values",
    "understand",
]

MasksAs = Literal["auto", "binary", "classes", "instances", "labels"]

MAX_CLASSES = 8
"""Masks with more distinct values than this number objects."""


class ImportReport(Config):
    """What became of the masks of a folder."""

    masks_as: MasksAs
    """How their values were understood."""
    imported: tuple[str, ...]
    """Images that got annotations."""
    missing: tuple[str, ...]
    """Images without a mask."""
    skipped: tuple[Skipped, ...]
    """Images whose mask was not used, with the reason."""
    notes: tuple[str, ...]

    def text(self) -> str:
        """Put the report into readable sentences, one a line."""
        lines = [f"Masks imported for {len(self.imported)} images, read as {self.masks_as}."]
        if self.missing:
            lines.append(f"Without a mask: {len(self.missing)} images.")
        lines += self.notes
        if self.skipped:
            lines.append(f"Masks not used: {len(self.skipped)}.")
        lines += [f"  {item.name}: {item.reason}" for item in self.skipped[:10]]
        if len(self.skipped) > 10:
            lines.append(f"  and {len(self.skipped) - 10} more")
        return "\n".join(lines)


@dataclass(frozen=True)
class Meaning:
    """What the values of a folder of masks mean."""

    masks_as: MasksAs
    """Never ``auto``."""
    mapping: Mapping[int, int] = field(default_factory=dict)
    """For classes: mask value -> label value."""
    notes: tuple[str, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    """Images whose mask cannot be read -> reason."""

    def convert(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Turn mask values (Y, X) into labels.

        Raises
        ------
        MedsslError
            If a class mask holds a value without a class.
        """
        if self.masks_as == "labels":
            return values.astype(np.uint16)
        if self.masks_as != "classes":
            return np.where(values != 0, np.uint16(2), np.uint16(1))
        unique, inverse = np.unique(values, return_inverse=True)
        unknown = [value for value in unique.tolist() if value not in self.mapping]
        if unknown:
            raise MedsslError(
                f"The mask holds the values {listed(unknown)}; known are {listed(self.mapping)}."
            )
        table = np.array([self.mapping[value] for value in unique.tolist()], np.uint16)
        return table[inverse].reshape(values.shape)


def import_masks(
    project: Project,
    folder: str | Path,
    masks_as: MasksAs = "auto",
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ImportReport:
    """Turn a folder of masks into finished annotations.

    Parameters
    ----------
    project : Project
        Whose images the masks belong to, by name: the same relative path, maybe with another extension or an
        ending such as ``_mask``. A mask stack beside an image stack has a mask for each of its planes.
    folder : path
        The masks, in any format that images have. Nothing in it is changed.
    masks_as : {"auto", "binary", "classes", "instances", "labels"}
        ``binary``: 0 is background, the rest foreground. ``classes``: each value is a class, 0 is background.
        ``instances``: the same as binary, and the values number objects, which are kept beside the labels (under
        new ids where theirs go beyond `objects.HIGHEST_ID`).
        ``labels``: as this program writes them.
        ``auto`` looks at the values of all masks: one besides 0 is binary, at most 8 different ones are classes,
        more are instances; the report tells.
    overwrite : bool
        Replace annotations that are there already, and their objects; else these images are skipped.
    progress : callable, optional
        Called with (done, total) masks.

    Returns
    -------
    ImportReport

    Raises
    ------
    MedsslError
        If no mask fits any image by name, or annotations cannot be written.
    """
    files = find_masks(project.images, folder, image_root=project.image_root)
    meaning = understand(files, masks_as, known=project.settings.mask_values)
    if meaning.mapping:
        _add_classes(project, meaning.mapping)
    statuses = project.annotations.statuses()

    def take(name: str) -> str:
        """Import one mask; give the reason if it is not used."""
        if name in meaning.broken:
            return meaning.broken[name]
        if statuses[name] != "none" and not overwrite:
            return "the image is annotated already"
        try:
            header = project.header(name)
            values = read_values(files[name].of(header), header.shape)
            labels = meaning.convert(values)
            # Objects first: killed in between, the image counts as not annotated, and is imported again.
            if meaning.masks_as == "instances":
                project.objects.write(name, _ids(values))
            else:
                project.objects.clear(name)  # they divided annotations that are being replaced
            project.annotations.write(name, labels, done=bool(labels.all()))
        except WriteError:
            raise
        except MedsslError as error:
            return error.message
        return ""

    imported, skipped = [], []
    # Most of the time goes into waiting for the disk to have each label file for good.
    with ThreadPoolExecutor(4 * (os.cpu_count() or 1)) as pool:
        try:
            for done, (name, reason) in enumerate(
                zip(files, pool.map(take, files), strict=True), start=1
            ):
                if reason:
                    skipped.append(Skipped(name=name, reason=reason))
                else:
                    imported.append(name)
                if progress is not None:
                    progress(done, len(files))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return ImportReport(
        masks_as=meaning.masks_as,
        imported=tuple(imported),
        missing=tuple(name for name in project.images if name not in files),
        skipped=tuple(skipped),
        notes=meaning.notes,
    )


def find_masks(
    names: Iterable[str], folder: str | Path, *, image_root: Path | None = None
) -> dict[str, Mask]:
    """Find the mask of each image by name.

    Parameters
    ----------
    names : iterable of str
        Image names, POSIX paths. The planes of a stack have theirs in a mask stack that is named like the stack, or
        each in a file of its own, as this program stores labels.
    folder : path
        Where the masks are.
    image_root : Path, optional
        The image folder, so that an image is never taken for its own mask.

    Returns
    -------
    dict
        Image name -> mask, for the images that have one.

    Raises
    ------
    MedsslError
        If there is no such folder or no mask in it fits any image.
    """
    root = given(folder).resolve()
    planes = {name: split_plane(name) for name in names}
    files = {file for file, _ in planes.values()}
    same = image_root is not None and root == image_root.resolve()
    masks = list_files(
        root, recursive=True, excluded=tuple(files) if same else (), stacks=True
    ).files
    single = match_masks(planes, masks)
    whole = match_masks(files - single.keys(), masks)
    found = {}
    for name, (file, index) in planes.items():
        if name in single:
            found[name] = Mask(root / single[name])
        elif index and file in whole:
            found[name] = Mask(root / whole[file], index)
    if not found:
        raise no_match(planes, len(masks), root)
    return found


def understand(
    files: Mapping[str, Mask], masks_as: MasksAs, *, known: Mapping[int, int]
) -> Meaning:
    """Find out what the values of masks mean.

    Parameters
    ----------
    files : mapping
        Image name -> mask.
    masks_as : {"auto", "binary", "classes", "instances", "labels"}
        See `import_masks`.
    known : mapping
        Meaning of class values in masks imported before; it holds again where it covers all values.
    """

    def look(mask: Mask) -> tuple[list[int], bool] | MedsslError:
        try:
            values = mask.read()
        except MedsslError as error:
            return error
        # One more than needed is enough to know that they are many.
        unique = np.unique(values).tolist()
        return unique if masks_as == "classes" else unique[: MAX_CLASSES + 1], mask.is_ours

    values: set[int] = set()
    broken: dict[str, str] = {}
    all_ours = True
    with ThreadPoolExecutor(4 * (os.cpu_count() or 1)) as pool:
        for name, found in zip(files, pool.map(look, files.values()), strict=True):
            if isinstance(found, MedsslError):
                broken[name] = found.message
                continue
            values.update(found[0])
            all_ours = all_ours and found[1]
    notes: tuple[str, ...] = ()
    kind = masks_as
    if kind == "auto":
        kind = _kind(values, all_ours=all_ours)
        if kind == "instances":
            notes = ("The masks number objects: each became foreground, and is kept as an object.",)
        elif kind == "classes":
            notes = (
                f"The masks hold the values {listed(values)}, read as classes. If they number objects, import"
                " them as instances.",
            )
    mapping = _class_mapping(values, known) if kind == "classes" else {}
    return Meaning(kind, mapping, notes, broken)


def read_values(mask: Mask, shape: tuple[int, int] | None) -> NDArray[Any]:
    """Read the values of one mask, (Y, X).

    Parameters
    ----------
    mask : Mask
        The mask.
    shape : tuple of int or None
        (Y, X) of its image, to be checked.

    Raises
    ------
    MedsslError
        If it is damaged or of another size.
    """
    values = mask.read()
    if shape is not None and values.shape != shape:
        raise MedsslError(
            f"The mask {mask.path.name} is {values.shape[0]} x {values.shape[1]} pixels, its image {shape[0]} x"
            f" {shape[1]}."
        )
    return values


def listed(values: Iterable[int]) -> str:
    """Write a few values for people."""
    items = sorted(values)
    return ", ".join(str(item) for item in items[:10]) + (", ..." if len(items) > 10 else "")


def _ids(values: NDArray[Any]) -> NDArray[Any]:
    """Give objects the ids from 1 on where theirs are hashes or colours; others keep them."""
    if values.max(initial=0) <= HIGHEST_ID:
        return values
    numbers, places = np.unique(values, return_inverse=True)
    ids: NDArray[Any] = places.reshape(values.shape)
    return ids if numbers[0] == 0 else ids + 1


def _kind(values: set[int], *, all_ours: bool) -> MasksAs:
    if values and all_ours:
        return "labels"
    if len(values | {0}) <= 2:
        return "binary"
    return "classes" if len(values) <= MAX_CLASSES else "instances"


def _class_mapping(values: Iterable[int], known: Mapping[int, int]) -> dict[int, int]:
    """Give mask value -> label: v -> v + 1 where values are small, else in their order (0, 128, 255)."""
    values = sorted({0, *values})
    if set(values) <= known.keys():
        return dict(known)
    if values[-1] <= MAX_CLASSES:
        return {value: value + 1 for value in range(values[-1] + 1)}
    return {value: label for label, value in enumerate(values, start=1)}


def _add_classes(project: Project, mapping: Mapping[int, int]) -> None:
    settings = project.settings
    classes = {item.value: item for item in settings.classes}
    removed = {item.value: item for item in settings.removed_classes}
    if settings.classes[1:] == (FOREGROUND,) and max(mapping.values()) > FOREGROUND.value:
        del classes[FOREGROUND.value]  # nobody named it, and it would mislead beside other classes
    for value, label in sorted(mapping.items()):
        color = CLASS_COLORS[(label - 2) % len(CLASS_COLORS)]
        new = ClassInfo(value=label, name=f"class {value}", color=color)
        classes.setdefault(label, removed.get(label, new))  # one that was removed comes back
    ordered = tuple(classes[label] for label in sorted(classes))
    project.update(classes=ordered, mask_values=dict(mapping))
