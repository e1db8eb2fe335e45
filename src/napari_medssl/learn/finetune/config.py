"""The settings of learning from annotations."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field

from napari_medssl.config import advanced
from napari_medssl.learn.task import SMALLEST_BATCH, TrainingConfig

__all__ = ["PRESETS", "FinetuneConfig", "Mode", "Part", "Preset"]

Mode = Literal["probe", "frozen", "full"]
Part = Literal["encoder", "decoder"]
Preset = Literal["default", "pix2rep", "dicoh", "evaluation"]

PRESETS: Final[dict[Preset, dict[str, Any]]] = {
    "default": {},
    # Pix2Rep, section 3: Dice loss, 5e-5 for the backbone and 1e-2 for the last layer.
    "pix2rep": {
        "loss": "dice",
        "learning_rate": 1e-2,
        "encoder_rate": 5e-3,
        "decoder_rate": 5e-3,
        "average": 0.0,
    },
    # DiCoH: AdamW, 1e-4 for everything, images of 352 pixels.
    "dicoh": {
        "learning_rate": 1e-4,
        "encoder_rate": 1.0,
        "patch_size": 352,
        "batch_size": 16,
        "average": 0.0,
    },
    # The evaluation paper: SGD with momentum .9, 1e-3, weight decay 1e-4.
    "evaluation": {
        "optimizer": "sgd",
        "learning_rate": 1e-3,
        "encoder_rate": 1.0,
        "weight_decay": 1e-4,
        "average": 0.0,
        "augmentation": "mild",
    },
}
"""What the papers fine-tune with, where they say so; the rest is as by default."""


class FinetuneConfig(TrainingConfig):
    """How long, how fast, and by which recipe.

    A linear probe has one layer and one loss: it has no use for `encoder_rate`, `decoder_rate`, `loss`, `augmentation`,
    `average` and `mean_teacher`, and it cannot learn `objects`.
    """

    steps: int = Field(200, ge=1, le=10_000_000)
    """Number of optimiser steps."""
    batch_size: int = Field(4, ge=SMALLEST_BATCH, le=4096)
    """Patches per step; at least two, since batch normalisation compares them."""
    patch_size: int = Field(256, ge=32, le=2048, multiple_of=32)
    """Side of a patch, network pixels (see the working scale); whole images where they are no larger. Left as it is
    beside an automatic scale, it follows from the images, too."""
    learning_rate: float = Field(1e-3, gt=0, le=10)
    """Peak learning rate of the last layer."""
    encoder_rate: float = advanced(0.3, gt=0, le=1)
    """Learning rate of the encoder as a share of the last layer's."""
    decoder_rate: float = advanced(1.0, gt=0, le=1)
    """Learning rate of the decoder as a share of the last layer's."""
    warmup: float = advanced(0.1, ge=0, lt=1)
    """Share of the steps in which the rate rises linearly before it falls along a cosine."""
    loss: Literal["dice_ce", "dice", "focal_tversky"] = advanced("dice_ce")
    """Dice plus cross-entropy, Dice alone (Pix2Rep), or the focal Tversky loss (MedSASS's supervised reference)."""
    augmentation: Literal["strong", "mild"] = advanced("strong")
    """Strong: any rotation, scale, shift, flips, elastic deformation, gamma, contrast, brightness, colour, noise, blur.
    Mild: flips, quarter turns, brightness and contrast."""
    average: float = advanced(0.99, ge=0, lt=1)
    """Momentum of the moving average of the weights that is handed back; 0 hands back the last step's weights."""
    mean_teacher: bool = advanced(False)
    """Learn from the images without annotation too: the network is to agree with its own moving average on them. Takes
    about twice the time and memory a step."""
    objects: bool = False
    """Learn which object a pixel is of beside its class: a map of distances to the outlines, in which touching objects
    are told apart."""
    objects_from: Literal["drawn", "classes"] = advanced("drawn")
    """Objects to learn from: those that were drawn or imported, or in images without any the areas of the classes,
    parted at their necks. Only objects that are annotated all around count."""
    distance_weight: float = advanced(10.0, gt=0, le=1000)
    """Weight of the loss of distances against that of classes, where objects are learned."""
    probe_l2: float = advanced(1.0, ge=0, le=1e6)
    """Strength of the linear probe's L2 penalty, against the loss of all annotated pixels together: the fewer they
    are, the more it matters."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse a mean teacher without an average."""
        if self.mean_teacher and not self.average:
            raise ValueError(
                "mean_teacher needs the moving average of the weights: average above 0"
            )
