"""Pseudo-labels: the threshold, its side, its scope, and that it follows the view."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from napari_medssl import pretrain
from napari_medssl.config import ConfigError
from napari_medssl.learn.losses import focal, focal_tversky
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.patches import step_rng
from napari_medssl.learn.pretext.medsass import MedSASS, MedSASSConfig, pseudo_label
from napari_medssl.learn.task import PretrainingConfig, to_device
from napari_medssl.learn.thresholds import multi_otsu, otsu_threshold
from napari_medssl.project import PatternRule, Project, load_truth
from napari_medssl.project.working_scale import ScaleRule
from napari_medssl.synthetic import nuclei


def otsu(grey: np.ndarray) -> np.ndarray:
    return (grey > otsu_threshold(grey)).astype(np.uint8)


def make(project: Project, **config: Any) -> MedSASS:
    spec = ModelSpec(
        network=NetworkConfig(encoder_depth=3),
        channels=project.settings.channels,
        classes=MedSASS.output_classes(project),
        normalisation=project.settings.normalisation,
    )
    return MedSASS(
        config=MedSASSConfig(**config),
        model=SegmentationModel(spec),
        project=project,
        training=PretrainingConfig(patch_size=32, batch_size=4),
        seed=0,
    )


def test_polarity_turns_the_mask(project: Project) -> None:
    name = project.images[0]
    bright, dark = (
        make(project, polarity=p).sample(name, np.random.default_rng(0))["mask"]
        for p in ("bright", "dark")
    )
    np.testing.assert_array_equal(bright, 1 - dark)


def test_the_pseudo_label_follows_the_view(project: Project) -> None:
    """With the image itself thresholded, every patch must show its own bright side."""
    method = make(project, polarity="bright", intensity=0.0)
    rng = np.random.default_rng(0)
    for name in project.images:
        limit = otsu_threshold(project.grey(name))
        raw, planes = project.grey(name), project.planes(name)[0]
        inside = np.isfinite(planes) & (planes > 0) & (planes < 1)
        slope, offset = np.polyfit(raw[inside], planes[inside], 1)
        sample = method.sample(name, rng)
        agree = (sample["image"][0] > slope * limit + offset) == (sample["mask"] == 1)
        assert agree.mean() > 0.93  # nearest against linear interpolation at the edges


def test_the_threshold_of_a_patch_is_its_own(project: Project) -> None:
    method = make(project, polarity="bright", threshold_scope="patch", intensity=0.0)
    sample = method.sample(project.images[0], np.random.default_rng(0))
    np.testing.assert_array_equal(sample["mask"], otsu(sample["image"][0]))


def test_the_vote_is_taken_once_per_project(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(project)
    reopened = Project.open(project.path)
    monkeypatch.setattr(
        "napari_medssl.learn.pretext.medsass.vote", lambda masks: pytest.fail("voted again")
    )
    make(reopened)
    with pytest.raises(pytest.fail.Exception, match="voted again"):
        make(reopened, threshold="ght")  # another threshold divides otherwise: its own vote


def test_preview_shows_the_pseudo_label_in_the_class_value(project: Project) -> None:
    (layer,) = MedSASS.preview(
        MedSASSConfig(polarity="bright"), project, project.images[0], scale=ScaleRule(), patch=64
    )
    expected = otsu(project.grey(project.images[0])) * 2
    np.testing.assert_array_equal(layer.data, expected)
    assert "bright side" in layer.text


def test_real_nuclei_are_bright_and_well_found(real_data: Any, tmp_path: Any) -> None:
    folder = real_data / "dsb2018_fluo"
    project = Project.create(folder / "images", project=tmp_path / "p")
    truth = load_truth(project, folder / "masks")
    scores = []
    for name in project.images[::10]:
        mask, true = otsu(project.grey(name)) == 1, truth[name] == 2
        scores.append(2 * (mask & true).sum() / (mask.sum() + true.sum()))
    assert np.mean(scores) > 0.85
    assert not make(project)._dark


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"polarity = 'up'.*'auto', 'bright' or 'dark'"):
        MedSASSConfig.parse({"polarity": "up"})


@pytest.mark.parametrize(
    "threshold", ["otsu", "ght", "adaptive_mean", "adaptive_gaussian", "multi_otsu"]
)
def test_every_threshold_can_be_learned_and_previewed(project: Project, threshold: str) -> None:
    task = make(project, threshold=threshold, polarity="bright")
    batch = to_device(task.batch(step_rng(0, 0)), torch.device("cpu"), torch.contiguous_format)
    loss = task(batch)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    grey = project.grey(project.images[0])
    label = pseudo_label(task.config, grey, dark=False)
    assert set(np.unique(label)) == ({0, 1, 2} if threshold == "multi_otsu" else {0, 1})
    (layer,) = MedSASS.preview(task.config, project, project.images[0], scale=ScaleRule(), patch=64)
    assert layer.data.shape == grey.shape
    assert len(np.unique(layer.data)) == len(np.unique(label))


def test_several_classes_have_a_last_layer_of_their_own(project: Project) -> None:
    task = make(project, threshold="multi_otsu", classes=4)
    batch = to_device(task.batch(step_rng(0, 0)), torch.device("cpu"), torch.contiguous_format)
    with torch.no_grad():
        chance = task._head(task.model.stages(batch["image"])[-1]).softmax(1)
        expected = np.mean([focal_tversky(chance[:, k], batch["mask"] == k) for k in range(4)])
        assert task(batch)["loss"].item() == pytest.approx(float(expected), rel=1e-5)
    np.testing.assert_array_equal(
        pseudo_label(task.config, project.grey(project.images[0]), dark=True),
        multi_otsu(project.grey(project.images[0]), 4),
    )


def test_the_losses_of_the_ablation(project: Project) -> None:
    kinds = {
        name: make(project, loss=name)
        for name in ("focal_tversky", "tversky", "focal", "cross_entropy")
    }
    batch = to_device(
        kinds["focal"].batch(step_rng(0, 0)), torch.device("cpu"), torch.contiguous_format
    )
    with torch.no_grad():
        logits = kinds["focal"].eval().model(batch["image"])
        values = {}
        for name, task in kinds.items():
            task.model.load_state_dict(kinds["focal"].model.state_dict())
            values[name] = task.eval()(batch)["loss"].item()
    chance, mask = logits.softmax(1)[:, 1], batch["mask"]
    assert values["focal_tversky"] == pytest.approx(focal_tversky(chance, mask).item(), rel=1e-5)
    assert values["tversky"] == pytest.approx(values["focal_tversky"] ** (1 / 0.75), rel=1e-4)
    assert values["focal"] == pytest.approx(focal(logits, mask).item(), rel=1e-5)
    assert values["cross_entropy"] == pytest.approx(focal(logits, mask, gamma=0).item(), rel=1e-5)


def test_training_stops_early_on_held_out_images(tmp_path: Any) -> None:
    rng = np.random.default_rng(3)
    (tmp_path / "images").mkdir()
    for number in range(20):
        image = nuclei(rng, shape=(32, 32)).image
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image)
    project = Project.create(tmp_path / "images")
    events: list[Any] = []
    pretrain(
        project,
        "medsass",
        network={"encoder_depth": 3},
        # So high a rate that nothing improves for long.
        training={
            "steps": 120,
            "batch_size": 2,
            "patch_size": 32,
            "learning_rate": 0.1,
            "validate_every": 2,
            "patience": 2,
        },
        on_event=events.append,
    )
    texts = [event.text for event in events if event.event == "note"]
    assert any("2 of 20 images are held out" in text for text in texts)
    (stop,) = [text for text in texts if text.startswith("Stopped early")]
    end, best = (int(step) for step in re.findall(r"step (\d+)", stop))
    assert end - best == 2 * 9  # epochs, of the 18 images that are left


def test_groups_are_held_out_as_a_whole(tmp_path: Any) -> None:
    for number in range(24):
        cv2.imwrite(str(tmp_path / f"p{number // 4}_{number}.png"), np.eye(32, dtype=np.uint8))
    grouped = Project.create(tmp_path, groups=PatternRule(pattern=r"p\d"))
    kept = make(grouped, polarity="bright").images
    assert len(kept) == 20
    assert len({name[:2] for name in kept}) == 5
