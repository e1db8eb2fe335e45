"""How well outlines agree: Hausdorff distance and surface Dice, in the units of the pixel size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

__all__ = ["hausdorff", "surface_dice"]


def hausdorff(
    prediction: Mask, truth: Mask, *, percentile: float = 95.0, pixel_size: Sequence[float] = ()
) -> float:
    """Give how far the outlines of two masks are apart, all but the worst few percent of them.

    From every outline pixel of one mask the distance to the nearest outline pixel of the other is
    measured; of these, the percentile is taken, and of the two directions the larger one. An outline
    pixel belongs to the mask and has a neighbour (sharing a side) that does not; what lies outside
    the image does not.

    Parameters
    ----------
    prediction, truth : ndarray of bool, the same shape, (Y, X) or (Z, Y, X)
        The masks.
    percentile : float
        In (0, 100]; 100 gives the Hausdorff distance itself.
    pixel_size : sequence of float
        Length of a pixel along each axis; 1 by default, and the distance is in pixels.

    Returns
    -------
    float
        At least 0. Infinite where one of the masks is empty: there is nothing to measure to. NaN where both
        are: there is no outline, so it is not known how well one would be found. Report a median over the
        images with a finite distance, and how many are of either other kind, rather than a mean.

    Raises
    ------
    MedsslError
        If the shapes differ, or an option is out of range.

    References
    ----------
    Maier-Hein et al., "Metrics reloaded", Nature Methods 21, 2024 (supplement, HD95).
    """
    if not 0 < percentile <= 100:
        raise MedsslError(f"percentile is {percentile}; it lies in (0, 100].")
    to_truth, to_prediction = _distances(prediction, truth, pixel_size)
    if not len(to_truth) and not len(to_prediction):
        return float("nan")
    if not len(to_truth) or not len(to_prediction):
        return float("inf")
    return float(max(np.percentile(to_truth, percentile), np.percentile(to_prediction, percentile)))


def surface_dice(
    prediction: Mask, truth: Mask, *, tolerance: float, pixel_size: Sequence[float] = ()
) -> float:
    """Give the share of both outlines that lies within a tolerance of the other one.

    Parameters
    ----------
    prediction, truth, pixel_size
        As for `hausdorff`.
    tolerance : float
        What deviation is acceptable, such as between two experts; in units of `pixel_size`.

    Returns
    -------
    float
        In [0, 1]; 1 where both masks are empty, 0 where one is.

    Raises
    ------
    MedsslError
        If the shapes differ, or an option is out of range.

    References
    ----------
    Nikolov et al., "Clinically applicable segmentation of head and neck anatomy for radiotherapy",
    JMIR 23(7), 2021, "surface DSC". Deviation: outline pixels are counted, where the paper weighs
    the elements of a triangulated surface by their area.
    """
    if not 0 <= tolerance < float("inf"):
        raise MedsslError(f"tolerance is {tolerance}; it is 0 or more, and finite.")
    to_truth, to_prediction = _distances(prediction, truth, pixel_size)
    elements = len(to_truth) + len(to_prediction)
    if not elements:
        return 1.0
    near = np.count_nonzero(to_truth <= tolerance) + np.count_nonzero(to_prediction <= tolerance)
    return float(near / elements)


def _distances(
    prediction: Mask, truth: Mask, pixel_size: Sequence[float]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Measure from each outline pixel of a mask to the other's outline; infinite where that is empty."""
    if prediction.shape != truth.shape:
        raise MedsslError(
            f"The predicted mask has the shape {prediction.shape}, the true one {truth.shape}.",
            advice="Compare each prediction with the truth of the same image.",
        )
    sizes = tuple(pixel_size) or (1.0,) * truth.ndim
    if len(sizes) != truth.ndim or not all(0 < size < float("inf") for size in sizes):
        raise MedsslError(
            f"pixel_size is {sizes}; it has one length above 0 for each of the {truth.ndim} axes."
        )
    prediction, truth = prediction.astype(bool), truth.astype(bool)
    boxes = find_objects((prediction | truth).astype(np.int8))
    if not boxes:
        return np.empty(0), np.empty(0)
    # Beyond the box of both masks there is no outline, so distances inside it are the same.
    outlines = [_outline(mask[boxes[0]]) for mask in (prediction, truth)]
    maps = [
        distance_transform_edt(~outline, sampling=sizes)
        if outline.any()
        else np.full(outline.shape, np.inf)
        for outline in outlines
    ]
    return maps[1][outlines[0]], maps[0][outlines[1]]


def _outline(mask: Mask) -> Mask:
    inner: Mask = binary_erosion(mask)  # what lies outside the array counts as background
    return mask & ~inner
