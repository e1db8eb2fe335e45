"""The batch statistics of pretrained parts: small batches of few images spoil them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["decoder_norms", "encoder_norms", "encoder_statistics", "reestimate"]


def encoder_norms(model: SegmentationModel) -> Iterator[nn.BatchNorm2d]:
    """Give the encoder's batch normalisations."""
    return _norms(model.net.encoder)


def decoder_norms(model: SegmentationModel) -> Iterator[nn.BatchNorm2d]:
    """Give the decoder's batch normalisations."""
    return _norms(model.net.decoder)


def _norms(part: nn.Module) -> Iterator[nn.BatchNorm2d]:
    return (module for module in part.modules() if isinstance(module, nn.BatchNorm2d))


def encoder_statistics(model: SegmentationModel) -> list[Tensor]:
    """Give the running mean and variance of each of the encoder's batch normalisations; no copies."""
    both = ((norm.running_mean, norm.running_var) for norm in encoder_norms(model))
    return [values for pair in both for values in pair if values is not None]


@torch.no_grad()
def reestimate(model: SegmentationModel, batches: Iterable[Tensor]) -> None:
    """Measure the encoder's batch statistics anew: the plain mean over batches, with the weights as they are.

    Parameters
    ----------
    model : SegmentationModel
        Left in eval mode, with other running statistics.
    batches : iterable of Tensor
        Images ``(B, C, Y, X)``, on the model's device; equal sizes count equally.

    References
    ----------
    Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3 (precise batch statistics); the mean of the
    batches' variances, as `torch.optim.swa_utils.update_bn` has it.
    """
    model.eval()
    momenta = {norm: norm.momentum for norm in encoder_norms(model)}
    for norm in momenta:
        norm.reset_running_stats()
        norm.momentum = None  # torch's way to say: the mean of all
        norm.train()
    for images in batches:
        model.encode(images)
    for norm, momentum in momenta.items():
        norm.momentum = momentum
        norm.eval()
