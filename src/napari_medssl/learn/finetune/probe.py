"""Learn one linear layer on the features of a network that stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medssl.learn.finetune.annotated import AnnotationTask
from napari_medssl.learn.finetune.linear import LinearProbe, embedded_pixels

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_medssl.learn.patches import Batch

__all__ = ["ProbeTask"]

PROBE_PIXELS = 4096
"""Pixels per step of the linear probe."""


class ProbeTask(AnnotationTask):
    """Trains one linear layer on pixel embeddings, which are computed once.

    The model must be calibrated and its `spec.head` be ``probe``.

    Parameters
    ----------
    device : torch.device
        Where the embeddings are computed.
    """

    def __init__(self, *, device: torch.device, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        self.model.eval().to(device)
        rng = np.random.default_rng(0)
        embedded = [
            embedded_pixels(
                self.model,
                self._planes(name),
                self._labels[name],
                factor=self.scaled.factor(name),
                images=len(self.annotated),
                rng=rng,
                device=device,
                tiles=self._tiles,
            )
            for name in self.annotated
        ]
        self._pixels = np.concatenate([item.features for item in embedded])
        self._targets = np.concatenate([item.target for item in embedded])
        self.probe = LinearProbe(
            self._pixels,
            classes=len(self.model.spec.classes),
            l2=self.training_config.probe_l2,
        )

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Only the linear layer; a convex problem that takes a high rate."""
        return [{"params": list(self.probe.parameters()), "lr": 40 * rate}]

    def set_training(self) -> None:
        """Keep the network in eval mode: nothing but the linear layer learns."""
        self.eval()

    def batch(self, rng: np.random.Generator) -> Batch:
        """Draw annotated pixels as often as they occur: ``pixels`` (N, D), ``target`` (N).

        Classes are not balanced: a probe that saw as much foreground as background finds too much of it.
        """
        drawn = rng.integers(len(self._pixels), size=PROBE_PIXELS)
        return {"pixels": self._pixels[drawn], "target": self._targets[drawn]}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the cross-entropy of the linear layer plus its L2 penalty."""
        loss, cross_entropy = self.probe.loss(batch["pixels"], batch["target"])
        return {"loss": loss, "cross_entropy": cross_entropy}

    def after_step(self, step: int, total: int) -> None:
        """Fold the centring and scaling into the model's probe; after the last step, find the optimum first."""
        if step + 1 == total:
            self.probe.converge(self._pixels, self._targets)
        self.probe.fold_into(self.model.probe)
