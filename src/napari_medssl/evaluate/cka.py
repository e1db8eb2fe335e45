"""Centred kernel alignment: how alike what two networks say about the same images is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["PAPER_BATCH", "Alignment", "cka", "hsic", "kernel"]

PAPER_BATCH = 12
"""Images at a time in the evaluation paper."""
LEAST, LEAST_BIASED = 4, 2
"""Images that an estimate needs."""
CONSTANT = 1e-9
"""Share of the features' norm below which their deviation from the mean is rounding alone."""


def hsic(first: NDArray[np.float64], second: NDArray[np.float64], *, biased: bool = False) -> float:
    """Estimate the Hilbert-Schmidt independence criterion of two kernel matrices.

    With n samples, centring matrix H = I - 1/n, and K', L' the matrices with zero diagonals:
    biased, ``tr(K H L H) / (n - 1)^2``; unbiased, ``(tr(K' L') + 1'K'1 1'L'1 / ((n - 1)(n - 2))
    - 2 / (n - 2) 1'K'L'1) / (n (n - 3))``.

    Parameters
    ----------
    first, second : ndarray of float64, (n, n)
        Symmetric kernel matrices of the same samples.
    biased : bool
        Which estimate.

    Raises
    ------
    MedsslError
        If the matrices are not square and of one size, or hold fewer than 2 samples (4 unbiased).

    References
    ----------
    Biased: Gretton et al., ALT 2005, equation 9. Unbiased: Song et al., JMLR 13, 2012, equation 5.
    """
    n = len(first)
    if first.shape != (n, n) or second.shape != (n, n):
        raise MedsslError(
            f"Kernel matrices are square and of one size; these are {first.shape} and {second.shape}."
        )
    least = LEAST_BIASED if biased else LEAST
    if n < least:
        raise MedsslError(f"This estimate needs at least {least} samples; there are {n}.")
    if biased:
        centred = first - first.mean(0) - first.mean(1, keepdims=True) + first.mean()
        return float((centred * second).sum() / (n - 1) ** 2)
    k, m = first.copy(), second.copy()
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    total = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2))
    return float((total - 2 / (n - 2) * (k.sum(0) @ m.sum(1))) / (n * (n - 3)))


def cka(
    first: ArrayLike, second: ArrayLike, *, batch: int | None = None, biased: bool = False
) -> float:
    """Compare two representations of the same images by linear centred kernel alignment.

    ``sum HSIC(K, L) / sqrt(sum HSIC(K, K) sum HSIC(L, L))`` with K = X X' and L = Y Y', summed over
    batches. It does not change when either representation is rotated or scaled.

    Parameters
    ----------
    first, second : array of float, (N, ...) each
        Features of the same N images in the same order; all axes but the first are flattened, and
        their number may differ.
    batch : int, optional
        Images at a time, for features of many layers that do not fit into memory at once; all of
        them by default. What is left over after the last full batch is not used.
    biased : bool
        Take the biased estimate, which of few samples with many features calls anything alike: two
        times independent noise, 12 samples with 2048 features, gives more than .99. The evaluation
        paper's figures are of this kind: ``biased=True, batch=PAPER_BATCH``, and the mean over the
        layers of a stage.

    Returns
    -------
    float
        1 for the same up to rotation and scale. For independent ones, unbiased, 0 on average, above and
        below it by chance: with a standard deviation of .14 over 12 images, .04 over ten such batches.
        0 where one representation is the same for all images: it tells nothing.

    Raises
    ------
    MedsslError
        If the numbers of images differ, there are too few (2, or 4 unbiased) or a value is not finite.

    References
    ----------
    Kornblith et al., ICML 2019, section 3. Minibatches of the unbiased estimate: Nguyen, Raghu and
    Kornblith, ICLR 2021, equations 2 and 3.
    """
    x, y = (np.asarray(features) for features in (first, second))
    if len(x) != len(y):
        raise MedsslError(
            f"The features are of {len(x)} and {len(y)} images.",
            advice="Compare features of the same images.",
        )
    least = LEAST_BIASED if biased else LEAST
    size = len(x) if batch is None else batch
    if size < least or len(x) < size:
        raise MedsslError(
            f"There are {len(x)} images in batches of {size}; a batch has at least {least} and at most all of them."
        )
    sums = Alignment(biased=biased)
    for start in range(0, len(x) - size + 1, size):
        part = slice(start, start + size)
        sums.add([kernel(x[part])], [kernel(y[part])])
    return float(sums.table()[0, 0])


class Alignment:
    """CKA of each of some representations with each of others, summed up batch by batch.

    Parameters
    ----------
    biased : bool
        Which estimate, see `cka`.
    """

    def __init__(self, *, biased: bool = False) -> None:
        self._biased = biased
        self._own: tuple[NDArray[np.float64], ...] = ()
        self._cross = np.zeros((0, 0))
        self.batches = 0
        """How many were added."""

    def add(
        self, first: Sequence[NDArray[np.float64]], second: Sequence[NDArray[np.float64]]
    ) -> None:
        """Add a batch.

        Parameters
        ----------
        first, second : sequence of ndarray, (n, n) each
            The `kernel` of each representation, of the same n images; as many and in the same order every time.

        Raises
        ------
        MedsslError
            If their number is not that of the batches before, or as for `hsic`.
        """
        if not self.batches:
            self._cross = np.zeros((len(first), len(second)))
            self._own = np.zeros(len(first)), np.zeros(len(second))
        if self._cross.shape != (len(first), len(second)):
            raise MedsslError(
                f"{len(first)} and {len(second)} representations follow on {self._cross.shape}."
            )
        for total, kernels in zip(self._own, (first, second), strict=True):
            total += [hsic(k, k, biased=self._biased) for k in kernels]
        self._cross += [[hsic(k, m, biased=self._biased) for m in second] for k in first]
        self.batches += 1

    def table(self) -> NDArray[np.float64]:
        """Give the CKA of each of the first (rows) with each of the second (columns)."""
        scale = np.sqrt(np.outer(*(np.maximum(own, 0) for own in self._own)))
        return np.divide(self._cross, scale, out=np.zeros_like(scale), where=scale > 0)


def kernel(features: ArrayLike) -> NDArray[np.float64]:
    """Give the linear kernel of centred features, of which both estimates give the same as of plain ones.

    Parameters
    ----------
    features : array of float, (n, ...)
        All axes but the first are flattened.

    Returns
    -------
    ndarray of float64, (n, n)
        0 where the features are the same for all images, but for rounding.

    Raises
    ------
    MedsslError
        If a value is not finite.
    """
    values = np.asarray(features, np.float64)
    if not np.isfinite(values).all():
        raise MedsslError(
            "A feature is not a finite number.", advice="Compare networks that have not diverged."
        )
    flat = values.reshape(len(values), -1)
    centred = flat - flat.mean(0)
    if np.linalg.norm(centred) <= CONSTANT * np.linalg.norm(flat):
        return np.zeros((len(flat), len(flat)))
    product: NDArray[np.float64] = centred @ centred.T
    return product
