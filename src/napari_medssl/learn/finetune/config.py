"""The settings of learning from annotations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_medssl.config import advanced
from napari_medssl.learn.task import TrainingConfig

__all__ = ["FinetuneConfig", "Mode", "Part"]

Mode = Literal["probe", "frozen", "full"]
Part = Literal["encoder", "decoder"]


class FinetuneConfig(TrainingConfig):
    """How long, how fast, and what is held out.

    A linear probe has one layer and one loss: rates of pretrained parts, `l2_start`, `batch_norm`, `mean_teacher` and
    `loss` mean nothing to it, and it cannot learn `objects`.
    """

    steps: int = Field(300, ge=1, le=10_000_000)
    """Number of optimiser steps."""
    learning_rate: float = Field(5e-4, gt=0, le=10)
    """Peak learning rate of what is new; pretrained parts use `pretrained_rate` of it."""
    pretrained_rate: float = advanced(1.0, gt=0, le=1)
    """Rate of pretrained parts as a share of the learning rate."""
    layer_decay: float = advanced(1.0, gt=0, le=1)
    """Each pretrained block (decoder block, encoder stage) learns at this share of the rate of what comes after it, on
    top of `pretrained_rate`: the encoder's first layers change least. 1 makes no difference between blocks."""
    l2_start: float = advanced(0.0, ge=0, le=1000)
    """Strength of the pull of pretrained parts towards the weights they started from (L2-SP), in the place of their
    weight decay; 0 is none."""
    batch_norm: Literal["auto", "frozen", "reestimated", "trained"] = advanced("auto")
    """Batch statistics: kept as pretrained (frozen); the encoder's measured anew on images of the project and then kept
    (reestimated); or those of each batch (trained; bad for small batches of few images). A pretrained decoder's are
    kept with the encoder's, but for stages that pretraining did not use. Auto keeps those of a pretrained encoder and
    trains a new one's."""
    start_share: float | None = advanced(None, ge=0, lt=1)
    """Share of the weights that training started from in the network that is handed back, the rest is what it learned
    (weight averaging, WiSE-FT): what all images taught is not given up for a few annotated ones. Unset means
    1 / (1 + annotated images) where everything was taken over, the last layer too, and 0 where it was not."""
    mean_teacher: bool = advanced(False)
    """Learn from the images without annotation too: the network is to agree with its own moving average on them. Takes
    about twice the time and memory a step."""
    loss: Literal["dice_ce", "focal_tversky"] = advanced("dice_ce")
    """Dice plus cross-entropy, or the focal Tversky loss (MedSASS's fully supervised reference)."""
    objects: bool = False
    """Learn which object a pixel is of beside its class: a map of distances to the outlines, in which touching objects
    are told apart. What is best is decided by the Dice score of the classes less the mean error of the distances."""
    objects_from: Literal["drawn", "classes"] = advanced("drawn")
    """Objects to learn from: those that were drawn or imported, or in images without any the areas of the classes,
    parted at their necks. Only objects that are annotated all around count."""
    distance_weight: float = advanced(10.0, gt=0, le=1000)
    """Weight of the loss of distances against that of classes, where objects are learned."""
    validate_every: int = advanced(25, ge=1, le=1_000_000)
    """Steps between two validations."""
    patience: int = advanced(6, ge=0, le=10_000)
    """Validations without improvement before stopping early; 0 never stops early."""
    held_out: float = advanced(0.2, gt=0, le=0.5)
    """Share of the annotations kept for validation: whole images if there are five and any choice of them
    leaves every class on both sides, else squares."""
    intensity: float = advanced(0.2, ge=0, lt=1)
    """Strength of the brightness and contrast changes."""
    probe_l2: float = advanced(1.0, ge=0, le=1e6)
    """Strength of the linear probe's L2 penalty, against the loss of all annotated pixels together: the fewer they
    are, the more it matters."""
