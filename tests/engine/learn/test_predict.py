"""Maps are of the file's pixels, and tiles give what the whole image gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_medssl.forest import PixelForest, filtered
from napari_medssl.learn.memory import MemoryShortageError
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.predict import Tiles, labels_of, network_maps, over_tiles, predict_maps
from napari_medssl.project import ClassInfo, Normalisation
from napari_medssl.project.working_scale import ScaleRule

CPU = torch.device("cpu")


class Bright(nn.Module):
    """Says foreground where a pixel is bright, and more so to the right."""

    def __init__(self, *, lean: float = 0.0) -> None:
        super().__init__()
        self.lean = lean

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logit = 4 * (images - 0.5) + self.lean * torch.linspace(-1, 1, images.shape[-1])
        return torch.cat([-logit, logit], dim=1)


def network() -> SegmentationModel:
    spec = ModelSpec(
        network=NetworkConfig(encoder="tu-test_efficientnet", encoder_depth=3),
        channels=("grey",),
        classes=(
            ClassInfo(value=3, name="background", color="#000000"),
            ClassInfo(value=7, name="square", color="#ff0000"),
        ),
        normalisation=Normalisation(),
        input_mean=(0.0,),
        input_std=(1.0,),
    )
    return SegmentationModel(spec).eval()


def bright(model: SegmentationModel, *, lean: float = 0.0) -> SegmentationModel:
    model.net = Bright(lean=lean)
    return model


@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("factor", [1.0, 2.0, ScaleRule(rule="fit", value=64).factor((90, 131))])
@pytest.mark.parametrize("shape", [(90, 131), (96, 128)])
def test_what_is_bright_is_found_at_its_place(
    shape: tuple[int, int], factor: float, flips: bool
) -> None:
    planes = np.zeros((1, *shape), np.float32)
    planes[0, 30:50, 70:94] = 1
    model = bright(network())
    maps = predict_maps(model, planes, factor=factor, device=CPU, flips=flips)
    assert maps.chances.shape == (2, *shape)
    np.testing.assert_allclose(maps.chances.sum(0), 1, atol=1e-5)
    labels = labels_of(model, maps.chances)
    assert set(np.unique(labels)) == {3, 7}
    ys, xs = np.nonzero(labels == 7)
    edges = (ys.min(), ys.max() + 1, xs.min(), xs.max() + 1)
    np.testing.assert_allclose(edges, (30, 50, 70, 94), atol=factor > 1)
    assert abs(ys.mean() - 39.5) <= 0.5 * (factor > 1)  # no shift
    assert abs(xs.mean() - 81.5) <= 0.5 * (factor > 1)


def test_flips_average_the_probabilities_of_the_mirrored_images() -> None:
    planes = np.random.default_rng(0).random((1, 40, 48), np.float32)
    model = bright(network(), lean=5.0)
    plain, averaged = (
        network_maps(model, planes, factor=1.0, device=CPU, flips=flips).chances
        for flips in (False, True)
    )
    mirrored = network_maps(model, planes[..., ::-1].copy(), factor=1.0, device=CPU, flips=False)
    expected = (plain + mirrored.chances[..., ::-1]) / 2  # upside down it says the same
    np.testing.assert_allclose(averaged, expected, atol=1e-5)
    assert np.abs(averaged - plain).max() > 0.1


def test_the_answer_is_the_networks_the_forests_or_their_mean() -> None:
    rng = np.random.default_rng(0)
    planes = rng.random((1, 50, 60), np.float32)
    features = filtered(planes).reshape(50 * 60, -1)
    classes = (planes[0].ravel() < 0.3).astype(np.int64)  # the other way round than the network
    forest = PixelForest.fit(features, classes, n_classes=2, seed=0, threads=1)
    model = network().with_forest(forest, answer="network")
    answers = {}
    for answer in ("network", "forest", "mean"):
        said = bright(model.answering(answer))
        answers[answer] = predict_maps(said, planes, factor=2.0, device=CPU).chances
    alone = network_maps(bright(network()), planes, factor=2.0, device=CPU).chances
    np.testing.assert_array_equal(answers["network"], alone)
    np.testing.assert_array_equal(answers["forest"], forest.probabilities(planes))
    mean = (answers["network"] + answers["forest"]) / 2
    np.testing.assert_allclose(answers["mean"], mean, atol=1e-6)


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
