"""Weights of a run leave the project and come back, here and in segmentation-models-pytorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from napari_medssl import Project, Run, export, finetune, pretrain
from napari_medssl.cli import main
from napari_medssl.config import ConfigError
from napari_medssl.engine.predicting import model_of
from napari_medssl.errors import MedsslError
from napari_medssl.events import Note
from napari_medssl.learn.transfer import build_model
from napari_medssl.learn.weights import load_model, read_tensors
from napari_medssl.project.weights_header import ancestry
from napari_medssl.synthetic import nuclei

NETWORK = {"encoder": "mobilenet_v2", "encoder_depth": 3}
STEPS = {"steps": 2, "batch_size": 2, "patch_size": 32}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three annotated images."""
    folder = tmp_path_factory.mktemp("export")
    rng = np.random.default_rng(7)
    for number in range(3):
        field = nuclei(rng, shape=(64, 64))
        for part, array in (("images", field.image), ("masks", field.labels)):
            (folder / part).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / part / f"n{number}.png"), array)
    return Project.create(folder / "images", masks=folder / "masks", masks_as="instances")


@pytest.fixture(scope="module")
def run(taught: Project) -> Run:
    return pretrain(taught, network=NETWORK, training=STEPS)


def plain_unet(channels: int = 1) -> Any:
    """The network of the run, made by somebody who knows nothing of us."""
    return smp.Unet(
        "mobilenet_v2",
        encoder_depth=3,
        encoder_weights=None,
        decoder_channels=(64, 32, 16),
        in_channels=channels,
        classes=2,
    ).eval()


