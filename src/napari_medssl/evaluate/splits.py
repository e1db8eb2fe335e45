"""Whether a split is honest: images of the test that are all but copies of images that taught."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
from scipy.fft import dctn
from scipy.spatial.distance import cdist

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = [
    "NearDuplicate",
    "alike_by_features",
    "alike_by_hash",
    "perceptual_hash",
    "turned_hashes",
]

SIDE = 32
"""Pixels along each axis of the picture that is hashed."""
COARSEST = 8
"""Frequencies along each axis that the hash is made of."""


class NearDuplicate(NamedTuple):
    """Two images on both sides of a split that are suspiciously alike."""

    taught: str
    tested: str
    distance: float
    """Differing bits of the hash; or, by features, over the usual distance between neighbours."""


def perceptual_hash(planes: NDArray[np.floating[Any]]) -> int:
    """Give 63 bits that are the same for a picture that was scaled, brightened, compressed or slightly shifted.

    The mean over channels, reduced to 32 x 32 pixels; of its cosine transform the 8 x 8 lowest
    frequencies without the constant: a bit is set where one is above their median. Rotated and mirrored
    copies have another hash: see `turned_hashes`.

    Parameters
    ----------
    planes : ndarray of float, (C, Y, X)
        The image.

    Returns
    -------
    int
        0 for a picture without contrast.

    References
    ----------
    Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, section 3.2.
    """
    return _hash(_small(planes))


def turned_hashes(planes: NDArray[np.floating[Any]]) -> tuple[int, ...]:
    """Give the `perceptual_hash` of a picture in its eight orientations: as it is, then turned and mirrored.

    Parameters
    ----------
    planes : ndarray of float, (C, Y, X)
        The image.
    """
    small = _small(planes)
    turned = [np.rot90(side, k) for side in (small, small[:, ::-1]) for k in range(4)]
    return tuple(_hash(picture) for picture in turned)


def _small(planes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    picture = np.asarray(planes, np.float64).mean(0)
    small: NDArray[np.float64] = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return small


def _hash(small: NDArray[np.float64]) -> int:
    if np.ptp(small) <= 1e-6 * np.abs(small).max():
        return 0  # what is left is the rounding of single precision, and would make any hash
    waves = dctn(small - small.mean(), norm="ortho")[:COARSEST, :COARSEST].ravel()[1:]
    bits = waves > np.median(waves)
    return int(sum(1 << k for k in np.flatnonzero(bits).tolist()))


def alike_by_hash(
    taught: Mapping[str, int], tested: Mapping[str, int | tuple[int, ...]], *, bits: int = 4
) -> tuple[NearDuplicate, ...]:
    """Give the pairs across a split whose hashes hardly differ.

    Parameters
    ----------
    taught : mapping of str to int
        Image -> `perceptual_hash`, of those that taught.
    tested : mapping of str to int or tuple of int
        The same of those that are tested; or `turned_hashes`, of which the most alike counts: that finds turned and
        mirrored copies.
    bits : int
        Up to so many differing bits of 63 are alike. Measured: no two of 210 fluorescence fields differ in
        fewer than 12 bits, no heart slices of two patients in fewer than 6; nine in ten slices of one
        patient have another within 4 bits, as have scaled, brightened and JPEG copies. Comparing all eight
        orientations, these two smallest distances stay 12 and 6.

    Returns
    -------
    tuple of NearDuplicate
        The most alike first; of every tested image only the most alike.
    """
    names = list(taught)
    known = np.array([taught[name] for name in names], np.uint64)
    distances = (
        (name, _bits_apart(known, values if isinstance(values, tuple) else (values,)))
        for name, values in tested.items()
    )
    return tuple(sorted(_nearest(names, distances, bits), key=lambda pair: pair.distance))


def _bits_apart(known: NDArray[np.uint64], values: tuple[int, ...]) -> NDArray[np.float64]:
    """Give for each known hash by how many bits the nearest of the values differs."""
    apart = [np.bitwise_count(known ^ np.uint64(value)) for value in values]
    nearest: NDArray[np.float64] = np.min(apart, axis=0).astype(np.float64)
    return nearest


def alike_by_features(
    taught: Mapping[str, NDArray[np.floating[Any]]],
    tested: Mapping[str, NDArray[np.floating[Any]]],
    *,
    share: float = 0.2,
) -> tuple[NearDuplicate, ...]:
    """Give the pairs across a split that a network can hardly tell apart.

    How far apart images usually are differs from network to network, so distances are measured in the
    median distance from a teaching image to the nearest other one.

    Parameters
    ----------
    taught, tested : mapping of str to ndarray of float, (D,)
        Image -> mean features, on either side. At least 3 taught ones.
    share : float
        Up to this share of the usual distance is alike.

    Returns
    -------
    tuple of NearDuplicate
        As for `alike_by_hash`.

    Raises
    ------
    MedsslError
        If there are too few images to know the usual distance, or the features are all the same.
    """
    if len(taught) < 3:
        raise MedsslError(
            f"{len(taught)} images do not tell how far images usually are apart; at least 3.",
            advice="Compare images by hash.",
        )
    names = list(taught)
    known = np.stack([np.asarray(taught[name], np.float64) for name in names])
    among = np.array([np.partition(cdist(row[None], known)[0], 1)[1] for row in known])
    usual = float(np.median(among))  # each row's smallest distance is to itself
    if usual <= 1e-9 * np.abs(known).max():
        raise MedsslError(
            "The features are the same for most images, so they do not tell them apart.",
            advice="Take the features of another run, or compare images by hash.",
        )
    distances = (
        (name, cdist(np.asarray(row, np.float64)[None], known)[0] / usual)
        for name, row in tested.items()
    )
    return tuple(sorted(_nearest(names, distances, share), key=lambda pair: pair.distance))


def _nearest(
    names: list[str], distances: Iterator[tuple[str, NDArray[np.float64]]], most: float
) -> Iterator[NearDuplicate]:
    for name, row in distances:
        if len(row) and row.min() <= most:
            yield NearDuplicate(names[int(row.argmin())], name, float(row.min()))
