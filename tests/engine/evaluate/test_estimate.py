"""Folds of whole groups, and what their scores choose."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.estimate import (
    Choice,
    Estimate,
    choose_alone,
    choose_answer,
    folds_of,
    path_of,
)

if TYPE_CHECKING:
    from napari_medssl.project import Project


def estimate(*scores: tuple[float, float, float]) -> Estimate:
    """An estimate of groups with the Dice of network, forest and mean."""
    answers = ("network", "forest", "mean")
    return Estimate(
        scores={f"g{i}": dict(zip(answers, of, strict=True)) for i, of in enumerate(scores)}
    )


@pytest.mark.parametrize("seed", range(20))
def test_folds_are_whole_groups_and_at_most_four(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [f"{i}.png" for i in range(int(rng.integers(2, 30)))]
    grouped = images[: int(rng.integers(len(images)))]
    groups = {name: f"g{rng.integers(1, 6)}" for name in grouped}
    unit = {name: groups.get(name, name) for name in images}
    folds = folds_of(images, groups)
    count = len(set(unit.values()))
    assert len(folds) == (0 if count < 2 else min(4, count))
    if folds:
        assert sorted(itertools.chain(*folds)) == sorted(images)
        units = [{unit[name] for name in fold} for fold in folds]
        assert all(a.isdisjoint(b) for a, b in itertools.combinations(units, 2))
        largest = max(list(unit.values()).count(u) for u in unit.values())
        sizes = [len(fold) for fold in folds]
        assert min(sizes) > 0
        assert max(sizes) - min(sizes) <= largest  # no more uneven than a group makes them


def test_one_group_leaves_nothing_out() -> None:
    assert folds_of(["a", "b"], {"a": "1", "b": "1"}) == []
    assert folds_of(["a"], {}) == []


def test_the_highest_estimate_predicts() -> None:
    found = choose_answer(estimate((0.9, 0.5, 0.6), (0.8, 0.5, 0.52)))
    assert (found.answer, found.score) == ("network", pytest.approx(0.85))
    assert "network 0.850" in found.why
    assert "optimistic" in found.why
    found = choose_answer(estimate((0.5, 0.7, 0.9), (0.6, 0.7, 0.8)))
    assert (found.answer, found.score) == ("mean", pytest.approx(0.85))
    assert "the highest" in found.why


@pytest.mark.parametrize(("ahead", "chosen"), [(0.11, "forest"), (0.09, "mean")])
def test_the_mean_predicts_within_one_standard_error(ahead: float, chosen: str) -> None:
    """Differences of `ahead` +- .1 in two groups have a standard error of .1, paired."""
    found = choose_answer(estimate((0.1, 0.4 + ahead + 0.1, 0.4), (0.1, 0.9 + ahead - 0.1, 0.9)))
    assert found.answer == chosen
    assert found.score == pytest.approx(0.65 + (ahead if chosen == "forest" else 0))


def test_one_score_has_no_standard_error() -> None:
    assert choose_answer(estimate((0.9, 0.1, 0.2))).answer == "mean"


def test_without_scores_the_mean_predicts_unless_the_forest_is_no_use() -> None:
    assert choose_alone(0.7, otherwise="Nothing was left out") == Choice(
        answer="mean",
        why="Nothing was left out, so the mean of network and random forest predicts.",
    )
    alone = choose_alone(0.29, otherwise="Nothing was left out")
    assert (alone.answer, alone.score) == ("network", None)
    assert "Dice 0.29" in alone.why


def test_images_of_one_group_choose_but_give_no_score() -> None:
    scores = estimate((0.9, 0.5, 0.6), (0.8, 0.5, 0.52))
    found = choose_answer(scores, independent=False)
    assert (found.answer, found.score) == ("network", None)
    assert "other groups is not known" in found.why
    assert "0.8" not in found.why


def test_an_estimate_is_kept_in_the_run(project: Project) -> None:
    run = project.new_run("finetune")
    assert Estimate.read(run) == Estimate()
    kept = estimate((0.1, 0.2, 0.3)).model_copy(update={"done": (0, 2)})
    kept.write(run)
    assert Estimate.read(run) == kept
    path_of(run).write_text('{"scores": {"a": {"guess": 1}}}')
    with pytest.raises(MedsslError, match="guess"):
        Estimate.read(run)
