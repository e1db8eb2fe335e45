"""Images among images: which are alike, which are not, and a map of the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from napari_medssl.explore.similarity import EmbeddingError
from napari_medssl.explore.tsne import flat_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medssl.explore.store import EmbeddingStore

__all__ = ["Folder", "Neighbour"]

COMPONENTS = 10
"""Principal components in which distances are measured, as in the evaluation paper."""
SMALL_FOLDER = 20
"""Up to so many images, the map is of the first two components: t-SNE needs neighbours."""


class Neighbour(NamedTuple):
    """An image, and how far it is."""

    image: str
    distance: float


class Folder:
    """Every image as one point: the mean of its features, in its principal components.

    Parameters
    ----------
    names : tuple of str
        The images.
    means : ndarray of shape (N, D)
        The mean features of each.

    Attributes
    ----------
    points : ndarray of shape (N, at most 10)
        Principal components; distances between images are Euclidean.

    References
    ----------
    The paper on evaluating annotation-efficient self-supervised learning: PCA to 10 components, Euclidean.
    """

    def __init__(self, names: tuple[str, ...], means: NDArray[np.floating]) -> None:
        if len(names) != len(means) or len(names) < 2:
            raise EmbeddingError(f"{len(names)} images have no neighbours; at least 2.")
        self.names = names
        centred = np.asarray(means, np.float64) - np.mean(means, axis=0, dtype=np.float64)
        left, scale, _ = np.linalg.svd(centred, full_matrices=False)
        # A component's sign is arbitrary; fixing it keeps the map the same on another machine.
        signs = np.sign(left[np.abs(left).argmax(0), np.arange(left.shape[1])])
        self.points: NDArray[np.float64] = (left * signs * scale)[:, :COMPONENTS]

    @classmethod
    def of(
        cls, store: EmbeddingStore, *, progress: Callable[[int, int], None] | None = None
    ) -> Folder:
        """Read a store.

        Parameters
        ----------
        store : EmbeddingStore
            The folder.
        progress : callable, optional
            Called with (done, total) images.
        """
        means = np.empty((len(store), store.dimensions))
        for number, name in enumerate(store.names):
            means[number] = store.flat(name).mean(0)
            if progress is not None:
                progress(number + 1, len(store))
        return cls(store.names, means)

    def nearest(self, image: str, count: int = 8, *, farthest: bool = False) -> list[Neighbour]:
        """Give the images most like one, the most alike first; or the least alike.

        Raises
        ------
        EmbeddingError
            If the image is not among `names`.
        """
        if image not in self.names:
            raise EmbeddingError(f"There are no stored features of the image {image!r}.")
        own = self.names.index(image)
        distances = np.linalg.norm(self.points - self.points[own], axis=1)
        order = np.argsort(-distances if farthest else distances, kind="stable")
        chosen = [int(i) for i in order if i != own][:count]
        return [Neighbour(self.names[i], float(distances[i])) for i in chosen]

    def layout(
        self,
        kind: Literal["auto", "pca", "tsne"] = "auto",
        *,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float64]:
        """Place the images on a flat map.

        Parameters
        ----------
        kind : {"auto", "pca", "tsne"}
            The first two components, or a t-SNE of all ten; ``auto`` takes the former for up to 20 images.
        seed : int
            Of t-SNE.
        progress : callable, optional
            As for `flat_map`.

        Returns
        -------
        ndarray of shape (N, 2)
        """
        if kind == "pca" or (kind == "auto" and len(self.names) <= SMALL_FOLDER):
            flat = np.zeros((len(self.names), 2))
            flat[:, : min(2, self.points.shape[1])] = self.points[:, :2]
            return flat
        return flat_map(self.points, seed=seed, progress=progress)
