"""Which object a pixel belongs to: one file of ids per image, beside its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import read_ids, write_tiff
from napari_medssl.project.image_files import ImageFiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project.project import Project

__all__ = ["HIGHEST_ID", "Objects", "write_ids"]

HIGHEST_ID = 2**24 - 1
"""Tables over all ids are made everywhere: ids that are hashes or colours would take all memory."""


class Objects(ImageFiles):
    """The object maps of a project: 0 is no object, every other value is the id of one.

    An object map divides the foreground: the labels say what a pixel is, the object map which one. Where the labels say
    background or nothing, an id has no meaning.

    Parameters
    ----------
    project : Project
        Whose images they belong to.
    """

    def __init__(self, project: Project) -> None:
        super().__init__(project, "objects")

    def read(self, name: str) -> NDArray[np.int32]:
        """Read the objects of an image.

        Parameters
        ----------
        name : str
            One of `Project.images`.

        Returns
        -------
        ndarray of int32, (Y, X)
            Zeros where none was drawn.

        Raises
        ------
        MedsslError
            If the file is damaged or no longer fits the image.
        """
        return self._read(name, read_ids, np.int32)

    def write(self, name: str, ids: NDArray[np.integer]) -> None:
        """Store the objects of an image, atomically and compressed.

        Parameters
        ----------
        name : str
            One of `Project.images`.
        ids : ndarray of integers, (Y, X)
            Replaces what was stored.

        Raises
        ------
        MedsslError
            If the shape is not the image's, or a value is no id.
        """
        write_ids(self.path(name), self._checked(name, ids), note={})


def write_ids(path: Path, ids: NDArray[np.integer], *, note: Mapping[str, Any]) -> None:
    """Write numbered objects as a compressed TIFF, atomically: in 16 bit where the ids are below 65,536.

    Parameters
    ----------
    path : Path
        The file.
    ids : ndarray of integers, (Y, X)
        0 is no object.
    note : mapping
        As of `write_tiff_labels`; the number of objects is added.

    Raises
    ------
    MedsslError
        If a value is no whole number from 0 to `HIGHEST_ID`.
    WriteError
        If the system refuses.
    """
    if ids.dtype.kind not in "ui":
        raise MedsslError(f"The objects for {path} are {ids.dtype}; ids are whole numbers.")
    low, high = int(ids.min(initial=0)), int(ids.max(initial=0))
    if low < 0 or high > HIGHEST_ID:
        raise MedsslError(
            f"The objects for {path} hold the id {low if low < 0 else high}; ids are from 0 to"
            f" {HIGHEST_ID:,}.",
            advice="Number the objects anew.",
        )
    stored = ids.astype(np.uint16 if high <= np.iinfo(np.uint16).max else np.int32)
    write_tiff(path, stored, note={"objects": len(np.unique(ids[ids > 0])), **note})
