"""What is held out, what is learnt from sparse labels, and how a run is scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from napari_medssl import finetune, pretrain
from napari_medssl.errors import MedsslError
from napari_medssl.learn.finetune import FinetuneConfig, FinetuneTask, hold_out
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.project import PatternRule, Project

if TYPE_CHECKING:
    from pathlib import Path


def scribbles(*, images: int = 1, pixels: int = 40) -> dict[str, np.ndarray]:
    """Label maps with a line of background and a line of foreground each."""
    labels = {}
    for number in range(images):
        array = np.zeros((64, 64), np.uint16)
        array[10, 5 : 5 + pixels] = 1
        array[40, 5 : 5 + pixels] = 2
        labels[f"{number}.png"] = array
    return labels


@pytest.mark.parametrize("images", [1, 2, 5, 12])
@pytest.mark.parametrize("pixels", [2, 40])
def test_validation_is_never_empty_and_leaves_every_class_to_train_on(
    images: int, pixels: int
) -> None:
    labels = scribbles(images=images, pixels=pixels)
    held = hold_out(labels, share=0.2, seed=0)
    for value in (1, 2):
        validating = sum(int((labels[n] == value)[held[n]].sum()) for n in labels)
        training = sum(int((labels[n] == value)[~held[n]].sum()) for n in labels)
        assert validating > 0
        assert training > 0
    assert all(not (held[n] & (labels[n] == 0)).any() for n in labels)


def test_with_five_images_whole_images_are_held_out() -> None:
    labels = scribbles(images=10)
    held = hold_out(labels, share=0.2, seed=0)
    shares = [held[n][labels[n] > 0].mean() for n in labels]
    assert sorted(shares) == [0.0] * 8 + [1.0] * 2


@pytest.mark.parametrize("seed", range(4))
def test_units_are_held_out_as_a_whole_and_never_most_of_the_images(seed: int) -> None:
    labels = scribbles(images=16)
    sizes = (11, 1, 1, 2, 1)
    unit_of = dict(zip(labels, np.repeat(list("abcde"), sizes).tolist(), strict=True))
    held = hold_out(labels, share=0.2, seed=seed, units=unit_of)
    chosen = {n for n in labels if held[n].any()}
    assert all(held[n][labels[n] > 0].all() for n in chosen)
    assert not {unit_of[n] for n in chosen} & {unit_of[n] for n in labels if n not in chosen}
    assert 2 <= len(chosen) <= 4  # 3 are wanted
    for few in (
        dict.fromkeys(labels, "a"),
        {},
    ):  # of fewer units than five, images as if there were none
        again = hold_out(labels, share=0.2, seed=seed, units=few)
        without = hold_out(labels, share=0.2, seed=seed)
        assert all(np.array_equal(again[n], without[n]) for n in labels)


@pytest.mark.parametrize("seed", range(4))
def test_whole_images_are_held_out_wherever_every_class_can_be_on_both_sides(seed: int) -> None:
    """Three rare classes, each in two images: few choices of two of ten images have them all."""
    labels = scribbles(images=10)
    for value, images in ((3, (0, 1)), (4, (1, 2)), (5, (0, 3))):
        for number in images:
            labels[f"{number}.png"][50 + value, :5] = value
    held = hold_out(labels, share=0.2, seed=seed)
    whole = [n for n in labels if held[n].any()]
    assert all(held[n][labels[n] > 0].all() for n in whole)
    assert len(whole) == 2
    for chosen in (whole, set(labels) - set(whole)):
        assert {int(v) for n in chosen for v in np.unique(labels[n])} == {0, 1, 2, 3, 4, 5}


def test_a_class_that_one_image_alone_has_is_still_trained_and_validated() -> None:
    labels = scribbles(images=8)
    for name in list(labels)[1:]:
        labels[name][labels[name] == 2] = 1
    for seed in range(5):
        held = hold_out(labels, share=0.2, seed=seed)
        inside = held["0.png"][labels["0.png"] == 2]
        assert 0 < inside.sum() < inside.size


@pytest.mark.parametrize("mode", ["probe", "frozen", "full"])
def test_every_mode_learns_from_scribbles(
    project: Project, mode: str, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    """Bright is class 2, dark is class 1: even a tiny network must find that."""
    name = project.images[0]
    grey = project.grey(name)
    labels = np.zeros(grey.shape, np.uint16)
    labels[::4] = np.where(grey > np.quantile(grey, 0.8), 2, 1)[::4]
    labels[np.abs(grey - np.quantile(grey, 0.8)) < 0.05 * np.ptp(grey)] = 0
    project.annotations.write(name, labels)
    training = tiny_training | {"steps": 60, "validate_every": 20, "learning_rate": 3e-3}
    run = finetune(project, mode=mode, network=tiny_network, training=training)
    assert run.status == "done"
    assert max(v for _, v in run.metrics()["validation/dice"]) > 0.65  # guessing gives .5


def test_the_encoder_stays_as_it_was_when_frozen(
    annotated_project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    from napari_medssl.learn.weights import load_model

    pretrained = pretrain(annotated_project, network=tiny_network, training=tiny_training)
    runs = {
        mode: finetune(
            annotated_project, from_run=pretrained.name, mode=mode, training=tiny_training
        )
        for mode in ("frozen", "full")
    }
    before = load_model(pretrained.weights("best")).net.encoder.state_dict()
    for mode, run in runs.items():
        after = load_model(run.last_path).net.encoder.state_dict()
        same = all(np.array_equal(before[k].numpy(), after[k].numpy()) for k in before)
        assert same == (mode == "frozen")
    assert load_model(runs["full"].last_path).spec.ancestry == (pretrained.name, runs["full"].name)


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("^.", "2 of them of groups or files that are learned from as well"),
        ("^..", ", of groups or files that nothing is learned from"),
        ("^...", "(2 whole images)"),
    ],
)
def test_the_split_keeps_patients_apart_where_there_are_enough_and_says_which(
    tmp_path: Path, tiny_network: dict[str, Any], pattern: str, told: str
) -> None:
    """One group of all; five of two images; one for each image."""
    for number in range(10):
        picture = np.random.default_rng(number).integers(0, 255, (64, 64), np.uint8)
        cv2.imwrite(str(tmp_path / f"p{number // 2}{number % 2}.png"), picture)
    project = Project.create(tmp_path, groups=PatternRule(pattern=pattern))
    for name, labels in zip(project.images, scribbles(images=10).values(), strict=True):
        project.annotations.write(name, labels)
    spec = ModelSpec(
        network=NetworkConfig(**tiny_network),
        channels=project.settings.channels,
        classes=project.settings.classes,
        normalisation=project.settings.normalisation,
    )
    task = FinetuneTask(
        mode="full",
        model=SegmentationModel(spec),
        project=project,
        images=project.images,
        config=FinetuneConfig(),
        seed=0,
        pretrained=(),
    )
    assert told in task.notes[0]


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
