"""The random forest on filtered images: what it learns, how it is stored, and which arrays it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

from napari_medssl import forest as module
from napari_medssl.errors import MedsslError
from napari_medssl.forest import FEATURES, PixelForest, filtered, filtered_at


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def stripes(height, width, seed):
    """Fine stripes, class 2, beside noise of the same mean, class 0."""
    planes = noise(1, height, width, seed=seed)
    planes[0, :, : width // 2] = (np.arange(height) % 4 < 2)[:, None]
    classes = np.zeros((height, width), dtype=np.int64)
    classes[:, : width // 2] = 2
    return planes, classes


@pytest.fixture(scope="module")
def forest():
    planes, classes = stripes(60, 80, seed=0)
    flat = filtered(planes).reshape(-1, FEATURES)
    return PixelForest.fit(flat, classes.ravel(), n_classes=3, seed=0, threads=1)


def test_every_channel_is_filtered_at_every_scale():
    planes = noise(2, 40, 30)
    features = filtered(planes)
    assert features.shape == (40, 30, 2 * FEATURES)
    assert features.dtype == np.float32
    both = multiscale_basic_features(
        np.moveaxis(planes, 0, -1), sigma_min=1, sigma_max=16, channel_axis=-1
    )
    np.testing.assert_array_equal(features, both)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 50), (1, 50, 1)])
def test_images_of_a_single_row_have_features(shape):
    assert np.isfinite(filtered(np.full(shape, 0.5, dtype=np.float32))).all()


def test_tiles_equal_the_whole_image(forest, monkeypatch):
    planes = noise(1, 230, 270)
    ys, xs = np.nonzero(planes[0] > 0.99)
    whole = filtered(planes), filtered_at(planes, ys, xs), forest.probabilities(planes)
    monkeypatch.setattr(module, "TILE", 90)
    monkeypatch.setattr(module, "ROWS", 1000)
    tiled = filtered(planes), filtered_at(planes, ys, xs), forest.probabilities(planes, threads=2)
    for one, other in zip(whole, tiled, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(whole[0][ys, xs], whole[1])


def test_it_learns_a_texture_and_gives_an_unseen_class_no_chance(forest):
    planes, classes = stripes(64, 96, seed=1)
    probabilities = forest.probabilities(planes)
    assert probabilities.shape == (3, 64, 96)
    assert (probabilities.argmax(0) == classes).mean() > 0.95
    assert (probabilities[1] == 0).all()
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-6)


def test_it_is_scikit_learns_forest():
    features, classes = noise(3000, 5), noise(3000, seed=1).round().astype(int)
    ours = PixelForest.fit(features, classes, n_classes=2, seed=3, threads=1)
    theirs = RandomForestClassifier(100, max_depth=20, random_state=3).fit(features, classes)
    seen = np.concatenate([features, noise(9000, 5, seed=2)])
    np.testing.assert_allclose(ours.predict_proba(seen), theirs.predict_proba(seen), atol=1e-6)


def test_float32_thresholds_decide_as_before():
    thresholds = np.array([0.1, 1 / 3, -0.1, 1e-50, 2.0])
    near = thresholds.astype(np.float32)
    rounded = module._rounded_down(thresholds)
    for feature in (near, np.nextafter(near, np.float32(9)), np.nextafter(near, np.float32(-9))):
        np.testing.assert_array_equal(feature <= thresholds, feature <= rounded)


def test_a_forest_made_of_its_arrays_predicts_the_same(forest):
    arrays = {name: np.array(array) for name, array in forest.arrays().items()}
    again = PixelForest.from_arrays(arrays, n_features=FEATURES, n_classes=3)
    planes = noise(1, 70, 50)
    np.testing.assert_array_equal(again.probabilities(planes), forest.probabilities(planes))
    nodes = len(arrays["value"])
    assert sum(array.nbytes for array in arrays.values()) == nodes * (14 + 4 * 3) + 101 * 4


def changed(name, change):
    def damage(arrays):
        arrays[name] = change(arrays[name])

    return damage


def at(index, value):
    def change(array):
        array = array.copy()
        array[index] = value
        return array

    return change


DAMAGES = {
    "missing": lambda arrays: arrays.pop("right"),
    "dtype": changed("left", lambda array: array.astype(np.int64)),
    "too short": changed("feature", lambda array: array[:-1]),
    "flat": changed("value", np.ravel),
    "scalar": changed("value", lambda array: array[0, 0]),
    "no tree": changed("offsets", lambda array: array[:1]),
    "empty offsets": changed("offsets", lambda array: array[:0]),
    "offsets fall": changed("offsets", at(1, 2**30)),
    "nodes left over": changed("offsets", at(-1, 7)),
    "circle": changed("left", at(0, 0)),
    "half a leaf": changed("right", at(0, -1)),
    "out of the tree": changed("right", at(0, 2**30)),
    "negative child": changed("left", at(0, -5)),
    "unknown feature": changed("feature", at(0, FEATURES)),
    "negative feature": changed("feature", at(0, -2)),
    "NaN threshold": changed("threshold", at(0, np.nan)),
    "NaN value": changed("value", at((0, 0), np.nan)),
    "negative value": changed("value", at(0, [-1, 1, 1])),
    "no probabilities": changed("value", at(0, 1)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_arrays_are_refused(forest, damage):
    arrays = forest.arrays()
    damage(arrays)
    with pytest.raises(MedsslError, match="The random forest is damaged: "):
        PixelForest.from_arrays(arrays, n_features=FEATURES, n_classes=3)


def test_other_numbers_of_channels_and_classes_are_refused(forest):
    with pytest.raises(ValueError, match="40 features per pixel"):
        forest.probabilities(noise(2, 20, 20))
    with pytest.raises(MedsslError, match=r'"value" has shape .*, not'):
        PixelForest.from_arrays(forest.arrays(), n_features=FEATURES, n_classes=2)
    for classes in ([0, 2], [-1, 0], []):
        with pytest.raises(ValueError, match="within 0 to 1"):
            PixelForest.fit(
                noise(len(classes), 3), np.array(classes), n_classes=2, seed=0, threads=1
            )
