"""From similarity to annotation: a threshold makes labels that wait to be corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["above", "fill_in"]


def above(
    heat: NDArray[np.float32],
    threshold: float,
    *,
    smoothing: float = 0.0,
    minimum_area: int = 0,
) -> NDArray[np.bool_]:
    """Outline what is similar.

    Parameters
    ----------
    heat : ndarray of float32, (Y, X)
        Similarities.
    threshold : float
        From which similarity on a pixel belongs to it.
    smoothing : float
        Standard deviation of the Gaussian that the map is smoothed with before, pixels.
    minimum_area : int
        Smaller pieces are dropped and smaller holes filled, pixels.

    Returns
    -------
    ndarray of bool, (Y, X)

    Raises
    ------
    MedsslError
        If smoothing or area are negative.
    """
    if smoothing < 0 or minimum_area < 0:
        raise MedsslError(
            f"smoothing = {smoothing} and minimum area = {minimum_area} must be at least 0."
        )
    smooth = heat
    if smoothing:  # by OpenCV, ten times quicker than scipy here: the outline follows a slider
        smooth = np.asarray(
            cv2.GaussianBlur(heat, (0, 0), smoothing, borderType=cv2.BORDER_REPLICATE)
        )
    mask = smooth >= threshold
    if minimum_area > 1:
        mask = _without_small(mask, minimum_area)
        mask = ~_without_small(~mask, minimum_area)
    return mask


def fill_in(
    labels: NDArray[np.uint16],
    mask: NDArray[np.bool_],
    value: int,
    *,
    overwrite: bool = False,
) -> NDArray[np.uint16]:
    """Give a region a class; what is annotated already stays, unless asked otherwise.

    Parameters
    ----------
    labels : ndarray of uint16, (Y, X)
        The labels so far; 0 is not annotated. Not changed.
    mask : ndarray of bool, (Y, X)
        The region.
    value : int
        Label value: 1 is background, 2 and up are the classes.
    overwrite : bool
        Whether the region may cover other labels.

    Returns
    -------
    ndarray of uint16, (Y, X)

    Raises
    ------
    MedsslError
        If the shapes differ.
    """
    if labels.shape != mask.shape:
        raise MedsslError(f"The region has shape {mask.shape}, the labels have {labels.shape}.")
    filled = labels.copy()
    filled[mask if overwrite else mask & (labels == 0)] = value
    return filled


def _without_small(mask: NDArray[np.bool_], area: int) -> NDArray[np.bool_]:
    pieces, _ = ndimage.label(mask)
    keep = np.bincount(pieces.ravel()) >= area
    keep[0] = False
    kept: NDArray[np.bool_] = keep[pieces]
    return kept
