"""A fine-tune never hands back what scores worse on its validation pixels than what it started from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_medssl import finetune, predict, pretrain, resume
from napari_medssl.engine.job import execute
from napari_medssl.events import Event, Note, Progress, Saved, Started
from napari_medssl.learn.control import Control
from napari_medssl.learn.predict import predict_labels, predict_probabilities
from napari_medssl.learn.weights import load_model, save_model
from napari_medssl.project import ClassInfo, read_labels

if TYPE_CHECKING:
    from napari_medssl.project import Project, Run

CPU = torch.device("cpu")


def same_weights(a: Run, b: Run) -> bool:
    pairs = [(a.last_path, b.last_path), (a.best_path, b.best_path)]
    for one, other in ((load_file(x), load_file(y)) for x, y in pairs):
        if one.keys() != other.keys() or not all(torch.equal(one[k], other[k]) for k in one):
            return False
    return a.metrics() == b.metrics()


def with_third_class(project: Project) -> Project:
    """Annotate the darkest, the middle and the brightest pixels of four images."""
    classes = (*project.settings.classes, ClassInfo(value=3, name="rim", color="#123456"))
    project.update(classes=classes)
    for name in project.images[:4]:
        grey = project.grey(name)
        limits = np.quantile(grey, [0.5, 0.8])
        project.annotations.write(name, (1 + np.digitize(grey, limits)).astype(np.uint16))
    return project


@pytest.mark.parametrize(
    ("statistics", "told"),
    [
        ("auto", "Dice is 1.000 as the network is"),
        ("reestimated", "with the batch statistics it came with 1.000"),
    ],
)
def test_a_perfect_start_survives_a_ruinous_training(
    project: Project,
    tiny_network: dict[str, Any],
    tiny_training: dict[str, Any],
    statistics: str,
    told: str,
) -> None:
    source = pretrain(project, network=tiny_network, training=tiny_training)
    path = source.weights("best")
    assert path is not None
    model = load_model(path)
    odds = np.concatenate(
        [
            np.log(np.divide(*predict_probabilities(model, project.planes(n), device=CPU)[::-1]))
            for n in project.images
        ]
    )
    with torch.no_grad():  # both classes appear, and the annotations are what this head says
        model.net.segmentation_head[0].bias[1] -= float(np.median(odds))
    save_model(model, path)
    for name in project.images:
        labels = predict_labels(model, project.planes(name), device=CPU)
        project.annotations.write(name, labels)
    events: list[Event] = []
    run = finetune(
        project,
        from_run=source.name,
        mode="full",
        training=tiny_training | {"learning_rate": 0.1, "warmup": 0.0, "batch_norm": statistics},
        on_event=events.append,
    )
    scores = run.metrics()["validation/score"]
    assert scores[0] == (0, 1.0)
    assert max(score for step, score in scores if step > 0) < 0.9
    assert any(isinstance(e, Note) and told in e.text for e in events)
    assert "the network from before training, not surpassed by it" in events[-1].summary
    best = load_model(run.weights("best"))
    for name in project.images:
        handed_back = predict_labels(best, project.planes(name), device=CPU)
        np.testing.assert_array_equal(handed_back, project.annotations.read(name))


def test_the_probe_is_kept_where_the_head_is_new(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    """Three classes: the head of the two-class run does not fit, and training that changes nothing cannot win."""
    source = pretrain(project, network=tiny_network, training=tiny_training)
    with_third_class(project)
    events: list[Event] = []
    training = tiny_training | {"learning_rate": 1e-12}
    run = finetune(
        project, from_run=source.name, mode="frozen", training=training, on_event=events.append
    )
    assert load_model(run.best_path).spec.head == "probe"
    assert load_model(run.last_path).spec.head == "network"
    scores = run.metrics()["validation/score"]
    assert scores[0][0] == 0
    assert scores[0][1] > max(score for step, score in scores if step > 0) + 0.1
    assert [e.step for e in events if isinstance(e, Saved) and e.what == "best"] == [0]
    assert "the linear probe from before training" in events[-1].summary
    predict(project, run=run.name)
    name = project.images[0]
    found = read_labels(project.prediction_path(run.name, name))
    assert (found == project.annotations.read(name)).mean() > 0.6  # the same pixels trained it


ALL_OPTIONS = {
    "mean_teacher": True,
    "l2_start": 0.1,
    "layer_decay": 0.8,
    "pretrained_rate": 0.5,
    "batch_norm": "reestimated",
    "loss": "focal_tversky",
}


def test_interrupted_runs_end_as_an_undisturbed_one(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    """Three classes and every option: killed before the first validation and within it, and stopped after step 3."""
    source = pretrain(project, network=tiny_network, training=tiny_training)
    with_third_class(project)
    job = {
        "kind": "finetune",
        "project": str(project.path),
        "from_run": source.name,
        "mode": "full",
        "training": tiny_training | ALL_OPTIONS | {"steps": 4},
        "threads": 1,
    }
    list(execute(job))
    whole = project.run("latest")
    assert {"loss", "supervised", "consistency", "l2_start"} < whole.metrics().keys()
    assert "validation/dice/rim" in whole.metrics()

    for until in ("last", "best", "step 3"):
        control = Control()
        events = execute(job, control=control)
        for event in events:
            if until == "step 3" and isinstance(event, Progress) and event.step >= 3:
                control.stop()
            if isinstance(event, Saved) and event.what == until:
                events.close()  # as a kill: nothing is written after this
        run = project.run("latest")
        assert run.status == "stopped"
        resume(project, run.name)
        assert same_weights(run, whole), until


def test_a_run_that_is_stopped_before_its_first_step_hands_back_what_it_started_from(
    annotated_project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    job = {
        "kind": "finetune",
        "project": str(annotated_project.path),
        "network": tiny_network,
        "mode": "full",
        "training": tiny_training,
        "threads": 1,
    }
    list(execute(job))
    whole = annotated_project.run("latest")
    control = Control()
    for event in execute(job, control=control):
        if isinstance(event, Started):
            control.stop()
    run = annotated_project.run("latest")
    assert [step for step, _ in run.metrics()["validation/score"]] == [0]
    assert load_model(run.weights("best")).spec.head == "probe"
    resume(annotated_project, run.name)
    assert same_weights(run, whole)


def test_a_probe_on_pretrained_features_resumes_to_the_same_weights(
    annotated_project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    source = pretrain(annotated_project, network=tiny_network, training=tiny_training)
    job = {
        "kind": "finetune",
        "project": str(annotated_project.path),
        "from_run": source.name,
        "mode": "probe",
        "training": tiny_training,
        "threads": 1,
    }
    list(execute(job))
    whole = annotated_project.run("latest")
    control = Control()
    for event in execute(job, control=control):
        if isinstance(event, Progress) and event.step >= 3:
            control.stop()
    run = annotated_project.run("latest")
    resume(annotated_project, run.name)
    one, other = load_file(run.last_path), load_file(whole.last_path)
    assert all(torch.equal(one[k], other[k]) for k in one)
