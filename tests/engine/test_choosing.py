"""After a fine-tuning: a forest beside the network, leave-one-out estimates, and what predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_medssl import finetune, predict, resume
from napari_medssl.engine.job import execute
from napari_medssl.evaluate.estimate import Estimate, path_of
from napari_medssl.events import Done, Event, Note, Progress
from napari_medssl.learn.control import Control
from napari_medssl.learn.predict import labels_of, network_maps, predict_maps
from napari_medssl.learn.weights import load_model
from napari_medssl.project import PatternRule, Project, Run, read_labels

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = {"encoder": "tu-test_efficientnet", "encoder_depth": 3}
TRAINING = {"steps": 3, "batch_size": 2, "patch_size": 32, "channels_last": True}
PAIR = PatternRule(pattern="(field_)[01]")  # 0 and 1 belong together, the others to nothing
ONE = PatternRule(pattern="(field)_")


def project_of(folder: Path, groups: PatternRule | None = None) -> Project:
    """A project of which every fifth row is annotated: forests grow the faster."""
    project = Project.create(
        folder / "images", masks=folder / "masks", masks_as="instances", groups=groups
    )
    for name in project.images:
        labels = project.annotations.read(name)
        labels[np.arange(64) % 5 > 0] = 0
        project.annotations.write(name, labels)
    return project


def job(project: Project, images: list[int], **settings: Any) -> dict[str, Any]:
    return {
        "kind": "finetune",
        "project": str(project.path),
        "images": [project.images[number] for number in images],
        "network": NETWORK,
        "training": TRAINING,
        "threads": 1,
        **settings,
    }


def carried_out(project: Project, images: list[int], **settings: Any) -> tuple[Run, list[Event]]:
    events = list(execute(job(project, images, **settings)))
    return project.run("latest"), events


def done(events: list[Event]) -> Done:
    assert isinstance(events[-1], Done)
    return events[-1]


def notes(events: list[Event]) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Note))


def test_one_image_has_no_estimate_and_the_mean_predicts(nuclei_folder: Path) -> None:
    run, events = carried_out(project_of(nuclei_folder), [0])
    assert not path_of(run).exists()
    assert load_model(run.best_path).spec.answer == "mean"
    assert "estimate/dice" not in done(events).metrics
    assert "One annotated image leaves nothing for an estimate, so the mean" in notes(events)


def test_a_forest_that_fails_on_what_it_did_not_learn_from_has_no_say(nuclei_folder: Path) -> None:
    """Annotations that have nothing to do with grey values: no forest finds them elsewhere."""
    project = project_of(nuclei_folder)
    rng = np.random.default_rng(0)
    for images in ([0], [0, 1]):
        for name in (project.images[i] for i in images):
            labels = np.ones(project.shape(name), np.uint16)
            for y, x in rng.integers(0, 56, (6, 2)):
                labels[y : y + 8, x : x + 8] = 2
            project.annotations.write(name, labels)
        run, events = carried_out(project, images, estimate=False)
        assert load_model(run.best_path).spec.answer == "network"
        assert "fails on annotations that it did not learn from" in notes(events)


def test_groups_are_left_out_in_turn_and_the_best_answer_predicts(nuclei_folder: Path) -> None:
    project = project_of(nuclei_folder, PAIR)
    run, events = carried_out(project, [0, 1, 2])
    estimate = Estimate.read(run)
    assert len(estimate.scores) == len(estimate.done) == 2
    assert set(estimate.scores) == {"field_", project.images[2]}
    for score in estimate.scores.values():
        assert set(score) == {"network", "forest", "mean"}
        assert all(0 <= value <= 1 for value in score.values())
        assert (
            score["forest"] > 0.5
        )  # bright nuclei: a forest that saw none of the group finds them
    model = load_model(run.best_path)
    told = done(events)
    assert told.metrics["estimate/dice"] == pytest.approx(estimate.mean(model.spec.answer))
    assert f"leave-one-out Dice {told.metrics['estimate/dice']:.3f}" in told.summary
    assert "2 more trainings" in notes(events)
    assert [e.total for e in events if isinstance(e, Progress)][-1] == 2 * TRAINING["steps"]
    assert [step for step, _ in run.metrics()["loss"]] == [1, 2, 3]  # of the training alone
    assert not (run.path / "folds").exists()


def test_what_a_fold_was_not_taught_scores_it(nuclei_folder: Path) -> None:
    """The score of an image is that of a forest on the other one."""
    project = project_of(nuclei_folder)
    run, _ = carried_out(project, [0, 1])
    first = project.images[0]
    alone, _ = carried_out(project, [1], answer="forest", estimate=False)
    predict(project, run=alone.name, images=[first])
    labels = project.annotations.read(first)
    found = read_labels(project.prediction_path(alone.name, first))[labels > 0] == 2
    truth = labels[labels > 0] == 2
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert Estimate.read(run).scores[first]["forest"] == pytest.approx(dice)


def test_images_of_one_group_choose_but_are_no_score(nuclei_folder: Path) -> None:
    project = project_of(nuclei_folder, ONE)
    run, events = carried_out(project, [0, 1])
    assert set(Estimate.read(run).scores) == set(project.images[:2])
    assert "estimate/dice" not in done(events).metrics
    assert "How good it is on other groups is not known" in notes(events)


def test_what_the_start_has_learned_from_is_no_score(nuclei_folder: Path) -> None:
    project = project_of(nuclei_folder, PAIR)
    start, _ = carried_out(project, [0], estimate=False)
    # 1 is of the group of 0
    again, events = carried_out(project, [0, 1], from_run=start.name)
    assert not path_of(again).exists()
    assert "The start has learned from these annotations" in notes(events)
    more, _ = carried_out(project, [1, 2, 4], from_run=start.name)
    assert set(Estimate.read(more).scores) == {project.images[2], project.images[4]}


def test_a_stop_during_the_estimate_leaves_a_model_and_resuming_finishes_it(
    nuclei_folder: Path,
) -> None:
    project = project_of(nuclei_folder)
    whole, _ = carried_out(project, [0, 1])
    for stop_at in (2, TRAINING["steps"] + 1):  # in the first fold, and in the second
        control = Control()
        events, estimating = [], False
        for event in execute(job(project, [0, 1]), control=control):
            events.append(event)
            estimating |= isinstance(event, Note) and "Estimating" in event.text
            if estimating and isinstance(event, Progress) and event.step >= stop_at:
                control.stop()
        assert done(events).stopped
        assert "The estimate was stopped, so the mean" in notes(events)
        run = project.run("latest")
        assert run.status == "stopped"
        predict(project, run=run.name, images=[project.images[5]])
        assert project.prediction_path(run.name, project.images[5]).is_file()
        resume(project, run.name)
        assert run.status == "done"
        assert Estimate.read(run) == Estimate.read(whole)
        one, other = load_file(run.best_path), load_file(whole.best_path)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
        assert load_model(run.best_path).spec.answer == load_model(whole.best_path).spec.answer


def test_what_is_asked_to_predict_predicts(nuclei_folder: Path) -> None:
    project = project_of(nuclei_folder)
    name = project.images[5]
    planes = project.planes(name)
    cpu = torch.device("cpu")
    for answer in ("forest", "network"):
        run = finetune(
            project,
            images=project.images[:2],
            network=NETWORK,
            training=TRAINING,
            answer=answer,
            device="cpu",
        )
        assert Estimate.read(run).scores  # it is estimated all the same
        model = load_model(run.best_path)
        assert model.spec.answer == answer
        (path,) = predict(project, run=run.name, images=[name], device="cpu")
        alone = (
            model.pixel_forest.probabilities(planes)
            if answer == "forest"
            else network_maps(model, planes, factor=1.0, device=cpu).chances
        )
        np.testing.assert_array_equal(read_labels(path), labels_of(model, alone))
        maps = predict_maps(model, planes, factor=1.0, device=cpu)
        np.testing.assert_allclose(maps.chances, alone, atol=1e-6)
