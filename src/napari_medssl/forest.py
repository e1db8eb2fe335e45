"""A random forest on filtered images: the pixel classifier that needs no network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

# Private, but the only way to a fitted tree that is neither pickle nor slow; scikit-learn's pickles need it to stay.
from sklearn.tree._tree import NODE_DTYPE, Tree

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["FEATURES", "Filtered", "PixelForest", "filtered", "filtered_at"]

FEATURES = 20
"""Features per channel: intensity, edges and two of texture, each at sigma 1, 2, 4, 8 and 16 pixels."""
SIGMA_MIN, SIGMA_MAX = 1, 16
REACH = 4 * SIGMA_MAX + 2
"""How far a pixel's features look: the Gaussian is cut at four sigmas, and second differences look two pixels on."""
TILE = 512
"""Images are filtered in squares of this side, which bounds memory; larger squares look less often at their margins."""
TREES, DEPTH = 100, 20
ROWS = 2**16
"""Feature vectors that pass through the trees together: many, since each tree is fetched from memory for them anew."""
LEAF = -1
DTYPES = {
    "left": np.int32,
    "right": np.int32,
    "feature": np.int16,
    "threshold": np.float32,
    "value": np.float32,
    "offsets": np.int32,
}


class Tile(NamedTuple):
    """Part of an image, filtered."""

    ys: slice
    xs: slice
    features: NDArray[np.float32]
    """(h, w, F)."""


