"""Views keep an image and the maps over it aligned, and know where they look."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medssl.learn.augment import (
    View,
    add_bias_field,
    add_noise,
    between,
    blur,
    change_colour,
    change_gamma,
    cut,
    draw_view,
)


def test_a_view_of_the_whole_image_is_the_image() -> None:
    image = np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    identity = View(matrix=np.array([[1.0, 0, 0], [0, 1.0, 0]]), size=32)
    np.testing.assert_array_equal(cut(image, identity), image)


@pytest.mark.parametrize("seed", range(8))
def test_matrix_says_where_each_view_pixel_comes_from(seed: int) -> None:
    """Cutting the coordinate maps of an image must give back what the matrix computes."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:80, :90].astype(np.float32)
    view = draw_view(rng, (80, 90), 32)
    seen_x, seen_y = cut(np.stack([xs, ys]), view)
    grid = np.stack([*np.meshgrid(np.arange(32), np.arange(32)), np.ones((32, 32))])
    expected = np.tensordot(view.matrix, grid, axes=1)  # x, y
    inside = (expected > 0).all(0) & (expected[0] < 89) & (expected[1] < 79)
    assert inside.mean() > 0.9
    assert np.abs(seen_x - expected[0])[inside].max() < 0.05  # OpenCV interpolates in 1/32 pixel
    assert np.abs(seen_y - expected[1])[inside].max() < 0.05


def test_views_turn_mirror_and_scale() -> None:
    rng = np.random.default_rng(3)
    linear = [draw_view(rng, (200, 200), 32).matrix[:, :2] for _ in range(200)]
    signs = {tuple(np.sign(np.round(m, 9)).ravel()) for m in linear}
    assert len(signs) == 8  # four turns, mirrored or not
    areas = [abs(np.linalg.det(m)) for m in linear]
    assert 0.5 / 0.75 <= min(areas) < 0.75
    assert 1.25 < max(areas) <= 1 / 0.75


def test_labels_stay_labels() -> None:
    labels = np.zeros((64, 64), np.int16)
    labels[20:40, 20:40] = 7
    seen = cut(labels, draw_view(np.random.default_rng(1), (64, 64), 48), labels=True)
    assert set(np.unique(seen)) <= {0, 7}
    assert seen.dtype == np.int16


def test_a_wanted_pixel_is_in_view() -> None:
    rng = np.random.default_rng(5)
    mark = np.zeros((100, 140), np.uint8)
    for y, x in [(0, 0), (99, 139), (50, 3)]:
        mark[:] = 0
        mark[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 1
        for _ in range(20):
            view = draw_view(rng, mark.shape, 32, centre=(y + 0.5, x + 0.5))
            assert cut(mark, view, labels=True).any()


def test_between_two_views_lies_their_image() -> None:
    rng = np.random.default_rng(0)
    start, end = (draw_view(rng, (90, 80), 32) for _ in range(2))
    point = np.array([5.0, 20.0, 1.0])
    in_image = start.matrix @ point
    seen = between(start, end) @ point
    np.testing.assert_allclose(end.matrix @ [*seen, 1], in_image)
    part = start.inside(between(start, end))
    np.testing.assert_allclose(part.matrix @ point, start.matrix @ [*seen, 1])


def test_intensity_changes_of_no_strength_change_nothing() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((3, 16, 20), dtype=np.float32)
    for same in (
        change_gamma(rng, image, strength=0),
        add_bias_field(rng, image, strength=0),
        blur(rng, image, sigma=0),
        add_noise(rng, image, sigma=0),
        change_colour(rng, image, strength=0, rgb=True),
        change_colour(rng, image, strength=0, rgb=False),
    ):
        assert same.dtype == np.float32
        np.testing.assert_allclose(same, image, atol=1e-3)


def test_hue_and_saturation_leave_grey_grey() -> None:
    rng = np.random.default_rng(0)
    grey = np.repeat(rng.random((1, 8, 8), dtype=np.float32), 3, axis=0)
    np.testing.assert_allclose(change_colour(rng, grey, strength=0.5, rgb=True), grey, atol=1e-3)
    red = np.zeros((3, 8, 8), np.float32)
    red[0] = 1
    turned = change_colour(rng, red, strength=0.5, rgb=True)
    luminance = np.tensordot([0.299, 0.587, 0.114], turned, axes=1)
    np.testing.assert_allclose(luminance, 0.299, atol=1e-3)
    assert np.abs(turned - red).max() > 0.05


def test_other_channels_change_each_by_itself() -> None:
    image = np.full((4, 8, 8), 0.5, np.float32)
    changed = change_colour(np.random.default_rng(0), image, strength=0.3, rgb=False)
    assert np.ptp(changed, axis=(1, 2)).max() == 0
    assert len(np.unique(changed)) == 4
    assert np.abs(changed - 0.5).max() <= 0.3 * 0.5 + 0.15 + 1e-6


def test_a_bias_field_is_smooth_and_bounded() -> None:
    field = add_bias_field(np.random.default_rng(0), np.ones((1, 64, 64), np.float32), strength=0.3)
    assert 0.6 < field.min() < 0.95
    assert 1.05 < field.max() < 1.6
    assert np.abs(np.diff(field, axis=2)).max() < 0.06
