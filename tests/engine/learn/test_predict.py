"""Tiles give what the whole image gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_medssl.learn.predict import over_tiles

CPU = torch.device("cpu")


@pytest.mark.parametrize("shape", [(100, 100), (64, 200), (131, 77), (1, 90)])
@pytest.mark.parametrize("stride", [1, 4])
def test_tiles_of_a_local_function_equal_the_whole(shape: tuple[int, int], stride: int) -> None:
    planes = np.random.default_rng(0).random((2, *shape), dtype=np.float32)

    def forward(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images * 3 + 1, stride)

    options = {"multiple": 8, "device": CPU, "stride": stride}
    whole = over_tiles(forward, planes, tile=512, overlap=16, **options)
    tiled = over_tiles(forward, planes, tile=48, overlap=16, **options)
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
    result = over_tiles(forward, planes, multiple=8, device=CPU, tile=64, overlap=32)[0]
    assert np.abs(np.diff(result, axis=1)).max() < 0.1
