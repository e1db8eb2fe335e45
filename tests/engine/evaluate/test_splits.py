from __future__ import annotations

import cv2
import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.splits import alike_by_features, alike_by_hash, perceptual_hash
from napari_medssl.synthetic import nuclei


@pytest.fixture
def fields() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [nuclei(rng, shape=(96, 96)).image.astype(np.float32)[None] for _ in range(8)]


def test_copies_across_a_split_are_found_and_only_they(fields: list[np.ndarray]) -> None:
    taught = {f"t{n}": perceptual_hash(field) for n, field in enumerate(fields[:5])}
    small = cv2.resize(fields[1][0], (70, 61), interpolation=cv2.INTER_AREA)[None]
    bright = 0.7 * fields[3] + 0.1
    tested = {f"o{n}": perceptual_hash(field) for n, field in enumerate(fields[5:])}
    tested |= {"small": perceptual_hash(small), "bright": perceptual_hash(bright)}
    found = alike_by_hash(taught, tested)
    assert {(pair.tested, pair.taught) for pair in found} == {("small", "t1"), ("bright", "t3")}
    assert found[0].distance <= found[1].distance <= 4


def test_hash_against_a_loop(fields: list[np.ndarray]) -> None:
    small = cv2.resize(fields[0][0].astype(float), (32, 32), interpolation=cv2.INTER_AREA)
    waves = np.zeros((8, 8))
    n = np.arange(32)
    for u in range(8):
        for v in range(8):
            rows, columns = (np.cos(np.pi * w * (2 * n + 1) / 64) for w in (u, v))
            scale = np.sqrt((2 - (u == 0)) * (2 - (v == 0))) / 32
            waves[u, v] = scale * rows @ small @ columns
    bits = waves.ravel()[1:] > np.median(waves.ravel()[1:])
    assert perceptual_hash(fields[0]) == sum(1 << k for k in range(63) if bits[k])
    assert perceptual_hash(np.full((2, 40, 30), 0.1, np.float32)) == 0


def test_by_features() -> None:
    rng = np.random.default_rng(1)
    points = rng.normal(size=(12, 6))
    taught = {f"t{n}": point for n, point in enumerate(points)}
    tested = {"copy": points[4] + 1e-3, "other": rng.normal(size=6) + 3}
    found = alike_by_features(taught, tested)
    usual = np.median(
        [min(np.linalg.norm(points[i] - points[j]) for j in range(12) if j != i) for i in range(12)]
    )
    assert [(pair.tested, pair.taught) for pair in found] == [("copy", "t4")]
    assert found[0].distance == pytest.approx(np.sqrt(6) * 1e-3 / usual, abs=1e-6)


def test_edges() -> None:
    assert alike_by_hash({}, {"a": 3}) == alike_by_hash({"a": 3}, {}) == ()
    same = {name: np.full(4, 0.1) for name in "abc"}
    with pytest.raises(MedsslError, match="the same for most images"):
        alike_by_features(same, same)
    with pytest.raises(MedsslError, match="at least 3"):
        alike_by_features({"a": np.ones(4)}, same)