class Filtered:
    """An image that is filtered at several scales, tile by tile as it is needed: intensity, edges and texture.

    Parameters
    ----------
    planes : ndarray of shape (C, Y, X)
        The image, values in [0, 1].
    threads : int
        Scales that are filtered at the same time.
    keep : bool
        Whether tiles stay in memory: 80 bytes for each pixel and channel.
    """

    def __init__(
        self, planes: NDArray[np.float32], *, threads: int = 1, keep: bool = False
    ) -> None:
        self.shape = planes.shape[1], planes.shape[2]
        self._planes, self._threads, self._keep = planes, threads, keep
        self._kept: dict[tuple[int, int], NDArray[np.float32]] = {}

    def tiles(self) -> Iterator[Tile]:
        """Yield all of the image."""
        for ys, xs in _tiles(*self.shape):
            yield Tile(ys, xs, self._tile(ys, xs))

    def at(self, ys: NDArray[np.intp], xs: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the features (N, F) of N pixels, filtering only where they lie."""
        features = np.empty((len(ys), FEATURES * len(self._planes)), dtype=np.float32)
        for rows, columns in _tiles(*self.shape):
            inside = (ys >= rows.start) & (ys < rows.stop)
            inside &= (xs >= columns.start) & (xs < columns.stop)
            if inside.any():
                tile = self._tile(rows, columns)
                features[inside] = tile[ys[inside] - rows.start, xs[inside] - columns.start]
        return features

    def _tile(self, ys: slice, xs: slice) -> NDArray[np.float32]:
        place = ys.start, xs.start
        if place in self._kept:
            return self._kept[place]
        tile = _filtered_tile(self._planes, ys, xs, self._threads)
        if self._keep:
            self._kept[place] = tile
        return tile


def filtered(planes: NDArray[np.float32], *, threads: int = 1) -> NDArray[np.float32]:
    """Return an image filtered at several scales.

    Parameters
    ----------
    planes : ndarray of shape (C, Y, X)
        The image, values in [0, 1].
    threads : int
        Scales that are filtered at the same time.

    Returns
    -------
    ndarray of shape (Y, X, F)
        `skimage.feature.multiscale_basic_features`, sigma 1 to 16, of every channel; F = `FEATURES` C.
    """
    features = np.empty((*planes.shape[1:], FEATURES * len(planes)), dtype=np.float32)
    for tile in Filtered(planes, threads=threads).tiles():
        features[tile.ys, tile.xs] = tile.features
    return features


def filtered_at(
    planes: NDArray[np.float32], ys: NDArray[np.intp], xs: NDArray[np.intp], *, threads: int = 1
) -> NDArray[np.float32]:
    """Return ``filtered(planes)[ys, xs]`` (N, F), computed only where the N pixels lie."""
    return Filtered(planes, threads=threads).at(ys, xs)


class PixelForest:
    """A fitted forest, made of plain arrays; `fit` and `from_arrays` make one.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        As `arrays` returns them, and sound: scikit-learn follows their indices unchecked.
    n_features, n_classes : int
        Length of a feature vector, and number of classes.
    """

    def __init__(
        self, arrays: Mapping[str, NDArray[Any]], *, n_features: int, n_classes: int
    ) -> None:
        self.n_features, self.n_classes = n_features, n_classes
        self._arrays = {name: arrays[name] for name in DTYPES}
        starts: list[int] = self._arrays["offsets"].tolist()
        self._trees = [self._tree(slice(*ends)) for ends in pairwise(starts)]

    @classmethod
    def fit(
        cls,
        features: NDArray[np.float32],
        classes: NDArray[np.integer],
        *,
        n_classes: int,
        seed: int,
        threads: int | None,
        trees: int = TREES,
        pixels_per_tree: int | None = None,
    ) -> PixelForest:
        """Return trees of depth 20 at most, fitted to annotated pixels.

        Parameters
        ----------
        features : ndarray of shape (N, F)
            Their features.
        classes : ndarray of shape (N,)
            Their classes, 0 to `n_classes` - 1; one that does not occur gets probability 0 everywhere.
        n_classes : int
            Number of classes.
        seed : int
            Draws pixels and features of each tree.
        threads : int or None
            Trees that grow at the same time; None is 1.
        trees : int
            How many.
        pixels_per_tree : int, optional
            Pixels that each tree draws, at most; unset means as many as there are.

        Raises
        ------
        ValueError
            If there is no pixel, or a class is out of range.
        """
        if not (len(classes) and classes.min() >= 0 and classes.max() < n_classes):
            raise ValueError(
                f"the classes of {len(classes)} pixels, {np.unique(classes)}, must be within 0 to {n_classes - 1}, "
                "and there must be a pixel"
            )
        forest = RandomForestClassifier(
            n_estimators=trees,
            max_depth=DEPTH,
            max_samples=None if pixels_per_tree is None else min(pixels_per_tree, len(classes)),
            random_state=seed,
            n_jobs=threads,
        ).fit(features, classes)
        grown = [estimator.tree_ for estimator in forest.estimators_]
        value = np.zeros((sum(tree.node_count for tree in grown), n_classes), dtype=np.float32)
        value[:, forest.classes_] = np.concatenate([tree.value[:, 0] for tree in grown])
        arrays = {
            "left": np.concatenate([tree.children_left for tree in grown]),
            "right": np.concatenate([tree.children_right for tree in grown]),
            "feature": np.concatenate([tree.feature for tree in grown]),
            "threshold": _rounded_down(np.concatenate([tree.threshold for tree in grown])),
            "value": value,
            "offsets": np.cumsum([0, *(tree.node_count for tree in grown)]),
        }
        return cls(
            {name: arrays[name].astype(dtype, copy=False) for name, dtype in DTYPES.items()},
            n_features=features.shape[1],
            n_classes=n_classes,
        )

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], *, n_features: int, n_classes: int
    ) -> PixelForest:
        """Return the forest that `arrays` describe, which may come from a damaged file.

        Raises
        ------
        MedsslError
            If they are not those of a forest with so many features and classes.
        """
        flaw = _flaw(arrays, n_features, n_classes)
        if flaw:
            raise MedsslError(
                f"The random forest is damaged: {flaw}.",
                advice="Train the model again, or take another copy of its file.",
            )
        return cls(arrays, n_features=n_features, n_classes=n_classes)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the nodes of all trees, one tree after the other.

        Returns
        -------
        dict
            ``left``, ``right`` (n,): child nodes, counted within the tree, beyond their parent; -1 at leaves.
            ``feature``, ``threshold`` (n,): left is where the feature is not above the threshold.
            ``value`` (n, K): class probabilities. ``offsets`` (T + 1,): where trees begin and end.
            80,000 pixels of fluorescence nuclei make 3 MiB, of phase-contrast cells 17 MiB.
        """
        return dict(self._arrays)

    def predict_proba(
        self, features: NDArray[np.float32], *, threads: int = 1
    ) -> NDArray[np.float32]:
        """Return class probabilities (N, K) for features (N, F).

        Raises
        ------
        ValueError
            If F is not the forest's.
        """
        if features.shape[1] != self.n_features:
            raise ValueError(
                f"{features.shape[1]} features per pixel: the forest was fitted to {self.n_features}"
            )
        probabilities = np.empty((len(features), self.n_classes), dtype=np.float32)

        def fill(start: int) -> None:
            rows = features[start : start + ROWS]
            total = np.zeros((len(rows), self.n_classes))
            for tree in self._trees:
                total += tree.predict(rows)
            probabilities[start : start + ROWS] = total / len(self._trees)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(0, len(features), ROWS)))
        return probabilities

    def probabilities(
        self, planes: NDArray[np.float32], *, threads: int = 1
    ) -> NDArray[np.float32]:
        """Return class probabilities (K, Y, X) of an image (C, Y, X) of any size, tile by tile.

        Raises
        ------
        ValueError
            If the image has not as many channels as those that the forest was fitted to.
        """
        return self.seen_in(Filtered(planes, threads=threads), threads=threads)

    def seen_in(self, image: Filtered, *, threads: int = 1) -> NDArray[np.float32]:
        """Return class probabilities (K, Y, X) of an image whose filters may be at hand; raises the same."""
        maps = np.empty((self.n_classes, *image.shape), dtype=np.float32)
        for ys, xs, features in image.tiles():
            flat = self.predict_proba(features.reshape(-1, features.shape[-1]), threads=threads)
            maps[:, ys, xs] = np.moveaxis(flat.reshape(*features.shape[:2], -1), -1, 0)
        return maps

    def _tree(self, part: slice) -> Tree:
        left, right, feature, threshold, value = (
            self._arrays[name][part] for name in ("left", "right", "feature", "threshold", "value")
        )
        nodes = np.zeros(len(left), dtype=NODE_DTYPE)
        nodes["left_child"], nodes["right_child"] = left, right
        nodes["feature"], nodes["threshold"] = feature, threshold
        tree = Tree(self.n_features, np.array([self.n_classes], dtype=np.intp), 1)
        values = np.ascontiguousarray(value[:, None], dtype=np.float64)
        # What only training needs is left 0.
        tree.__setstate__(
            {"max_depth": 0, "node_count": len(nodes), "nodes": nodes, "values": values}
        )
        return tree


