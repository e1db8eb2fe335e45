"""Images of fluorescent nuclei made from nothing, with the truth known: for the demo, the sample data, the tests.

The pictures imitate a widefield microscope: nuclei of varying size, brightness and texture, some
touching, some above or below the focal plane, haze from other planes, uneven illumination, camera
offset, shot noise and read noise. They are easy enough to learn in a minute and hard enough that one
threshold for the whole image does not solve them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError

__all__ = ["Field", "Recipe", "nuclei"]

Plane = NDArray[np.float32]

_BLUR_OF_TRUTH = 3.0
"""Nuclei blurred by more than this (sigma in pixels) are haze: nobody would outline them."""


class Recipe(Config):
    """How a field of nuclei looks. Every image draws its own values around these.

    Lengths are in pixels; brightness is in photons at the camera.
    """

    radius: float = 9.0
    """Typical radius of a nucleus."""
    coverage: float = 0.17
    """Typical share of the image that nuclei cover."""
    clumping: float = 0.45
    """Share of nuclei that are placed against another one."""
    brightness: float = 170.0
    """Typical brightness of a nucleus."""
    brightness_spread: float = 0.38
    """Standard deviation of the logarithm of brightness between the nuclei of one image."""
    background: float = 30.0
    """Typical brightness of the background."""
    unevenness: float = 0.45
    """How far illumination and background vary over the field (0: flat)."""
    haze: float = 0.3
    """Number of nuclei far from focus, as a share of those in focus."""
    read_noise: float = 3.0
    """Standard deviation of the camera's noise."""


class Field(NamedTuple):
    """One image and its truth."""

    image: NDArray[np.uint16]
    """(Y, X), 12 of the 16 bits used, as cameras do."""
    labels: NDArray[np.uint16]
    """(Y, X) instances: 0 is background, 1.. are nuclei."""


def nuclei(
    rng: np.random.Generator, *, shape: tuple[int, int] = (256, 256), recipe: Recipe | None = None
) -> Field:
    """Make one field of fluorescence-like nuclei.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness: the same state gives the same field.
    shape : (int, int)
        Height and width of the image in pixels, each at least 32.
    recipe : Recipe, optional
        How it looks.

    Returns
    -------
    Field
        `image` and `labels`.

    Raises
    ------
    MedsslError
        If the image is to be smaller than 32 pixels.
    """
    if min(shape) < 32:
        raise MedsslError(f"shape = {shape}: fields of nuclei are at least 32 x 32 pixels.")
    recipe = recipe or Recipe()
    radius = recipe.radius * float(rng.uniform(0.75, 1.35))
    coverage = recipe.coverage * float(rng.uniform(0.55, 1.5))
    wanted = max(3, round(coverage * shape[0] * shape[1] / (np.pi * radius**2)))

    labels = np.zeros(shape, np.uint16)
    sharp = np.zeros(shape, np.float32)  # nuclei near the focal plane
    hazy = np.zeros(shape, np.float32)  # and far from it
    placed: list[tuple[float, float, float]] = []
    for _ in range(wanted):
        _add_nucleus(rng, recipe, radius, placed, labels, sharp)
    for _ in range(round(wanted * recipe.haze)):
        _add_haze(rng, recipe, radius, hazy)

    uneven = _smooth_field(rng, shape, amplitude=recipe.unevenness)
    level = recipe.background * float(rng.uniform(0.6, 1.5))
    glow = level * _smooth_field(rng, shape, amplitude=1.2 * recipe.unevenness)
    photons = (sharp + hazy) * uneven * np.float32(rng.uniform(0.6, 1.3)) + glow
    return Field(_camera(rng, photons, recipe.read_noise), labels)


def _add_nucleus(
    rng: np.random.Generator,
    recipe: Recipe,
    radius: float,
    placed: list[tuple[float, float, float]],
    labels: NDArray[np.uint16],
    sharp: Plane,
) -> None:
    """Place one nucleus where it hardly overlaps the others, or give up after a few tries."""
    height, width = labels.shape
    dividing = rng.random() < 0.06
    own = radius * float(np.clip(rng.lognormal(0.0, 0.22), 0.55, 1.7)) * (0.6 if dividing else 1.0)
    outline = _Outline.draw(rng, own, elongated=dividing)
    for _ in range(12):
        if placed and rng.random() < recipe.clumping:
            y0, x0, neighbour = placed[rng.integers(len(placed))]
            angle, distance = rng.uniform(0, 2 * np.pi), (own + neighbour) * rng.uniform(0.86, 1.02)
            centre = (y0 + distance * np.sin(angle), x0 + distance * np.cos(angle))
        else:
            centre = (rng.uniform(0, height), rng.uniform(0, width))
        if not (0 <= centre[0] < height and 0 <= centre[1] < width):
            continue
        window, depth = outline.rasterise(centre, labels.shape)
        inside = depth > 0
        taken = labels[window] > 0
        if inside.sum() >= 12 and (inside & taken).sum() <= 0.06 * inside.sum():
            break
    else:
        return
    placed.append((*centre, own))
    labels[window][inside & ~taken] = len(placed)
    brightness = recipe.brightness * float(rng.lognormal(0.0, recipe.brightness_spread))
    brightness *= 2.0 if dividing else 1.0
    # most nuclei are in focus, a tail is not
    defocus = min(0.7 + float(rng.exponential(0.5)), _BLUR_OF_TRUTH)
    body = _body(rng, depth, own, smooth=dividing) * brightness
    _paint(sharp, window, body, defocus)


