"""Networks by name: features, their files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_medssl.config import ConfigError
from napari_medssl.errors import MedsslError
from napari_medssl.learn.bundled import ENCODER
from napari_medssl.learn.features import calibrate, pixel_embedding
from napari_medssl.learn.networks import (
    SPEC_VERSION,
    ModelSpec,
    NetworkConfig,
    SegmentationModel,
    input_statistics,
)
from napari_medssl.learn.weights import load_model, save_model
from napari_medssl.project import Normalisation, Project, ProjectSettings

CPU = torch.device("cpu")


def spec(channels: int = 1, encoder: str = "mobilenet_v2", **kwargs: object) -> ModelSpec:
    classes = ProjectSettings.model_fields["classes"].get_default(call_default_factory=True)
    network = {"encoder": encoder, "encoder_depth": 3} | dict(kwargs)
    return ModelSpec(
        network=NetworkConfig(**network),
        channels=tuple("abcdef"[:channels]),
        classes=classes,
        normalisation=Normalisation(),
    )


@pytest.mark.parametrize(
    ("channels", "encoder"),
    [(1, "resnet18"), (2, "mobilenet_v2"), (3, "tu-resnet10t"), (5, ENCODER)],
)
def test_any_encoder_and_channel_count(channels: int, encoder: str) -> None:
    model = SegmentationModel(spec(channels, encoder)).eval()
    with torch.no_grad():
        assert model(torch.rand(1, channels, 32, 64)).shape == (1, 2, 32, 64)


@pytest.mark.parametrize(
    "network",
    [
        {"encoder": "vit_small", "encoder_depth": 4},
        {"architecture": "deeplabv3", "encoder_depth": 5},
        {"architecture": "deeplabv3", "encoder_depth": 5, "encoder": ENCODER},
        {"decoder_width": 64, "decoder_attention": True, "encoder": "resnet18"},
    ],
    ids=["MedSASS's ViT", "DiCoH's DeepLabV3", "DeepLabV3 on Lite0", "MedSASS's U-Net"],
)
def test_the_papers_networks_give_logits_features_and_files(
    network: dict[str, object], project: Project, tmp_path: Path
) -> None:
    model = SegmentationModel(spec(**network)).eval()
    calibrate(model, project, device=CPU)
    images = torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        assert model(images).shape == (1, 2, 64, 96)
        stages = model.stages(images)
        assert [s.shape[1] for s in stages] == model.stage_widths
        assert [64 // s.shape[2] for s in stages] == model.stage_strides
        assert model.embed(images).shape == (1, 64, 64, 96)
    save_model(model, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(again(images), model(images))


@pytest.mark.parametrize("trained", [0, 2])
def test_what_was_not_trained_is_no_feature(trained: int, project: Project) -> None:
    """Of the decoder nothing (the encoder's outputs are read), or two stages of it."""
    whole = spec(encoder="resnet18", encoder_depth=3)
    model = SegmentationModel(whole.model_copy(update={"trained_stages": trained})).eval()
    calibrate(model, project, device=CPU)
    images = torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        before = model.embed(images)
        for block in model.net.decoder.blocks[trained:]:
            for parameter in block.parameters():
                parameter.mul_(2).add_(0.1)
        torch.testing.assert_close(model.embed(images), before, rtol=0, atol=0)
        for parameter in model.net.encoder.conv1.parameters():
            parameter.mul_(2).add_(0.1)
        assert not torch.allclose(model.embed(images), before)


def test_the_first_stages_alone_are_the_first_of_all() -> None:
    model = SegmentationModel(spec()).eval()
    images = torch.rand(1, 1, 32, 64)
    with torch.no_grad():
        first, whole = model.stages(images, count=2), model.stages(images)
        assert len(first) == 2
        for stage, same in zip(first, whole, strict=False):
            torch.testing.assert_close(stage, same)
        torch.testing.assert_close(model.net.segmentation_head(whole[-1]), model(images))


def test_a_transformer_in_a_dilated_network_is_refused() -> None:
    with pytest.raises(ValueError, match="vit_small goes with the architecture unet only"):
        NetworkConfig(encoder="vit_small", architecture="deeplabv3")


def test_embedding_equals_projecting_the_upsampled_stages(project: Project) -> None:
    torch.manual_seed(0)
    model = SegmentationModel(spec()).eval()
    calibrate(model, project, device=CPU)
    images = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        upsampled = torch.cat(
            [
                torch.nn.functional.interpolate(s, size=(64, 64), mode="bilinear")
                for s in model.stages(images)
            ],
            dim=1,
        )
        centred = upsampled - model.feature_mean.view(1, -1, 1, 1)
        naive = torch.einsum("df,bfyx->bdyx", model.feature_basis, centred)
        torch.testing.assert_close(model.embed(images), naive, rtol=1e-3, atol=1e-4)


def test_embedding_covers_every_pixel_of_an_odd_sized_image(project: Project) -> None:
    model = SegmentationModel(spec()).eval()
    calibrate(model, project, device=CPU)
    planes = np.random.default_rng(0).random((1, 37, 50), dtype=np.float32)
    assert pixel_embedding(model, planes, factor=1.0, stride=1, device=CPU).shape == (37, 50, 64)
    assert pixel_embedding(model, planes, factor=1.0, stride=4, device=CPU).shape == (10, 13, 64)


def test_a_saved_model_comes_back_as_it_was(tmp_path: Path) -> None:
    model = SegmentationModel(spec()).eval()
    save_model(model, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    images = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(images), again(images))
    assert again.spec == model.spec


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (b"", "cannot be read"),
        (b"not weights at all", "cannot be read"),
        ("{", "header is no JSON"),
        ("[1]", "holds no JSON object"),
        ({"network": None}, "network = None"),
        ({"network": {"encoder": "tu-nonsense"}}, "no encoder 'tu-nonsense'"),
        ({}, "1 of its tensors .*shape.*segmentation_head"),
    ],
    ids=["empty", "noise", "no JSON", "no object", "no network", "no encoder", "tensors"],
)
def test_damaged_models_are_refused_in_words(
    tmp_path: Path, damage: bytes | str | dict[str, object], reason: str
) -> None:
    path = tmp_path / "m.safetensors"
    model = SegmentationModel(spec())
    if isinstance(damage, bytes):
        path.write_bytes(damage)
    else:
        state = {k: v for k, v in model.state_dict().items() if k != "net.segmentation_head.0.bias"}
        header = damage
        if isinstance(damage, dict):
            header = json.dumps(json.loads(model.spec.model_dump_json()) | damage)
        save_file(state, path, metadata={"napari_medssl": str(header)})
    with pytest.raises(MedsslError, match=reason):
        load_model(path)


