"""What is learned from annotations: which patches, at which rates, and what is handed back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_medssl import finetune, predict, pretrain, resume
from napari_medssl.engine.job import execute
from napari_medssl.errors import MedsslError
from napari_medssl.events import Event, Progress, Saved, Started
from napari_medssl.learn.control import Control
from napari_medssl.learn.finetune import FinetuneConfig, FinetuneTask
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.patches import step_rng
from napari_medssl.learn.training import to_device
from napari_medssl.learn.weights import load_model
from napari_medssl.project import ClassInfo, read_labels
from napari_medssl.project.working_scale import ScaleRule

if TYPE_CHECKING:
    from napari_medssl.project import Project, Run

NO_CHOICE: dict[str, Any] = {"answer": "network", "estimate": False}


def task_of(
    project: Project, *, mode: Any = "full", scale: ScaleRule | None = None, **settings: Any
) -> FinetuneTask:
    torch.manual_seed(0)
    spec = ModelSpec(
        network=NetworkConfig(encoder="mobilenet_v2", encoder_depth=3),
        channels=project.settings.channels,
        classes=project.settings.classes,
        normalisation=project.settings.normalisation,
        scale=scale or ScaleRule(),
    )
    return FinetuneTask(
        mode=mode,
        model=SegmentationModel(spec),
        project=project,
        images=project.annotations.annotated(),
        config=FinetuneConfig(**({"batch_size": 2, "patch_size": 32} | settings)),
        seed=0,
    )


def on_cpu(batch: Any) -> dict[str, torch.Tensor]:
    return to_device(batch, torch.device("cpu"), torch.contiguous_format)


def with_third_class(project: Project) -> Project:
    """Annotate the darkest, the middle and the brightest pixels of four images."""
    classes = (*project.settings.classes, ClassInfo(value=3, name="rim", color="#123456"))
    project.update(classes=classes)
    for name in project.images[:4]:
        grey = project.grey(name)
        limits = np.quantile(grey, [0.5, 0.8])
        project.annotations.write(name, (1 + np.digitize(grey, limits)).astype(np.uint16))
    return project


# -- patches ----------------------------------------------------------------------------------------


def test_patches_lie_around_every_class_equally_often(project: Project) -> None:
    labels = np.zeros((64, 64), np.uint16)
    labels[10, 5:45] = 1
    labels[40, 20] = 2  # a single pixel is in every second patch
    project.annotations.write(project.images[0], labels)
    task = task_of(project, augmentation="mild")
    seen = np.zeros(2)
    for step in range(60):
        batch = task.batch(step_rng(0, step))
        assert batch["image"].shape == (2, 1, 32, 32)
        assert batch["targets"].shape == (2, 2, 32, 32)
        weight = batch["targets"].sum(1)
        assert ((weight > -1e-6) & (weight < 1 + 1e-6)).all()
        seen += (batch["targets"] > 0).any((2, 3)).sum(0)
    assert 50 <= seen[1] <= 75  # of 120
    assert seen[0] >= 60


def test_an_image_that_fits_into_the_patch_is_seen_whole_and_nothing_beyond_it(
    annotated_project: Project,
) -> None:
    """64 x 64 pixels at a scale of 2 are 32 x 32, of which a view of any angle shows the most."""
    task = task_of(annotated_project, scale=ScaleRule(value=2), patch_size=64)
    shares = []
    for step in range(30):
        for targets in task.batch(step_rng(0, step))["targets"]:
            shares.append(targets.sum())
    # 1024 network pixels, enlarged or shrunk by up to 1.3 on each axis, and shifted by up to a fifth
    assert np.median(shares) == pytest.approx(1024, rel=0.2)
    assert min(shares) > 0.25 * 1024
    assert max(shares) < 1.1 * 1024 / 0.7**2


def test_what_is_learned_lies_on_what_is_seen(project: Project) -> None:
    """Whatever view and scale are drawn: where the patch is bright, its target is the foreground."""
    for name in project.images:
        grey = project.planes(name)[0]
        project.annotations.write(name, np.where(grey > 0.5, 2, 1).astype(np.uint16))
    for scale in (ScaleRule(), ScaleRule(value=2), ScaleRule(value=0.5)):
        task = task_of(project, scale=scale, patch_size=64)
        task._changed = lambda rng, patch: patch  # type: ignore[method-assign]  # intensities stay
        for step in range(5):
            batch = task.batch(step_rng(0, step))
            targets, images = batch["targets"], batch["image"][:, 0]
            clear = (np.abs(images - 0.5) > 0.15) & (targets.sum(1) > 0.99)
            assert clear.mean() > 0.1
            agree = (targets[:, 1] > 0.5) == (images > 0.5)
            assert agree[clear].mean() > 0.97


# -- rates, averages and frozen parts ---------------------------------------------------------------


def test_encoder_decoder_and_last_layer_have_rates_of_their_own(annotated_project: Project) -> None:
    task = task_of(annotated_project, encoder_rate=0.1, decoder_rate=0.5)
    rates = {p: group["lr"] for group in task.parameter_groups(2.0) for p in group["params"]}
    net = task.model.net
    assert {rates[p] for p in net.encoder.parameters()} == {0.2}
    assert {rates[p] for p in net.decoder.parameters()} == {1.0}
    assert {rates[p] for p in net.segmentation_head.parameters()} == {2.0}
    frozen = task_of(annotated_project, mode="frozen")
    learning = {p for group in frozen.parameter_groups(1.0) for p in group["params"]}
    assert learning.isdisjoint(frozen.model.net.encoder.parameters())


def test_what_is_handed_back_is_the_average_unless_it_is_switched_off(
    annotated_project: Project,
) -> None:
    for momentum in (0.9, 0.0):
        task = task_of(annotated_project, average=momentum)
        start = next(task.model.decoder_parameters()).detach().clone()
        task.set_training()
        task(on_cpu(task.batch(step_rng(0, 0))))["loss"]
        with torch.no_grad():
            for parameter in task.model.parameters():
                parameter.add_(1.0)
        task.after_step(0, 10)
        kept = task.kept()
        moved = next(kept.decoder_parameters()) - start
        torch.testing.assert_close(moved, torch.full_like(moved, 0.9 if momentum else 1.0))
        assert (kept is task.model) == (momentum == 0)


def test_a_frozen_encoder_stays_as_it_was(
    annotated_project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    pretrained = pretrain(annotated_project, network=tiny_network, training=tiny_training)
    before = load_model(pretrained.weights("best")).net.encoder.state_dict()
    for mode in ("frozen", "full"):
        run = finetune(
            annotated_project,
            from_run=pretrained.name,
            mode=mode,
            training=tiny_training,
            **NO_CHOICE,
        )
        for path in (run.last_path, run.best_path):
            model = load_model(path)
            after = model.net.encoder.state_dict()
            same = all(torch.equal(before[key], after[key]) for key in before)
            assert same == (mode == "frozen")
            assert model.spec.ancestry == (pretrained.name, run.name)


def test_a_mean_teacher_needs_images_without_annotation(
    annotated_project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    training = tiny_training | {"mean_teacher": True}
    with pytest.raises(MedsslError, match="all 6 images of the project are used"):
        finetune(annotated_project, network=tiny_network, training=training)


# -- runs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["probe", "frozen", "full"])
def test_every_mode_learns_from_scribbles(
    project: Project, mode: Any, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    """Bright is class 2, dark is class 1: even a tiny network must find that, in other images too."""
    name, other = project.images[:2]
    grey = project.grey(name)
    labels = np.zeros(grey.shape, np.uint16)
    labels[::4] = np.where(grey > np.quantile(grey, 0.8), 2, 1)[::4]
    labels[np.abs(grey - np.quantile(grey, 0.8)) < 0.05 * np.ptp(grey)] = 0
    project.annotations.write(name, labels)
    training = tiny_training | {"steps": 60, "learning_rate": 3e-3, "patch_size": 64}
    run = finetune(
        project,
        mode=mode,
        network=tiny_network,
        training=training,
        estimate=False,
        answer="network",
    )
    assert run.status == "done"
    assert not any(key.startswith("validation/") for key in run.metrics())
    (path,) = predict(project, run=run.name, images=[other])
    found = read_labels(path) == 2
    truth = project.grey(other) > np.quantile(project.grey(other), 0.8)
    dice = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    assert dice > 0.65  # guessing gives .2 to .33


def same_weights(a: Run, b: Run) -> bool:
    for one, other in ((a.last_path, b.last_path), (a.best_path, b.best_path)):
        first, second = load_file(one), load_file(other)
        if first.keys() != second.keys() or not all(
            torch.equal(first[k], second[k]) for k in first
        ):
            return False
    return a.metrics() == b.metrics()


def test_interrupted_runs_end_as_an_undisturbed_one(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    """With three classes, a teacher and another scale: killed early and late, stopped before and amid the steps."""
    source = pretrain(project, network=tiny_network, training=tiny_training)
    with_third_class(project)
    job = {
        "kind": "finetune",
        "project": str(project.path),
        "from_run": source.name,
        "scale": {"rule": "fixed", "value": 1.5},
        "training": tiny_training
        | {"steps": 4, "mean_teacher": True, "loss": "focal_tversky", "channels_last": True},
        "threads": 1,
        **NO_CHOICE,
    }
    list(execute(job))
    whole = project.run("latest")
    assert {"loss", "supervised", "consistency"} <= whole.metrics().keys()

    def interrupts(when: str, event: Event, saved: int) -> bool:
        if when == "started":
            return isinstance(event, Started)
        if when == "step 3":
            return isinstance(event, Progress) and event.step >= 3
        return isinstance(event, Saved) and saved == int(when[-1])

    for when in ("kill at save 1", "kill at save 2", "started", "step 3"):
        control, saved = Control(), 0
        events = execute(job, control=control)
        for event in events:
            saved += isinstance(event, Saved)
            if interrupts(when, event, saved):
                if when.startswith("kill"):
                    events.close()  # nothing is written after this
                    break
                control.stop()
        run = project.run("latest")
        assert run.status == "stopped"
        if not when.startswith("kill"):
            assert run.best_path.is_file()
        resume(project, run.name)
        assert same_weights(run, whole), when


def test_a_probe_resumes_to_the_same_weights(
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
    assert same_weights(run, whole)


def test_training_without_annotations_says_what_is_missing(
    project: Project, tiny_network: dict[str, Any]
) -> None:
    with pytest.raises(MedsslError, match="No image is annotated"):
        finetune(project)
    labels = np.zeros((64, 64), np.uint16)
    labels[0] = 2
    project.annotations.write(project.images[0], labels)
    with pytest.raises(MedsslError, match=r"at least two classes.*foreground"):
        finetune(project, network=tiny_network)
    assert [run.status for run in project.runs()] == ["failed"]
