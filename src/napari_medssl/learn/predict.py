"""Segment images of any size with overlapping tiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["over_tiles", "padded", "predict_labels", "predict_probabilities"]

TILE = 1024
OVERLAP = 128


def padded(planes: NDArray[np.float32], multiple: int) -> NDArray[np.float32]:
    """Mirror the lower and right border so that height and width become multiples of `multiple`."""
    height, width = planes.shape[-2:]
    extra = [(0, -height % multiple), (0, -width % multiple)]
    if not any(after for _, after in extra):
        return planes
    # "symmetric" repeats the edge pixel, and so works for images of a single row.
    return np.pad(planes, [(0, 0), *extra], mode="symmetric")


@torch.inference_mode()
def predict_probabilities(
    model: SegmentationModel,
    planes: NDArray[np.float32],
    *,
    device: torch.device,
    tile: int = TILE,
    overlap: int = OVERLAP,
) -> NDArray[np.float32]:
    """Give class probabilities for every pixel.

    Parameters
    ----------
    model : SegmentationModel
        On `device`, in eval mode.
    planes : ndarray of shape (C, Y, X)
        Values in [0, 1].
    device : torch.device
        Where the model lives.
    tile : int
        Images up to this side are segmented whole; larger ones in tiles of this side, pixels.
    overlap : int
        Pixels shared by neighbouring tiles; their weights fall linearly towards a tile's border.

    Returns
    -------
    ndarray of shape (K, Y, X)
        Sums to 1 over the classes.

    Raises
    ------
    ValueError
        If the overlap is not smaller than the tile.
    """
    return over_tiles(
        lambda images: model(images).float().softmax(1),
        planes,
        multiple=model.stride,
        device=device,
        tile=tile,
        overlap=overlap,
    )


@torch.inference_mode()
def over_tiles(
    forward: Callable[[Tensor], Tensor],
    planes: NDArray[np.float32],
    *,
    multiple: int,
    device: torch.device,
    stride: int = 1,
    tile: int = TILE,
    overlap: int = OVERLAP,
) -> NDArray[np.float32]:
    """Apply a dense function to an image of any size, blending overlapping tiles.

    Parameters
    ----------
    forward : callable
        Maps ``(1, C, Y, X)`` to ``(1, K, Y/stride, X/stride)``.
    planes : ndarray of shape (C, Y, X)
        The image.
    multiple : int
        Height and width that `forward` takes are multiples of this; the border is mirrored.
    device : torch.device
        Where `forward` computes.
    stride : int
        Output cells are `stride` x `stride` pixels; divides `multiple`.
    tile, overlap : int
        As for `predict_probabilities`; the overlap is not smaller than `stride`.

    Returns
    -------
    ndarray of shape (K, ceil(Y/stride), ceil(X/stride))
        Float32.
    """
    if not stride <= overlap < tile:
        raise ValueError(f"overlap = {overlap} must be at least {stride} and below tile = {tile}")
    height, width = planes.shape[-2:]

    def apply(part: NDArray[np.float32]) -> NDArray[np.float32]:
        rows, columns = -(-part.shape[-2] // stride), -(-part.shape[-1] // stride)
        images = torch.from_numpy(np.ascontiguousarray(padded(part, multiple)))[None].to(device)
        result: NDArray[np.float32] = forward(images)[0, :, :rows, :columns].cpu().numpy()
        return result

    if height <= tile and width <= tile:
        return apply(planes)
    total: NDArray[np.float32] | None = None
    weight = np.zeros((-(-height // stride), -(-width // stride)), dtype=np.float32)
    for y in _starts(height, tile, overlap, stride):
        for x in _starts(width, tile, overlap, stride):
            ys, xs = slice(y, min(y + tile, height)), slice(x, min(x + tile, width))
            part = apply(planes[:, ys, xs])
            if total is None:
                total = np.zeros((len(part), *weight.shape), dtype=np.float32)
            ramps = _ramp(ys, height, overlap), _ramp(xs, width, overlap)
            window = np.minimum.outer(ramps[0][::stride], ramps[1][::stride])
            cells = (
                slice(y // stride, y // stride + part.shape[-2]),
                slice(x // stride, x // stride + part.shape[-1]),
            )
            total[:, *cells] += part * window
            weight[cells] += window
    assert total is not None
    total /= weight
    return total


def predict_labels(
    model: SegmentationModel, planes: NDArray[np.float32], *, device: torch.device
) -> NDArray[np.uint16]:
    """Give the most probable class of every pixel as label values (1 = background, 2 ... = classes)."""
    values = np.array([info.value for info in model.spec.classes], dtype=np.uint16)
    labels: NDArray[np.uint16] = values[
        predict_probabilities(model, planes, device=device).argmax(0)
    ]
    return labels


def _starts(length: int, tile: int, overlap: int, stride: int) -> list[int]:
    """Evenly spread the fewest tiles that overlap by about `overlap`; starts are multiples of `stride`."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    return [i * (length - tile) // (count - 1) // stride * stride for i in range(count - 1)] + [
        -(-(length - tile) // stride) * stride
    ]


def _ramp(part: slice, length: int, overlap: int) -> NDArray[np.float32]:
    """Weight of a tile along one axis: 1 inside, falling towards borders that have a neighbour."""
    n = part.stop - part.start
    ramp = np.ones(n, dtype=np.float32)
    if overlap == 0:
        return ramp
    rising = (np.arange(min(overlap, n), dtype=np.float32) + 1) / (overlap + 1)
    if part.start > 0:
        ramp[: len(rising)] = np.minimum(ramp[: len(rising)], rising)
    if part.stop < length:
        ramp[-len(rising) :] = np.minimum(ramp[-len(rising) :], rising[::-1])
    return ramp
