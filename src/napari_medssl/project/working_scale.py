"""The working scale: how many file pixels a network pixel stands for, and images, labels and maps at that scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from pydantic import Field

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_medssl.project.folder import ImageFolder

__all__ = ["ScaleRule", "ScaledImages", "to_native", "to_network", "to_targets"]


class ScaleRule(Config):
    """How large a network pixel is. A model keeps its rule; the factor follows for each image.

    Examples
    --------
    >>> ScaleRule(rule="fit", value=256).factor((512, 1024))
    4.0
    """

    rule: Literal["fixed", "physical", "fit"] = "fixed"
    """File pixels per network pixel (fixed), micrometres per network pixel (physical), or the whole image in so many
    network pixels along its longer side (fit)."""
    value: float = Field(1.0, gt=0, le=100_000)
    """What the rule counts; with fixed, values below 1 enlarge."""

    @classmethod
    def read(cls, text: str) -> ScaleRule:
        """Read a rule as people write it: ``fit:256``, ``fixed:2``, ``physical:0.65``.

        Raises
        ------
        ConfigError
            If it is none of these.
        """
        rule, _, value = text.partition(":")
        found: ScaleRule = cls.parse({"rule": rule, "value": value}, where=f"scale {text!r}")
        return found

    def factor(self, shape: tuple[int, int], pixel_size: float | None = None) -> float:
        """Return the file pixels per network pixel of an image.

        Parameters
        ----------
        shape : tuple of int
            (Y, X) of the image, file pixels.
        pixel_size : float, optional
            Micrometres per file pixel.

        Raises
        ------
        MedsslError
            If the rule is physical and the size is not known.
        """
        if self.rule == "fixed":
            return self.value
        if self.rule == "fit":
            return max(shape) / self.value
        if pixel_size is None:
            raise MedsslError(
                f"The working scale is {self.text()}, and neither the image nor its folder tells its pixel size.",
                advice="Choose a scale in file pixels (fixed) or for whole images (fit).",
            )
        return self.value / pixel_size

    def text(self) -> str:
        """Describe the rule in a few words."""
        if self.rule == "fit":
            return f"whole image at {self.value:g} px"
        if self.rule == "physical":
            return f"{self.value:g} µm per network pixel"
        if self.value == 1:
            return "the file's own pixels"
        return f"{self.value:g} file pixels per network pixel"


class ScaledImages:
    """The images of a folder as a network sees them.

    Parameters
    ----------
    images : ImageFolder
        A project.
    rule : ScaleRule
        The model's.
    """

    def __init__(self, images: ImageFolder, rule: ScaleRule) -> None:
        self.images, self.rule = images, rule

    def factor(self, name: str) -> float:
        """Return the file pixels per network pixel of an image; the folder's median stands for a size it lacks."""
        size = None
        if self.rule.rule == "physical":
            size = self.images.pixel_size(name) or self.images.typical_pixel_size()
        return self.rule.factor(self.images.shape(name), size)

    def shape(self, name: str) -> tuple[int, int]:
        """Return (y, x) of an image in network pixels."""
        return network_shape(self.images.shape(name), self.factor(name))

    def planes(self, name: str) -> NDArray[np.float32]:
        """Read an image, (C, y, x) in network pixels, values in [0, 1]."""
        return to_network(self.images.planes(name), self.factor(name))

    def notes(self, names: Iterable[str]) -> list[str]:
        """Return what the user should know of the scale of these images, as sentences."""
        if self.rule.rule != "physical":
            return []
        lacking = sum(self.images.pixel_size(name) is None for name in names)
        if not lacking:
            return []
        size = self.images.typical_pixel_size()
        return [
            f"{lacking} image{'s do' if lacking > 1 else ' does'} not tell the pixel size;"
            f" the folder's median is taken ({size:.3g} µm)."
        ]


def network_shape(shape: Sequence[int], factor: float) -> tuple[int, int]:
    """Return (y, x) in network pixels of an image of (Y, X) file pixels, at least 1 x 1."""
    height, width = (max(1, round(side / factor)) for side in shape[-2:])
    return height, width


def to_network(planes: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Bring an image (C, Y, X) to network pixels: shrunk by area averaging, enlarged by linear interpolation."""
    size = network_shape(planes.shape, factor)
    if size == planes.shape[-2:]:
        return planes
    how = cv2.INTER_AREA if factor > 1 else cv2.INTER_LINEAR
    return _resized(planes, size, how)


def to_native(maps: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bring maps (K, y, x) of network pixels to the file's pixels (K, Y, X) by linear interpolation."""
    if maps.shape[-2:] == shape:
        return maps
    shrinks = maps.shape[-2] > shape[0]
    return _resized(maps, shape, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def to_targets(
    labels: NDArray[np.uint16], values: Sequence[int], factor: float
) -> NDArray[np.float32]:
    """Turn labels into what a network learns: the share of each class among the annotated pixels.

    A network pixel in which anything is annotated has shares that sum to 1, so that a scribble of one pixel's width
    counts as much at a coarse scale; elsewhere all are 0.

    Parameters
    ----------
    labels : ndarray of uint16, (Y, X)
        0 = not annotated.
    values : sequence of int
        Label value of each class, in the order of the network's maps.
    factor : float
        File pixels per network pixel.

    Returns
    -------
    ndarray of float32, (K, y, x)
    """
    classes = np.stack([labels == value for value in values]).astype(np.float32)
    size = network_shape(labels.shape, factor)
    if size != labels.shape:
        how = cv2.INTER_AREA if factor > 1 else cv2.INTER_NEAREST_EXACT
        classes = _resized(classes, size, how)
    weight = classes.sum(0)
    np.divide(classes, weight, out=classes, where=weight > 0)
    return classes


def _resized(maps: NDArray[np.float32], size: tuple[int, int], how: int) -> NDArray[np.float32]:
    height, width = size
    return np.stack([cv2.resize(part, (width, height), interpolation=how) for part in maps])
