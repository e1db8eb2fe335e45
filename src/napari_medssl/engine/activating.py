"""Class activation maps of a run, kept in its folder: for an assessment, and for the image that is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import tifffile

from napari_medssl.evaluate.assessment import FOLDER
from napari_medssl.learn.cam import activation_map
from napari_medssl.project import atomic

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.project import Run

__all__ = ["KeptActivation", "keep_activation", "middle"]

LARGEST = 1024
"""Of larger images the middle is mapped."""


class KeptActivation(NamedTuple):
    """A class activation map that was written."""

    values: NDArray[np.float32]
    """(Y', X'): of the middle of a large image, see `middle`."""
    file: str
    """Relative to the run's folder."""
    top: int
    """Where in the image it begins, pixels."""
    left: int


def middle(shape: tuple[int, int]) -> tuple[slice, slice]:
    """Give the part of an image (Y, X) that is mapped."""
    top, left = (max(0, (size - LARGEST) // 2) for size in shape)
    return slice(top, top + LARGEST), slice(left, left + LARGEST)


def keep_activation(
    model: SegmentationModel,
    run: Run,
    image: str,
    planes: NDArray[np.float32],
    value: int,
    *,
    factor: float,
    device: torch.device,
) -> KeptActivation:
    """Compute the class activation map of an image, and write it as a float32 TIFF into the run's folder.

    Parameters
    ----------
    model : SegmentationModel
        The run's network, on `device`, in eval mode.
    run : Run
        Where the file is kept.
    image : str
        Name of the image.
    planes : ndarray of shape (C, Y, X)
        The whole image, values in [0, 1].
    value : int
        The class, as the network calls it.
    factor : float
        File pixels per network pixel.
    device : torch.device
        Where the network is.

    Raises
    ------
    MedsslError
        As `activation_map` does.
    """
    rows, columns = middle((planes.shape[1], planes.shape[2]))
    values = activation_map(model, planes[:, rows, columns], value, factor=factor, device=device)
    file = f"{FOLDER}/cam/{image}.{value}.tif"
    with atomic(run.path / file) as temporary:
        tifffile.imwrite(temporary, values, compression="zlib")
    return KeptActivation(values, file, rows.start, columns.start)
