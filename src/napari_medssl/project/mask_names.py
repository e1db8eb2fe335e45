"""Which file is the mask of which image, by their names alone."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from napari_medssl.errors import MedsslError
from napari_medssl.project.images import FOLDER_EXTENSIONS, TIFF, extension_of

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["is_mask_folder", "match_masks", "stem", "twins"]

_WORDS = ("mask", "masks", "label", "labels", "seg", "segmentation", "gt", "cp_masks")
_ENDINGS = tuple(sign + word for word in _WORDS for sign in "_-")

_FOLDERS = frozenset({*_WORDS, "annotation", "annotations", "ground_truth", "groundtruth", "truth"})


def match_masks(images: Iterable[str], masks: Iterable[str]) -> dict[str, str]:
    """Find the mask of each image.

    Parameters
    ----------
    images, masks : iterable of str
        Names relative to their folders, POSIX.

    Returns
    -------
    dict
        Image -> mask, for images that have one: the same name, the same with another extension (``a.tif``, or
        ``a.png.tif`` as this program names labels), or with an ending such as ``_mask``; in this order.
    """
    available = set(masks)
    by_stem: dict[str, str] = {}
    for mask in sorted(available):
        by_stem.setdefault(stem(mask), mask)
    found = {}
    for name in images:
        if name in available:
            found[name] = name
            continue
        bare = stem(name)
        candidates = (name, bare, *(bare + ending for ending in _ENDINGS))
        match = next((by_stem[item] for item in candidates if item in by_stem), None)
        if match is not None:
            found[name] = match
    return found


def twins(names: Iterable[str]) -> dict[str, str]:
    """Find masks that lie among their images: ``a_mask.png`` beside ``a.png``.

    Returns
    -------
    dict
        Mask -> image.
    """
    by_stem = {stem(name): name for name in names}
    found = {}
    for bare, name in by_stem.items():
        lower = bare.lower()
        if not lower.endswith(_ENDINGS):
            continue
        ending = next(item for item in _ENDINGS if lower.endswith(item))
        image = by_stem.get(bare[: -len(ending)])
        if image is not None:
            found[name] = image
    return found


def is_mask_folder(folder: str) -> bool:
    """Tell whether a folder's name says that it holds masks."""
    return PurePosixPath(folder).name.lower() in _FOLDERS


def stem(name: str) -> str:
    """Take the extension off a name, the folders kept; ``.ome.tif`` and ``.nii.gz`` count as one."""
    folder, slash, file = name.rpartition("/")
    extension = extension_of(file)
    bare = file[: len(file) - len(extension)]
    if extension in TIFF | FOLDER_EXTENSIONS:
        bare = bare.removesuffix(".ome")
    return folder + slash + (bare or file)


def no_match(images: Iterable[str], count: int, folder: object) -> MedsslError:
    """Make the error for a folder of masks of which none fits."""
    first = next(iter(images), "image.png")
    return MedsslError(
        f"None of the {count} masks in {folder} fits an image by name; there is no {stem(first)}.* and no"
        f" {stem(first)}_mask.*, for example.",
        advice="A mask has its image's name, maybe with another extension or with _mask or _label added.",
    )
