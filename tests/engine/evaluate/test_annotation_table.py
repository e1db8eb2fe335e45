from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.annotation_table import iqc_table, iqcs, mean_ranks
from napari_medssl.evaluate.results import Row


def rows(arm: str, downstream: str, scores: dict[int, list[float]], *, plain: bool) -> list[Row]:
    return [
        Row(
            project="here",
            arm=arm,
            method="" if plain else "dicoh",
            start="none",
            downstream=downstream,  # type: ignore[arg-type]
            k=k,
            draw=draw,
            scored_on="test",
            dice=dice,
            dice_images=0,
            iou_images=0,
            dice_pooled=0,
            units=3,
            images=3,
            seconds=1,
        )
        for k, by_draw in scores.items()
        for draw, dice in enumerate(by_draw)
    ]


SCRATCH = {1: [0.1, 0.2, 0.1], 4: [0.5, 0.4, 0.6], 10: [0.8, 0.8, 0.9]}
PRETRAINED = {1: [0.5, 0.6, 0.6], 4: [0.7, 0.7, 0.8], 10: [0.8, 0.9, 0.8]}


def by_hand(scores: dict[int, list[float]]) -> list[float]:
    return [(one + four) / 2 / full for one, four, full in zip(*scores.values(), strict=True)]


def test_iqc_of_each_draw_and_its_test() -> None:
    table = rows("scratch", "full", SCRATCH, plain=True)
    table += rows("dicoh", "full", PRETRAINED, plain=False)
    table += rows("dicoh", "probe", {1: [0.5], 4: [0.6]}, plain=False)  # never with everything
    scratch, dicoh = iqcs(table, scored_on="test", pool=10)
    assert list(scratch.scores.values()) == pytest.approx(by_hand(SCRATCH))
    assert list(dicoh.scores.values()) == pytest.approx(by_hand(PRETRAINED))
    assert scratch.p is None
    expected = stats.ttest_ind(
        by_hand(PRETRAINED), by_hand(SCRATCH), equal_var=False, alternative="greater"
    ).pvalue
    assert dicoh.p == pytest.approx(expected)
    assert dicoh.full == pytest.approx(np.mean([0.8, 0.9, 0.8]))
    text = iqc_table(table, scored_on="test", pool=10).markdown()
    assert text.index("dicoh, fine-tuned") < text.index("scratch, fine-tuned")
    assert iqc_table(table, scored_on="validation", pool=10) is None


def test_a_draw_that_lacks_a_cell_does_not_count() -> None:
    scores = {1: [0.5, 0.6], 4: [0.7], 10: [0.8, 0.9]}
    (found,) = iqcs(rows("dicoh", "frozen", scores, plain=False), scored_on="test", pool=10)
    assert found.scores == {0: pytest.approx(0.6 / 0.8)}


def test_ranks_over_projects() -> None:
    here = rows("scratch", "full", SCRATCH, plain=True)
    here += rows("dicoh", "full", PRETRAINED, plain=False)
    there = rows("dicoh", "full", SCRATCH, plain=False)
    there += rows("scratch", "full", PRETRAINED, plain=True)
    pools = {"a": 10, "b": 10, "c": 10}
    projects = {"a": here, "b": there, "c": here}
    for given in (pools, None):
        found = mean_ranks(projects, downstream="full", pools=given)
        assert found == {"scratch": pytest.approx(5 / 3), "dicoh": pytest.approx(4 / 3)}
    with pytest.raises(MedsslError, match="results of a have nothing to rank by"):
        mean_ranks(projects, downstream="probe")
