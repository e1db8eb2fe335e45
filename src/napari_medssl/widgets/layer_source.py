"""What an open napari layer gives to a project: its data, which axis is which, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_medssl.widgets.layers import marked

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = ["MEANINGS", "LayerSource"]

MEANINGS = {"T": "time, or pages", "Z": "depth", "C": "channels"}
"""What an axis besides Y and X may be; each at most once."""

_NAMES = {
    "T": ("t", "time", "frame", "frames", "page", "pages", "p", "position", "positions"),
    "Z": ("z", "depth", "plane", "planes", "slice", "slices"),
    "C": ("c", "channel", "channels", "ch"),
}


@dataclass(frozen=True)
class LayerSource:
    """An image layer as `Project.add_layer` wants it.

    Parameters
    ----------
    name : str
        The layer's.
    data : array-like
        numpy, dask or zarr; the finest level of a multiscale layer.
    axes : tuple of str
        A letter for each axis of `data`; empty where it is not known.
    scale, translate : tuple of float
        Of Y and X.
    """

    name: str
    data: Any
    axes: tuple[str, ...]
    scale: tuple[float, float]
    translate: tuple[float, float]

    @classmethod
    def of(cls, layer: Image) -> LayerSource:
        """Take what a layer says of itself."""
        data = layer.data[0] if layer.multiscale else layer.data
        outer: list[str] = []
        for size, label in zip(data.shape, layer.axis_labels[:-2], strict=False):
            word = label.strip().casefold()
            letter = next((key for key, names in _NAMES.items() if word in names), "")
            if not letter and size == 1:  # whatever it is called
                letter = next(key for key in (*MEANINGS, "") if key not in outer)
            outer.append("" if letter in outer else letter)
        return cls(
            name=layer.name,
            data=data,
            axes=(*outer, "Y", "X", *("S" if layer.rgb else "")),
            scale=(float(layer.scale[-2]), float(layer.scale[-1])),
            translate=(float(layer.translate[-2]), float(layer.translate[-1])),
        )

    @property
    def unknown(self) -> tuple[int, ...]:
        """The axes whose meaning must be asked for."""
        return tuple(number for number, letter in enumerate(self.axes) if not letter)

    @staticmethod
    def why_not(layer: Layer | None) -> str:
        """Say why a layer cannot be used; empty where it can."""
        if layer is None:
            return "Select one image layer first."
        if marked(layer):
            return "This layer belongs to the project already."
        if not isinstance(layer, Image):
            return f"{layer.name} is no image layer."
        if layer.ndim < 2:
            return f"{layer.name} has no plane of rows and columns."
        return ""