def _tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            yield slice(y, min(y + TILE, height)), slice(x, min(x + TILE, width))


def _filtered_tile(
    planes: NDArray[np.float32], ys: slice, xs: slice, threads: int
) -> NDArray[np.float32]:
    """Return the features (h, w, F) of part of an image, the same as in the whole image."""
    top, left = max(ys.start - REACH, 0), max(xs.start - REACH, 0)
    part = planes[:, top : ys.stop + REACH, left : xs.stop + REACH]
    # Differences need two pixels; the filters repeat the edge in any case.
    missing = [(0, max(2 - length, 0)) for length in part.shape[1:]]
    features: NDArray[np.float32] = multiscale_basic_features(
        np.moveaxis(np.pad(part, [(0, 0), *missing], mode="edge"), 0, -1),
        intensity=True,
        edges=True,
        texture=True,
        sigma_min=SIGMA_MIN,
        sigma_max=SIGMA_MAX,
        workers=threads,
        channel_axis=-1,
    )
    return features[ys.start - top : ys.stop - top, xs.start - left : xs.stop - left]


def _rounded_down(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the next float32 that is not above: float32 features are on the same side of it as before."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)


def _flaw(arrays: Mapping[str, NDArray[Any]], n_features: int, n_classes: int) -> str | None:
    """Return what keeps arrays from being a forest; None if nothing does."""
    for name, dtype in DTYPES.items():
        if name not in arrays:
            return f'"{name}" is missing'
        if arrays[name].dtype != dtype:
            return f'"{name}" is {arrays[name].dtype}, not {np.dtype(dtype)}'
    left, right, feature, threshold, value, offsets = (arrays[name] for name in DTYPES)
    nodes = len(value) if value.ndim else 0
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(DTYPES, (nodes,))
    shapes |= {"value": (nodes, n_classes), "offsets": (offsets.size,)}
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            return f'"{name}" has shape {arrays[name].shape}, not {shape}'
    sizes = np.diff(offsets)
    if not (len(sizes) and offsets[0] == 0 and offsets[-1] == nodes and (sizes > 0).all()):
        return f'"offsets" does not divide {nodes} nodes into trees'
    own, size = np.arange(nodes) - np.repeat(offsets[:-1], sizes), np.repeat(sizes, sizes)
    split = (left != LEAF) | (right != LEAF)
    for name, child in (("left", left), ("right", right)):
        # Beyond their parent, so that no walk through the tree can turn in a circle.
        if not ((child > own) & (child < size))[split].all():
            return f'"{name}" leads out of its tree, or back'
    if not ((feature >= 0) & (feature < n_features))[split].all():
        return f'"feature" is not within 0 to {n_features - 1}'
    if not np.isfinite(threshold[split]).all():
        return '"threshold" is not finite'
    if not ((value >= 0).all() and np.allclose(value.sum(1), 1, atol=1e-3)):
        return '"value" does not hold probabilities'
    return None
