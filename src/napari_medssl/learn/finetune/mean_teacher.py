"""Mean teacher: a network agrees, on images without annotation, with the moving average of itself."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["MeanTeacher", "ramp_up"]

WEIGHT = 0.1
DECAY = 0.99
NOISE, NOISE_LIMIT = 0.1, 0.2
"""Standard deviation and largest size of the teacher's input noise, on images in [0, 1]."""


def ramp_up(step: int, total: int) -> float:
    """Give the share of the consistency's weight at a step: ``exp(-5 (1 - t/T)**2)``, 1 at the end."""
    return math.exp(-5 * (1 - min(step / total, 1.0)) ** 2)


class MeanTeacher(nn.Module):
    """The teacher, and the consistency of the student with it.

    The consistency is the mean squared difference of both softmaxes, weighted by 0.1 times a ramp-up over the whole
    training. The teacher sees the student's input plus Gaussian noise (0.1, clipped at 0.2); its parameters are the
    moving average of the student's with the momentum ``min(1 - 1/(t + 1), 0.99)``, and its batch statistics come from
    its own passes. The student is what is kept.

    Parameters
    ----------
    student : SegmentationModel
        Copied.

    References
    ----------
    Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, section 2 (equations 1 and 2; the
    ramp-up is Laine and Aila's, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, section 2.1). Weight,
    momentum and noise are those of Yu et al., "Uncertainty-aware Self-ensembling Model", MICCAI 2019, section 3, whose
    uncertainty mask is left out: the comparison method of Pix2Rep (section 3).
    """

    share: Tensor  # () of the weight, at the step that comes

    def __init__(self, student: SegmentationModel) -> None:
        super().__init__()
        self.model = copy.deepcopy(student).requires_grad_(False)
        self.register_buffer("share", torch.tensor(ramp_up(0, 1)))

    def consistency(self, logits: Tensor, images: Tensor) -> Tensor:
        """Give the weighted consistency of a student's logits ``(B, K, Y, X)`` for images ``(B, C, Y, X)``."""
        noise = (NOISE * torch.randn_like(images)).clamp(-NOISE_LIMIT, NOISE_LIMIT)
        with torch.no_grad():
            wanted = self.model(images + noise).float().softmax(1)
        return WEIGHT * self.share * nn.functional.mse_loss(logits.float().softmax(1), wanted)

    @torch.no_grad()
    def follow(self, student: SegmentationModel, step: int, total: int) -> None:
        """Move the average after a step (the first is 0)."""
        momentum = min(1 - 1 / (step + 1), DECAY)
        for mine, new in zip(self.model.parameters(), student.parameters(), strict=True):
            mine.lerp_(new, 1 - momentum)
        self.share.fill_(ramp_up(step + 1, total))
