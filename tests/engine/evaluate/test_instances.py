"""Objects against naive loops: every assignment is tried, every pixel set compared."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.instances import aji_plus, detection, overlaps, panoptic_quality

EMPTY = np.zeros((6, 6), np.uint16)


def scene(seed: int, objects: int) -> np.ndarray:
    """A few rectangles that cover one another, with arbitrary numbers."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((24, 24), np.int64)
    for number in rng.permutation(np.arange(1, 40))[:objects] * 7:
        y, x = rng.integers(0, 18, 2)
        labels[y : y + rng.integers(3, 9), x : x + rng.integers(3, 9)] = number
    return labels


def sets(labels: np.ndarray) -> list[set[int]]:
    return [set(np.flatnonzero(labels == n).tolist()) for n in np.unique(labels) if n]


def naive_table(prediction: np.ndarray, truth: np.ndarray) -> list[list[float]]:
    return [[len(t & p) / len(t | p) for p in sets(prediction)] for t in sets(truth)]


def assignments(rows: int, columns: int) -> list[list[tuple[int, int]]]:
    """Every way to pair as many as possible."""
    if rows <= columns:
        return [list(enumerate(p)) for p in permutations(range(columns), rows)]
    return [[(r, c) for c, r in enumerate(p)] for p in permutations(range(rows), columns)]


@pytest.mark.parametrize("seed", range(12))
def test_against_all_assignments(seed: int) -> None:
    prediction, truth = scene(seed, 5), scene(seed + 100, 4 + seed % 2)
    table, found = naive_table(prediction, truth), overlaps(prediction, truth)
    ways = assignments(len(table), len(table[0]))

    best = max(ways, key=lambda way: sum(table[t][p] for t, p in way))
    pairs = [(t, p) for t, p in best if table[t][p] > 0]
    true, predicted = sets(truth), sets(prediction)
    shared = sum(len(true[t] & predicted[p]) for t, p in pairs)
    whole = sum(len(true[t] | predicted[p]) for t, p in pairs)
    whole += sum(len(true[t]) for t in range(len(true)) if t not in [a for a, _ in pairs])
    whole += sum(len(predicted[p]) for p in range(len(predicted)) if p not in [b for _, b in pairs])
    assert aji_plus(found) == pytest.approx(shared / whole, abs=1e-6)

    above = [value for row in table for value in row if value > 0.5]
    quality = panoptic_quality(found)
    expected = len(above) / ((len(true) + len(predicted)) / 2)
    assert quality.recognition == pytest.approx(expected, abs=1e-6)
    assert quality.quality == pytest.approx(
        sum(above) / ((len(true) + len(predicted)) / 2), abs=1e-6
    )

    for score in detection(found, (0.1, 0.3, 0.5, 0.9)):
        hits = max(sum(table[t][p] >= score.threshold for t, p in way) for way in ways)
        assert score.true_positives == hits
        assert score.f1 == pytest.approx(2 * hits / (len(true) + len(predicted)), abs=1e-6)


def test_one_to_one_where_greedy_would_lose() -> None:
    """The left true object overlaps both predictions, the right one only the larger."""
    truth = np.array([[3, 3, 3, 3, 9, 9, 0, 0]])
    prediction = np.array([[5, 0, 8, 8, 8, 8, 8, 0]])
    # IoU: 3-5 1/4, 3-8 2/7, 9-8 2/5; the best sum pairs 3-5 and 9-8
    assert aji_plus(overlaps(prediction, truth)) == pytest.approx((1 + 2) / (4 + 5))
    assert detection(overlaps(prediction, truth), [0.25])[0].true_positives == 2


def test_numbers_do_not_matter_and_perfect_is_one() -> None:
    truth = scene(3, 6)
    renumbered = np.where(truth > 0, 5000 - truth, 0)
    found = overlaps(renumbered, truth)
    assert aji_plus(found) == 1
    assert panoptic_quality(found) == (1, 1, 1)
    assert [score.f1 for score in detection(found)] == [1] * 10


def test_without_objects() -> None:
    both, one = overlaps(EMPTY, EMPTY), EMPTY.copy()
    one[2:4, 2:4] = 1
    assert aji_plus(both) == panoptic_quality(both).quality == detection(both)[0].f1 == 1
    for prediction, truth in ((one, EMPTY), (EMPTY, one)):
        found = overlaps(prediction, truth)
        assert aji_plus(found) == panoptic_quality(found).quality == detection(found)[0].f1 == 0


def test_what_is_refused() -> None:
    with pytest.raises(MedsslError, match=r"\(6, 6\), the true ones \(6, 5\)"):
        overlaps(EMPTY, EMPTY[:, :5])
    with pytest.raises(MedsslError, match="threshold of the overlap is 0"):
        detection(overlaps(EMPTY, EMPTY), [0.0])
