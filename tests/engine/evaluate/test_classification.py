"""The classification probe against scikit-learn, against a hand-written loss, and where it must not cheat."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.linear_model import LogisticRegression

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.classification import classify, fit_focal


def blobs(sizes: tuple[int, ...], *, apart: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(len(sizes)), sizes)
    centres = np.eye(len(sizes), 6) * apart
    return rng.normal(size=(len(targets), 6)) + centres[targets], targets


def test_without_focus_it_is_the_balanced_logistic_regression() -> None:
    x, y = blobs((40, 10, 25), apart=1.5)
    weight, bias = fit_focal(x, y, 3, gamma=0)
    other = LogisticRegression(class_weight="balanced", tol=1e-10, max_iter=5000).fit(x, y)
    np.testing.assert_allclose(weight, other.coef_, atol=1e-3)
    np.testing.assert_allclose(bias - bias.mean(), other.intercept_, atol=1e-3)


def test_the_focal_loss_has_its_least_value_there() -> None:
    x, y = blobs((30, 12), apart=1.0)
    weight, bias = fit_focal(x, y, 2, gamma=2)

    def loss(parameters: np.ndarray) -> float:
        layer = parameters.reshape(2, 7)
        value = 0.5 * float((layer[:, :-1] ** 2).sum())
        for features, target in zip(x, y, strict=True):
            heights = np.exp(layer[:, :-1] @ features + layer[:, -1])
            p = heights[target] / heights.sum()
            value -= 42 / (2 * (30, 12)[target]) * (1 - p) ** 2 * np.log(p)
        return value

    best = np.column_stack([weight, bias]).ravel()
    assert np.abs(approx_fprime(best, loss, 1e-6)).max() < 1e-2
    assert np.abs(approx_fprime(best + 0.1, loss, 1e-6)).max() > 0.1


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_what_only_tells_patients_apart_is_no_class(gamma: float) -> None:
    """Each patient has features of its own and one class: learned by image they give every class away."""
    rng = np.random.default_rng(1)
    of = np.repeat(np.arange(12), 6)
    features = rng.normal(size=(12, 40))[of] + 0.01 * rng.normal(size=(72, 40))
    classes = ["ab"[patient % 2] for patient in of]
    by_image = classify(features, classes, [str(i) for i in range(72)], gamma=gamma)
    by_patient = classify(features, classes, [str(patient) for patient in of], gamma=gamma)
    assert by_image is not None
    assert by_patient is not None
    assert by_image.recall == 1
    assert by_patient.recall < 0.8
    features[:, :20] += 3 * (of % 2)[:, None]
    told = classify(features, classes, [str(patient) for patient in of], gamma=gamma)
    assert told is not None
    assert told.recall > 0.95


def test_rare_classes_count_as_much_and_single_groups_not_at_all() -> None:
    x, y = blobs((60, 6, 6), apart=5.0)
    x[y == 2] = 0  # cannot be told from noise
    groups = [str(i) for i in range(len(y))]
    found = classify(x, [f"c{k}" for k in y], groups)
    assert found is not None
    assert found.recalls["c1"] > 0.8
    assert found.recall == pytest.approx(sum(found.recalls.values()) / 3)
    groups = ["one" if k == 2 else name for k, name in zip(y, groups, strict=True)]
    fewer = classify(x, [f"c{k}" for k in y], groups)
    assert fewer is not None
    assert set(fewer.recalls) == {"c0", "c1"}
    assert fewer.images == 66
    assert classify(x[y == 0], ["c0"] * 60, groups[:60]) is None
    with pytest.raises(MedsslError, match="72 images, but 2 classes"):
        classify(x, ["a", "b"], groups)
