"""Views keep an image and the maps over it aligned, and know where they look."""

from __future__ import annotations

from dataclasses import replace

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
    change_strongly,
    cut,
    draw_any_view,
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


def test_a_view_of_any_angle_keeps_its_scale_and_stays_near_what_it_is_of() -> None:
    angles, mirrored, deformed = [], 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        view = draw_any_view(rng, (200, 40), 64, centre=(150.0, 3.0))
        linear = view.matrix[:, :2]
        scale = np.sqrt(abs(np.linalg.det(linear)))
        assert 0.7 <= scale <= 1.3
        np.testing.assert_allclose(linear.T @ linear, scale**2 * np.eye(2), atol=1e-9)
        x, y = view.matrix @ (31.5, 31.5, 1)
        assert abs(y - 149.5) <= 0.2 * 64  # it is longer than the view: around the place
        assert abs(x - 19.5) <= 0.2 * 64  # it fits: around the middle
        angles.append(np.arctan2(linear[1, 1], linear[1, 0]))
        mirrored += np.linalg.det(linear) < 0
        deformed += view.field is not None
    assert np.histogram(angles, bins=4, range=(-np.pi, np.pi))[0].min() > 5
    assert 15 < mirrored < 45
    assert 15 < deformed < 45


def test_outside_the_image_is_what_is_said() -> None:
    image = np.ones((1, 20, 20), np.float32)
    view = View(matrix=np.array([[1.0, 0, -10], [0, 1, 0]]), size=20)
    for field in (None, np.zeros((2, 20, 20), np.float32)):
        seen = cut(image, replace(view, field=field), outside=0.0)
        np.testing.assert_array_equal(seen[0], np.repeat([[0.0] * 10 + [1.0] * 10], 20, axis=0))
        assert (cut(image, replace(view, field=field)) == 1).all()


def test_a_deformation_shifts_what_is_seen_by_its_field() -> None:
    image = np.random.default_rng(0).random((1, 40, 40), np.float32)
    plain = View(matrix=np.array([[1.0, 0, 8], [0, 1, 8]]), size=20)
    field = np.zeros((2, 20, 20), np.float32)
    field[0], field[1] = 2, -3  # looks two to the right and three up
    np.testing.assert_allclose(cut(image, replace(plain, field=field))[0], image[0, 5:25, 10:30])


@pytest.mark.parametrize(("channels", "rgb"), [(1, False), (3, True), (3, False)])
def test_strong_changes_keep_structures(channels: int, rgb: bool) -> None:
    """Whatever is changed: of a bright square it stays true that it is brighter."""
    image = np.full((channels, 40, 40), 0.3, np.float32)
    image[:, 10:30, 10:30] = 0.7
    changed = [change_strongly(np.random.default_rng(s), image, rgb=rgb) for s in range(40)]
    for one in changed:
        assert one.shape == image.shape
        assert np.isfinite(one).all()
        assert one[:, 12:28, 12:28].mean() > one[:, :8].mean() + 0.1
    again = change_strongly(np.random.default_rng(0), image, rgb=rgb)
    np.testing.assert_array_equal(changed[0], again)
    assert np.std([one.mean() for one in changed]) > 0.05
