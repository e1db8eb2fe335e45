"""Maps that a prediction was kept with: the probability of each class, and the uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tifffile

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import read_labels_note
from napari_medssl.project.images import DECODING_ERRORS, reason_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["read_predicted_map"]


def read_predicted_map(path: Path, value: int | None = None) -> NDArray[np.float32]:
    """Read the uncertainty, or the probability of one class.

    Parameters
    ----------
    path : Path
        As `Project.predicted_map_path` gives it.
    value : int, optional
        Label value of the class whose probability is wanted; unset for the uncertainty.

    Returns
    -------
    ndarray of float32, (Y, X)
        From 0 to 1.

    Raises
    ------
    MedsslError
        If the file is missing or damaged, or the run that wrote it knows no such class.
    """
    if not path.is_file():
        raise MedsslError(f"There is no map {path}.")
    values = (read_labels_note(path) or {}).get("values")
    if not isinstance(values, list):
        raise MedsslError(f"{path} does not say what it holds.", advice="Predict the image again.")
    if value is not None and value not in values:
        raise MedsslError(
            f"The run that predicted this image knows no class of label {value}.",
            advice="Fine-tune again: a run knows the classes that the project had when it was trained.",
        )
    try:
        found = tifffile.imread(path, key=0 if value is None else values.index(value))
    except DECODING_ERRORS as error:
        raise MedsslError(
            f"The map {path} is damaged: {reason_of(error)}.", advice="Predict the image again."
        ) from error
    return np.asarray(found, np.float32)
