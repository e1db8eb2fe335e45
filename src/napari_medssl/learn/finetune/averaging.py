"""The moving average of a network's weights: what is handed back, and the teacher of a mean teacher."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["AveragedModel", "ramp_up"]

WEIGHT = 0.1
NOISE, NOISE_LIMIT = 0.1, 0.2
"""Standard deviation and largest size of the teacher's input noise, on images in [0, 1]."""


def ramp_up(step: int, total: int) -> float:
    """Return the share of the consistency's weight at a step: ``exp(-5 (1 - t/T)**2)``, 1 at the end."""
    return math.exp(-5 * (1 - min(step / total, 1.0)) ** 2)


class AveragedModel(nn.Module):
    """An exponential moving average of a network's weights, warmed up: ``min(momentum, (1 + t) / (10 + t))``.

    As the teacher of a mean teacher it says what the student is to agree with on images without annotation: the mean
    squared difference of both softmaxes, weighted by 0.1 times a ramp-up over the whole training. The teacher sees the
    student's input plus Gaussian noise (0.1, clipped at 0.2), and its batch statistics come from its own passes.

    Parameters
    ----------
    student : SegmentationModel
        Copied.
    momentum : float
        Of the average, once warmed up.

    References
    ----------
    Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, section 2 (equations 1 and 2; the
    ramp-up is Laine and Aila's, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, section 2.1). Weight,
    momentum and noise are those of Yu et al., "Uncertainty-aware Self-ensembling Model", MICCAI 2019, section 3, whose
    uncertainty mask is left out: the comparison method of Pix2Rep (section 3). The warm-up is TensorFlow's
    (``ExponentialMovingAverage``, num_updates).
    """

    share: Tensor  # () of the consistency's weight, at the step that comes

    def __init__(self, student: SegmentationModel, *, momentum: float) -> None:
        super().__init__()
        self.model = copy.deepcopy(student).requires_grad_(False)
        self.momentum = momentum
        self.register_buffer("share", torch.tensor(ramp_up(0, 1)))

    def consistency(self, logits: Tensor, images: Tensor) -> Tensor:
        """Compute the weighted consistency of a student's logits ``(B, K, Y, X)`` for images ``(B, C, Y, X)``."""
        noise = (NOISE * torch.randn_like(images)).clamp(-NOISE_LIMIT, NOISE_LIMIT)
        with torch.no_grad():
            wanted = self.model(images + noise).float().softmax(1)
        return WEIGHT * self.share * nn.functional.mse_loss(logits.float().softmax(1), wanted)

    @torch.no_grad()
    def follow(self, student: SegmentationModel, step: int, total: int) -> None:
        """Move the average after a step (the first is 0)."""
        momentum = min(self.momentum, (1 + step) / (10 + step))
        for mine, new in zip(self.model.parameters(), student.parameters(), strict=True):
            mine.lerp_(new, 1 - momentum)
        self.share.fill_(ramp_up(step + 1, total))

    @torch.no_grad()
    def measured(
        self, batches: Iterable[Tensor], *, frozen: Iterable[nn.Module]
    ) -> SegmentationModel:
        """Return a copy of the averaged network whose batch statistics were measured with its own weights.

        Parameters
        ----------
        batches : iterable of Tensor
            Images ``(B, C, Y, X)`` like those that were learned from, on the model's device; equal sizes count equally.
        frozen : iterable of Module
            Parts of the averaged network whose batch statistics stay.

        References
        ----------
        Izmailov et al., "Averaging Weights Leads to Wider Optima", UAI 2018, section 3.2; the plain mean over batches,
        as `torch.optim.swa_utils.update_bn` has it.
        """
        kept = {norm for part in frozen for norm in _norms(part)}
        momenta = {norm: norm.momentum for norm in _norms(self.model) if norm not in kept}
        self.model.eval()
        for norm in momenta:
            norm.reset_running_stats()
            norm.momentum = None  # torch's way to say: the mean of all
            norm.train()
        for images in batches:
            self.model(images)
        for norm, momentum in momenta.items():
            norm.momentum = momentum
            norm.eval()
        return copy.deepcopy(self.model)


def _norms(part: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in part.modules() if isinstance(module, nn.BatchNorm2d)]