def test_models_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    model = SegmentationModel(spec())
    data = json.loads(model.spec.model_dump_json()) | {"schema_version": 99, "novelty": 1}
    path = tmp_path / "m.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"napari_medssl": json.dumps(data)})
    with pytest.raises(MedsslError, match="newer napari-medssl"):
        load_model(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_of_version_1_is_standardised_as_it_was(tmp_path: Path, channels: int) -> None:
    mean, std = input_statistics("mobilenet_v2", channels)  # whatever the encoder
    now = spec(channels, ENCODER)
    assert (set(now.input_mean), set(now.input_std)) == ({0.5}, {0.5})
    then = ModelSpec.parse(now.model_dump() | {"input_mean": mean, "input_std": std})
    model, path = SegmentationModel(then).eval(), tmp_path / "m.safetensors"
    save_model(model, path)
    header = json.loads(then.model_dump_json()) | {"schema_version": 1}
    del header["input_mean"], header["input_std"]
    save_file(load_file(path), path, metadata={"napari_medssl": json.dumps(header)})
    opened = load_model(path)
    assert (opened.spec.input_mean, opened.spec.input_std) == (mean, std)
    assert opened.spec.schema_version == SPEC_VERSION
    images = torch.rand(1, channels, 32, 64)
    with torch.no_grad():
        assert torch.equal(opened(images), model(images))


@pytest.mark.parametrize(
    ("statistics", "message"),
    [({"input_mean": (0.5,) * 2}, "not of 1 channels"), ({"input_std": (0.0,)}, "not above 0")],
)
def test_statistics_that_do_not_fit_are_refused(
    statistics: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelSpec.parse(spec().model_dump() | statistics)


def test_only_what_comes_with_medssl_is_started_from_unasked() -> None:
    assert NetworkConfig().encoder == ENCODER
    assert NetworkConfig(encoder_depth=3).encoder_weights == "imagenet"
    assert NetworkConfig(encoder="resnet50").encoder_weights == "none"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"encoder": "resnet19"}, "no encoder 'resnet19'.*resnet18"),
        ({"encoder_weights": "file"}, "weights_file names no file"),
        ({"encoder_depth": 9}, "encoder_depth = 9"),
        ({"encodre": "resnet18"}, "no such setting.*encoder_weights"),
    ],
)
def test_bad_network_settings_are_refused_in_words(
    setting: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        NetworkConfig.parse(setting)
