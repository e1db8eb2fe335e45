from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate import ClassScore, Evaluation, dice, iou
from napari_medssl.evaluate.objects import ObjectEvaluation
from napari_medssl.evaluate.volumes import VolumeEvaluation

# counted by hand: class 2 is in both at 2 pixels, in the prediction alone at 1, in the truth alone at 1
PREDICTION = np.array([[2, 2, 2, 1], [1, 1, 1, 2]], np.uint16)
TRUTH = np.array([[2, 2, 1, 2], [1, 1, 1, 0]], np.uint16)


def test_against_hand_counts() -> None:
    assert dice(PREDICTION, TRUTH) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert iou(PREDICTION, TRUTH) == pytest.approx(2 / 4)
    # background: both at 3 pixels, prediction alone 1, truth alone 1
    assert dice(PREDICTION, TRUTH, 1) == pytest.approx(6 / 8)
    assert iou(PREDICTION, TRUTH, 1) == pytest.approx(3 / 5)


def test_pixels_without_truth_take_no_part() -> None:
    other = PREDICTION.copy()
    other[1, 3] = 1  # there the truth is 0
    assert dice(other, TRUTH) == dice(PREDICTION, TRUTH)
    assert iou(other, TRUTH) == iou(PREDICTION, TRUTH)


def test_a_class_in_neither_scores_one_and_in_one_alone_zero() -> None:
    background = np.ones((3, 3), np.uint16)
    nucleus = background.copy()
    nucleus[0, 0] = 2
    assert dice(background, background) == iou(background, background) == 1.0
    assert dice(nucleus, background) == iou(nucleus, background) == 0.0
    assert dice(background, nucleus) == iou(background, nucleus) == 0.0


def test_perfect_and_symmetric() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(1, 4, (2, 31, 17)).astype(np.uint16)
    for value in (1, 2, 3):
        assert dice(a, a, value) == iou(a, a, value) == 1.0
        assert dice(a, b, value) == pytest.approx(dice(b, a, value))
        overlap = iou(a, b, value)
        assert dice(a, b, value) == pytest.approx(2 * overlap / (1 + overlap))


def test_different_shapes_are_refused_with_both_sizes() -> None:
    with pytest.raises(MedsslError, match=r"2 x 4 pixels and the truth 2 x 3"):
        dice(PREDICTION, TRUTH[:, :3])
    with pytest.raises(MedsslError, match=r"^a\.png: The prediction"):
        Evaluation.of([("a.png", PREDICTION, TRUTH[:, :3])])


@pytest.fixture
def evaluation() -> Evaluation:
    small = np.array([[2, 3]], np.uint16)
    pairs = [
        ("a.png", PREDICTION, TRUTH),
        ("b.png", small, np.array([[2, 2]], np.uint16)),
        ("c.png", small, np.zeros((1, 2), np.uint16)),
    ]
    return Evaluation.of(pairs, classes={2: "nucleus", 3: "debris"}, run="r", skipped={"d": "lost"})


def test_mean_over_images_and_pooled_over_pixels(evaluation: Evaluation) -> None:
    nucleus = [2 / 3, 2 / 3]  # b: one in both, one in the truth alone
    assert evaluation.mean["nucleus"]["dice"] == pytest.approx(np.mean(nucleus))
    assert evaluation.mean["nucleus"]["iou"] == pytest.approx(0.5)
    assert evaluation.mean["debris"]["dice"] == pytest.approx((1 + 0) / 2)
    pooled = evaluation.pooled["nucleus"]
    counts = (pooled.true_positives, pooled.false_positives, pooled.false_negatives)
    assert counts == (3, 1, 2)
    assert pooled.dice == pytest.approx(6 / 9)
    assert pooled.iou == pytest.approx(3 / 6)
    assert evaluation.mean_dice == pytest.approx((2 / 3 + 0.5) / 2)
    assert evaluation.mean_iou == pytest.approx(0.5)
    assert [row.image for row in evaluation.images] == ["a.png", "b.png"]


