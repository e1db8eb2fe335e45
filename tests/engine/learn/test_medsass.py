"""Pseudo-labels: the threshold, its side, its scope, and that it follows the view."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from napari_medssl.config import ConfigError
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.pretext.medsass import (
    MedSASS,
    MedSASSConfig,
    bright_side,
    otsu_threshold,
    vote,
)
from napari_medssl.learn.training import TrainingConfig
from napari_medssl.project import Project, load_truth


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
        training=TrainingConfig(patch_size=32, batch_size=4),
        seed=0,
    )


@pytest.mark.parametrize("seed", range(5))
def test_otsu_agrees_with_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grey = np.concatenate([rng.normal(60, 15, 3000), rng.normal(170, 20, 1000)])
    grey = np.clip(grey, 0, 255).astype(np.uint8).reshape(50, 80)
    grey[0, :2] = 0, 255  # so that both use the same 256 bins
    _, expected = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    assert (bright_side(grey.astype(np.float32)) == expected).mean() > 0.99


def test_a_constant_image_has_no_bright_side() -> None:
    grey = np.full((8, 8), 3.0, np.float32)
    assert otsu_threshold(grey) == np.inf
    assert not bright_side(grey).any()


def test_the_side_that_touches_the_border_less_is_foreground() -> None:
    disc = cv2.circle(np.zeros((40, 40), np.uint8), (20, 20), 15, 1, -1)
    assert vote([disc, disc, 1 - disc]) == "bright"
    assert vote([1 - disc, 1 - disc, disc]) == "dark"
    stripes = np.zeros((40, 40), np.uint8)
    stripes[:, ::2] = 1  # same share of the border: the smaller side
    stripes[5, 5:9] = 1
    assert vote([stripes]) == "dark"
    assert vote([np.zeros((4, 4), np.uint8)]) == "bright"


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
    np.testing.assert_array_equal(sample["mask"], bright_side(sample["image"][0]))


def test_the_vote_is_taken_once_per_project(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(project)
    reopened = Project.open(project.path)
    monkeypatch.setattr(
        "napari_medssl.learn.pretext.medsass.vote", lambda masks: pytest.fail("voted again")
    )
    make(reopened)


def test_preview_shows_the_pseudo_label_in_the_class_value(project: Project) -> None:
    (layer,) = MedSASS.preview(MedSASSConfig(polarity="bright"), project, project.images[0])
    expected = bright_side(project.grey(project.images[0])) * 2
    np.testing.assert_array_equal(layer.data, expected)
    assert "bright side" in layer.text


def test_real_nuclei_are_bright_and_well_found(real_data: Any, tmp_path: Any) -> None:
    folder = real_data / "dsb2018_fluo"
    project = Project.create(folder / "images", project=tmp_path / "p")
    truth = load_truth(project, folder / "masks")
    scores = []
    for name in project.images[::10]:
        mask, true = bright_side(project.grey(name)) == 1, truth[name] == 2
        scores.append(2 * (mask & true).sum() / (mask.sum() + true.sum()))
    assert np.mean(scores) > 0.85
    assert not make(project)._dark


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"polarity = 'up'.*'auto', 'bright' or 'dark'"):
        MedSASSConfig.parse({"polarity": "up"})
