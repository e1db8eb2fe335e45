"""Right, too much, missed: the map of errors says what the scores count; and truth is found again where it was."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl import Project
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate import ClassScore
from napari_medssl.evaluate.error_map import Outcome, error_map
from napari_medssl.evaluate.truth import TruthSource
from napari_medssl.synthetic import nuclei

if TYPE_CHECKING:
    from pathlib import Path

NONE, RIGHT, TOO_MUCH, MISSED, CONFUSED = Outcome


def test_by_hand() -> None:
    # not annotated, background, and two classes, each predicted as background and as both classes
    truth = np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3]])
    prediction = np.array([[1, 2, 3]] * 4)
    assert error_map(prediction, truth, 2).tolist() == [
        [NONE, NONE, NONE],
        [NONE, TOO_MUCH, NONE],
        [MISSED, RIGHT, MISSED],
        [NONE, TOO_MUCH, NONE],
    ]
    assert error_map(prediction, truth).tolist() == [
        [NONE, NONE, NONE],
        [NONE, TOO_MUCH, TOO_MUCH],
        [MISSED, RIGHT, CONFUSED],
        [MISSED, CONFUSED, RIGHT],
    ]
    with pytest.raises(MedsslError, match="3 x 4"):
        error_map(prediction, truth.T)


def test_it_holds_the_pixels_that_are_counted() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 4, (40, 50)), rng.integers(1, 4, (40, 50))
    for value in (2, 3):
        found, score = (
            error_map(prediction, truth, value),
            ClassScore.count(prediction, truth, value),
        )
        counted = [np.count_nonzero(found == outcome) for outcome in (RIGHT, TOO_MUCH, MISSED)]
        assert counted == [score.true_positives, score.false_positives, score.false_negatives]
        assert not (found == CONFUSED).any()


def test_a_truth_that_was_recorded_is_found_after_all_has_moved(tmp_path: Path) -> None:
    import cv2

    before = tmp_path / "before"
    for kind in ("images", "masks"):
        (before / kind).mkdir(parents=True)
    field = nuclei(np.random.default_rng(1), shape=(48, 48))
    cv2.imwrite(str(before / "images" / "a.png"), field.image)
    cv2.imwrite(str(before / "masks" / "a.png"), (field.labels > 0).astype(np.uint8) * 255)
    project = Project.create(before / "images")
    source = TruthSource.of(project, before / "masks", "binary")
    assert source.folder == "../masks"
    shutil.move(before, tmp_path / "after")
    moved = Project.open(tmp_path / "after" / project.path.name)
    truth = TruthSource.model_validate_json(source.model_dump_json()).open(moved)
    assert np.array_equal(truth["a.png"] == 2, field.labels > 0)
    assert dict(TruthSource.of(moved, None).open(moved)) == {}  # nothing is annotated
