"""Pixel features lie where the file has what they are of, whatever the working scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_medssl.learn.features import pixel_embedding
from napari_medssl.learn.predict import Tiles

CPU = torch.device("cpu")


class Itself:
    """A network whose features are the image."""

    stride = 8

    def embed(self, images: torch.Tensor, *, stride: int = 1) -> torch.Tensor:
        assert images.shape[-2] % self.stride == images.shape[-1] % self.stride == 0
        return F.avg_pool2d(images, stride)


def embedded(planes: np.ndarray, factor: float, stride: int, **options: object) -> np.ndarray:
    return pixel_embedding(Itself(), planes, factor=factor, stride=stride, device=CPU, **options)


@pytest.mark.parametrize("shape", [(64, 48), (53, 70)])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("border", [0, 16])
def test_at_the_files_own_scale_cells_are_the_means_of_their_pixels(
    shape: tuple[int, int], stride: int, border: int
) -> None:
    planes = np.random.default_rng(0).random((3, *shape), np.float32)
    cells = embedded(planes, 1.0, stride, border=border)
    height, width = shape
    assert cells.shape == (-(-height // stride), -(-width // stride), 3)
    rows, columns = height // stride, width // stride
    whole = planes[:, : rows * stride, : columns * stride]
    means = whole.reshape(3, rows, stride, columns, stride).mean((2, 4)).transpose(1, 2, 0)
    np.testing.assert_allclose(cells[:rows, :columns], means, atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 96), (75, 101)])
@pytest.mark.parametrize("factor", [2.0, 2.6, 0.5])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("border", [0, 16])
def test_features_are_at_their_coordinates(
    shape: tuple[int, int], factor: float, stride: int, border: int
) -> None:
    """The features of an image of its own coordinates are those of each cell's centre."""
    coordinates = np.stack(np.mgrid[: shape[0], : shape[1]]).astype(np.float32)
    cells = embedded(coordinates, factor, stride, border=border)
    ys, xs = (stride * (np.arange(n) + 0.5) - 0.5 for n in cells.shape[:2])
    assert len(ys) == -(-shape[0] // stride)
    inside = slice(8 // stride, -8 // stride)  # at the border there is nothing to interpolate with
    error_y = cells[..., 0] - ys[:, None]
    error_x = cells[..., 1] - xs[None]
    assert np.abs(error_y[inside, inside]).max() < 0.3
    assert np.abs(error_x[inside, inside]).max() < 0.3
    assert abs(error_y[inside, inside].mean()) < 0.02  # no shift
    assert abs(error_x[inside, inside].mean()) < 0.02


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_blob_is_found_where_it_is(stride: int) -> None:
    ys, xs = np.mgrid[:75, :101]
    blob = np.exp(-((ys - 41) ** 2 + (xs - 22) ** 2) / 50).astype(np.float32)[None]
    cells = embedded(blob, 2.0, stride, tiles=Tiles(32, 8))[..., 0]
    y, x = np.unravel_index(cells.argmax(), cells.shape)
    assert (y, x) == (41 // stride, 22 // stride)
    weights = cells / cells.sum()
    rows, columns = (stride * (np.arange(n) + 0.5) - 0.5 for n in cells.shape)
    assert (weights.sum(1) * rows).sum() == pytest.approx(41, abs=0.1)
    assert (weights.sum(0) * columns).sum() == pytest.approx(22, abs=0.1)
