"""Probes that learn from more and more images: honest about what they have seen."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_medssl.cli.entry import main
from napari_medssl.engine.api import compare_scores, finetune, pretrain
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate import Evaluation
from napari_medssl.evaluate.class_scores import ClassScore
from napari_medssl.evaluate.learning_curve import (
    CONFIG,
    evaluated_runs,
    probe_image,
    probe_scores,
    untaught,
)
from napari_medssl.explore.linear import fit_linear
from napari_medssl.explore.probe_features import probability_maps

if TYPE_CHECKING:
    from napari_medssl.evaluate.learning_curve import ProbeImage
    from napari_medssl.project import Project, Run

SIDE, STRIDE = 40, 4


def picture(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Make labels and cells of an image: its first feature tells in all images, others in this one alone."""
    rng = np.random.default_rng(seed)
    labels = np.ones((SIDE, SIDE), np.uint16)
    top, left = rng.integers(2, 18, 2)
    labels[top : top + 20, left : left + 16] = 2
    cells = rng.normal(0, 0.5, (SIDE // STRIDE, SIDE // STRIDE, 7))
    inside = (labels == 2)[::STRIDE, ::STRIDE, None]
    cells += inside * np.append(1.5, rng.normal(0, 1.2, 6))
    return labels, cells.astype(np.float16)


def images_of(count: int) -> dict[str, ProbeImage]:
    parts = {f"{n}.png": picture(n) for n in range(count)}
    return {
        name: probe_image(name, labels, cells, STRIDE) for name, (labels, cells) in parts.items()
    }


def test_scores_rise_and_nothing_is_scored_that_taught() -> None:
    scores = probe_scores(images_of(8))
    sets: dict[tuple[int, int], set[str]] = {}
    for score in scores:
        sets.setdefault((score.annotated, score.draw), set()).add(score.image)
    assert {count for count, _ in sets} == {1, 2, 3, 4, 6}
    assert all(len(images) == 8 - count for (count, _), images in sets.items())
    for count in (1, 2, 3, 4, 6):  # each image is scored at each number of images
        every = [images for (own, _), images in sets.items() if own == count]
        assert set().union(*every) == {f"{n}.png" for n in range(8)}
        assert len({frozenset(images) for images in every}) == len(every) >= 8
    means = [np.mean([s.value for s in scores if s.annotated == count]) for count in (1, 3, 6)]
    assert all(after > before for before, after in pairwise(means))
    again = probe_scores(images_of(8))
    assert [score[:3] for score in again] == [score[:3] for score in scores]
    # where arrays lie in memory decides on last digits, and these on single pixels
    np.testing.assert_allclose([s.value for s in again], [s.value for s in scores], atol=0.02)


def test_no_image_of_a_patient_that_taught_is_scored() -> None:
    groups = {f"{n}.png": str(n // 2) for n in range(12)}
    scores = probe_scores(images_of(12), groups=groups)
    for count in {score.annotated for score in scores}:
        for draw in {score.draw for score in scores if score.annotated == count}:
            tested = [s.image for s in scores if (s.annotated, s.draw) == (count, draw)]
            patients = {groups[name] for name in tested}
            assert count <= 12 - 2 * len(patients)  # the whole of a scored patient is held out
    with pytest.raises(MedsslError, match=r"4 groups of annotated images .* there are 3"):
        probe_scores(images_of(6), groups=groups)
    four = {f"{n}.png": str(n // 5) for n in range(20)}  # a fifth would be less than a patient
    assert max(score.annotated for score in probe_scores(images_of(20), groups=four)) == 15
    with pytest.raises(MedsslError, match=r"4 annotated images .* there are 3"):
        probe_scores(images_of(3))


def test_drawn_pixels_estimate_the_dice_of_the_whole_image() -> None:
    labels, cells = picture(0)
    labels[:25] = 0  # partly annotated
    few, every = probe_image("a", labels, cells, STRIDE), images_of(2)["1.png"].seen
    layer = fit_linear(every.pixels, every.values, scale=every.spread, l2=CONFIG.l2)
    assert few.weights.sum() == pytest.approx((labels > 0).sum())
    predicted = layer.values[layer.logits(few.seen.pixels).argmax(1)]
    hits = few.weights[(predicted == 2) & (few.seen.values == 2)].sum()
    maps = probability_maps(layer, cells, STRIDE, labels.shape)
    whole = layer.values[maps.argmax(0)]
    assert hits == pytest.approx(ClassScore.count(whole, labels, 2).true_positives, abs=2)


def run_from(project: Project, job: dict[str, Any]) -> Run:
    run = project.new_run(job["kind"])
    run.write_job(job)
    return run


def test_a_network_is_asked_that_has_not_learned_from_the_annotations(
    annotated_project: Project,
) -> None:
    project = annotated_project
    start = run_from(project, {"kind": "pretrain", "method": "medsass"})
    job = {"kind": "finetune", "mode": "full", "images": list(project.images[:2])}
    tuned = run_from(project, job | {"from_run": start.name})
    again = run_from(project, job | {"from_run": tuned.name})
    scratch = run_from(project, job)
    gone = run_from(project, job | {"from_run": "20200101-dicoh-01"})
    assert untaught(project, start) == untaught(project, again) == (start, False)
    assert untaught(project, scratch) == (scratch, True)
    with pytest.raises(MedsslError, match="descends from 20200101-dicoh-01"):
        untaught(project, gone)


def test_what_more_annotations_buy_from_annotations_to_shell(
    annotated_project: Project,
    tiny_network: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = annotated_project
    training = {"steps": 1, "batch_size": 2, "patch_size": 32}
    start = pretrain(project, network=tiny_network, training=training, device="cpu")
    tuned = finetune(project, from_run=start, mode="probe", images=project.images[:2], device="cpu")
    rival = run_from(project, {"kind": "finetune", "mode": "full", "images": [project.images[0]]})
    truth = {name: project.annotations.read(name) for name in project.images[1:]}
    everything = [(name, np.full_like(labels, 2), labels) for name, labels in truth.items()]
    Evaluation.of(everything, run=rival.name).to_json(rival.path / "evaluation.json")

    own = [str(project.path), "--run", tuned.name, "--device", "cpu"]
    assert main(["evaluate", *own, "--against", rival.name, "--objects", "none"]) == 0
    difference = compare_scores(project, before=rival.name, after=tuned.name)
    assert difference.sentence() in capsys.readouterr().out
    assert {pair.image for pair in difference.images} == set(project.images[2:])
    assert difference.left_out == {project.images[1]: f"{tuned.name} was not scored on it"}
    runs = {item.run: item for item in evaluated_runs(project)}
    assert (runs[tuned.name].annotated, runs[rival.name].annotated) == (2, 1)
    assert runs[tuned.name].images == set(project.images[2:])

    # features of the fine-tuned network would know the images: the pretrained one is asked
    assert main(["more", *own, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert start.name in events[0]["title"]
    found = events[-1]["data"]
    assert (found["annotated"], found["more"]) == (6, 5)
    assert [point["annotated"] for point in found["points"]] == [1, 2, 3, 4]
    assert found["then"]["low"] <= found["then"]["value"] <= found["then"]["high"]
