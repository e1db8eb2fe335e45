"""Predictions of a few images, kept of every cell of an experiment to be looked at side by side."""

from __future__ import annotations

import hashlib
import zipfile
from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.evaluate.class_scores import Labels
    from napari_medssl.evaluate.results import Cell

__all__ = ["Examples"]


class Examples:
    """A file per cell.

    Parameters
    ----------
    folder : path
        Where they are kept; made with the first one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, cell: Cell, predictions: Mapping[str, Labels]) -> None:
        """Keep the labels (Y, X) that a cell's network predicted, by image.

        Raises
        ------
        WriteError
            If the disk does not take them.
        """
        packed = {name: np.asarray(labels, np.uint16) for name, labels in predictions.items()}
        with atomic(self._path(cell)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **packed)

    def of(self, cell: Cell) -> dict[str, NDArray[np.uint16]]:
        """Give what was kept of a cell, by image; empty where nothing was.

        Raises
        ------
        MedsslError
            If the file is damaged.
        """
        path = self._path(cell)
        if not path.is_file():
            return {}
        try:
            with np.load(path, allow_pickle=False) as packed:
                return {name: packed[name] for name in packed.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise MedsslError(
                f"{path} cannot be read: {error}",
                advice="Delete it; the scores are kept elsewhere.",
            ) from error

    def _path(self, cell: Cell) -> Path:
        # Names of arms may hold what no file name may.
        name = hashlib.sha256(repr(cell).encode()).hexdigest()[:20]
        return self._folder / f"{name}.npz"
