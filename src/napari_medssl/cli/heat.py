"""A similarity map as a file and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_medssl.project.checkpoint import atomic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["extremes", "write_heat"]


def write_heat(heat: NDArray[np.float32], path: Path) -> None:
    """Write the values of a map as float32 TIFF, atomically.

    Parameters
    ----------
    heat : ndarray of shape (Y, X)
        Cosine similarities.
    path : Path
        The file.
    """
    with atomic(path) as temporary:
        tifffile.imwrite(temporary, heat.astype(np.float32), compression="zlib")


def extremes(
    heat: NDArray[np.float32], at: Sequence[tuple[int, int]]
) -> tuple[dict[str, Any], str]:
    """Find the most and the least similar pixel.

    Parameters
    ----------
    heat : ndarray of shape (Y, X)
        Cosine similarities.
    at : sequence of (int, int)
        The example pixels in this image; the most similar one is sought at a distance from them of at least a
        tenth of the image's diagonal, as near ones are alike anyway.

    Returns
    -------
    (dict, str)
        For programs and for people.
    """
    y, x = np.ogrid[: heat.shape[0], : heat.shape[1]]
    far = np.ones(heat.shape, bool)
    for row, column in at:
        far &= np.hypot(y - row, x - column) >= 0.1 * np.hypot(*heat.shape)
    best = _where(np.where(far, heat, -np.inf))
    worst = _where(-heat)
    high, low = float(heat[best]), float(heat[worst])
    data = {
        "at": [list(pixel) for pixel in at],
        "most": {"at": list(best), "similarity": high},
        "least": {"at": list(worst), "similarity": low},
        "mean": float(heat.mean()),
    }
    away = f", away from {' '.join(f'{y},{x}' for y, x in at)}" if at else ""
    text = (
        f"most alike{away}: {best[0]},{best[1]} ({high:.3f})\n"
        f"least alike: {worst[0]},{worst[1]} ({low:.3f})\n"
        f"mean over the image: {heat.mean():.3f}"
    )
    return data, text


def _where(values: NDArray[Any]) -> tuple[int, int]:
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    return int(y), int(x)
