"""A similarity map as a file and in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

from napari_medssl.project.checkpoint import atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["extremes", "write_heat"]


def write_heat(heat: NDArray[np.float32], path: Path) -> None:
    """Write a map: its values as float32 TIFF, or a picture as PNG, atomically.

    Parameters
    ----------
    heat : ndarray of shape (Y, X)
        Cosine similarities.
    path : Path
        Ends in ``.png`` for a picture. Its colours (viridis) run from the 2nd percentile to 1: the
        full range from -1 would hide the differences that matter.
    """
    with atomic(path) as temporary:
        if path.suffix.lower() == ".png":
            from matplotlib.image import imsave

            low = float(np.percentile(heat, 2))
            imsave(temporary, heat, cmap="viridis", vmin=min(low, 0.999), vmax=1.0)
        else:
            tifffile.imwrite(temporary, heat.astype(np.float32), compression="zlib")


def extremes(heat: NDArray[np.float32], at: tuple[int, int]) -> tuple[dict[str, Any], str]:
    """Find the most and the least similar pixel.

    Parameters
    ----------
    heat : ndarray of shape (Y, X)
        Cosine similarities to the pixel `at`.
    at : (int, int)
        The query pixel; the most similar one is sought at a distance from it of at least a tenth of the
        image's diagonal, as near ones are alike anyway.

    Returns
    -------
    (dict, str)
        For programs and for people.
    """
    y, x = np.ogrid[: heat.shape[0], : heat.shape[1]]
    far = np.hypot(y - at[0], x - at[1]) >= 0.1 * np.hypot(*heat.shape)
    best = _where(np.where(far, heat, -np.inf))
    worst = _where(-heat)
    high, low = float(heat[best]), float(heat[worst])
    data = {
        "at": list(at),
        "most": {"at": list(best), "similarity": high},
        "least": {"at": list(worst), "similarity": low},
        "mean": float(heat.mean()),
    }
    text = (
        f"most alike, away from {at[0]},{at[1]}: {best[0]},{best[1]} ({high:.3f})\n"
        f"least alike: {worst[0]},{worst[1]} ({low:.3f})\n"
        f"mean over the image: {heat.mean():.3f}"
    )
    return data, text


def _where(values: NDArray[Any]) -> tuple[int, int]:
    y, x = np.unravel_index(int(values.argmax()), values.shape)
    return int(y), int(x)
