"""The plugin's own layers: marked in their metadata, never recognised by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

if TYPE_CHECKING:
    from collections.abc import Sequence

    import napari
    from napari.layers import Layer

    from napari_medssl.project import ClassInfo

__all__ = ["MARK", "class_colormap", "find_layer", "mark", "marked", "remove_layer"]

MARK = "medssl"


def mark(layer: Layer, role: str, **more: Any) -> None:
    """Say what a layer is for: ``image``, ``labels``, ``prediction``, ``heat``, ``preview``, ...

    Parameters
    ----------
    layer : napari.layers.Layer
        A layer that the plugin made.
    role : str
        What it is for.
    **more
        Kept beside the role, for example ``image="a.png"``.
    """
    layer.metadata = {**layer.metadata, MARK: {"role": role, **more}}


def marked(layer: Layer) -> dict[str, Any]:
    """Return what `mark` said of the layer; empty for a layer that is not ours."""
    found = layer.metadata.get(MARK, {})
    return dict(found)


def find_layer(viewer: napari.Viewer, role: str) -> Layer | None:
    """Return the topmost layer with this role, if there is one."""
    for layer in reversed(viewer.layers):
        if marked(layer).get("role") == role:
            return layer
    return None


def remove_layer(viewer: napari.Viewer, role: str) -> None:
    """Remove every layer with this role."""
    for layer in [layer for layer in viewer.layers if marked(layer).get("role") == role]:
        viewer.layers.remove(layer)


def class_colormap(
    classes: Sequence[ClassInfo], *, background_alpha: float = 1.0
) -> DirectLabelColormap:
    """Colour label values as the project's classes are coloured; 0 is transparent.

    Parameters
    ----------
    classes : sequence of ClassInfo
        The project's classes; value 1 is the background.
    background_alpha : float
        Opacity of the background class, from 0 to 1 (predictions show the image through it).
    """
    colors: dict[int | None, Any] = {None: np.array([1.0, 0.0, 1.0, 1.0]), 0: np.zeros(4)}
    for item in classes:
        red, green, blue = (int(item.color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        alpha = background_alpha if item.value == 1 else 1.0
        colors[item.value] = np.array([red, green, blue, alpha])
    return DirectLabelColormap(color_dict=colors)
