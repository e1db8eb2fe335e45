"""Thresholds against scikit-image, OpenCV and loops written from the papers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.filters import threshold_local

from napari_medssl.learn.thresholds import (
    adaptive_mask,
    bright_side,
    ght_threshold,
    multi_otsu,
    otsu_threshold,
    vote,
)


def two_humps(seed: int) -> np.ndarray:
    """Integers from 0 to 255, both of which occur thrice: every histogram of 256 bins has one value in each."""
    rng = np.random.default_rng(seed)
    grey = np.concatenate([rng.normal(60, 25, 3000), rng.normal(170, 20, 1000)])
    grey = np.clip(grey, 1, 254).round().reshape(50, 80).astype(np.float32)
    grey[0, :6] = 0, 0, 0, 255, 255, 255  # of 4000 pixels, two at either end count as outliers
    return grey


def otsu(grey: np.ndarray) -> np.ndarray:
    return bright_side(grey, otsu_threshold(grey))


@pytest.mark.parametrize("seed", range(5))
def test_otsu_agrees_with_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grey = np.concatenate([rng.normal(60, 15, 3000), rng.normal(170, 20, 1000)])
    grey = np.clip(grey, 0, 255).astype(np.uint8).reshape(50, 80)
    grey[0, :2] = 0, 255  # so that both use the same 256 bins
    _, expected = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    assert (otsu(grey.astype(np.float32)) == expected).mean() > 0.99


def test_a_constant_image_has_no_bright_side() -> None:
    grey = np.full((8, 8), 3.0, np.float32)
    assert otsu_threshold(grey) == np.inf
    assert not otsu(grey).any()


def test_the_side_that_touches_the_border_less_is_foreground() -> None:
    disc = cv2.circle(np.zeros((40, 40), np.uint8), (20, 20), 15, 1, -1)
    assert vote([disc, disc, 1 - disc]) == "bright"
    assert vote([1 - disc, 1 - disc, disc]) == "dark"
    stripes = np.zeros((40, 40), np.uint8)
    stripes[:, ::2] = 1  # same share of the border: the smaller side
    stripes[5, 5:9] = 1
    assert vote([stripes]) == "dark"
    assert vote([np.zeros((4, 4), np.uint8)]) == "bright"


@pytest.mark.parametrize("seed", range(4))
def test_ght_without_beliefs_is_minimum_error_thresholding(seed: int) -> None:
    """Kittler and Illingworth 1986, equation 11, for every threshold."""
    grey = two_humps(seed)
    values = grey.ravel().astype(np.float64)
    costs = {}
    for t in range(254):
        low, high = values[values <= t], values[values > t]
        if min(len(np.unique(low)), len(np.unique(high))) < 2:
            continue  # one grey value has no variance, and the criterion no minimum
        p = len(low) / len(values)
        spread = p * np.log(low.std()) + (1 - p) * np.log(high.std())
        costs[t] = 1 + 2 * spread - 2 * (p * np.log(p) + (1 - p) * np.log(1 - p))
    expected = min(costs, key=lambda t: costs[t])
    # The standard deviation of a hundredth of a grey value keeps single values from counting as a class.
    found = ght_threshold(grey, nu=1e-3, tau=0.01)
    np.testing.assert_array_equal(bright_side(grey, found), grey > expected)


@pytest.mark.parametrize("seed", range(4))
def test_ght_with_equal_narrow_sides_is_otsu(seed: int) -> None:
    grey = two_humps(seed)
    found = bright_side(grey, ght_threshold(grey, nu=1e30, tau=1e-10))
    np.testing.assert_array_equal(found, otsu(grey))


def test_ght_follows_the_share_it_is_told() -> None:
    """With nothing but the belief about the dark side's share, that percentile is the threshold."""
    grey = two_humps(0)
    for share in (0.2, 0.5, 0.9):
        found = bright_side(grey, ght_threshold(grey, nu=1e30, tau=1e10, kappa=1e30, omega=share))
        assert 1 - found.mean() == pytest.approx(share, abs=0.02)


def test_ght_puts_values_on_the_edge_of_a_bin_on_the_right_side() -> None:
    grey = np.repeat(np.array([0, 1, 127, 128], np.float32), 8).reshape(4, 8)
    found = bright_side(grey, ght_threshold(grey, nu=1e30, tau=1e-10))
    np.testing.assert_array_equal(found, grey > 64)


