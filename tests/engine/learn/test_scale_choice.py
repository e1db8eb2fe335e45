"""Which working scale is chosen for which structures, and the picture that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from napari_medssl.learn.scale_choice import (
    annotated_thickness,
    choose_scale,
    network_view,
    patch_at,
)
from napari_medssl.project import Project
from napari_medssl.project.working_scale import ScaledImages, ScaleRule

if TYPE_CHECKING:
    from pathlib import Path


def discs(side: int, diameter: int) -> np.ndarray:
    """Labels: discs on background, everything annotated."""
    labels = np.ones((side, side), np.uint16)
    for y in range(diameter, side - diameter, 2 * diameter):
        for x in range(diameter, side - diameter, 2 * diameter):
            cv2.circle(labels, (x, y), diameter // 2, 2, thickness=-1)
    return labels


def folder_of(path: Path, *shapes: tuple[int, int]) -> Project:
    path.mkdir()
    rng = np.random.default_rng(0)
    for number, shape in enumerate(shapes):
        picture = cv2.GaussianBlur(rng.random(shape, np.float32), (0, 0), 3)
        picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
        cv2.imwrite(str(path / f"{number}.png"), picture.astype(np.uint8))
    return Project.create(path)


def test_thin_structures_get_a_finer_scale_than_thick_ones(tmp_path: Path) -> None:
    project = folder_of(tmp_path / "images", (1000, 1000))
    sides = []
    for diameter in (10, 28, 100):
        project.annotations.write("0.png", discs(1000, diameter))
        assert annotated_thickness(project, ["0.png"]) == pytest.approx(diameter, rel=0.15)
        choice = choose_scale(project)
        assert choice.rule.rule == "fit"
        sides.append(choice.rule.value)
        factor = choice.rule.factor((1000, 1000))
        assert factor <= 2 or diameter / factor >= 12
        assert choice.patch == 256
        assert f"about {annotated_thickness(project, ['0.png']):.0f} px across" in choice.why
        assert ("whole images" in choice.why) == (choice.rule.value == 256)
    assert sides == [512, 512, 256]


def test_scribbles_say_nothing_of_sizes(tmp_path: Path) -> None:
    project = folder_of(tmp_path / "images", (600, 600))
    before = choose_scale(project)
    scribble = np.zeros((600, 600), np.uint16)
    scribble[100:103, :200], scribble[300:303, :200] = 1, 2
    project.annotations.write("0.png", scribble)
    assert annotated_thickness(project, ["0.png"]) is None
    assert choose_scale(project) == before
    assert before.why.startswith("What gives the images most contrast")


def test_only_the_images_that_are_named_are_measured(tmp_path: Path) -> None:
    project = folder_of(tmp_path / "images", (900, 900), (900, 900))
    project.annotations.write("0.png", discs(900, 120))
    project.annotations.write("1.png", discs(900, 8))
    assert choose_scale(project, images=["0.png"]).rule.value == 256
    assert choose_scale(project, images=["1.png"]).rule.value == 512


@pytest.mark.parametrize(("shape", "patch"), [((40, 64), 64), ((200, 256), 256), ((31, 90), 96)])
def test_an_image_is_never_enlarged(tmp_path: Path, shape: tuple[int, int], patch: int) -> None:
    project = folder_of(tmp_path / "images", shape)
    choice = choose_scale(project)
    assert choice.rule == ScaleRule()
    assert choice.patch == patch
    assert choice.why.endswith("are seen as they are.")


def test_the_picture_shows_what_the_network_sees(tmp_path: Path) -> None:
    project = folder_of(tmp_path / "images", (300, 400))
    whole = network_view(
        ScaledImages(project, ScaleRule(rule="fit", value=100)), "0.png", patch=128
    )
    assert whole.data.shape == (75, 100, 3)
    assert whole.pixel == 4
    assert whole.text == (
        "What the network sees: 100 x 75 pixels, 4 file pixels each, the whole image at once."
    )
    scaled = ScaledImages(project, ScaleRule(value=2))
    part = network_view(scaled, "0.png", patch=64)
    assert part.data.shape == (150, 200, 3)
    assert part.text.endswith("2 file pixels each, in parts of 64 x 64 (the frame).")
    framed = (part.data == (255, 220, 0)).all(-1)
    ys, xs = np.nonzero(framed)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (43, 106, 68, 131)
    grey = (255 * scaled.planes("0.png")[0]).astype(np.uint8)
    np.testing.assert_array_equal(part.data[~framed][:, 0], grey[~framed])


def test_a_patch_is_no_larger_than_the_images_at_their_scale(project: Project) -> None:
    """The images have 64 x 64 pixels."""
    rules = (ScaleRule(), ScaleRule(value=3), ScaleRule(rule="fit", value=1024))
    assert [patch_at(project, rule) for rule in rules] == [64, 32, 256]
