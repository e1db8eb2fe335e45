"""Layers that lie on an image: they take its place in the world, and follow it when it moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer

    Pixel = tuple[float, float]

__all__ = ["follow", "place", "transforms"]

_MOVES = ("scale", "translate", "rotate", "shear", "affine")


def transforms(source: Layer, begin: Pixel = (0, 0), *, pixel: float = 1.0) -> dict[str, Any]:
    """Return what places a layer in the world, as arguments for another layer of the same axes.

    Parameters
    ----------
    source : napari.layers.Layer
        Where the other one is to lie.
    begin : tuple of int
        The pixel of `source` (Y, X) at which the other one begins, if it is a part of it.
    pixel : float
        Side of the other one's pixels, in pixels of `source`. Their outer edges coincide, so the centre of a larger
        first pixel lies further inside.
    """
    inside = (pixel - 1) / 2
    return {
        "scale": source.scale * pixel,
        "translate": _translate(source, (begin[0] + inside, begin[1] + inside)),
        "rotate": source.rotate,
        "shear": source.shear,
        "affine": source.affine.affine_matrix,
        "units": source.units,
        "axis_labels": source.axis_labels,
    }


def place(layer: Layer, source: Layer, begin: Pixel = (0, 0)) -> None:
    """Put a layer where another one of the same axes is, or a part of it that begins at a pixel (Y, X)."""
    for name in _MOVES:
        setattr(layer, name, getattr(source, name))
    layer.translate = _translate(source, begin)


def follow(source: Layer, layer: Layer, begin: Pixel = (0, 0)) -> Callable[[], None]:
    """Move `layer` whenever `source` is moved; returns what ends this.

    Parameters
    ----------
    source, layer : napari.layers.Layer
        Of the same axes.
    begin : tuple of int
        The pixel of `source` (Y, X) at which `layer` begins.
    """

    def copy() -> None:
        place(layer, source, begin)

    for name in _MOVES:
        source.events[name].connect(copy)

    def end() -> None:
        for name in _MOVES:
            source.events[name].disconnect(copy)

    return end


def _translate(source: Layer, begin: Pixel) -> Any:
    """Give the translation of a layer whose first pixel lies on a pixel of another one."""
    if not any(begin):
        return source.translate
    return source.affine.inverse(source.data_to_world(begin))
