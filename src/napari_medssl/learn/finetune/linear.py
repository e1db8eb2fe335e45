"""One linear layer on pixel embeddings: its objective, and how it is fitted to the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from napari_medssl.learn.features import pixel_embedding
from napari_medssl.learn.finetune.annotated import annotated_pixels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.learn.predict import Tiles

__all__ = ["EmbeddedPixels", "LinearProbe", "embedded_pixels"]

PIXELS_PER_IMAGE = 20_000
"""Annotated pixels of an image that a linear probe keeps at most."""
PIXELS = 400_000
"""The same of all images together."""
ITERATIONS = 300
"""Of L-BFGS at most; it mostly converges within some dozens."""


@dataclass(frozen=True)
class EmbeddedPixels:
    """A sample of the annotated pixels of one image."""

    features: NDArray[np.float32]  # (N, D)
    target: NDArray[np.int64]  # (N,)


def embedded_pixels(
    model: SegmentationModel,
    planes: NDArray[np.float32],
    labels: NDArray[np.uint16],
    *,
    factor: float,
    images: int,
    rng: np.random.Generator,
    device: torch.device,
    tiles: Tiles,
) -> EmbeddedPixels:
    """Embed a sample of the annotated pixels of an image.

    Parameters
    ----------
    model : SegmentationModel
        Calibrated, on `device`, in eval mode.
    planes : ndarray of shape (C, Y, X)
        The image, file pixels.
    labels : ndarray of shape (Y, X)
        Its labels, 0 = not annotated.
    factor : float
        File pixels per network pixel.
    images : int
        How many images share the room that there is for pixels.
    rng : numpy.random.Generator
        Draws the sample.
    device : torch.device
        Where the model lives.
    tiles : Tiles
        How large the tiles are.
    """
    embedding = pixel_embedding(model, planes, factor=factor, stride=1, device=device, tiles=tiles)
    most = min(PIXELS_PER_IMAGE, max(1, PIXELS // images))
    ys, xs = annotated_pixels(labels, most=most, rng=rng)
    values = np.array([info.value for info in model.spec.classes])
    return EmbeddedPixels(embedding[ys, xs], np.searchsorted(values, labels[ys, xs]))


class LinearProbe(nn.Module):
    """Multinomial logistic regression on pixel embeddings that are centred and scaled.

    The embedding has one scale for all directions: the principal components keep their order of importance, and
    the penalty falls on those that hardly vary, in which a few annotations tell nothing.

    Parameters
    ----------
    pixels : ndarray of shape (N, D)
        Embeddings that it will be fitted to; centre and scale are theirs.
    classes : int
        Number of classes.
    l2 : float
        Strength of the penalty: half of it times the squared weights, beside the cross-entropy summed over `pixels`;
        so a handful of pixels is held back more than many. 1 is scikit-learn's ``C=1``.
    """

    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(self, pixels: NDArray[np.float32], *, classes: int, l2: float) -> None:
        super().__init__()
        self.penalty = l2 / len(pixels)
        self.register_buffer("pixel_mean", torch.from_numpy(pixels.mean(0)))
        self.register_buffer("pixel_scale", torch.tensor(float(pixels.std(0).max()) + 1e-6))
        self.weight = nn.Parameter(torch.zeros(classes, pixels.shape[1]))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, pixels: Tensor) -> Tensor:
        """Give logits ``(N, K)`` for embeddings ``(N, D)``."""
        scaled = (pixels - self.pixel_mean) / self.pixel_scale
        return nn.functional.linear(scaled, self.weight, self.bias)

    def loss(self, pixels: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Give the penalised cross-entropy and the cross-entropy alone."""
        cross_entropy = nn.functional.cross_entropy(self(pixels), target)
        return cross_entropy + 0.5 * self.penalty * self.weight.square().sum(), cross_entropy

    @torch.enable_grad()
    def converge(self, pixels: NDArray[np.float32], target: NDArray[np.int64]) -> None:
        """Find the optimum, of which a convex problem has one: L-BFGS on all pixels, in float64 on the CPU."""
        before = self.weight.device, self.weight.dtype
        self.to(device="cpu", dtype=torch.float64)
        inputs, truth = torch.from_numpy(pixels).double(), torch.from_numpy(target)
        optimizer = torch.optim.LBFGS(
            self.parameters(),
            max_iter=ITERATIONS,
            tolerance_grad=1e-7,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def closure() -> float:
            optimizer.zero_grad()
            loss, _ = self.loss(inputs, truth)
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach())

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        self.to(*before)

    @torch.no_grad()
    def fold_into(self, layer: nn.Linear) -> None:
        """Put the fit, with its centring and scaling, into a layer that takes embeddings as they are."""
        weight = self.weight / self.pixel_scale
        layer.weight.copy_(weight)
        layer.bias.copy_(self.bias - weight @ self.pixel_mean)
