"""Tiles give what the whole image gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_medssl.learn.memory import MemoryShortageError
from napari_medssl.learn.predict import Tiles, over_tiles

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(100, 100), (64, 200), (131, 77), (1, 90)])
@pytest.mark.parametrize("stride", [1, 4])
def test_tiles_of_a_local_function_equal_the_whole(shape: tuple[int, int], stride: int) -> None:
    planes = np.random.default_rng(0).random((2, *shape), dtype=np.float32)

    def forward(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images * 3 + 1, stride)

    options: dict[str, Any] = {"multiple": 8, "device": CPU, "stride": stride}
    whole = over_tiles(forward, planes, tiles=Tiles(512, 16), **options)
    tiled = over_tiles(forward, planes, tiles=Tiles(48, 16), **options)
    # The last cells of an image whose size is no multiple of the stride hold mirrored pixels.
    rows, columns = shape[0] // stride, shape[1] // stride
    assert whole.shape == (2, -(-shape[0] // stride), -(-shape[1] // stride))
    np.testing.assert_allclose(tiled[:, :rows, :columns], whole[:, :rows, :columns], rtol=1e-5)


def test_tiles_blend_without_seams() -> None:
    """Each tile answers with its own constant: the result must change slowly everywhere."""
    values = iter(range(100))

    def forward(images: torch.Tensor) -> torch.Tensor:
        return torch.full_like(images[:, :1], float(next(values)))

    planes = np.zeros((1, 64, 160), dtype=np.float32)
    result = over_tiles(forward, planes, multiple=8, device=CPU, tiles=Tiles(64, 32))[0]
    assert np.abs(np.diff(result, axis=1)).max() < 0.1


def test_tiles_are_halved_for_good_when_memory_runs_out() -> None:
    planes = np.random.default_rng(0).random((1, 150, 200), dtype=np.float32)
    told: list[str] = []
    tried: list[int] = []

    def forward(images: torch.Tensor) -> torch.Tensor:
        tried.append(max(images.shape[-2:]))
        if max(images.shape[-2:]) > 64:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return images * 2

    tiles = Tiles(tell=told.append)
    result = over_tiles(forward, planes, multiple=32, device=CPU, tiles=tiles)
    np.testing.assert_allclose(result, planes * 2, rtol=1e-5)
    assert tried[:3] == [
        224,
        96,
        64,
    ]  # the whole image, half of it in multiples of 32, the smallest
    assert [("200 x 200" in text, "64 x 64" in text) for text in told] == [
        (True, False),
        (False, True),
    ]
    tried.clear()
    over_tiles(forward, planes, multiple=32, device=CPU, tiles=tiles)
    assert max(tried) == 64
    assert len(told) == 2


def test_no_memory_for_the_smallest_tile_fails_in_words() -> None:
    def forward(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    planes = np.zeros((1, 100, 100), dtype=np.float32)
    tiles = Tiles(tell=lambda text: None)
    with pytest.raises(MemoryShortageError, match="even for a tile of 64 x 64 pixels"):
        over_tiles(forward, planes, multiple=32, device=CPU, tiles=tiles)
