"""Masks to compare predictions with: read when asked for, never stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from napari_medssl.errors import MedsslError
from napari_medssl.project.masks import find_masks, listed, read_truth, understand
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
        self.notes = meaning.notes + tuple(
            f"The mask of {name} was left out: {reason}" for name, reason in meaning.broken.items()
        )
        """What is worth telling, in sentences."""

    @property
    def masks_as(self) -> MasksAs:
        """How the values were understood; never ``auto``."""
        return self._meaning.masks_as

    def __getitem__(self, name: str) -> NDArray[np.uint16]:
        mask = self._files[name]
        if self._project is None:
            return read_truth(mask, None, self._meaning.convert)
        header = self._project.header(name)
        return read_truth(mask.of(header), header.shape, self._meaning.convert)

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
    classes = len(project.settings.classes) if project is not None else None
    if classes is not None and max(meaning.mapping.values(), default=0) > classes:
        if masks_as != "auto" or classes > 2:
            raise MedsslError(
                f"The masks in {folder} hold the values {listed(meaning.mapping)}, but the project has only"
                f" {classes} classes.",
                advice="If the values number objects, say so: masks_as='instances'.",
            )
        # More values than a project of one foreground class could mean: they can only be objects.
        meaning = understand(files, "instances", known=known)
    usable = {name: mask for name, mask in files.items() if name not in meaning.broken}
    missing = tuple(name for name in names if name not in usable)
    return Truth(usable, meaning, project=project, missing=missing)
