"""What can be measured in an image folder before any training, from a few of its images."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from napari_medssl.learn.task import UNREADABLE, nothing_left
from napari_medssl.learn.thresholds import clipped, otsu_threshold
from napari_medssl.plan import FolderFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.project import Project

__all__ = ["Sides", "look_at", "sides", "structure_size"]

MOST_IMAGES, FEWEST_IMAGES = 32, 4
MOST_PIXELS = 40_000_000
"""Of all images that are read together, as far as the fewest allow."""
SEPARABLE = 0.72
"""Otsu's eta from which on two sides are told apart: it is 2/pi = .64 for a normal distribution and .75 for a flat one,
so nothing but two peaks, or a peak and a long tail, goes much beyond."""
STEADY = 0.73
"""The steadiness (`Sides`) from which on a threshold's mask hardly depends on where exactly it lies.

Both limits lie half-way between sets on which Otsu's mask agrees with truth and sets on which it does not, medians of
32 images: `dsb2018_fluo` .81 and .83 (Dice of the mask .90), synthetic nuclei .76 and .76 (.84); `sunnybrook_lv` .67
and .71 (.09), `usiigaci_phase` .54 and .66 (.27), filtered noise .63 and .80."""
SHIFT = 0.15
OCTAVE = 3
"""Scales per doubling of the size."""
LARGEST_SIDE = 1024
SMALLEST_SIDE = 16


@dataclass(frozen=True)
class Sides:
    """How clearly an image falls into a dark and a bright side."""

    separability: float
    """Share of the grey values' variance that lies between the sides (eta of Otsu 1979), 0 to 1."""
    steadiness: float
    """Dice of the smaller side with itself when the threshold moves by 30% of the distance of the sides' means."""

    @property
    def clear(self) -> bool:
        """Whether Otsu's threshold finds two sides, rather than cutting through one."""
        return self.separability >= SEPARABLE and self.steadiness >= STEADY


def look_at(project: Project) -> FolderFacts:
    """Measure up to 32 images, evenly spread over the folder; fewer where they are large.

    Raises
    ------
    MedsslError
        If the project has no image that can be read.
    """
    names = project.images
    found: list[tuple[tuple[int, int], Sides, float]] = []
    for name in _spread(project):
        try:
            grey = clipped(project.grey(name).astype(np.float32))
        except UNREADABLE:  # the report of the folder names it; others speak for it
            continue
        found.append((grey.shape, sides(grey), structure_size(grey)))
    if not found:
        raise nothing_left()
    shapes, divided, sizes = zip(*found, strict=True)
    return FolderFacts(
        n_images=len(names),
        n_looked_at=len(found),
        height=round(statistics.median(shape[0] for shape in shapes)),
        width=round(statistics.median(shape[1] for shape in shapes)),
        dtypes=tuple(project.report.dtypes),
        channels=len(project.settings.channels),
        separability=statistics.median(side.separability for side in divided),
        steadiness=statistics.median(side.steadiness for side in divided),
        n_two_sided=sum(side.clear for side in divided),
        structure=statistics.median(sizes),
    )


def sides(grey: NDArray[np.float32]) -> Sides:
    """Measure how clearly an image falls into two sides; pixel noise is smoothed away first (sigma 1).

    Parameters
    ----------
    grey : ndarray of shape (Y, X)
        In any unit.

    References
    ----------
    Otsu, "A Threshold Selection Method from Gray-Level Histograms", 1979, equation 16 (eta). The steadiness is ours.
    """
    grey = _blurred(grey, 1.0)
    threshold = otsu_threshold(grey)
    bright = grey > threshold
    share = float(bright.mean())
    if share in (0.0, 1.0):
        return Sides(0.0, 0.0)
    distance = float(grey[bright].mean() - grey[~bright].mean())
    eta = share * (1 - share) * distance**2 / float(grey.var(dtype=np.float64))
    low, high = grey > threshold - SHIFT * distance, grey > threshold + SHIFT * distance
    return Sides(eta, min(_dice(low, high), _dice(~low, ~high)))


def structure_size(grey: NDArray[np.float32]) -> float:
    """Give the diameter of the blobs that an image has most contrast in, pixels.

    The mean square of the difference of Gaussians is largest at a standard deviation of diameter / (2 sqrt 2).

    Parameters
    ----------
    grey : ndarray of shape (Y, X)
        In any unit; large images are looked at with 1024 pixels on the longer side.

    References
    ----------
    Lindeberg, "Feature Detection with Automatic Scale Selection", 1998; the pyramid is that of Lowe 2004.
    """
    pixel = max(1.0, max(grey.shape) / LARGEST_SIDE)
    if pixel > 1:
        height, width = (max(1, round(side / pixel)) for side in grey.shape)
        smaller = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        grey = np.asarray(smaller, np.float32)
    step = 2 ** (1 / OCTAVE)
    level = _blurred(grey, 1.0)
    size, strongest = 0.0, -math.inf
    while min(level.shape) >= SMALLEST_SIDE:
        sigma = 1.0
        for _ in range(OCTAVE):
            coarser = _blurred(level, sigma * math.sqrt(step**2 - 1))
            strength = float(np.mean((coarser - level) ** 2))
            if strength > strongest:
                size = 2 * math.sqrt(2) * sigma * math.sqrt(step) * pixel
                strongest = strength
            level, sigma = coarser, sigma * step
        level, pixel = level[::2, ::2], 2 * pixel
    return size or float(min(grey.shape))


def _spread(project: Project) -> list[str]:
    names = project.images
    if not names:
        raise nothing_left()
    height, width = project.shape(names[len(names) // 2])
    room = max(FEWEST_IMAGES, MOST_PIXELS // max(1, height * width))
    count = min(MOST_IMAGES, room, len(names))
    return [names[k * len(names) // count] for k in range(count)]


def _blurred(grey: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)


def _dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    both = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / both if both else 1.0
