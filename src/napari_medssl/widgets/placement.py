"""Layers that lie on an image: they take its place in the world, and follow it when it moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer

__all__ = ["follow", "place", "transforms"]

_MOVES = ("scale", "translate", "rotate", "shear", "affine")


def transforms(source: Layer) -> dict[str, Any]:
    """Return what places a layer in the world, as arguments for another layer of the same axes."""
    return {
        "scale": source.scale,
        "translate": source.translate,
        "rotate": source.rotate,
        "shear": source.shear,
        "affine": source.affine.affine_matrix,
        "units": source.units,
        "axis_labels": source.axis_labels,
    }


def place(layer: Layer, source: Layer) -> None:
    """Put a layer where another one of the same axes is."""
    for name in _MOVES:
        setattr(layer, name, getattr(source, name))


def follow(source: Layer, layer: Layer) -> Callable[[], None]:
    """Move `layer` whenever `source` is moved; returns what ends this.

    Parameters
    ----------
    source, layer : napari.layers.Layer
        Of the same axes.
    """

    def copy() -> None:
        place(layer, source)

    for name in _MOVES:
        source.events[name].connect(copy)

    def end() -> None:
        for name in _MOVES:
            source.events[name].disconnect(copy)

    return end
