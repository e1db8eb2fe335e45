"""Pixel features: fit the projection of a model's feature maps on a project's images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from napari_medssl.errors import MedsslError
from napari_medssl.learn.networks import EMBEDDING_SIZE, SegmentationModel
from napari_medssl.learn.predict import Tiles, over_tiles, padded, warn
from napari_medssl.learn.task import UNREADABLE, nothing_left
from napari_medssl.project.working_scale import ScaledImages, to_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medssl.project import Project

__all__ = ["BORDER", "calibrate", "fit_projection", "pixel_embedding"]

MAX_IMAGES = 32
PIXELS_PER_IMAGE = 1024
CROP = 256
"""Side of the central crop that is looked at, network pixels."""
BORDER = 64
"""Width of the mirrored frame that keeps a network's zero padding away from an image, network pixels."""


@torch.inference_mode()
def calibrate(
    model: SegmentationModel,
    project: Project,
    *,
    device: torch.device,
    seed: int = 0,
    tell: Callable[[str], None] = warn,
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
    tell : callable
        Takes a sentence for the user; a Python warning where it is not given.

    Raises
    ------
    MedsslError
        If not one of these images can be read.
    """
    if bool(model.feature_calibrated):
        return
    if not project.images:
        raise MedsslError(f"The project {project.path} has no usable images.")
    was_training = model.training
    model.eval()
    mean, basis = fit_projection(
        model.feature_maps,
        ScaledImages(project, model.spec.scale),
        multiple=model.stride,
        device=device,
        seed=seed,
        tell=tell,
    )
    model.train(was_training)
    model.feature_mean.copy_(mean)
    model.feature_basis.zero_()[: len(basis)].copy_(basis)
    model.feature_calibrated.fill_(True)


@torch.inference_mode()
def fit_projection(
    maps: Callable[[Tensor], list[Tensor]],
    scaled: ScaledImages,
    *,
    multiple: int,
    device: torch.device,
    seed: int = 0,
    tell: Callable[[str], None] = warn,
) -> tuple[Tensor, Tensor]:
    """Learn on a project's images how the maps of a network become `EMBEDDING_SIZE` or fewer features.

    Parameters
    ----------
    maps : callable
        Maps images ``(1, C, Y, X)`` to maps ``(1, C_s, Y_s, X_s)`` of any number and sizes.
    scaled : ScaledImages
        A project at the network's working scale; up to 32 images, evenly spread over the folder, are looked at.
    multiple : int
        Height and width that `maps` takes are multiples of this.
    device : torch.device
        Where it computes.
    seed : int
        Chooses the pixels.
    tell : callable
        Takes a sentence for the user.

    Returns
    -------
    (Tensor of shape (F,), Tensor of shape (D, F))
        Mean of the F channels of all maps, and the principal directions of what is left, scaled; both float64.

    Raises
    ------
    MedsslError
        If not one of these images can be read.
    """
    rng = np.random.default_rng(seed)
    names = scaled.images.images
    every = np.unique(np.linspace(0, len(names) - 1, MAX_IMAGES).round().astype(int))
    sampled: list[list[Tensor]] = []
    lost = []
    for name in (names[index] for index in every):
        try:
            planes = scaled.planes(name)
        except UNREADABLE:
            lost.append(name)
            continue
        _, height, width = planes.shape
        top, left = max(0, (height - CROP) // 2), max(0, (width - CROP) // 2)
        crop = planes[:, top : top + CROP, left : left + CROP]
        ys = torch.from_numpy(rng.integers(0, crop.shape[1], PIXELS_PER_IMAGE))
        xs = torch.from_numpy(rng.integers(0, crop.shape[2], PIXELS_PER_IMAGE))
        sampled.append(_gather(maps, padded(crop, multiple), ys, xs, device))
    if not sampled:
        raise nothing_left()
    if lost:
        tell(
            f"Pixel features are measured without {len(lost)} images that cannot be read: {', '.join(lost[:5])}."
        )
    stages = [torch.cat(parts).double() for parts in zip(*sampled, strict=True)]
    weights = torch.cat(
        [torch.full((stage.shape[1],), stage.shape[1] ** -0.5).double() for stage in stages]
    )
    features = torch.cat(stages, dim=1)  # (N, F)
    mean, std = features.mean(0), features.std(0).clamp_min(1e-6)
    scale = weights / std
    whitened = (features - mean) * scale
    _, vectors = torch.linalg.eigh(whitened.T @ whitened / len(whitened))  # ascending
    components = vectors.flip(1)[:, :EMBEDDING_SIZE].T
    # An eigenvector's sign is arbitrary; fixing it keeps embeddings comparable between machines.
    signs = torch.sign(components.gather(1, components.abs().argmax(1, keepdim=True)))
    return mean, components * signs * scale


def _gather(
    maps: Callable[[Tensor], list[Tensor]],
    planes: NDArray[np.float32],
    ys: Tensor,
    xs: Tensor,
    device: torch.device,
) -> list[Tensor]:
    """Give the raw features of single pixels, ``(N, C_s)`` of each map: sampled at the nearest cell."""
    height, width = planes.shape[-2:]
    parts = []
    for stage in maps(torch.from_numpy(planes)[None].to(device)):
        y = ys * stage.shape[-2] // height
        x = xs * stage.shape[-1] // width
        parts.append(stage[0, :, y.to(device), x.to(device)].T.float().cpu())
    return parts


class Embeds(Protocol):
    """A `SegmentationModel`, or a `FeatureSource` of one."""

    @property
    def stride(self) -> int:
        """Multiple that input height and width must have."""

    def embed(self, images: Tensor, *, stride: int = 1) -> Tensor:
        """Give ``(B, D, Y/stride, X/stride)``."""


@torch.inference_mode()
def pixel_embedding(
    model: Embeds,
    planes: NDArray[np.float32],
    *,
    factor: float,
    stride: int,
    device: torch.device,
    tiles: Tiles | None = None,
    border: int = 0,
) -> NDArray[np.float32]:
    """Embed every pixel (or every cell of `stride` x `stride` pixels) of an image, as its file has them.

    The network sees the image at its working scale; what it gives is interpolated at the centres of the cells.

    Parameters
    ----------
    model : SegmentationModel or FeatureSource
        Calibrated, on `device`, in eval mode.
    planes : ndarray of shape (C, Y, X)
        Values in [0, 1].
    factor : float
        File pixels per network pixel.
    stride : int
        File pixels per cell and axis: 1, 2, 4, 8 or 16.
    device : torch.device
        Where the model lives.
    tiles : Tiles, optional
        How large the tiles are.
    border : int
        Network pixels of a mirrored frame that is laid around the image and cut off again. Without it the features
        near the border differ from those within, for the network pads with zeros.

    Returns
    -------
    ndarray of shape (ceil(Y/stride), ceil(X/stride), D)
        Embedding; cell (i, j) covers pixels ``[i*stride, (i+1)*stride)``.
    """
    _, height, width = planes.shape
    scaled = to_network(planes, factor)
    ratios = [n / m for n, m in zip((height, width), scaled.shape[-2:], strict=True)]
    if border:
        scaled = np.pad(scaled, [(0, 0), (border, border), (border, border)], mode="symmetric")
    every = 1  # network pixels per cell that is computed: the most that is no coarser than what is asked for
    while every < 16 and 2 * every <= stride / max(ratios) + 1e-6:
        every *= 2
    embedded = over_tiles(
        lambda images: model.embed(images, stride=every),
        scaled,
        multiple=max(model.stride, every),
        device=device,
        stride=every,
        tiles=tiles,
    )
    # A cell's centre, in cells that were computed: each axis is scaled and shifted.
    sy, sx = (stride / (ratio * every) for ratio in ratios)
    frame = border / every - 0.5
    matrix = np.array([[sx, 0, sx / 2 + frame], [0, sy, sy / 2 + frame]])
    rows, columns = -(-height // stride), -(-width // stride)
    if np.allclose(matrix, [[1, 0, border / every], [0, 1, border / every]]) and not border % every:
        first = border // every
        cells = embedded[:, first : first + rows, first : first + columns]
    else:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cells = np.stack(
            [
                cv2.warpAffine(
                    part, matrix, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE
                )
                for part in embedded
            ]
        )
    return np.ascontiguousarray(cells.transpose(1, 2, 0))
