"""`medssl recommend`, `medssl groups`, and what `init` and `pretrain` take of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari_medssl
from napari_medssl import Project
from napari_medssl.cli import main
from napari_medssl.engine.protocol import Request
from napari_medssl.engine.serve import Interactive
from napari_medssl.learn.bundled import ENCODER
from napari_medssl.plan import Recommendation

if TYPE_CHECKING:
    import pytest


def result(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])["data"]
    return data


def test_recommend_says_the_same_in_shell_and_engine(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", str(project.path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("MedSASS, EfficientNet-Lite0, 64 px, batch 4, ")
    assert "Bright and dark fall apart clearly" in out
    assert "medssl pretrain" in out
    answer = Interactive(tell=print).answer(
        Request(id=1, request="recommend", project=str(project.path))
    )
    assert answer.pop("seconds") > 0
    engine = Recommendation.parse(answer)
    assert engine.headline().startswith("MedSASS, EfficientNet-Lite0, 64 px, batch 4, ")
    assert napari_medssl.recommend(project.path, method="dicoh").facts == engine.facts
    assert main(["recommend", str(project.path), "--method", "magic"]) == 2
    known = capsys.readouterr().err.partition("known: ")[2]
    assert {"dicoh", "medsass", "pix2rep", "pix2rep_v2"} <= set(known.strip(" .\n").split(", "))


def test_pretrain_takes_what_is_recommended_unless_told_otherwise(project: Project) -> None:
    told = ["--set", "training.steps=2", "--set", "training.batch_size=2"]
    assert main(["pretrain", str(project.path), "--recommended", *told]) == 0
    job = project.run("latest").job
    assert job["method"] == "medsass"
    network = job["network"]
    assert (network["encoder"], network["encoder_weights"]) == (ENCODER, "imagenet")
    training = job["training"]
    assert (training["steps"], training["batch_size"], training["patch_size"]) == (2, 2, 64)
    other = ["--encoder", "resnet18", *told]
    assert main(["pretrain", str(project.path), "--recommended", *other]) == 0
    network = project.run("latest").job["network"]
    assert (network["encoder"], network["encoder_weights"]) == ("resnet18", "none")  # no download


def test_the_plan_is_for_what_the_encoder_starts_from(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", str(project.path), "--weights", "imagenet"]) == 0
    out = capsys.readouterr().out
    assert "You chose it." in out
    assert out.rstrip().endswith("--recommended --weights imagenet")
    small = ["--set", "training.steps=1", "--set", "training.batch_size=2"]
    assert main(["pretrain", str(project.path), "--recommended", *small]) == 0
    file = tmp_path / "encoder.safetensors"
    export = ["export", str(project.path), "--run", "latest", "--out", str(file)]
    assert main(export) == 0
    begin = ["pretrain", str(project.path), "--recommended", "--weights", str(file)]
    assert main([*begin, *small]) == 0
    network = project.run("latest").job["network"]
    assert (network["encoder_weights"], network["weights_file"]) == ("file", str(file))


def test_init_and_groups_take_and_forget_rules(
    nuclei_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = nuclei_folder / "list.csv"
    table.write_text("image,plate\nfield_0,A\nfield_1,B\n")
    place = tmp_path / "p"
    init = ["init", str(nuclei_folder / "images"), "--project", str(place)]
    for wrong, message in (
        (["--groups-csv", str(table)], "there are: image, plate"),
        (["--groups-column", "plate"], "of which table?"),
        (["--groups-pattern", "x", "--groups-csv", str(table)], "exclude each other"),
        (["--labels-pattern", "("], "no regular expression"),
        (["--labels-pattern", "nothing"], "finds nothing in the names of the 6 images"),
    ):
        assert main([*init, *wrong]) != 0
        assert message in capsys.readouterr().err
        assert not place.exists()
    given = ["--groups-csv", str(table), "--groups-column", "plate"]
    assert main([*init, *given, "--labels-pattern", "field"]) == 0
    assert "Groups: 2 of 6 images, 2 values: A (1), B (1)." in capsys.readouterr().out
    assert Project.open(place).groups() == {"field_0.png": "A", "field_1.png": "B"}
    assert main(["groups", str(place), "--no-groups", "--labels-pattern", "field_([01])"]) == 0
    out = capsys.readouterr().out
    assert "Groups: none given" in out
    assert "Classes of whole images: 2 of 6 images, 2 values: 0 (1), 1 (1)." in out
    assert main(["groups", str(place), "--json"]) == 0
    told = result(capsys)
    assert told["groups"] is None
    assert told["image_labels"]["report"]["values"] == {"0": 1, "1": 1}
