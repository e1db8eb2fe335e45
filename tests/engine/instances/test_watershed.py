from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from napari_medssl.config import ConfigError
from napari_medssl.errors import MedsslError
from napari_medssl.instances.watershed import (
    SeedConfig,
    SeparateConfig,
    distance_target,
    objects_of_distance,
    separate,
)
from napari_medssl.synthetic import Recipe, nuclei


def disc(shape: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray:
    ys, xs = np.mgrid[: shape[0], : shape[1]]
    return (ys - y) ** 2 + (xs - x) ** 2 <= radius**2


def agreement(found: np.ndarray, truth: np.ndarray) -> float:
    """AJI+: objects matched one to one, intersections over unions, what is left over in the denominator."""
    pairs = np.zeros((truth.max() + 1, found.max() + 1))
    np.add.at(pairs, (truth.ravel(), found.ravel()), 1)
    areas = pairs.sum(1)[1:], pairs.sum(0)[1:]
    shared = pairs[1:, 1:]
    union = areas[0][:, None] + areas[1] - shared
    rows, columns = linear_sum_assignment(-shared / union)
    return shared[rows, columns].sum() / (
        union[rows, columns].sum()
        + np.delete(areas[0], rows).sum()
        + np.delete(areas[1], columns).sum()
    )


def test_the_target_equals_the_loop_over_pixels() -> None:
    labels = np.zeros((9, 12), np.uint16)
    labels[1:6, 2:7] = 3
    labels[1:6, 7:9] = 700  # touches it
    labels[7:, :4] = 5  # touches the border
    expected = np.zeros(labels.shape)
    framed = np.pad(labels, 1)
    for number in (3, 700, 5):
        outside = np.argwhere(framed != number) - 1
        own = np.argwhere(labels == number)
        depth = np.linalg.norm(own[:, None] - outside, axis=-1).min(1)
        expected[tuple(own.T)] = depth / depth.max()
    np.testing.assert_allclose(distance_target(labels), expected, atol=1e-5)


def test_touching_nuclei_come_back_from_their_target() -> None:
    truth = nuclei(
        np.random.default_rng(3), shape=(192, 192), recipe=Recipe(coverage=0.3, clumping=0.9)
    ).labels
    pieces = ndimage.label(truth > 0)[0]
    found = objects_of_distance(distance_target(truth))
    assert agreement(found, truth.astype(int)) > 0.85
    assert agreement(pieces, truth.astype(int)) < 0.6  # the task is not trivial
    assert sorted(np.unique(found)) == list(range(found.max() + 1))


def test_every_number_of_the_post_processing_matters() -> None:
    distance = np.zeros((40, 80), np.float32)
    for x, radius, height in ((12, 9, 1.0), (32, 9, 0.9), (52, 9, 0.3), (70, 2, 0.9)):
        distance[disc(distance.shape, 20, x, radius)] = height
    distance[19:22, 11:14] = 0.0  # a hole

    def objects(**changes: float) -> int:
        return int(objects_of_distance(distance, SeedConfig(smoothing=0, **changes)).max())

    whole = objects_of_distance(distance, SeedConfig(smoothing=0))
    assert whole.max() == 2 + 1
    assert whole[20, 12] == whole[20, 5] > 0  # the hole is filled
    assert whole[20, 52] == 0  # in the mask, but without a seed
    assert objects(seed_threshold=0.2) == 4
    assert objects(seed_threshold=0.95) == 1
    assert objects(smallest=0.2) == 2
    small = (whole == whole[20, 70]).sum()
    assert (objects_of_distance(distance, SeedConfig(smoothing=3)) > 0).sum() > (whole > 0).sum()
    assert small == disc(distance.shape, 20, 70, 2).sum()
    assert not objects_of_distance(np.zeros((8, 8), np.float32)).any()
    with pytest.raises(ConfigError, match=r"seed_threshold = 0\.05 must not be below"):
        SeedConfig.parse({"seed_threshold": 0.05})
    with pytest.raises(MedsslError, match="finite"):
        objects_of_distance(np.full((4, 4), np.nan))


def test_necks_part_objects_of_every_size_and_bulges_do_not() -> None:
    shape = (120, 200)
    mask = np.zeros(shape, bool)
    for y, x, radius in ((20, 20, 9), (20, 35, 9), (70, 60, 36), (70, 120, 36)):
        mask |= disc(shape, y, x, radius)
    mask[20:30, 150:190] = True  # a bar: long, no neck
    mask[110, 10:12] = True  # a speck
    found = separate(mask)
    assert found.max() == 6
    assert ((found > 0) == mask).all()
    assert found[20, 20] != found[20, 35]
    assert found[70, 60] != found[70, 120]
    assert len(np.unique(found[20:30, 150:190])) == 1
    assert separate(mask, SeparateConfig(neck=0.9)).max() == 4
    assert not separate(np.zeros((5, 5), bool)).any()
