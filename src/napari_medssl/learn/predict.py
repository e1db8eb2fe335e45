"""Segment images of any size with overlapping tiles."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from napari_medssl.learn.memory import MemoryShortageError, ran_out, release
from napari_medssl.project.working_scale import to_native, to_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medssl.learn.networks import SegmentationModel

__all__ = [
    "Maps",
    "Tiles",
    "labels_of",
    "mean_of",
    "network_maps",
    "over_tiles",
    "padded",
    "predict_maps",
    "warn",
]

TILE = 1024
OVERLAP = 128
SMALLEST_TILE = 64


def warn(text: str) -> None:
    """Tell what is worth telling where nobody else takes it."""
    warnings.warn(text, RuntimeWarning, stacklevel=4)


class Tiles:
    """How large the tiles are: halved for good where memory runs out, which is told.

    Parameters
    ----------
    side : int
        Images up to this side are computed whole; larger ones in tiles of this side, pixels.
    overlap : int
        Pixels shared by neighbouring tiles; their weights fall linearly towards a tile's border.
    tell : callable
        Takes a sentence for the user; a Python warning where it is not given.

    Raises
    ------
    ValueError
        If the overlap is not smaller than the side.
    """

    def __init__(
        self, side: int = TILE, overlap: int = OVERLAP, *, tell: Callable[[str], None] = warn
    ) -> None:
        if not 0 <= overlap < side:
            raise ValueError(f"overlap = {overlap} must be at least 0 and below side = {side}")
        self.side, self.overlap = side, overlap
        self._tell = tell

    def halve(self, used: int, *, multiple: int, device: torch.device) -> None:
        """Make the tiles half of what was `used`, a multiple of `multiple`.

        Raises
        ------
        MemoryShortageError
            If they were the smallest already.
        """
        where = "the GPU's memory" if device.type == "cuda" else "memory"
        if used <= SMALLEST_TILE:
            raise MemoryShortageError(
                f"There is not enough of {where} even for a tile of {used} x {used} pixels.",
                advice='Close other programs, or choose the device "cpu".',
            )
        self.side = max(SMALLEST_TILE, used // 2 // multiple * multiple)
        self.overlap = min(self.overlap, self.side // 2)
        self._tell(
            f"{used} x {used} pixels at once need more than is free of {where}: from here on images are "
            f"computed in tiles of {self.side} x {self.side}, which can change a little near the tiles' borders."
        )


def padded(planes: NDArray[np.float32], multiple: int) -> NDArray[np.float32]:
    """Mirror the lower and right border so that height and width become multiples of `multiple`."""
    height, width = planes.shape[-2:]
    extra = [(0, -height % multiple), (0, -width % multiple)]
    if not any(after for _, after in extra):
        return planes
    # "symmetric" repeats the edge pixel, and so works for images of a single row.
    return np.pad(planes, [(0, 0), *extra], mode="symmetric")


class Maps(NamedTuple):
    """What a model says of every pixel of a file."""

    chances: NDArray[np.float32]
    """(K, Y, X): the probability of each class; sums to 1 over the classes."""
    distance: NDArray[np.float32] | None
    """(Y, X): as `SegmentationModel.with_distance` gives it; None where the model has no such layer."""


def predict_maps(
    model: SegmentationModel,
    planes: NDArray[np.float32],
    *,
    factor: float,
    device: torch.device,
    tiles: Tiles | None = None,
    flips: bool = True,
) -> Maps:
    """Compute what a model says of every pixel, at the file's own resolution.

    The network sees the image at its working scale; its probabilities are interpolated. Where the model's answer is
    that of its forest, or the mean of both, the forest sees the file's own pixels.

    Parameters
    ----------
    model : SegmentationModel
        On `device`, in eval mode.
    planes : ndarray of shape (C, Y, X)
        Values in [0, 1].
    factor : float
        File pixels per network pixel, see `ScaledImages.factor`.
    device : torch.device
        Where the model lives.
    tiles : Tiles, optional
        How large the tiles are.
    flips : bool
        Average over the image and its three mirrored versions: better, and four times as long.

    Raises
    ------
    MemoryShortageError
        If memory does not suffice for the smallest tile.
    """
    answer = model.spec.answer
    forest = None
    if answer != "network":
        forest = model.pixel_forest.probabilities(planes, threads=torch.get_num_threads())
        if answer == "forest":
            return Maps(forest, None)
    maps = network_maps(model, planes, factor=factor, device=device, tiles=tiles, flips=flips)
    if forest is None:
        return maps
    return Maps(mean_of(maps.chances, forest), maps.distance)


def mean_of(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of two maps of probabilities."""
    total: NDArray[np.float32] = first + second
    total /= 2
    return total


@torch.inference_mode()
def network_maps(
    model: SegmentationModel,
    planes: NDArray[np.float32],
    *,
    factor: float,
    device: torch.device,
    tiles: Tiles | None = None,
    flips: bool = True,
) -> Maps:
    """Compute what the network alone says; parameters and errors as of `predict_maps`."""

    def outputs(images: Tensor) -> Tensor:
        if not model.spec.objects:
            return model(images).float().softmax(1)  # type: ignore[no-any-return]
        logits, distance = model.with_distance(images)
        return torch.cat([logits.float().softmax(1), distance.float()], dim=1)

    def flipped(images: Tensor) -> Tensor:
        axes: tuple[tuple[int, ...], ...] = ((), (2,), (3,), (2, 3))
        return torch.stack([outputs(images.flip(a)).flip(a) for a in axes]).mean(0)

    maps = over_tiles(
        flipped if flips else outputs,
        to_network(planes, factor),
        multiple=model.stride,
        device=device,
        tiles=tiles,
    )
    height, width = planes.shape[-2:]
    maps = to_native(maps, (height, width))
    return Maps(maps[:-1], maps[-1]) if model.spec.objects else Maps(maps, None)


@torch.inference_mode()
def over_tiles(
    forward: Callable[[Tensor], Tensor],
    planes: NDArray[np.float32],
    *,
    multiple: int,
    device: torch.device,
    stride: int = 1,
    tiles: Tiles | None = None,
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
    tiles : Tiles, optional
        How large the tiles are; the overlap is not smaller than `stride`.

    Returns
    -------
    ndarray of shape (K, ceil(Y/stride), ceil(X/stride))
        Float32.
    """
    tiles = tiles or Tiles()
    if tiles.overlap < stride:
        raise ValueError(f"overlap = {tiles.overlap} must be at least {stride}")
    while True:
        try:
            return _blended(forward, planes, multiple, device, stride, tiles.side, tiles.overlap)
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
        # Not above: there, the error's traceback still holds the tensors.
        release(device)
        tiles.halve(min(tiles.side, max(planes.shape[-2:])), multiple=multiple, device=device)


def _blended(
    forward: Callable[[Tensor], Tensor],
    planes: NDArray[np.float32],
    multiple: int,
    device: torch.device,
    stride: int,
    tile: int,
    overlap: int,
) -> NDArray[np.float32]:
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


def labels_of(model: SegmentationModel, chances: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Give the most probable class of every pixel as label values.

    Parameters
    ----------
    model : SegmentationModel
        Tells which class each map is of.
    chances : ndarray of shape (K, Y, X)
        Class probabilities.
    """
    values = np.array([info.value for info in model.spec.classes], dtype=np.uint16)
    labels: NDArray[np.uint16] = values[chances.argmax(0)]
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
