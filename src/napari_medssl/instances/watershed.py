"""Objects from distance maps and from masks, both by a watershed that grows seeds downhill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from pydantic import Field, model_validator
from scipy import ndimage
from skimage.measure import label as label_pieces
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.instances.editing import keep_areas, renumber
from napari_medssl.instances.objects import areas

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SeedConfig", "SeparateConfig", "distance_target", "objects_of_distance", "separate"]


class SeedConfig(Config):
    """How a predicted distance map becomes objects."""

    smoothing: float = Field(1.0, ge=0, le=20)
    """Standard deviation of the Gaussian that the map is smoothed with first, pixels."""
    mask_threshold: float = Field(0.09, ge=0, le=1)
    """Objects are where the map is above this: lower makes them larger."""
    seed_threshold: float = Field(0.4, ge=0, le=1)
    """Every piece above this is an object of its own: higher separates more, and loses faint objects."""
    smallest: float = Field(0.05, ge=0, le=1)
    """Objects below this share of the median area are dropped."""
    largest: float = Field(10.0, ge=1, le=1e6)
    """Objects above this multiple of the median area are dropped."""

    @model_validator(mode="after")
    def _seeds_inside(self) -> SeedConfig:
        if self.seed_threshold < self.mask_threshold:
            raise ValueError(
                f"seed_threshold = {self.seed_threshold} must not be below mask_threshold = {self.mask_threshold}"
            )
        return self


class SeparateConfig(Config):
    """How touching objects of a mask are told apart."""

    smoothing: float = Field(1.0, ge=0, le=20)
    """Standard deviation of the Gaussian that evens out the outline's distance map, pixels."""
    neck: float = Field(0.1, ge=0, lt=1)
    """Two bulges are two objects where the neck between them is narrower than the smaller bulge by at least this share:
    higher separates less."""


def distance_target(labels: NDArray[np.integer]) -> NDArray[np.float32]:
    """Give what a network learns to predict: per object the distance to its outline over the largest one in it.

    What lies beyond the image counts as outside of an object. The distance is that to the nearest pixel outside, so
    that it is above 0 in all of the object.

    Parameters
    ----------
    labels : ndarray of integers, (Y, X)
        Ids; 0 is no object.

    Returns
    -------
    ndarray of float32, (Y, X)
        In [0, 1], 0 outside objects and 1 at the heart of each.

    References
    ----------
    The paper on evaluating annotation-efficient self-supervised learning, instance segmentation.
    """
    target = np.zeros(labels.shape, np.float32)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        own = labels[box] == number
        inside = _depth(own)
        target[box][own] = inside[own] / inside.max()
    return target


def objects_of_distance(
    distance: NDArray[np.floating], config: SeedConfig | None = None
) -> NDArray[np.int32]:
    """Turn a predicted distance map into objects.

    Parameters
    ----------
    distance : ndarray of float, (Y, X)
        As `distance_target` makes it, or a prediction of it.
    config : SeedConfig, optional
        Its defaults are the paper's.

    Returns
    -------
    ndarray of int32, (Y, X)
        Ids from 1 on without gaps; 0 is no object. What holds no seed is none.

    Raises
    ------
    MedsslError
        If a value is not finite.

    References
    ----------
    The paper on evaluating annotation-efficient self-supervised learning: Gaussian of 1 pixel, mask above 0.09, seeds
    above 0.4, watershed, holes filled, areas within [0.05, 10] of the median.
    """
    config = config or SeedConfig()
    if not np.isfinite(distance).all():
        raise MedsslError("The distance map holds values that are not finite numbers.")
    smooth = ndimage.gaussian_filter(distance.astype(np.float32), config.smoothing)
    seeds = label_pieces(smooth > config.seed_threshold, connectivity=1)
    found: NDArray[np.int32] = watershed(
        -smooth, seeds, mask=smooth > config.mask_threshold
    ).astype(np.int32)
    _fill_holes(found)
    sizes = areas(found)
    if not sizes:
        return found
    median = float(np.median(list(sizes.values())))
    return renumber(
        keep_areas(found, smallest=config.smallest * median, largest=config.largest * median)
    )


def separate(mask: NDArray[np.bool_], config: SeparateConfig | None = None) -> NDArray[np.int32]:
    """Tell the touching objects of a mask apart at their necks.

    Every bulge of the mask (a maximum of the distance to its outline) is a seed, unless the way to a deeper one
    leads over a neck that is hardly narrower. Necks are compared with the bulges that they join, so objects of every
    size are treated alike.

    Parameters
    ----------
    mask : ndarray of bool, (Y, X)
        One class.
    config : SeparateConfig, optional
        How narrow a neck is.

    Returns
    -------
    ndarray of int32, (Y, X)
        Ids from 1 on without gaps; every pixel of the mask has one.
    """
    config = config or SeparateConfig()
    if not mask.any():
        return np.zeros(mask.shape, np.int32)
    depth = _depth(mask)
    # Smoothing must not let an object that is a pixel wide vanish.
    smooth = np.where(mask, np.maximum(ndimage.gaussian_filter(depth, config.smoothing), 1e-3), 0.0)
    level = reconstruction(smooth * (1 - config.neck), smooth)
    seeds = label_pieces(local_maxima(level, connectivity=2) & mask, connectivity=2)
    found: NDArray[np.int32] = watershed(-smooth, seeds, mask=mask, connectivity=2).astype(np.int32)
    return found


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give the exact distance of every pixel to the nearest one outside, the image's surroundings among them."""
    framed = np.pad(mask, 1).astype(np.uint8)
    distance = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance[1:-1, 1:-1], np.float32)


def _fill_holes(labels: NDArray[np.int32]) -> None:
    """Fill the holes of every object in place; a hole that another object lies in stays."""
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        part = labels[box]
        part[ndimage.binary_fill_holes(part == number) & (part == 0)] = number
