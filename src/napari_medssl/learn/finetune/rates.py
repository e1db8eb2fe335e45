"""The blocks of a network from its head inwards, and how fast each of them learns."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from napari_medssl.learn.finetune.config import FinetuneConfig, Part
    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["Block", "blocks_of", "groups_of"]


@dataclass(frozen=True)
class Block:
    """Parameters of one decoder block or one encoder stage."""

    part: Part
    distance: int
    """From the head: 1 for the decoder's last block."""
    parameters: tuple[nn.Parameter, ...]


@torch.enable_grad()
def blocks_of(model: SegmentationModel) -> list[Block]:
    """Divide a network into blocks: one for each output of its encoder and of its decoder.

    A parameter belongs to the first output that depends on it, as automatic differentiation tells; so this holds for
    any encoder. The transformer of the ViT-small U-Net joins its coarsest map, and is one block with it. Parameters
    that no output depends on (stages beyond `encoder_depth`) belong to none.

    Parameters
    ----------
    model : SegmentationModel
        On the CPU, every parameter requiring its gradient. Does not change.

    Returns
    -------
    list of Block
        From the first encoder stage to the decoder's last block.
    """
    training = {module: module.training for module in model.modules()}
    model.eval()  # a small black image is no sample for batch statistics
    side = 2 * model.stride
    image = torch.zeros(1, len(model.spec.channels), side, side)
    outputs: list[tuple[Part, torch.Tensor]] = [
        *(("encoder", maps) for maps in model.encode(image)[1:]),  # the first is the input itself
        *(("decoder", maps) for maps in model.stages(image)),
    ]
    left = {
        "encoder": list(model.encoder_parameters()),
        "decoder": list(model.decoder_parameters()),
    }
    blocks = []
    for number, (part, maps) in enumerate(outputs):
        if not maps.requires_grad or not left[part]:  # some encoders have no first stage
            continue
        slopes: tuple[torch.Tensor | None, ...] = torch.autograd.grad(
            maps.sum(), left[part], retain_graph=True, allow_unused=True
        )
        pairs = list(zip(left[part], slopes, strict=True))
        mine = tuple(parameter for parameter, slope in pairs if slope is not None)
        left[part] = [parameter for parameter, slope in pairs if slope is None]
        if mine:
            blocks.append(Block(part=part, distance=len(outputs) - number, parameters=mine))
    for module, mode in training.items():
        module.training = mode
    return blocks


def groups_of(
    blocks: Iterable[Block],
    head: Iterable[nn.Parameter],
    *,
    rate: float,
    pretrained: Collection[Part],
    config: FinetuneConfig,
) -> list[dict[str, Any]]:
    """Give the optimiser's groups, the head last.

    What is new learns at `rate`; a pretrained block at ``rate * pretrained_rate * layer_decay ** distance``, and
    without weight decay where `l2_start` pulls it to its start instead of to zero.

    Parameters
    ----------
    blocks : iterable of Block
        What learns beside the head.
    head : iterable of Parameter
        The last layer.
    rate : float
        Of what is new.
    pretrained : collection of {"encoder", "decoder"}
        Which parts are not new.
    config : FinetuneConfig
        Gives the shares.

    References
    ----------
    Rates that fall from layer to layer: Howard and Ruder, "Universal Language Model Fine-tuning for Text
    Classification", ACL 2018, section 3.2 (their factor is 1/2.6).
    """
    groups: list[dict[str, Any]] = []
    for block in blocks:
        group: dict[str, Any] = {"params": list(block.parameters), "lr": rate}
        if block.part in pretrained:
            share = config.pretrained_rate * config.layer_decay**block.distance
            group["lr"] = rate * share
            if config.l2_start > 0:
                group["weight_decay"] = 0.0
        groups.append(group)
    groups.append({"params": list(head), "lr": rate})
    return groups
