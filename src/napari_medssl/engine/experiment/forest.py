"""A random forest on filtered images: the pixel classifier that people use today, as a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["fit_forest", "forest_features", "forest_labels"]

SMALLEST, LARGEST = 1, 16
"""Sigmas of the filters, pixels."""
TREES, DEPTH = 100, 20


def forest_features(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filter an image at several scales: intensity, edges and texture.

    Parameters
    ----------
    planes : ndarray of shape (C, Y, X)
        The image.

    Returns
    -------
    ndarray of shape (Y, X, F)
        `skimage.feature.multiscale_basic_features`, sigma 1 to 16, of every channel.
    """
    features: NDArray[np.float32] = multiscale_basic_features(
        np.moveaxis(planes, 0, -1),
        intensity=True,
        edges=True,
        texture=True,
        sigma_min=SMALLEST,
        sigma_max=LARGEST,
        workers=1,
        channel_axis=-1,
    ).astype(np.float32)
    return features


def fit_forest(
    features: NDArray[np.float32], labels: NDArray[np.uint16], *, seed: int, threads: int | None
) -> RandomForestClassifier:
    """Fit 100 trees of depth 20 at most to annotated pixels (N, F) with labels (N)."""
    forest = RandomForestClassifier(
        n_estimators=TREES, max_depth=DEPTH, random_state=seed, n_jobs=threads
    )
    return forest.fit(features, labels)


def forest_labels(
    forest: RandomForestClassifier, features: NDArray[np.float32]
) -> NDArray[np.uint16]:
    """Give the label of every pixel (Y, X) for features (Y, X, F)."""
    found: NDArray[np.uint16] = forest.predict(features.reshape(-1, features.shape[-1]))
    return found.reshape(features.shape[:2])
