"""Pix2Rep: what lies at the same pixel belongs together, and the head on some pixels is the head on all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_medssl.errors import MedsslError
from napari_medssl.learn.contrast import info_nce_pairs
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.patches import step_rng
from napari_medssl.learn.pretext.pix2rep import (
    Pix2Rep,
    Pix2RepConfig,
    PixelHead,
    change,
    draw_motion,
    in_pixels,
    moved,
    rows_of,
    visible,
)
from napari_medssl.learn.pretext.pix2rep_v2 import Pix2RepV2, Pix2RepV2Config
from napari_medssl.learn.task import PretrainingConfig, to_device
from napari_medssl.project.working_scale import ScaleRule

if TYPE_CHECKING:
    from napari_medssl.project import Project

PLAIN = {"reversal": 0, "intensity": 0, "gamma": 0, "bias_field": 0, "blur": 0, "noise": 0}
SIZE = 32


def make(project: Project, network: dict[str, Any] | None = None, **config: Any) -> Pix2Rep:
    torch.manual_seed(0)
    spec = ModelSpec(
        network=NetworkConfig(**({"encoder_depth": 3} | (network or {}))),
        channels=project.settings.channels,
        classes=Pix2Rep.output_classes(project),
        normalisation=project.settings.normalisation,
    )
    return Pix2Rep(
        config=Pix2RepConfig(**config),
        model=SegmentationModel(spec),
        project=project,
        training=PretrainingConfig(patch_size=SIZE, batch_size=4),
        seed=0,
    )


def batch_of(task: Pix2Rep) -> dict[str, torch.Tensor]:
    return to_device(task.batch(step_rng(0, 0)), torch.device("cpu"), torch.contiguous_format)


def test_phi_on_the_image_is_phi_on_its_representation_for_an_identity_network(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without intensity changes both branches then give the same vectors for every pixel they share."""
    task = make(project, **PLAIN)
    monkeypatch.setattr(task.model, "stages", lambda images: [images])
    still, turned = task.representations(batch_of(task))
    torch.testing.assert_close(still, turned, rtol=0, atol=1e-6)
    assert turned.std() > 0.05
    again = task.representations(batch_of(make(project, **PLAIN, rotation=0, zoom=1, flips=False)))
    assert not torch.allclose(again[0], turned, atol=0.05)  # they did move


@pytest.mark.parametrize("seed", range(6))
def test_motions_say_where_each_pixel_comes_from(seed: int) -> None:
    """Moving the coordinate maps of an image gives back what the matrix computes, wherever it is visible."""
    motion = draw_motion(np.random.default_rng(seed), rotation=180, zoom=2, flips=True)
    ys, xs = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    coordinates = torch.stack([xs, ys]).float()[None]
    seen = moved(coordinates, torch.from_numpy(motion)[None])[0].numpy()
    matrix = in_pixels(motion, SIZE)
    grid = np.stack([xs.numpy(), ys.numpy()])
    expected = np.tensordot(matrix[:, :2], grid, axes=1) + matrix[:, 2, None, None]
    inside = visible(motion, SIZE)
    assert inside.any()
    np.testing.assert_allclose(seen[:, inside], expected[:, inside], atol=1e-3)
    outside = (expected < -0.01) | (expected > SIZE - 0.99)
    assert not inside[outside.any(0)].any()
    assert inside[((expected >= 0) & (expected <= SIZE - 1)).all(0)].all()


def test_switches_turn_motions_and_reversal_off() -> None:
    rng = np.random.default_rng(0)
    still = [draw_motion(rng, rotation=0, zoom=1, flips=False) for _ in range(10)]
    assert all(np.allclose(motion, [[1, 0, 0], [0, 1, 0]]) for motion in still)
    patch = rng.random((1, SIZE, SIZE), dtype=np.float32)
    never = Pix2RepConfig(**PLAIN)
    np.testing.assert_allclose(change(never, patch, rng), patch, atol=1e-6)
    always = Pix2RepConfig(**(PLAIN | {"reversal": 1}))
    np.testing.assert_allclose(change(always, patch, rng), 1 - patch, atol=1e-6)


