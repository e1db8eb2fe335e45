"""Losses on pixel maps, each a pure function."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "dice",
    "dice_cross_entropy",
    "distance_loss",
    "focal",
    "focal_tversky",
    "focal_tversky_of_classes",
]


def focal_tversky(
    probability: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.7,
    beta: float = 0.3,
    gamma: float = 0.75,
    smooth: float = 1.0,
) -> Tensor:
    """Focal Tversky loss of a foreground probability map.

    With TP, FN, FP summed over the whole batch,
    ``TI = (TP + smooth) / (TP + alpha FN + beta FP + smooth)`` and ``loss = (1 - TI) ** gamma``.

    Parameters
    ----------
    probability : Tensor
        Foreground probability in [0, 1], any shape.
    target : Tensor
        Foreground truth, 0 or 1, same shape.
    alpha, beta : float
        Weights of false negatives and of false positives.
    gamma : float
        Exponent; 1 gives the Tversky loss. Below 1 its slope is infinite at a loss of 0, so ``1 - TI`` is kept
        above 1e-7: the gradient is then 0 (a batch without foreground and without prediction), never NaN.
    smooth : float
        Added to numerator and denominator.

    Returns
    -------
    Tensor
        Scalar.

    References
    ----------
    Abraham and Khan, "A novel focal Tversky loss function with improved attention U-Net for lesion
    segmentation", ISBI 2019, equations 3 and 4; the loss of MedSASS (section 3.3.3). Their code's
    exponent 0.75 (1 / (4/3)) is the default here.
    """
    probability, target = probability.float(), target.float()
    true_positive = (probability * target).sum()
    false_negative = ((1 - probability) * target).sum()
    false_positive = (probability * (1 - target)).sum()
    index = (true_positive + smooth) / (
        true_positive + alpha * false_negative + beta * false_positive + smooth
    )
    return (1 - index).clamp_min(1e-7) ** gamma


def focal_tversky_of_classes(logits: Tensor, targets: Tensor) -> Tensor:
    """Focal Tversky loss over the annotated pixels: of the foreground, or of each of several classes.

    Of two classes the foreground alone counts, as in MedSASS's fully supervised reference (appendix C). Of more, each
    counts against the rest, background too, and the mean is taken (ours).

    Parameters
    ----------
    logits : Tensor
        ``(B, K, Y, X)``.
    targets : Tensor
        ``(B, K, Y, X)`` shares of the classes; they sum to the weight of a pixel, 0 where nothing is annotated.

    Returns
    -------
    Tensor
        Scalar; almost 0, with zero gradient, where nothing at all is annotated.
    """
    weight = targets.sum(1)
    probability = logits.float().softmax(1)
    classes = logits.shape[1]
    losses = [
        # A probability of 0 and a truth of 0 count in none of the three sums.
        focal_tversky(probability[:, number] * weight, targets[:, number])
        for number in range(1 if classes == 2 else 0, classes)
    ]
    return torch.stack(losses).mean()


def focal(logits: Tensor, target: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Focal loss: cross-entropy in which pixels that are right already count less.

    The mean over all pixels of ``-(1 - p) ** gamma log p``, p the probability of the true class. With `gamma`
    0 it is the cross-entropy.

    Parameters
    ----------
    logits : Tensor
        ``(B, K, Y, X)``.
    target : Tensor
        ``(B, Y, X)`` class indices.
    gamma : float
        Exponent.

    References
    ----------
    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4 (without class weights).
    """
    logarithms = F.log_softmax(logits.float(), dim=1)
    of_truth = logarithms.gather(1, target.long().unsqueeze(1))
    # -expm1 is 1 - p without cancellation; where p is 1, a power below 1 would have an infinite slope.
    missing = -torch.expm1(of_truth)
    return -(missing.clamp_min(1e-7) ** gamma * of_truth).mean()


def dice(logits: Tensor, targets: Tensor) -> Tensor:
    """Soft Dice loss over the annotated pixels of a batch, mean over the classes that are annotated in it.

    ``1 - 2 sum(w p t) / (sum(w p) + sum(w t))`` for each class, with shares t and weight w.

    Parameters
    ----------
    logits : Tensor
        ``(B, K, Y, X)``.
    targets : Tensor
        ``(B, K, Y, X)`` shares of the classes; they sum to the weight of a pixel, 0 where nothing is annotated.

    Returns
    -------
    Tensor
        Scalar; 0 with zero gradient where nothing at all is annotated.

    References
    ----------
    Milletari et al., "V-Net", 3DV 2016, with the plain sums in the denominator; Pix2Rep's loss (section 3).
    """
    axes = (0, 2, 3)
    probability = logits.float().softmax(1)
    weight = targets.sum(1, keepdim=True)
    truth = targets.sum(axes)
    overlap = (probability * targets).sum(axes)
    index = 2 * overlap / ((probability * weight).sum(axes) + truth).clamp_min(1e-6)
    present = truth > 0
    loss: Tensor = ((1 - index) * present).sum() / present.sum().clamp_min(1)
    return loss


def dice_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Soft Dice loss plus cross-entropy over the annotated pixels; parameters and result as of `dice`."""
    logarithms = F.log_softmax(logits.float(), dim=1)
    cross_entropy = -(targets * logarithms).sum() / targets.sum().clamp_min(1e-6)
    return dice(logits, targets) + cross_entropy


def distance_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 of a map of distances, mean over the pixels whose distance is known.

    Parameters
    ----------
    prediction : Tensor
        ``(B, 1, Y, X)``.
    target : Tensor
        ``(B, Y, X)``, in [0, 1]; NaN where it is not known.

    Returns
    -------
    Tensor
        Scalar; 0 with zero gradient where nothing at all is known.

    References
    ----------
    The paper on evaluating annotation-efficient self-supervised learning, instance segmentation.
    """
    known = target.isfinite()
    wanted = torch.where(known, target, 0.0)
    error = F.smooth_l1_loss(prediction[:, 0].float(), wanted, reduction="none")
    return (error * known).sum() / known.sum().clamp_min(1)