@pytest.mark.parametrize(
    ("kind", "method"),
    [("mean", cv2.ADAPTIVE_THRESH_MEAN_C), ("gaussian", cv2.ADAPTIVE_THRESH_GAUSSIAN_C)],
)
def test_adaptive_thresholds_agree_with_opencv_and_scikit_image(kind: str, method: int) -> None:
    grey = cv2.GaussianBlur(two_humps(1), (0, 0), 1)
    grey = cv2.normalize(grey, None, 0, 255, cv2.NORM_MINMAX).round()
    ours = adaptive_mask(grey, kind=kind, block=51, offset=2)  # 51 * 50 / 224 is 11
    theirs = cv2.adaptiveThreshold(grey.astype(np.uint8), 1, method, cv2.THRESH_BINARY, 11, 2)
    assert (ours == theirs).mean() > 0.97  # OpenCV rounds the local mean
    width = {"sigma": 0.3 * ((11 - 1) * 0.5 - 1) + 0.8}  # OpenCV's rule
    local = threshold_local(
        grey.astype(np.float64),
        11,
        kind,
        offset=2,
        mode="nearest",
        param=width["sigma"] if kind == "gaussian" else None,
    )
    inner = (slice(6, -6), slice(6, -6))  # scikit-image's Gaussian is wider than the block
    assert (ours == (grey > local))[inner].mean() > 0.995


def test_the_neighbourhood_grows_with_the_image() -> None:
    small = cv2.GaussianBlur(two_humps(2), (0, 0), 2)
    large = cv2.resize(small, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    masks = [adaptive_mask(grey, kind="mean") for grey in (small, large)]
    shrunk = cv2.resize(
        masks[1].astype(np.float32), small.shape[::-1], interpolation=cv2.INTER_AREA
    )
    assert ((shrunk > 0.5) == masks[0]).mean() > 0.97


def test_multi_otsu_is_the_best_division_of_all() -> None:
    """Against all pairs of thresholds: the largest variance between three classes."""
    rng = np.random.default_rng(0)
    levels = np.concatenate([rng.normal(m, 2, 200) for m in (5, 15, 27)])
    grey = np.clip(levels, 0, 31).round().reshape(20, 30)
    grey[0, :2] = 0, 31
    best, expected = -1.0, None
    for low in range(31):
        for high in range(low + 1, 31):
            classes = np.digitize(grey, [low, high], right=True)
            parts = [grey[classes == k] for k in range(3)]
            if min(len(part) for part in parts) == 0:
                continue
            between = sum(len(part) * (part.mean() - grey.mean()) ** 2 for part in parts)
            if between > best * (1 + 1e-12):
                best, expected = between, classes
    np.testing.assert_array_equal(multi_otsu(grey.astype(np.float32), 3), expected)


def test_images_without_contrast() -> None:
    flat = np.full((6, 6), 7, np.float32)
    assert ght_threshold(flat) == np.inf
    assert not adaptive_mask(flat, kind="mean").any()
    assert not multi_otsu(flat, 3).any()
    flat[0, :2] = 9
    assert multi_otsu(flat, 3).sum() == 2


@pytest.mark.parametrize("share", [0.3, 0.005])
def test_a_handful_of_hot_pixels_does_not_move_a_threshold(share: float) -> None:
    """Of 16384 pixels five are hot and one is dead; the smaller foreground has 82."""
    rng = np.random.default_rng(3)
    truth = np.zeros((128, 128), bool)
    truth.flat[rng.permutation(truth.size)[: round(share * truth.size)]] = True
    grey = np.where(truth, rng.normal(900, 20, truth.shape), rng.normal(500, 20, truth.shape))
    broken = rng.permutation(np.flatnonzero(~truth))[:6]
    spoilt = grey.astype(np.float32)
    spoilt.flat[broken[:5]], spoilt.flat[broken[5]] = 65535, 0
    sound = np.ones(truth.shape, bool)
    sound.flat[broken] = False
    found = {
        "otsu": otsu(spoilt),
        "ght": bright_side(spoilt, ght_threshold(spoilt)),
        "multi-otsu": multi_otsu(spoilt, 3) > 0,
    }
    for name, mask in found.items():
        both = (mask.astype(bool) & truth & sound).sum()
        assert both == (truth & sound).sum(), name
    np.testing.assert_array_equal(found["otsu"][sound], truth[sound])
    np.testing.assert_array_equal(found["ght"][sound], truth[sound])
