"""One linear layer on pixel features: multinomial logistic regression, fitted within a blink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Linear", "fit_linear", "softmax"]

ITERATIONS = 200
TOLERANCE = 1e-6
"""Relative gain of an iteration below which the fit is good enough to look at."""


@dataclass(frozen=True)
class Linear:
    """A fitted layer; it takes features as they are."""

    values: NDArray[np.int64]
    """(K,): the label value of each class, ascending."""
    weight: NDArray[np.float32]
    """(K, D)."""
    bias: NDArray[np.float32]
    """(K,)."""

    def logits(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give ``(N, K)`` for features ``(N, D)``."""
        heights: NDArray[np.float32] = pixels @ self.weight.T + self.bias
        return heights

    def probabilities(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give ``(N, K)`` for features ``(N, D)``; each row sums to 1."""
        return softmax(self.logits(pixels), axis=1)


def softmax(logits: NDArray[np.float32], *, axis: int) -> NDArray[np.float32]:
    """Turn logits into probabilities, which sum to 1 along an axis."""
    powers: NDArray[np.float32] = np.exp(logits - logits.max(axis, keepdims=True))
    powers /= powers.sum(axis, keepdims=True)
    return powers


def fit_linear(
    pixels: NDArray[np.float32],
    values: NDArray[np.integer],
    *,
    scale: NDArray[np.float32],
    l2: float,
    balanced: bool = True,
    start: Linear | None = None,
    check: Callable[[], None] | None = None,
) -> Linear:
    """Fit a layer to pixels: the mean cross-entropy plus half of `l2` times the squared weights.

    The problem is convex, so where it starts from decides only how long it takes (L-BFGS).

    Parameters
    ----------
    pixels : ndarray of float32, (N, D)
        Features.
    values : ndarray of integers, (N,)
        Label values, at least two different ones.
    scale : ndarray of float32, (D,)
        What each feature is divided by: the penalty falls on the weights of the scaled features.
    l2 : float
        Strength of the penalty.
    balanced : bool
        Whether every class has the same say, however many pixels it has.
    start : Linear, optional
        An earlier fit on the same features; classes that it does not know start at zero.
    check : callable, optional
        Called before every iteration; what it raises ends the fit.

    Raises
    ------
    MedsslError
        If all pixels are of one class.
    """
    classes, targets = np.unique(values, return_inverse=True)
    if len(classes) < 2:
        raise MedsslError(
            f"Live prediction needs strokes of at least two classes (background is one); there are {len(classes)}.",
            advice="Paint some background and some of each class.",
        )
    count, width = len(classes), pixels.shape[1]
    centre = pixels.mean(0)
    scaled = (pixels - centre) / scale
    rows = np.arange(len(scaled))
    share = 1 / (count * np.bincount(targets)) if balanced else np.full(count, 1 / len(scaled))
    weights = share[targets]

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        if check is not None:
            check()
        layer = parameters.reshape(count, width + 1)
        weight, bias = layer[:, :-1], layer[:, -1]
        logits = scaled @ weight.T.astype(np.float32) + bias.astype(np.float32)
        chances = softmax(logits, axis=1)
        right = np.maximum(chances[rows, targets], np.finfo(np.float32).tiny)
        value = -float(weights @ np.log(right)) + 0.5 * l2 * float((weight**2).sum())
        chances[rows, targets] -= 1
        chances *= weights.astype(np.float32)[:, None]
        slope = np.empty_like(layer)
        slope[:, :-1] = chances.T @ scaled + l2 * weight
        slope[:, -1] = chances.sum(0)
        return value, slope.ravel()

    first = np.zeros((count, width + 1))
    if start is not None:
        for row in np.flatnonzero(np.isin(classes, start.values)):
            own = int(np.searchsorted(start.values, classes[row]))
            first[row, :-1] = start.weight[own] * scale
            first[row, -1] = start.bias[own] + start.weight[own] @ centre
    found = minimize(
        loss,
        first.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": ITERATIONS, "ftol": TOLERANCE, "gtol": 1e-4},
    )
    layer = found.x.reshape(count, width + 1)
    weight = layer[:, :-1] / scale
    bias = layer[:, -1] - weight @ centre
    return Linear(classes.astype(np.int64), weight.astype(np.float32), bias.astype(np.float32))
