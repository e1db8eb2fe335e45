"""A region that the user drew in some layer, as pixels of the open image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels, Shapes

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    import napari
    from napari.layers import Image
    from numpy.typing import NDArray

__all__ = ["drawn_region"]

_AREAS = ("rectangle", "ellipse", "polygon")


def drawn_region(viewer: napari.Viewer, image: Image) -> NDArray[np.bool_]:
    """Give the region that is drawn in the layer that is selected.

    Labels: the pixels of the selected label. Shapes: the areas that are selected, or all if none is.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose selected layer.
    image : napari.layers.Image
        The open image.

    Returns
    -------
    ndarray of bool, (Y, X)

    Raises
    ------
    MedsslError
        If nothing is drawn there, or it is no plane.
    """
    layer, shape = viewer.layers.selection.active, image.data.shape[:2]
    if isinstance(layer, Labels):
        mask = _of_labels(layer, image, shape)
    elif isinstance(layer, Shapes):
        mask = _of_shapes(layer, image, shape)
    else:
        what = "No layer is selected" if layer is None else f"{layer.name!r} holds no region"
        raise MedsslError(
            f"{what}.",
            advice="Draw in a Labels or Shapes layer, and select it in the layer list.",
        )
    if not mask.any():
        raise MedsslError(
            f"Nothing is drawn in {layer.name!r} on this image.",
            advice="Labels: paint with the selected label. Shapes: draw an area.",
        )
    return mask


def _of_labels(layer: Labels, image: Image, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if layer.multiscale or layer.ndim != 2:
        raise MedsslError(
            f"{layer.name!r} is no plane of rows and columns.",
            advice="Draw in a Labels layer with two axes, at one scale.",
        )
    labels = np.asarray(layer.data)
    # where the image's pixels lie in the layer: both are placed by affine maps, so three pixels tell it of all
    corners = np.array([(0, 0), (1, 0), (0, 1)])
    there = np.array([layer.world_to_data(image.data_to_world(pixel))[-2:] for pixel in corners])
    if labels.shape == shape and np.allclose(there, corners):
        drawn: NDArray[np.bool_] = labels == layer.selected_label
        return drawn
    origin, down, right = there
    y, x = np.indices(shape)[..., np.newaxis]
    rows, columns = np.moveaxis(origin + y * (down - origin) + x * (right - origin), -1, 0)
    rows, columns = np.rint(rows).astype(int), np.rint(columns).astype(int)
    within = (rows >= 0) & (rows < labels.shape[0]) & (columns >= 0) & (columns < labels.shape[1])
    mask = np.zeros(shape, bool)
    mask[within] = labels[rows[within], columns[within]] == layer.selected_label
    return mask


def _of_shapes(layer: Shapes, image: Image, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    wanted = layer.selected_data or range(len(layer.data))
    chosen = [number for number in sorted(wanted) if layer.shape_type[number] in _AREAS]
    if not chosen:
        return np.zeros(shape, bool)
    corners = [
        np.array(
            [image.world_to_data(layer.data_to_world(corner))[-2:] for corner in layer.data[n]]
        )
        for n in chosen
    ]
    moved = Shapes(corners, shape_type=[layer.shape_type[number] for number in chosen])
    mask: NDArray[np.bool_] = moved.to_masks(shape).any(axis=0)
    return mask