def test_precision_and_recall(evaluation: Evaluation) -> None:
    # a: 2 of 3 predicted pixels are right, 2 of 3 true ones found; b: all of 1 and half of 2
    assert evaluation.mean["nucleus"]["precision"] == pytest.approx((2 / 3 + 1) / 2)
    assert evaluation.mean["nucleus"]["recall"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert evaluation.pooled["nucleus"].precision == pytest.approx(3 / 4)
    assert evaluation.pooled["nucleus"].recall == pytest.approx(3 / 5)
    # debris: right in a, where there is none; in b predicted where there is none
    assert evaluation.mean["debris"]["precision"] == pytest.approx((1 + 0) / 2)
    assert evaluation.mean["debris"]["recall"] == pytest.approx((1 + 0) / 2)
    missed = ClassScore.of(0, 0, 7)
    assert missed.dice == missed.precision == missed.recall == 0


def test_two_class_mean_iou() -> None:
    found = Evaluation.of([("a.png", PREDICTION, TRUTH)])
    assert found.iou_with_background == pytest.approx((2 / 4 + 3 / 5) / 2)
    classes = {1: "background", 2: "nucleus"}
    both = Evaluation.of([("a.png", PREDICTION, TRUTH)], classes=classes)
    assert both.iou_with_background is None
    assert both.mean_iou == pytest.approx(found.iou_with_background)


def test_intervals_over_images_or_groups(evaluation: Evaluation) -> None:
    debris = evaluation.intervals["debris"]["dice"]  # 1 in a, 0 in b
    assert (debris.mean, debris.low, debris.high, debris.units) == (0.5, 0, 1, 2)
    pairs = [(f"{n}.png", PREDICTION, TRUTH) for n in range(4)]
    groups = {"0.png": "p", "1.png": "p", "2.png": "q"}  # 3.png is a group of its own
    grouped = Evaluation.of(pairs, groups=groups)
    assert grouped.intervals["foreground"]["iou"].units == 3
    assert "intervals: bootstrap over 3 groups of images" in grouped.table()
    alone = Evaluation.of(pairs, groups={f"{n}.png": "p" for n in range(4)})
    assert alone.intervals == {}
    assert "interval" not in alone.table()


def test_images_without_truth_are_named(evaluation: Evaluation) -> None:
    assert evaluation.skipped == {"d": "lost", "c.png": "its truth has no annotated pixel"}
    with pytest.raises(MedsslError, match="nothing to score"):
        Evaluation.of([("c.png", PREDICTION, np.zeros_like(TRUTH))])


def test_table(evaluation: Evaluation) -> None:
    lines = evaluation.table().splitlines()
    assert lines[0].split() == [
        "image",
        "nucleus",
        "Dice",
        "nucleus",
        "IoU",
        "debris",
        "Dice",
        "debris",
        "IoU",
    ]
    assert lines[2].split() == ["a.png", "0.6667", "0.5000", "1.0000", "1.0000"]
    assert lines[5].startswith("mean over 2 images")
    assert lines[6].split() == ["95%", "interval", "from", "0.6667", "0.5000", "0.0000", "0.0000"]
    assert lines[8].split()[-4:] == ["0.6667", "0.5000", "0.0000", "0.0000"]
    assert "nucleus     0.8333  0.5833            0.7500         0.6000" in lines
    assert "intervals: bootstrap over 2 images; of so few they are too narrow" in lines
    assert "not scored: d (lost)" in lines


def test_many_images_left_out_for_one_reason_take_one_line() -> None:
    skipped = {f"t{n}.png": "taught" for n in range(7)}
    pairs = [("a.png", PREDICTION, TRUTH)]
    lines = Evaluation.of(pairs, skipped=skipped, notes=["Mind this."]).table().splitlines()
    assert lines[-3:] == [
        "not scored: t0.png, t1.png, t2.png, t3.png, t4.png and 2 more (taught)",
        "note: Mind this.",
        "note: The scored image is only partly annotated: pixels without a label do not count.",
    ]


def test_files(evaluation: Evaluation, tmp_path) -> None:
    evaluation.to_json(tmp_path / "scores.json")
    assert Evaluation.parse(json.loads((tmp_path / "scores.json").read_text())) == evaluation
    evaluation.to_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert rows[0]["image"] == "a.png"
    assert rows[0]["class"] == "nucleus"
    assert float(rows[0]["dice"]) == pytest.approx(2 / 3)


def test_tables_hold_f1_over_overlaps_volumes_and_pooled_pixels(
    evaluation: Evaluation, tmp_path
) -> None:
    true = np.array([[1, 1, 1, 0], [1, 1, 1, 0]])
    found = np.array([[5, 5, 0, 0], [5, 5, 0, 0]])  # overlaps it by 2 / 3
    objects = ObjectEvaluation.of([("a.png", found, true)])
    pairs = [("a.png", PREDICTION, TRUTH), ("b.png", PREDICTION, TRUTH)]
    volumes = VolumeEvaluation.of(pairs, {"a.png": "p", "b.png": "p"}, classes={2: "nucleus"})
    full = evaluation.model_copy(update={"objects": objects, "volumes": volumes})
    images, pooled = full.to_csv(tmp_path / "scores.csv")
    with images.open(newline="") as file:
        a, _, b, _ = csv.DictReader(file)
    assert [float(a[f"f1_{at}"]) for at in (50, 65, 70, 95)] == [1, 1, 0, 0]
    assert b["f1_50"] == b["aji_plus"] == ""  # its objects were not scored
    with pooled.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert pooled.name == "scores-pooled.csv"
    assert [(row["pooled"], row["group"], row["images"], row["class"]) for row in rows] == [
        ("all images", "", "2", "nucleus"),
        ("all images", "", "2", "debris"),
        ("volume", "p", "2", "nucleus"),
    ]
    assert float(rows[0]["dice"]) == evaluation.pooled["nucleus"].dice
    assert float(rows[2]["dice"]) == volumes.volumes[0].dice
