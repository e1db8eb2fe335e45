"""The classification probe: whether a straight line in the features of whole images tells their classes apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedGroupKFold

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Features = NDArray[np.floating[Any]]

__all__ = ["Classified", "classify", "fit_focal"]

FOLDS = 5
ITERATIONS = 500
SURE = -1e-7
"""Highest logarithm of a probability that counts: at 1 the slope of a small power is infinite."""


class Classified(NamedTuple):
    """How well classes of whole images were told apart, always in groups that were not learned from."""

    recalls: dict[str, float]
    """Class -> share of its images that were found."""
    images: int
    folds: int

    @property
    def recall(self) -> float:
        """The mean over classes (macro recall, the balanced accuracy); chance is 1 over their number."""
        return float(np.mean(list(self.recalls.values())))


def classify(
    features: Features, classes: Sequence[str], groups: Sequence[str], *, gamma: float = 2.0
) -> Classified | None:
    """Learn classes from the features of some groups and find them in the others, in up to 5 folds.

    Each fold scales the features by what it learns from, and every class has the same say in it.
    Where groups hold several classes, there may be a fold that tests a class which none of its other groups has; those
    images then count as not found.

    Parameters
    ----------
    features : ndarray of float, (N, D)
        One vector per image: the mean over its pixels of a frozen encoder's last features.
    classes : sequence of str, (N,)
        The class of each image. A class whose images all are of one group cannot be learned where it is tested, and is
        left out.
    groups : sequence of str, (N,)
        The group (patient) of each; an image that has none is one of its own.
    gamma : float
        Exponent of the focal loss; 0 is cross-entropy.

    Returns
    -------
    Classified or None
        None where fewer than two classes are left.

    Raises
    ------
    MedsslError
        If there are not as many classes and groups as images.

    References
    ----------
    MedSASS, appendix D: a linear layer on the frozen encoder, focal loss, macro recall. There it learns for 50 epochs
    and stops early; here a penalty on its weights does what stopping early did, so that nothing depends on rates or
    order, and images are not varied.
    """
    if not len(features) == len(classes) == len(groups):
        raise MedsslError(
            f"There are {len(features)} images, but {len(classes)} classes and {len(groups)} groups of images."
        )
    label, group = np.asarray(classes), np.asarray(groups)
    spread = {name: len(np.unique(group[label == name])) for name in np.unique(label)}
    names = sorted(str(name) for name, count in spread.items() if count > 1)
    if len(names) < 2:
        return None
    used = np.isin(label, names)
    x = np.asarray(features, np.float64)[used]
    y, group = np.searchsorted(names, label[used]), group[used]
    folds = min(FOLDS, *(spread[name] for name in names))
    found = np.empty_like(y)
    for train, test in StratifiedGroupKFold(folds).split(x, y, group):
        centre, scale = x[train].mean(0), x[train].std(0)
        scale[scale == 0] = 1.0
        weight, bias = fit_focal((x[train] - centre) / scale, y[train], len(names), gamma=gamma)
        found[test] = ((x[test] - centre) / scale @ weight.T + bias).argmax(1)
    recalls = {name: float((found[y == k] == k).mean()) for k, name in enumerate(names)}
    return Classified(recalls, int(used.sum()), folds)


def fit_focal(
    features: NDArray[np.float64], targets: NDArray[np.integer[Any]], count: int, *, gamma: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit a linear layer: the focal loss, all classes weighing the same, and half of the squared weights.

    The sum over images of ``-w (1 - p) ** gamma log p``, p the probability of the true class and w the images over
    those of its class and the number of classes; from zero, by L-BFGS.

    Parameters
    ----------
    features : ndarray of float64, (N, D)
        Scaled.
    targets : ndarray of integers, (N,)
        Class indices below `count`.
    count : int
        Classes.
    gamma : float
        Exponent; 0 is cross-entropy, of which the result is the one best.

    Returns
    -------
    tuple of ndarray
        Weight (K, D) and bias (K,).

    References
    ----------
    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 5.
    """
    images, width = features.shape
    sizes = np.bincount(targets, minlength=count)
    share = (images / (np.count_nonzero(sizes) * sizes[targets]))[:, None]
    truth = np.eye(count)[targets]

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        layer = parameters.reshape(count, width + 1)
        weight, bias = layer[:, :-1], layer[:, -1]
        logarithms = log_softmax(features @ weight.T + bias, axis=1)
        right = np.minimum((logarithms * truth).sum(1, keepdims=True), SURE)
        missing = -np.expm1(right)  # 1 - p
        value = -(share * missing**gamma * right).sum() + 0.5 * (weight**2).sum()
        steep = missing**gamma - gamma * np.exp(right) * missing ** (gamma - 1) * right
        slopes = share * steep * (np.exp(logarithms) - truth)
        slope = np.empty_like(layer)
        slope[:, :-1] = slopes.T @ features + weight
        slope[:, -1] = slopes.sum(0)
        return float(value), slope.ravel()

    start = np.zeros(count * (width + 1))
    options = {"maxiter": ITERATIONS, "ftol": 1e-10, "gtol": 1e-6}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    layer = found.x.reshape(count, width + 1)
    return layer[:, :-1], layer[:, -1]
