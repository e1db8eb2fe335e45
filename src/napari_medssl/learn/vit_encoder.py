"""The encoder of MedSASS's ViT-small U-Net, under a name of its own in segmentation-models-pytorch."""

from __future__ import annotations

from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NAME", "ViTEncoder", "register"]

NAME = "vit_small"
PATCH, DIMENSION = 8, 384
WIDTHS = (64, 128, 256, 512, 512)
TRAINED_SIZE = 224


class ViTEncoder(nn.Module):
    """A convolutional pyramid whose coarsest level is joined by a vision transformer's tokens.

    ``depth`` times double convolution and max pooling give the maps that the decoder is joined to; the image also
    goes through a ViT-small (patch 8, dimension 384, MLP 1536, 6 heads, 12 blocks), whose tokens, resized to the
    coarsest map, are mixed by a 1 x 1 convolution and a linear layer and added to it.

    Deviations from the paper, which gives a drawing: tokens are added to the coarsest map; any image size, with the
    position embedding interpolated.

    References
    ----------
    MedSASS, appendix A.1 and figure 5.
    """

    def __init__(self, depth: int = 4, output_stride: int = 32, **kwargs: Any) -> None:
        super().__init__()
        self.output_stride = 2**depth
        self.out_channels = [3, *WIDTHS[:depth]]
        inputs = [3, *WIDTHS[: depth - 1]]
        self.levels: Any = nn.ModuleList(
            nn.Sequential(_double_convolution(old, new), nn.MaxPool2d(2))
            for old, new in zip(inputs, WIDTHS[:depth], strict=True)
        )
        self.vit: Any = timm.create_model(
            "vit_small_patch8_224",
            img_size=TRAINED_SIZE,
            dynamic_img_size=True,
            num_classes=0,
            global_pool="",
        )
        self.convolution = nn.Conv2d(DIMENSION, WIDTHS[depth - 1], 1)
        self.linear = nn.Linear(WIDTHS[depth - 1], WIDTHS[depth - 1])

    def set_in_channels(self, in_channels: int, pretrained: bool = False) -> None:
        """Take images of another number of channels, both in the pyramid and in the transformer."""
        if in_channels == self.out_channels[0]:
            return
        self.out_channels[0] = in_channels
        self.levels[0][0][0] = nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False)
        self.vit.patch_embed.proj = nn.Conv2d(in_channels, DIMENSION, PATCH, PATCH)

    def make_dilated(self, output_stride: int) -> None:
        """Refuse: there are no strides to replace."""
        raise ValueError(f"the encoder {NAME} has no dilated form; choose the architecture unet")

    def forward(self, images: Tensor) -> list[Tensor]:
        """Give the images and the maps of all levels, from fine to coarse."""
        maps = [images]
        for level in self.levels:
            maps.append(level(maps[-1]))
        tokens = self.vit.forward_features(images)[:, self.vit.num_prefix_tokens :]
        height, width = images.shape[-2] // PATCH, images.shape[-1] // PATCH
        grid = tokens.transpose(1, 2).unflatten(2, (height, width))  # (B, 384, Y/8, X/8)
        resized = F.interpolate(
            grid, size=maps[-1].shape[-2:], mode="bilinear", align_corners=False
        )
        mixed = self.linear(self.convolution(resized).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        maps[-1] = maps[-1] + mixed
        return maps


def _double_convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def register() -> None:
    """Make the encoder known to segmentation-models-pytorch."""
    smp.encoders.encoders[NAME] = {"encoder": ViTEncoder, "pretrained_settings": {}, "params": {}}
