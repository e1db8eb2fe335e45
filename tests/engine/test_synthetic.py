from __future__ import annotations

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate import dice
from napari_medssl.synthetic import Recipe, nuclei


def test_same_generator_state_same_field() -> None:
    first, second = (nuclei(np.random.default_rng(3), shape=(64, 96)) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert not np.array_equal(first.image, nuclei(np.random.default_rng(4), shape=(64, 96)).image)


def test_form_and_numbering() -> None:
    image, labels = nuclei(np.random.default_rng(0), shape=(128, 160))
    assert image.shape == labels.shape == (128, 160)
    assert image.dtype == labels.dtype == np.uint16
    assert image.max() <= 4095
    present = np.unique(labels)
    np.testing.assert_array_equal(present, np.arange(len(present)))
    assert 0.03 < (labels > 0).mean() < 0.5


def test_nuclei_are_brighter_than_their_surroundings() -> None:
    for seed in range(5):
        image, labels = nuclei(np.random.default_rng(seed))
        assert image[labels > 0].mean() > 1.5 * image[labels == 0].mean()


def test_one_threshold_is_good_but_not_enough() -> None:
    scores = []
    for seed in range(6):
        image, labels = nuclei(np.random.default_rng(seed))
        bright = (image > threshold_otsu(image)) + np.uint16(1)
        scores.append(dice(bright, (labels > 0) + np.uint16(1)))
    assert 0.6 < np.mean(scores) < 0.92


def test_recipe_is_followed() -> None:
    rng = np.random.default_rng
    many = nuclei(rng(0), recipe=Recipe(radius=5)).labels.max()
    few = nuclei(rng(0), recipe=Recipe(radius=16)).labels.max()
    assert many > 2 * few
    bright = nuclei(rng(0), recipe=Recipe(brightness=600)).image.max()
    assert bright > nuclei(rng(0), recipe=Recipe(brightness=60)).image.max()


def test_too_small_is_refused() -> None:
    with pytest.raises(MedsslError, match="at least 32 x 32"):
        nuclei(np.random.default_rng(0), shape=(16, 100))
