"""Pixel features: fit the projection of a model's decoder stages on a project's images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from napari_medssl.errors import MedsslError
from napari_medssl.learn.networks import EMBEDDING_SIZE, SegmentationModel
from napari_medssl.learn.predict import over_tiles, padded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.project import Project

__all__ = ["calibrate", "pixel_embedding"]

MAX_IMAGES = 32
PIXELS_PER_IMAGE = 1024
CROP = 256
"""Side of the central crop that is looked at, pixels."""


@torch.inference_mode()
def calibrate(
    model: SegmentationModel, project: Project, *, device: torch.device, seed: int = 0
) -> None:
    """Fit `feature_mean` and `feature_basis` of a model, unless that was done before.

    The features of sampled pixels, standardised per channel and divided by the square root of their
    stage's width (so that every stage counts the same), are projected on their principal components.

    Parameters
    ----------
    model : SegmentationModel
        Changed in place.
    project : Project
        Up to 32 images, evenly spread over the folder, are looked at.
    device : torch.device
        Where the model lives.
    seed : int
        Chooses the pixels.
    """
    if bool(model.feature_calibrated):
        return
    if not project.images:
        raise MedsslError(f"The project {project.path} has no usable images.")
    was_training = model.training
    model.eval()
    rng = np.random.default_rng(seed)
    every = np.unique(np.linspace(0, len(project.images) - 1, MAX_IMAGES).round().astype(int))
    sampled = []
    for index in every:
        planes = project.planes(project.images[index])
        _, height, width = planes.shape
        top, left = max(0, (height - CROP) // 2), max(0, (width - CROP) // 2)
        crop = planes[:, top : top + CROP, left : left + CROP]
        ys = torch.from_numpy(rng.integers(0, crop.shape[1], PIXELS_PER_IMAGE))
        xs = torch.from_numpy(rng.integers(0, crop.shape[2], PIXELS_PER_IMAGE))
        sampled.append(_gather(model, padded(crop, model.stride), ys, xs, device))
    model.train(was_training)
    features = torch.cat(sampled).double()  # (N, F)
    mean, std = features.mean(0), features.std(0).clamp_min(1e-6)
    weights = torch.cat(
        [torch.full((width,), width**-0.5, dtype=torch.float64) for width in model.stage_widths]
    )
    scale = weights / std
    scaled = (features - mean) * scale
    _, vectors = torch.linalg.eigh(scaled.T @ scaled / len(scaled))  # ascending
    components = vectors.flip(1)[:, :EMBEDDING_SIZE].T
    # An eigenvector's sign is arbitrary; fixing it keeps embeddings comparable between machines.
    signs = torch.sign(components.gather(1, components.abs().argmax(1, keepdim=True)))
    basis = torch.zeros(model.feature_basis.shape, dtype=torch.float64)
    basis[: len(components)] = components * signs * scale
    model.feature_mean.copy_(mean)
    model.feature_basis.copy_(basis)
    model.feature_calibrated.fill_(True)


def _gather(
    model: SegmentationModel,
    planes: NDArray[np.float32],
    ys: Tensor,
    xs: Tensor,
    device: torch.device,
) -> Tensor:
    """Give the raw features of single pixels, ``(N, F)``: each stage sampled at the nearest cell."""
    stages = model.stages(torch.from_numpy(planes)[None].to(device))
    height, width = planes.shape[-2:]
    parts = []
    for stage in stages:
        y = ys * stage.shape[-2] // height
        x = xs * stage.shape[-1] // width
        parts.append(stage[0, :, y.to(device), x.to(device)].T.float().cpu())
    return torch.cat(parts, dim=1)


@torch.inference_mode()
def pixel_embedding(
    model: SegmentationModel,
    planes: NDArray[np.float32],
    *,
    stride: int,
    device: torch.device,
) -> NDArray[np.float32]:
    """Embed every pixel (or every cell of `stride` x `stride` pixels) of an image.

    Parameters
    ----------
    model : SegmentationModel
        Calibrated, on `device`, in eval mode.
    planes : ndarray of shape (C, Y, X)
        Values in [0, 1].
    stride : int
        1, 2, 4 or 8.
    device : torch.device
        Where the model lives.

    Returns
    -------
    ndarray of shape (ceil(Y/stride), ceil(X/stride), D)
        Embedding; cell (i, j) covers pixels ``[i*stride, (i+1)*stride)``.
    """
    embedded = over_tiles(
        lambda images: model.embed(images, stride=stride),
        planes,
        multiple=model.stride,
        device=device,
        stride=stride,
    )
    return np.ascontiguousarray(embedded.transpose(1, 2, 0))
