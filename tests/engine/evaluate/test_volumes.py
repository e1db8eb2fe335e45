from __future__ import annotations

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.volumes import volume_scores

CLASSES = {2: "ventricle", 3: "wall"}


def test_against_stacked_slices() -> None:
    rng = np.random.default_rng(0)
    predictions = rng.integers(1, 4, (6, 9, 8)).astype(np.uint16)
    truths = rng.integers(0, 4, (6, 9, 8)).astype(np.uint16)
    groups = {f"s{n}": "abc"[n // 2] for n in range(5)}  # the last slice is a volume of its own
    pairs = [(f"s{n}", predictions[n], truths[n]) for n in range(6)]
    found = volume_scores(pairs, groups, classes=CLASSES, background=True)
    assert [(row.group, row.images) for row in found] == [
        ("a", ("s0", "s1")),
        ("b", ("s2", "s3")),
        ("c", ("s4",)),
        ("s5", ("s5",)),
    ]
    for number, row in enumerate(found):
        stack = slice(*[(0, 2), (2, 4), (4, 5), (5, 6)][number])
        known = truths[stack] != 0
        expected = []
        for value in (1, 2, 3):
            a, b = (predictions[stack] == value) & known, truths[stack] == value
            expected.append(2 * (a & b).sum() / (a.sum() + b.sum()))
        scores = [row.classes[name].dice for name in ("background", "ventricle", "wall")]
        np.testing.assert_allclose(scores, expected, atol=1e-6)
        assert row.dice == pytest.approx(np.mean(expected))
    without = volume_scores(pairs, groups, classes=CLASSES)
    assert without[0].dice == pytest.approx(
        np.mean([found[0].classes[name].dice for name in CLASSES.values()])
    )


def test_an_empty_slice_counts_with_its_volume_alone() -> None:
    empty = np.ones((3, 3), np.uint16)
    full = np.full((3, 3), 2, np.uint16)
    pairs = [("a", full, full), ("b", empty, empty), ("c", empty, empty), ("d", full, 0 * full)]
    found = volume_scores(pairs, {"a": "p", "b": "p"}, classes={2: "x"})
    assert {row.group: row.dice for row in found} == {"p": 1.0, "c": 1.0}
    with pytest.raises(MedsslError, match="no class"):
        volume_scores(pairs, {}, classes={})
