from __future__ import annotations

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.explore.annotate import above, fill_in


def test_small_pieces_go_and_small_holes_are_filled() -> None:
    heat = np.zeros((30, 30), np.float32)
    heat[5:20, 5:20] = 0.9
    heat[10:12, 10:12] = 0.1  # a hole of 4
    heat[25, 25] = 0.9  # a piece of 1
    mask = above(heat, 0.5, minimum_area=5)
    expected = np.zeros((30, 30), bool)
    expected[5:20, 5:20] = True
    np.testing.assert_array_equal(mask, expected)
    assert above(heat, 0.5, minimum_area=4)[25, 25] == False  # noqa: E712 - a numpy bool
    assert not above(heat, 0.5, minimum_area=4)[10, 10]
    assert not above(heat, 0.95).any()


def test_smoothing_takes_the_noise_out_of_the_outline() -> None:
    rng = np.random.default_rng(0)
    heat = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    noisy = heat + rng.normal(0, 0.1, heat.shape).astype(np.float32)
    truth = heat >= 0.5
    rough = np.count_nonzero(above(noisy, 0.5) != truth)
    smooth = np.count_nonzero(above(noisy, 0.5, smoothing=2) != truth)
    assert smooth < rough / 3


def test_labels_that_are_there_stay_unless_asked() -> None:
    labels = np.zeros((4, 4), np.uint16)
    labels[0] = 1
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    filled = fill_in(labels, mask, 3)
    assert filled[0].tolist() == [1] * 4
    assert filled[1].tolist() == [3] * 4
    assert fill_in(labels, mask, 3, overwrite=True)[0].tolist() == [3] * 4
    assert labels[1].tolist() == [0] * 4  # what was given is not changed


def test_what_makes_no_sense_is_refused() -> None:
    heat = np.zeros((4, 4), np.float32)
    with pytest.raises(MedsslError, match="smoothing = -1"):
        above(heat, 0.5, smoothing=-1)
    with pytest.raises(MedsslError, match=r"\(2, 2\)"):
        fill_in(np.zeros((4, 4), np.uint16), np.zeros((2, 2), bool), 2)