def test_pixels_from_beyond_the_border_are_never_compared(project: Project) -> None:
    task = make(project, zoom=3)
    for step in range(5):
        batch = task.batch(step_rng(1, step))
        for motion, pixels in zip(batch["motion"], batch["pixels"], strict=True):
            seen = visible(motion, SIZE)
            assert seen.mean() < 1 or abs(motion).max() < 1
            assert seen.ravel()[pixels].all()


@pytest.mark.parametrize(("per", "count"), [("batch", 25), ("image", 100)])
def test_number_of_pixels(project: Project, per: str, count: int) -> None:
    batch = make(project, pixels=100, pixels_per=per).batch(step_rng(0, 0))
    assert batch["pixels"].shape == (4, count)


def test_the_head_on_some_pixels_is_the_head_on_all_of_them() -> None:
    """Against 1 x 1 convolutions with torch's batch norm over the whole maps."""
    torch.manual_seed(0)
    head = PixelHead(6, 8).double()
    maps = torch.randn(3, 6, 5, 4).double() * 2 + 1
    first = nn.Conv2d(6, 8, 1, bias=False).double()
    norm, second = nn.BatchNorm2d(8).double(), nn.Conv2d(8, 8, 1).double()
    first.weight.data = head.first.weight.data[:, :, None, None]
    second.weight.data = head.second.weight.data[:, :, None, None]
    second.bias.data = head.second.bias.data
    norm.weight.data = head.scale.data.copy_(torch.rand(8))
    norm.bias.data = head.shift.data.copy_(torch.rand(8))
    dense = second(torch.relu(norm(first(maps)))).permute(0, 2, 3, 1).flatten(0, 2)
    rows = maps.permute(0, 2, 3, 1).flatten(0, 2)
    some = torch.tensor([0, 7, 33, 59])
    torch.testing.assert_close(head(rows[some], head.statistics(rows)), dense[some])


def test_the_loss_compares_the_chosen_pixels_of_both_branches(project: Project) -> None:
    task = make(project, pixels=40)
    batch = batch_of(task)
    loss = task(batch)["loss"]
    maps = make(project, pixels=40).representations(batch)
    vectors = []
    for branch in maps:
        statistics = task.head.statistics(rows_of(branch))
        chosen = [
            branch[n, :, int(p) // SIZE, int(p) % SIZE]
            for n in range(4)
            for p in batch["pixels"][n]
        ]
        vectors.append(task.head(torch.stack(chosen), statistics))
    expected = info_nce_pairs(*vectors, temperature=0.53)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_wide_last_layer_can_be_chosen(project: Project) -> None:
    """The last one alone, as in the paper: the coarser stages stay as they are."""
    plain, task = make(project), make(project, {"last_width": 64})
    assert task.head.first.in_features == task.model.stage_widths[-1] == 64
    assert task.model.stage_widths[:-1] == plain.model.stage_widths[:-1]
    assert torch.isfinite(task(batch_of(task))["loss"])


def test_a_network_without_pixel_features_is_refused(project: Project) -> None:
    with pytest.raises(MedsslError, match="features of every pixel"):
        make(project, {"architecture": "deeplabv3", "encoder_depth": 5})


@pytest.mark.parametrize(
    ("kind", "config"), [(Pix2Rep, Pix2RepConfig()), (Pix2RepV2, Pix2RepV2Config())]
)
def test_preview_shows_the_pair_beside_the_image(
    project: Project, kind: type[Pix2Rep], config: Any
) -> None:
    (layer,) = kind.preview(config, project, project.images[0], scale=ScaleRule(), patch=64)
    height, width = project.shape(project.images[0])
    assert layer.data.dtype == np.uint8
    assert layer.data.shape[0] >= height
    assert layer.data.shape[1] > width
    assert layer.data[:, width:].mean() > 20
