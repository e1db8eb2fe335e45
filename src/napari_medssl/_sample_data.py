"""What napari offers under File > Open Sample > MedSSL. Nothing is downloaded."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from napari_medssl.synthetic import nuclei as synthetic_nuclei

__all__ = ["bundled_cells", "nuclei"]

LayerData = tuple[Any, dict[str, Any], Literal["image", "labels"]]
"""What napari makes a layer of: data, keywords, kind."""

_SEED = 2018
_GAP = 20
"""Pixels between images that are shown side by side."""


def nuclei() -> list[LayerData]:
    """Give a field of synthetic nuclei, and its truth as hidden instance labels."""
    field = synthetic_nuclei(np.random.default_rng(_SEED), shape=(512, 512))
    low, high = np.percentile(field.image, [1.0, 99.8])
    return [
        (
            field.image,
            {"name": "Synthetic nuclei", "contrast_limits": (float(low), float(high))},
            "image",
        ),
        (field.labels, {"name": "Truth", "visible": False, "opacity": 0.5}, "labels"),
    ]


def bundled_cells() -> list[LayerData]:
    """Give the real micrographs that scikit-image carries inside its package, side by side.

    A colon tissue section with FHL2 immunostaining (RGB), a single cell by quantitative phase
    imaging (grey), and a piece of retina (RGB) around the optic disc.
    """
    from skimage import data  # its submodules load on first use; the manifest import stays light

    tissue: np.ndarray[Any, Any] = data.immunohistochemistry()
    cell: np.ndarray[Any, Any] = data.cell()
    retina: np.ndarray[Any, Any] = data.retina()[450:962, 60:572]
    layers: list[LayerData] = []
    left = 0.0
    for name, image in (("Tissue, FHL2 stain", tissue), ("Cell", cell), ("Retina", retina)):
        options = {"name": name, "rgb": image.ndim == 3, "translate": (0.0, left)}
        layers.append((image, options, "image"))
        left += image.shape[1] + _GAP
    return layers
