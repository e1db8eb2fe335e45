"""Two evaluated runs compared image by image."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate import Evaluation
from napari_medssl.evaluate.objects import ObjectEvaluation
from napari_medssl.evaluate.paired import paired_difference

TRUTH = np.ones((20, 20), np.uint16)
TRUTH[:10, :10] = 2


def evaluation(run: str, missed: dict[str, int], truth: np.ndarray = TRUTH) -> Evaluation:
    """Evaluate a run that misses so many rows of each image."""
    pairs = []
    for name, rows in missed.items():
        prediction = truth.copy()
        prediction[:rows] = 1
        pairs.append((name, prediction, truth))
    return Evaluation.of(pairs, run=run)


def dice(rows: int) -> float:
    return 2 * (10 - rows) / (10 + 10 - rows)


def test_a_small_steady_gain_is_sure_where_images_differ_much() -> None:
    rows = {f"{n}.png": n for n in range(1, 9)}
    before = evaluation("old", rows)
    after = evaluation("new", {name: n - 1 for name, n in rows.items()})
    found = paired_difference(before, after)
    gains = [dice(n - 1) - dice(n) for n in rows.values()]
    assert found.interval.mean == pytest.approx(np.mean(gains))
    assert found.interval.low > 0
    assert "new is better" in found.sentence()
    # the intervals of the two means overlap widely
    assert before.intervals["foreground"]["dice"].high > after.intervals["foreground"]["dice"].mean
    assert [pair.difference for pair in found.images] == pytest.approx(sorted(gains))
    back = paired_difference(after, before)
    assert back.interval.mean == pytest.approx(-found.interval.mean)
    assert "new is better" in back.sentence()
    grouped = paired_difference(
        before, after, groups={name: str(n % 2) for name, n in rows.items()}
    )
    assert grouped.interval.units == 2


def test_only_images_with_the_same_truth_count() -> None:
    before = evaluation("old", {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5})
    other = TRUTH.copy()
    other[:12, :12] = 2
    same = evaluation("new", {"a": 2, "b": 2, "c": 2})
    changed = evaluation("new", {"d": 2}, other)
    after = same.model_copy(update={"images": same.images + changed.images})
    found = paired_difference(before, after)
    assert {pair.image for pair in found.images} == {"a", "b", "c"}
    assert found.left_out == {"d": "its truth was another one", "e": "new was not scored on it"}
    assert "neither is surely better" in found.sentence()
    objects = [
        ObjectEvaluation.of([(name, TRUTH == 2, TRUTH == 2) for name in names])
        for names in ("abce", "abcd")
    ]
    counted = [
        before.model_copy(update={"objects": own}) for own in objects
    ]  # of d and e, objects of one alone were scored
    found = paired_difference(*counted, measure="f1")
    assert {pair.image for pair in found.images} == {"a", "b", "c"}
    assert found.left_out == dict.fromkeys("de", "its objects were not scored")
    with pytest.raises(MedsslError, match="2 images in common"):
        paired_difference(before, evaluation("new", {"a": 1, "b": 1, "x": 1}))
    with pytest.raises(MedsslError, match="without objects"):
        paired_difference(before, after, measure="f1")
    with pytest.raises(MedsslError, match="allowed are dice"):
        paired_difference(before, after, measure="accuracy")
