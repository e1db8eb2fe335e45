from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import napari_medssl
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.annotation_table import iqc_table, iqcs, mean_ranks
from napari_medssl.evaluate.report.efficiency import findings
from napari_medssl.evaluate.results import Row, Table


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


def test_draws_that_score_nothing_with_everything_are_told() -> None:
    some = {1: [0.5, 0.1, 0.6], 4: [0.7, 0.1, 0.8], 10: [0.8, 0.0, 0.9]}
    table = rows("dicoh", "full", some, plain=False)
    table += rows("scratch", "full", {k: [0.0, 0.0] for k in (1, 4, 10)}, plain=True)
    (found,) = iqcs(table, scored_on="test", pool=10)
    assert (list(found.scores), found.undefined) == ([0, 2], 1)
    assert found.full == pytest.approx(0.85)
    shown = iqc_table(table, scored_on="test", pool=10)
    assert "draws of dicoh, fine-tuned (1 of 3), scratch, fine-tuned (2 of 2)" in shown.text
    assert shown.body[-1] == ["scratch, fine-tuned", "none", "0.000", ""]


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


def test_ranks_from_the_files_of_experiments(tmp_path: Path) -> None:
    both = (("scratch", SCRATCH, True), ("dicoh", PRETRAINED, False))
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        table = Table(tmp_path / place / "results.csv")
        for arm, scores, plain in both:
            table.add(rows(arm, "full", scores, plain=plain))
    paths = [tmp_path / place / "results.csv" for place in ("here", "there")]
    assert list(napari_medssl.mean_ranks(paths, by="dice").items()) == [
        ("dicoh", 1),
        ("scratch", 2),
    ]
    with pytest.raises(MedsslError, match="not of an experiment over annotation rates"):
        napari_medssl.mean_ranks(paths)
    for path in paths:
        path.with_name("plan.json").write_text('{"rates": [0.1, 0.4], "pool": 10}')
    assert napari_medssl.mean_ranks(paths) == {"dicoh": 1, "scratch": 2}
    with pytest.raises(MedsslError, match="There is no file"):
        napari_medssl.mean_ranks([tmp_path / "results.csv"])


def test_findings_tell_apart_only_what_draws_tell_apart() -> None:
    table = rows("scratch", "full", SCRATCH | {2: [0.3]}, plain=True)
    table += rows("dicoh", "full", PRETRAINED | {2: [0.2]}, plain=False)
    table += rows("dicoh", "probe", {1: [0.9]}, plain=False)
    assert list(findings(table, scored_on="test")) == [
        "Best with 1 annotated unit: dicoh, linear probe, Dice 0.900 ± 0.000 (1).",
        "Best with 10 annotated units: scratch, fine-tuned, Dice 0.833 ± 0.058 (3).",
        "dicoh, fine-tuned, beside scratch, fine-tuned: ahead with 1 and 4 annotated units (+0.233 to +0.433); "
        "not told apart with 10 annotated units (+0.000); undecided, as there is one draw, with 2 annotated units "
        "(-0.100).",
    ]
