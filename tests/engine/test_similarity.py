from __future__ import annotations

import math
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.explore.similarity import EmbeddingError, PixelEmbedding, cosine_similarity

if TYPE_CHECKING:
    from pathlib import Path


def features(height: int, width: int, depth: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(height, width, depth))


def naive_cosine(a: np.ndarray, b: np.ndarray) -> float:
    dot = sum(float(p) * float(q) for p, q in zip(a, b, strict=True))
    norm_a = math.sqrt(sum(float(p) ** 2 for p in a))
    norm_b = math.sqrt(sum(float(q) ** 2 for q in b))
    return dot / (norm_a * norm_b)


def naive_bilinear(coarse: np.ndarray, stride: int, y: int, x: int) -> float:
    # position of pixel centre (y, x) in units of cells, measured from the centre of cell 0
    def axis(position: int, size: int) -> tuple[int, int, float]:
        cells = (position + 0.5) / stride - 0.5
        cells = min(max(cells, 0.0), size - 1.0)
        low = math.floor(cells)
        return low, min(low + 1, size - 1), cells - low

    y0, y1, fy = axis(y, coarse.shape[0])
    x0, x1, fx = axis(x, coarse.shape[1])
    top = coarse[y0, x0] * (1 - fx) + coarse[y0, x1] * fx
    bottom = coarse[y1, x0] * (1 - fx) + coarse[y1, x1] * fx
    return float(top * (1 - fy) + bottom * fy)


