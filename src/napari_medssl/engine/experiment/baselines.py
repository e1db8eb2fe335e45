"""Segmentations that need neither a network nor annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.learn.pretext.medsass import MedSASSConfig, foreground_is_dark, pseudo_label
from napari_medssl.learn.thresholds import bright_side, otsu_threshold

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medssl.project import Project

__all__ = ["threshold_masks"]


def threshold_masks(
    project: Project,
) -> Callable[[NDArray[np.float32]], dict[str, NDArray[np.bool_]]]:
    """Give what makes the foreground masks (Y, X) of a grey image: all of it, Otsu's, MedSASS's pseudo-label.

    Parameters
    ----------
    project : Project
        Its images vote on the polarity of the pseudo-label.
    """
    config = MedSASSConfig()
    dark = foreground_is_dark(config, project)

    def masks(grey: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
        return {
            "all foreground": np.ones(grey.shape, dtype=bool),
            "Otsu": bright_side(grey, otsu_threshold(grey)) == 1,
            "pseudo-label": pseudo_label(config, grey, dark=dark) == 1,
        }

    return masks
