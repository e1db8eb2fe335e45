"""The colours in which the channels of a project are shown together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["channel_colour", "mixed_channels"]

_COLOURS = ("#00ff00", "#ff00ff", "#00aaff", "#ffcc00", "#ff5500", "#ffffff")


def channel_colour(number: int) -> str:
    """Give the colour of a project's channel by its place; they repeat after six."""
    return _COLOURS[number % len(_COLOURS)]


def mixed_channels(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Add channels up, each in its colour.

    Parameters
    ----------
    planes : ndarray of float32, (C, Y, X)
        From 0 to 1.

    Returns
    -------
    ndarray of float32, (Y, X, 3)
        From 0 to 1; what is brighter is cut off.
    """
    colours = np.array(
        [
            [int(channel_colour(c)[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            for c in range(len(planes))
        ],
        dtype=np.float32,
    )  # (C, 3)
    mixed = np.tensordot(planes, colours, axes=(0, 0))  # (Y, X, 3)
    return np.minimum(mixed, 1.0, out=mixed)