def test_stride_one_equals_the_loop() -> None:
    field = features(5, 7, 4)
    heat = cosine_similarity(field, [(3, 2)], stride=1, shape=(5, 7))
    expected = [[naive_cosine(field[y, x], field[3, 2]) for x in range(7)] for y in range(5)]
    np.testing.assert_allclose(heat, expected, atol=1e-6)
    assert heat.dtype == np.float32
    assert heat[3, 2] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("stride", "shape"), [(2, (10, 14)), (4, (17, 23)), (8, (9, 65)), (3, (1, 1))]
)
def test_strides_and_sizes_equal_the_loop(stride: int, shape: tuple[int, int]) -> None:
    grid = (math.ceil(shape[0] / stride), math.ceil(shape[1] / stride))
    field = features(*grid, 6)
    query = (shape[0] - 1, shape[1] // 2)
    cell = field[query[0] // stride, query[1] // stride]
    coarse = np.array(
        [[naive_cosine(field[i, j], cell) for j in range(grid[1])] for i in range(grid[0])]
    )
    heat = cosine_similarity(field, [query], stride=stride, shape=shape)
    assert heat.shape == shape
    for y in range(shape[0]):
        for x in range(shape[1]):
            assert heat[y, x] == pytest.approx(naive_bilinear(coarse, stride, y, x), abs=1e-5)


def test_one_bright_cell_is_centred_on_the_pixels_it_covers() -> None:
    field = np.zeros((8, 8, 2))
    field[..., 0] = 1
    field[3, 5] = (0, 1)
    heat = cosine_similarity(field, [(3 * 4, 5 * 4)], stride=4, shape=(32, 32))
    weight = heat / heat.sum()
    y, x = np.indices(heat.shape)
    assert (weight * y).sum() == pytest.approx(3 * 4 + 1.5, abs=1e-3)
    assert (weight * x).sum() == pytest.approx(5 * 4 + 1.5, abs=1e-3)


def test_every_pixel_of_a_cell_asks_the_same_cell() -> None:
    embedding = PixelEmbedding(features(4, 4, 3), stride=4, shape=(16, 16))
    heats = [embedding.similarity([(y, x)]) for y in (4, 7) for x in (8, 11)]
    for heat in heats[1:]:
        np.testing.assert_array_equal(heat, heats[0])


def test_several_queries_are_their_mean_direction() -> None:
    field = features(4, 5, 3)
    queries = [(0, 0), (2, 4), (3, 1)]
    units = [field[y, x] / np.linalg.norm(field[y, x]) for y, x in queries]
    mean = np.mean(units, axis=0)
    expected = [[naive_cosine(field[y, x], mean) for x in range(5)] for y in range(4)]
    heat = cosine_similarity(field, queries, stride=1, shape=(4, 5))
    np.testing.assert_allclose(heat, expected, atol=1e-6)


def test_half_precision_is_cast_once_and_stays_close() -> None:
    field = features(16, 16, 8)
    half = PixelEmbedding(field.astype(np.float16), stride=2, shape=(32, 32))
    assert half.at(0, 0).dtype == np.float32
    assert half.nbytes == 16 * 16 * 8 * 4
    full = cosine_similarity(field, [(9, 9)], stride=2, shape=(32, 32))
    np.testing.assert_allclose(half.similarity([(9, 9)]), full, atol=2e-3)


def test_large_half_precision_values_do_not_overflow() -> None:
    field = np.full((2, 2, 64), 30000, dtype=np.float16)
    np.testing.assert_allclose(cosine_similarity(field, [(0, 0)], stride=1, shape=(2, 2)), 1.0)


def test_a_zero_vector_is_similar_to_nothing() -> None:
    field = features(3, 3, 4)
    field[1, 1] = 0
    heat = cosine_similarity(field, [(0, 0)], stride=1, shape=(3, 3))
    assert heat[1, 1] == 0
    nothing = cosine_similarity(field, [(1, 1)], stride=1, shape=(3, 3))
    np.testing.assert_array_equal(nothing, 0)


def test_values_stay_in_range_and_features_unchanged() -> None:
    field = features(32, 32, 2).astype(np.float32)
    before = field.copy()
    heat = cosine_similarity(field, [(0, 0)], stride=1, shape=(32, 32))
    assert heat.min() >= -1
    assert heat.max() <= 1
    np.testing.assert_array_equal(field, before)


def test_refusals_name_the_value_and_what_is_allowed() -> None:
    embedding = PixelEmbedding(features(4, 4, 2), stride=2, shape=(8, 7))
    with pytest.raises(EmbeddingError, match=r"x=7.*8 x 7"):
        embedding.similarity([(0, 7)])
    with pytest.raises(EmbeddingError, match=r"y=-1"):
        embedding.similarity([(-1, 0)])
    with pytest.raises(EmbeddingError, match="no query"):
        embedding.similarity([])
    with pytest.raises(EmbeddingError, match=r"4 x 4 cells.*3 x 4"):
        PixelEmbedding(features(3, 4, 2), stride=2, shape=(8, 8))
    with pytest.raises(EmbeddingError, match="axes"):
        PixelEmbedding(np.zeros((4, 4)), stride=2, shape=(8, 8))
    with pytest.raises(EmbeddingError, match="stride is 0"):
        PixelEmbedding(features(4, 4, 2), stride=0, shape=(8, 8))
    broken = features(2, 2, 2)
    broken[0, 1, 0] = np.nan
    with pytest.raises(EmbeddingError, match="1 of 4 features are not finite"):
        PixelEmbedding(broken, stride=1, shape=(2, 2))


def test_opens_what_the_engine_writes(tmp_path: Path) -> None:
    field = features(4, 6, 3).astype(np.float16)
    np.save(tmp_path / "a.npy", field)
    opened = PixelEmbedding.open(tmp_path / "a.npy", stride=2, shape=(8, 11))
    direct = PixelEmbedding(field, stride=2, shape=(8, 11))
    np.testing.assert_array_equal(opened.similarity([(3, 3)]), direct.similarity([(3, 3)]))


def test_explore_brings_neither_torch_nor_qt() -> None:
    code = (
        "import pkgutil, importlib, sys, napari_medssl.explore as room; "
        "[importlib.import_module(f'{room.__name__}.{m.name}') for m in pkgutil.iter_modules(room.__path__)]; "
        "print([m for m in ('torch', 'qtpy', 'napari', 'PyQt6') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