def _add_haze(rng: np.random.Generator, recipe: Recipe, radius: float, hazy: Plane) -> None:
    height, width = hazy.shape
    own = radius * float(rng.uniform(0.8, 1.3))
    centre = (float(rng.uniform(0, height)), float(rng.uniform(0, width)))
    window, depth = _Outline.draw(rng, own, elongated=False).rasterise(centre, hazy.shape)
    body = (depth > 0).astype(np.float32) * recipe.brightness * np.float32(rng.uniform(0.3, 0.9))
    _paint(hazy, window, body, float(rng.uniform(0.5, 1.1)) * radius)


class _Outline(NamedTuple):
    """A closed curve in polar form: an ellipse with a few gentle bumps."""

    radius: float
    ratio: float
    angle: float
    amplitudes: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, radius: float, *, elongated: bool) -> _Outline:
        ratio = rng.uniform(0.42, 0.6) if elongated else rng.beta(4, 1.6) * 0.5 + 0.5
        amplitudes = rng.normal(0, 1, 4) * np.array([0.05, 0.035, 0.02, 0.012])
        return cls(
            radius, float(ratio), rng.uniform(0, np.pi), amplitudes, rng.uniform(0, 2 * np.pi, 4)
        )

    def rasterise(
        self, centre: tuple[float, float], shape: tuple[int, ...]
    ) -> tuple[tuple[slice, slice], Plane]:
        """Give the window of the image and in it the depth: 1 at the centre, 0 on the outline."""
        reach = int(np.ceil(self.radius / np.sqrt(self.ratio) * 1.3)) + 2
        y0, x0 = (int(np.floor(part)) for part in centre)
        window = (
            slice(max(0, y0 - reach), min(shape[0], y0 + reach + 1)),
            slice(max(0, x0 - reach), min(shape[1], x0 + reach + 1)),
        )
        y, x = np.mgrid[window]
        dy, dx = y - centre[0], x - centre[1]
        along = (dx * np.cos(self.angle) + dy * np.sin(self.angle)) * np.sqrt(self.ratio)
        across = (dy * np.cos(self.angle) - dx * np.sin(self.angle)) / np.sqrt(self.ratio)
        theta = np.arctan2(across, along)
        bumps = sum(
            a * np.cos(k * theta + p)
            for k, (a, p) in enumerate(zip(self.amplitudes, self.phases, strict=True), start=2)
        )
        depth = 1.0 - np.hypot(along, across) / (self.radius * (1.0 + bumps))
        return window, depth.astype(np.float32)


def _body(rng: np.random.Generator, depth: Plane, radius: float, *, smooth: bool) -> Plane:
    """Brightness of a nucleus in focus: a dome with chromatin texture and dark nucleoli."""
    inside = depth > 0
    dome = np.clip(depth, 0.0, 1.0) ** np.float32(0.28)
    if smooth:  # condensed chromosomes
        condensed: Plane = (dome * inside).astype(np.float32)
        return condensed
    coarse = ndimage.gaussian_filter(rng.standard_normal(depth.shape), 0.3 * radius)
    fine = ndimage.gaussian_filter(rng.standard_normal(depth.shape), 0.11 * radius)
    texture = 1.0 + 0.13 * coarse / (coarse.std() + 1e-6) + 0.11 * fine / (fine.std() + 1e-6)
    y, x = np.mgrid[: depth.shape[0], : depth.shape[1]]
    candidates = np.argwhere(depth > 0.3)
    for _ in range(rng.integers(0, 4) if len(candidates) else 0):
        cy, cx = candidates[rng.integers(len(candidates))]
        size = radius * rng.uniform(0.1, 0.2)
        texture -= rng.uniform(0.2, 0.45) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * size**2))
    body: Plane = (dome * inside * np.clip(texture, 0.15, None)).astype(np.float32)
    return body


def _paint(canvas: Plane, window: tuple[slice, slice], body: Plane, sigma: float) -> None:
    """Add `body` to the canvas, blurred, with room for the blur around its window."""
    margin = int(np.ceil(4 * sigma))
    blurred = ndimage.gaussian_filter(np.pad(body, margin), sigma)
    starts = [part.start - margin for part in window]
    stops = [part.stop + margin for part in window]
    target = tuple(
        slice(max(0, a), min(n, b)) for a, b, n in zip(starts, stops, canvas.shape, strict=True)
    )
    source = tuple(slice(t.start - a, t.stop - a) for t, a in zip(target, starts, strict=True))
    canvas[target] += blurred[source]


def _smooth_field(rng: np.random.Generator, shape: tuple[int, ...], *, amplitude: float) -> Plane:
    """Give a slowly varying positive field around 1: a bright spot somewhere, darker corners."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    cy, cx = rng.uniform(0.2, 0.8, 2) * (height, width)
    away = ((y - cy) ** 2 + (x - cx) ** 2) / (0.5 * (height**2 + width**2))
    waves = ndimage.zoom(rng.standard_normal((4, 4)), (height / 4, width / 4), order=3)
    field = 1.0 + amplitude * (0.5 - away + 0.3 * waves[:height, :width])
    positive: Plane = np.clip(field, 0.15, None).astype(np.float32)
    return positive


def _camera(rng: np.random.Generator, photons: Plane, read_noise: float) -> NDArray[np.uint16]:
    """Turn photons into counts: shot noise, read noise, gain 4, offset 100, 12 bits."""
    electrons = rng.poisson(np.clip(photons, 0, None)) + rng.normal(0, read_noise, photons.shape)
    return np.clip(np.rint(4.0 * electrons + 100.0), 0, 4095).astype(np.uint16)
