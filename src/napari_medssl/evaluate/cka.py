"""Centred kernel alignment: how alike what two networks say about the same images is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["PAPER_BATCH", "cka", "hsic"]

PAPER_BATCH = 12
"""Images at a time in the evaluation paper."""
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
    least = 2 if biased else 4
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
    x, y = (np.asarray(features, np.float64) for features in (first, second))
    if len(x) != len(y) or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise MedsslError(
            f"The features are of {len(x)} and {len(y)} images, or not all finite.",
            advice="Compare finite features of the same images.",
        )
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    least = 2 if biased else 4
    size = len(x) if batch is None else batch
    if size < least or len(x) < size:
        raise MedsslError(
            f"There are {len(x)} images in batches of {size}; a batch has at least {least} and at most all of them."
        )
    sums = np.zeros(3)  # HSIC of first with second, first with itself, second with itself
    for start in range(0, len(x) - size + 1, size):
        k, m = (_kernel(features[start : start + size]) for features in (x, y))
        sums += [hsic(*pair, biased=biased) for pair in ((k, m), (k, k), (m, m))]
    if sums[1] <= 0 or sums[2] <= 0:
        return 0.0
    return float(sums[0] / np.sqrt(sums[1] * sums[2]))


def _kernel(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the linear kernel of centred features, which both estimates take the same value of."""
    centred = features - features.mean(0)
    if np.linalg.norm(centred) <= CONSTANT * np.linalg.norm(features):
        return np.zeros((len(features), len(features)))
    kernel: NDArray[np.float64] = centred @ centred.T
    return kernel
