"""Masks to compare predictions with: read when asked for, never stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from napari_medssl.errors import MedsslError
from napari_medssl.project.masks import find_masks, listed, read_values, understand
from napari_medssl.project.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.project.mask_files import Mask
    from napari_medssl.project.masks import MasksAs, Meaning

__all__ = ["Truth", "load_truth"]


class Truth(Mapping[str, "NDArray[np.uint16]"]):
    """Image name -> labels (Y, X); each mask is read when it is asked for. Made by `load_truth`."""

    def __init__(
        self,
        files: Mapping[str, Mask],
        meaning: Meaning,
        *,
        project: Project | None,
        missing: tuple[str, ...],
    ) -> None:
        self._files = files
        self._meaning = meaning
        self._project = project
        self.missing = missing
        """Images without a usable mask."""
        self.left_out = tuple(
            f"The mask of {name} was left out: {reason}" for name, reason in meaning.broken.items()
        )
        """Which masks cannot be used and why, in sentences."""
        self.notes = meaning.notes + self.left_out
        """What is worth telling, in sentences."""

    @property
    def masks_as(self) -> MasksAs:
        """How the values were understood; never ``auto``."""
        return self._meaning.masks_as

    def __getitem__(self, name: str) -> NDArray[np.uint16]:
        return self._meaning.convert(self._values(name))

    def __contains__(self, name: object) -> bool:
        return name in self._files  # without reading it

    @property
    def has_objects(self) -> bool:
        """Whether the masks number objects."""
        return self.masks_as == "instances"

    def numbers_all(self, name: str) -> bool:
        """Whether the mask of an image numbers all of its objects: masks that number objects do."""
        return self.has_objects and name in self

    def objects(self, name: str) -> NDArray[np.integer[Any]]:
        """Give the numbered objects of an image, (Y, X), 0 where none is.

        Raises
        ------
        MedsslError
            If the masks do not number objects.
        """
        if not self.has_objects:
            raise MedsslError(
                f"The masks were read as {self.masks_as}, which tells no objects apart.",
                advice="If their values number objects, say so: masks_as='instances'.",
            )
        return self._values(name)

    def _values(self, name: str) -> NDArray[Any]:
        mask = self._files[name]
        if self._project is None:
            return read_values(mask, None)
        header = self._project.header(name)
        return read_values(mask.of(header), header.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def load_truth(
    images: Project | Iterable[str], folder: str | Path, *, masks_as: MasksAs = "auto"
) -> Truth:
    """Find the masks of a folder and what their values mean.

    Parameters
    ----------
    images : Project or iterable of str
        The images; or their names (POSIX paths) alone, and then sizes and classes are not checked.
    folder : path
        The masks, named as for `import_masks`.
    masks_as : {"auto", "binary", "classes", "instances", "labels"}
        As for `import_masks`.

    Returns
    -------
    Truth
        Image name -> uint16 labels (Y, X), 0 = not annotated, for the images that have a mask.

    Raises
    ------
    MedsslError
        If no mask fits any image by name, or the masks have more classes than the project; on reading a mask of
        another size than its image.
    """
    if isinstance(images, Project):
        project, names, root = images, images.images, images.image_root
        known = images.settings.mask_values
    else:
        project, names, root, known = None, tuple(images), None, {}
    files = find_masks(names, folder, image_root=root)
    meaning = understand(files, masks_as, known=known)
    known_values = (
        {c.value for c in project.settings.known_classes} if project is not None else None
    )
    if known_values is not None and not known_values.issuperset(meaning.mapping.values()):
        if masks_as != "auto" or len(known_values) > 2:
            raise MedsslError(
                f"The masks in {folder} hold the values {listed(meaning.mapping)}, but the project has only"
                f" {len(known_values)} classes.",
                advice="If the values number objects, say so: masks_as='instances'.",
            )
        # More values than a project of one foreground class could mean: they can only be objects.
        meaning = understand(files, "instances", known=known)
    usable = {name: mask for name, mask in files.items() if name not in meaning.broken}
    missing = tuple(name for name in names if name not in usable)
    return Truth(usable, meaning, project=project, missing=missing)
