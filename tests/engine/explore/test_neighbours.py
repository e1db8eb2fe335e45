from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.explore.neighbours import Folder
from napari_medssl.explore.separability import separability
from napari_medssl.explore.similarity import EmbeddingError

if TYPE_CHECKING:
    from tests.engine.explore.conftest import MakeStore


def test_distances_equal_the_loop(make_store: MakeStore) -> None:
    rng = np.random.default_rng(0)
    features = {f"{n}.png": rng.normal(n, 1, (4, 4, 6)) for n in range(7)}
    store = make_store(features)
    told: list[tuple[int, int]] = []
    folder = Folder.of(store, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (7, 7)
    means = {n: f.astype(np.float16).astype(float).mean((0, 1)) for n, f in features.items()}
    near = folder.nearest("2.png", 6)
    # 7 images span at most 6 directions: 10 components keep every distance
    for item in near:
        expected = np.linalg.norm(means[item.image] - means["2.png"])
        assert item.distance == pytest.approx(expected, rel=1e-4)
    assert [item.distance for item in near] == sorted(item.distance for item in near)
    assert folder.nearest("2.png", 2, farthest=True) == near[::-1][:2]
    assert "2.png" not in {item.image for item in near}
    with pytest.raises(EmbeddingError, match="nothing"):
        folder.nearest("nothing.png")


def test_the_map_keeps_batches_apart() -> None:
    rng = np.random.default_rng(0)
    batch = np.arange(60) % 3
    means = rng.normal(0, 1, (60, 16)) + 12 * np.eye(16)[batch]
    folder = Folder(tuple(f"{n}.png" for n in range(60)), means)
    for kind in ("pca", "tsne"):
        places = folder.layout(kind)
        centres = np.array([places[batch == b].mean(0) for b in range(3)])
        nearest = np.linalg.norm(places[:, None] - centres, axis=-1).argmin(1)
        np.testing.assert_array_equal(nearest, batch)
    assert Folder(("a", "b"), means[:2]).layout().shape == (2, 2)
    with pytest.raises(EmbeddingError, match="1 images"):
        Folder(("a",), means[:1])


def test_separability_tells_features_that_know_the_class(make_store: MakeStore) -> None:
    rng = np.random.default_rng(0)
    labels, informed, blind = {}, {}, {}
    for n in range(6):
        label = rng.integers(1, 3, (8, 8))
        labels[f"{n}.png"] = label.repeat(4, 0).repeat(4, 1)[:31, :30]
        noise = rng.normal(size=(8, 8, 4))
        blind[f"{n}.png"] = noise
        informed[f"{n}.png"] = noise + 6 * label[..., None]
    good = separability(make_store(informed), labels.items())
    assert good is not None
    assert good.balanced_accuracy > 0.95
    assert (good.classes, good.images) == (2, 6)
    poor = separability(make_store(blind), labels.items())
    assert poor is not None
    assert poor.balanced_accuracy == pytest.approx(0.5, abs=0.15)


def test_images_that_differ_as_a_whole_do_not_pass_for_separable(make_store: MakeStore) -> None:
    rng = np.random.default_rng(0)
    features = {f"{n}.png": rng.normal(5 * n, 0.1, (8, 8, 4)) for n in range(6)}
    labels = {name: np.full((31, 30), 1 + n % 2) for n, name in enumerate(features)}
    found = separability(make_store(features), labels.items())
    assert found is not None
    assert (
        found.balanced_accuracy < 0.9
    )  # every pixel is known by its image, but no image is seen twice


def test_too_few_labels_are_no_separability(make_store: MakeStore) -> None:
    store = make_store({"a.png": np.ones((4, 4, 4)), "b.png": np.ones((4, 4, 4))})
    one = np.ones((15, 14), int)
    assert separability(store, [("a.png", one), ("b.png", one)]) is None
    assert separability(store, [("a.png", one), ("b.png", 0 * one)]) is None


def test_slices_of_a_patient_are_never_on_both_sides(make_store: MakeStore) -> None:
    rng = np.random.default_rng(0)
    features, labels, patients = {}, {}, {}
    for n in range(12):
        name, patient = f"{n}.png", n // 3
        label = rng.integers(1, 3, (8, 8))
        features[name] = rng.normal(size=(8, 8, 4))
        features[name][..., patient] += 12 * label  # each patient's classes differ in their own way
        labels[name] = label.repeat(4, 0).repeat(4, 1)[:31, :30]
        patients[name] = f"p{patient}"
    store = make_store(features)
    alone = separability(store, labels.items())
    apart = separability(store, labels.items(), groups=patients)
    assert alone is not None
    assert apart is not None
    assert alone.balanced_accuracy > 0.9  # other slices of the patient told
    assert apart.balanced_accuracy < 0.6
    assert (apart.images, apart.groups, alone.groups) == (12, 4, 12)


def test_a_class_of_one_patient_alone_cannot_be_learned(make_store: MakeStore) -> None:
    rng = np.random.default_rng(0)
    store = make_store({f"{n}.png": rng.normal(size=(4, 4, 3)) for n in range(4)})
    labels = {name: rng.integers(1, 3, (15, 14)) for name in store.names}
    labels["0.png"][:4] = labels["1.png"][:4] = 3
    found = separability(store, labels.items())
    assert found is not None
    assert found.classes == 3
    same = {"0.png": "p", "1.png": "p"}
    found = separability(store, labels.items(), groups=same)
    assert found is not None
    assert (found.classes, found.images, found.groups) == (2, 4, 3)