def test_a_network_works_in_smp_as_it_does_here(run: Run, tmp_path: Path) -> None:
    path = export(run, tmp_path / "w.safetensors", part="whole", names="smp")
    network = plain_unet()
    network.load_state_dict(load_file(path))  # strict: nothing missing, nothing more
    with safe_open(path, framework="pt") as file:
        told = json.loads(file.metadata()["napari_medssl_export"])
    mean, std = (torch.tensor(told[key]).view(1, -1, 1, 1) for key in ("input_mean", "input_std"))
    images = torch.rand(1, 1, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(network((images - mean) / std), model_of(run)(images))


@pytest.mark.parametrize(("part", "missing"), [("encoder", "decoder"), ("encoder+decoder", "head")])
def test_a_part_fills_its_part_of_an_smp_network(
    run: Run, tmp_path: Path, part: Any, missing: str
) -> None:
    path = export(run, tmp_path / "w.safetensors", part=part, names="smp")
    outcome = plain_unet().load_state_dict(load_file(path), strict=False)
    assert not outcome.unexpected_keys
    assert outcome.missing_keys
    assert all(missing in k or "head" in k for k in outcome.missing_keys)


@pytest.mark.parametrize("names", ["medssl", "smp", "encoder"])
def test_an_exported_encoder_is_a_start_whatever_its_names(
    run: Run, tmp_path: Path, names: Any
) -> None:
    path = export(run, tmp_path / "w.safetensors", names=names)
    spec = model_of(run).spec
    start = spec.network.model_copy(update={"encoder_weights": "file", "weights_file": str(path)})
    told: list[str] = []
    model = build_model(spec.model_copy(update={"network": start}), note=told.append)
    first = model_of(run).net.encoder.state_dict()
    for name, value in model.net.encoder.state_dict().items():
        assert torch.equal(value, first[name]), name
    assert f"{len(first)} of {len(first)} tensors" in told[0]


def test_an_encoder_goes_out_and_starts_another_run(
    run: Run, taught: Project, tmp_path: Path
) -> None:
    path = export(run, tmp_path / "w.safetensors")
    start = {"encoder_weights": "file", "weights_file": str(path)}
    told: list[str] = []
    second = finetune(
        taught,
        mode="frozen",
        network=NETWORK | start,
        training=STEPS,
        answer="network",
        estimate=False,
        on_event=lambda event: told.append(event.text) if isinstance(event, Note) else None,
    )
    first = model_of(run).net.encoder.state_dict()
    for name, value in model_of(second).net.encoder.state_dict().items():
        assert torch.equal(value, first[name]), name  # frozen: as it came
    assert any(f"{len(first)} of {len(first)} tensors" in text for text in told)
    (own, file) = ancestry(second)
    assert own == run.name
    assert file.startswith("w.safetensors (sha256 ")


def test_an_encoder_of_smp_comes_in_and_goes_out_unchanged(taught: Project, tmp_path: Path) -> None:
    theirs = {k: v.clone() for k, v in plain_unet().encoder.state_dict().items()}
    torch.save({"model": {f"module.encoder.{k}": v for k, v in theirs.items()}}, tmp_path / "w.pth")
    start = {"encoder_weights": "file", "weights_file": str(tmp_path / "w.pth")}
    rate = {"learning_rate": 1e-12, "weight_decay": 0.0}
    run = pretrain(taught, network=NETWORK | start, training=STEPS | rate)
    out = export(taught.path / "runs" / run.name, tmp_path / "back.safetensors", names="encoder")
    back = read_tensors(out)
    assert back.keys() == theirs.keys()
    for name, value in back.items():
        if "running" not in name and "batches" not in name:  # batch statistics follow the images
            torch.testing.assert_close(value, theirs[name])


def test_a_whole_model_opens_again(run: Run, taught: Project, tmp_path: Path) -> None:
    path = export(run.name, tmp_path / "w.safetensors", project=taught, part="whole")
    again, model = load_model(path), model_of(run)
    assert again.spec == model.spec
    images = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


def test_a_file_is_replaced_only_where_asked(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(MedsslError, match="already, so nothing was written"):
        export(run, path)
    assert path.read_bytes() == b"precious"
    export(run, path, overwrite=True)
    assert read_tensors(path)
    with pytest.raises(MedsslError, match=r"exported for other programs \(encoder\)"):
        load_model(path)
    with pytest.raises(ConfigError, match=r"written as .safetensors"):
        export(run, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="those of an encoder alone"):
        export(run, tmp_path / "x.safetensors", part="whole", names="encoder")


def test_the_shell_exports_and_starts_from_a_part(
    run: Run, taught: Project, tmp_path: Path
) -> None:
    out = tmp_path / "w.safetensors"
    line = ["export", str(taught.path), "--run", run.name, "--part", "encoder+decoder"]
    assert main([*line, "--out", str(out)]) == 0
    assert main([*line, "--out", str(out)]) == 1  # it is there
    assert main([*line, "--out", str(out), "--overwrite"]) == 0
    assert main([*line, "--out", str(tmp_path / "w.onnx")]) == 2
    settings = [f"--set=training.{key}={value}" for key, value in STEPS.items()]
    start = ["--from", str(run.path), "--take", "encoder", "--mode", "full"]
    assert main(["finetune", str(taught.path), *start, *settings, "--device", "cpu"]) == 0
    newest = taught.runs()[0]
    assert newest.job["take"] == "encoder"
    assert ancestry(newest) == (run.name,)


def test_a_probe_is_not_exported_as_a_last_layer(run: Run, taught: Project, tmp_path: Path) -> None:
    probe = finetune(taught, from_run=run.name, mode="probe", training=STEPS)
    with pytest.raises(MedsslError, match="linear probe"):
        export(probe, tmp_path / "w.safetensors", part="whole", names="smp")
    assert not (tmp_path / "w.safetensors").exists()


def test_a_run_of_another_project_in_other_channels_is_a_start(
    run: Run, taught: Project, tmp_path: Path
) -> None:
    colour = Project.create(taught.image_root, project=tmp_path / "colour")
    colour.update(channels=("red", "green", "blue"))
    told: list[str] = []
    second = pretrain(
        colour,
        from_run=run.path,
        take="encoder",
        training=STEPS,
        on_event=lambda event: told.append(event.text) if isinstance(event, Note) else None,
    )
    assert ancestry(second) == (run.name,)
    (note,) = [text for text in told if text.startswith("Taken over")]
    assert f"from {run.name}: encoder, " in note
    assert "made for 1 channel; it was adapted to 3" in note
    assert model_of(second).spec.channels == ("red", "green", "blue")
    assert second.job["from_run"] == str(run.path)
