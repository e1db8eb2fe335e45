from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.explore.uncertainty import (
    entropy,
    highest_box,
    highest_share,
    margin,
    uncertain_images,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.engine.explore.conftest import MakeStore


def test_entropy_and_margin_by_hand() -> None:
    chances = np.array([[1.0, 0.25, 0.5], [0.0, 0.25, 0.3], [0.0, 0.25, 0.1], [0.0, 0.25, 0.1]])
    mixed = -(0.5 * np.log2(0.5) + 0.3 * np.log2(0.3) + 0.2 * np.log2(0.1)) / 2
    np.testing.assert_allclose(entropy(chances), [0, 1, mixed], atol=1e-6)
    np.testing.assert_allclose(margin(chances), [0, 1, 0.8], atol=1e-6)


def test_only_the_most_uncertain_part_counts() -> None:
    values = np.zeros((10, 10))
    values[3, :5] = 0.8
    assert highest_share(values, 0.1) == pytest.approx(0.4)
    assert highest_share(values, 0.05) == pytest.approx(0.8)
    assert highest_share(values, 0.001) == pytest.approx(0.8)  # one at least
    with pytest.raises(MedsslError, match="share = 0"):
        highest_share(values, 0)


@pytest.mark.parametrize("side", [None, 12, 1, 500])
def test_the_box_equals_the_loop_over_all_squares(side: int | None) -> None:
    values = np.random.default_rng(0).normal(size=(20, 31))
    shape = (79, 122)  # the last cells reach beyond the image
    length = min(20, max(1, round((side or 64) / 4)))
    width = min(31, max(1, round((side or 64) / 4)))
    best = max(
        ((y, x) for y in range(20 - length + 1) for x in range(31 - width + 1)),
        key=lambda at: values[at[0] : at[0] + length, at[1] : at[1] + width].mean(),
    )
    expected = (
        4 * best[0],
        4 * best[1],
        min(79, 4 * (best[0] + length)),
        min(122, 4 * (best[1] + width)),
    )
    assert highest_box(values, stride=4, shape=shape, side=side) == expected


def test_images_are_measured_one_by_one(make_store: MakeStore) -> None:
    features = {f"{n}.png": np.full((20, 20, 2), 5.0) for n in range(3)}
    features["1.png"][12:, 12:] = 0.0

    def probabilities(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        first = 1 / (1 + np.exp(-pixels.sum(1)))
        return np.stack([first, 1 - first], axis=1)

    store = make_store(features)
    found = {item.image: item for item in uncertain_images(store, probabilities)}
    assert list(found) == list(store.names)
    assert found["1.png"].value == pytest.approx(1.0)
    assert found["0.png"].value < 0.01
    y0, x0, y1, x1 = found["1.png"].box
    assert (y1, x1) == store.shape("1.png")
    assert y0 > 0
    assert x0 > 0
    some = uncertain_images(store, probabilities, names=["2.png"], measure="margin")
    assert [item.image for item in some] == ["2.png"]
