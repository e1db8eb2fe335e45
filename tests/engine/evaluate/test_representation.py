from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.representation import (
    expected_nqc,
    feature_std,
    mass_inside,
    nqc,
    pair_similarity,
    silhouette,
)
from napari_medssl.explore.labelled import LabelledCells


def test_nqc_against_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 60)
    features = rng.normal(size=(60, 40)) + classes[:, None] * 0.4
    points = PCA(10).fit_transform(features)
    nearest = NearestNeighbors(n_neighbors=1).fit(points).kneighbors()[1][:, 0]  # without itself
    expected = np.mean(classes[nearest] == classes)
    assert nqc(features, [str(c) for c in classes]) == pytest.approx(expected, abs=1e-6)


def test_random_nqc_by_shuffling() -> None:
    rng, classes = np.random.default_rng(1), np.array(list("aaaaabbbbccd"))
    features = rng.normal(size=(12, 5))
    shuffled = [nqc(features, rng.permutation(classes)) for _ in range(300)]
    assert np.mean(shuffled) == pytest.approx(expected_nqc(classes), abs=0.03)
    assert expected_nqc(classes) == pytest.approx((5 * 4 + 4 * 3 + 2 * 1) / (12 * 11))
    paper = (5**2 + 4**2 + 2**2 + 1) / 144
    assert expected_nqc(classes, with_itself=True) == pytest.approx(paper)


def test_features_that_tell_nothing_score_as_chance() -> None:
    classes = list("aaaabbbc")
    assert nqc(np.full((8, 6), 0.1), classes) == pytest.approx(expected_nqc(classes))
    assert nqc(np.random.default_rng(2).normal(size=(8, 6)), ["a"] * 8) == 1
    assert expected_nqc(["a", "a"]) == 1
    with pytest.raises(MedsslError, match="at least 2"):
        nqc(np.ones((1, 6)), ["a"])
    with pytest.raises(MedsslError, match="8 images, but 3"):
        nqc(np.ones((8, 6)), list("abc"))


def test_neighbours_of_the_same_patient_do_not_count_between_groups() -> None:
    """Two patients of each class; those of different classes are the nearest, all but their own slices."""
    places = {"p": 0.0, "q": 1.0, "r": 10.0, "s": 11.0}
    groups = [name for name in places for _ in range(3)]
    classes = ["a" if name in "pr" else "b" for name in groups]
    features = np.array([[places[name] + 0.01 * i] for i, name in enumerate(groups)])
    assert nqc(features, classes) == 1
    assert nqc(features, classes, groups) == 0
    assert expected_nqc(classes, groups) == pytest.approx(1 / 3)  # 3 of the other 9
    paired = ["a" if name in "pq" else "b" for name in groups]
    assert nqc(features, paired, groups) == 1
    same = np.full((12, 2), 0.1)
    assert nqc(same, classes, groups) == pytest.approx(expected_nqc(classes, groups))
    with pytest.raises(MedsslError, match="at least two of them; 1 are given"):
        nqc(features, classes, ["p"] * 12)


def cells(features: np.ndarray, values: list[int]) -> LabelledCells:
    nothing = np.zeros(len(values), int)
    return LabelledCells(features.astype(np.float32), np.array(values), nothing, nothing)


def test_silhouette_against_a_loop() -> None:
    rng = np.random.default_rng(3)
    features, values = rng.normal(size=(20, 4)), [1] * 9 + [2] * 10 + [3]
    features[9:19] += 2
    scores = []
    own = features.astype(np.float32).astype(float)
    for i, value in enumerate(values):
        means = {
            other: [
                np.linalg.norm(own[i] - own[j]) for j in range(20) if j != i and values[j] == other
            ]
            for other in (1, 2, 3)
        }
        if not means[value]:
            scores.append(0.0)
            continue
        a = np.mean(means[value])
        b = min(np.mean(v) for k, v in means.items() if k != value)
        scores.append((b - a) / max(a, b))
    assert silhouette(cells(features, values)) == pytest.approx(np.mean(scores), abs=1e-6)


def test_silhouette_edges() -> None:
    assert silhouette(cells(np.ones((4, 2)), [1, 1, 1, 1])) is None
    assert silhouette(cells(np.ones((4, 2)), [1, 1, 2, 2])) == 0
    assert silhouette(cells(np.eye(3), [1, 2, 3])) == 0


def test_feature_std_as_training_reports_it() -> None:
    features = torch.randn(40, 7, generator=torch.Generator().manual_seed(0))
    expected = float(torch.nn.functional.normalize(features, dim=1).std(0).mean())
    assert feature_std(features.numpy()) == pytest.approx(expected, abs=1e-6)
    assert feature_std(np.full((5, 3), 0.3)) == pytest.approx(0)
    with pytest.raises(MedsslError, match="at least 2"):
        feature_std(np.ones((1, 3)))


def test_pair_similarity_against_a_loop() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 9, 5))
    b += a
    a[3] = 0
    images = list("uuvvvwwxx")

    def cosine(i: int, j: int) -> float:
        length = np.linalg.norm(a[i]) * np.linalg.norm(b[j])
        return float(a[i] @ b[j] / length) if length else 0.0

    positive = np.mean([cosine(i, i) for i in range(9)])
    other = [cosine(i, j) for i in range(9) for j in range(9) if images[i] != images[j]]
    assert pair_similarity(a, b, images) == pytest.approx((positive, np.mean(other)), abs=1e-6)
    other = [cosine(i, j) for i in range(9) for j in range(9) if i != j]
    assert pair_similarity(a, b) == pytest.approx((positive, np.mean(other)), abs=1e-6)
    with pytest.raises(MedsslError, match="of 1 images"):
        pair_similarity(a, b, ["u"] * 9)


def test_mass_inside() -> None:
    activation, mask = np.array([[1.0, 2.0], [3.0, 0.0]]), np.array([[True, False], [True, False]])
    assert mass_inside(activation, mask) == pytest.approx(4 / 6)
    assert mass_inside(activation, ~mask & mask) == 0
    assert mass_inside(0 * activation, mask) is None  # it looks at nothing
    with pytest.raises(MedsslError, match="0 or more"):
        mass_inside(-activation, mask)
