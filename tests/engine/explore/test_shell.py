"""The commands of Explore, end to end."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from napari_medssl import Project, pretrain, suggest
from napari_medssl.cli import main
from napari_medssl.events import AnyEvent, parse_event
from napari_medssl.explore.store import EmbeddingStore
from napari_medssl.explore.what_next import WhatNext
from napari_medssl.synthetic import nuclei

CPU = ("--device", "cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Five images, two short runs; the tests add to the project and take nothing away."""
    place = tmp_path_factory.mktemp("shell")
    rng = np.random.default_rng(3)
    (place / "images").mkdir()
    for number in range(5):
        field = nuclei(rng, shape=(64, 80)).image
        cv2.imwrite(str(place / "images" / f"n{number}.png"), field)
    made = Project.create(place / "images", project=place / "project")
    training = {"steps": 3, "batch_size": 2, "patch_size": 32}
    for method in ("medsass", "pix2rep"):
        pretrain(made, method, network={"encoder_depth": 3}, training=training, device="cpu")
    return made


class Shell:
    def __init__(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        self.project, self._capsys = project, capsys

    def __call__(self, command: str, *argv: object, code: int = 0) -> str:
        self._capsys.readouterr()
        words = [command, self.project.path, "--run", "latest", *CPU, *argv]
        got = main([str(word) for word in words])
        printed = self._capsys.readouterr()
        self.error = printed.err
        assert got == code, printed.err
        return printed.out

    def events(self, command: str, *argv: object) -> list[AnyEvent]:
        return [parse_event(line) for line in self(command, *argv, "--json").splitlines()]


@pytest.fixture
def shell(project: Project, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(project, capsys)


def is_figure(path: Path) -> bool:
    head = path.read_bytes()[:8]
    return head.startswith((b"\x89PNG", b"%PDF"))


def test_embed_says_what_it_stores_and_does_it_once(shell: Shell) -> None:
    assert "5 images in embeddings/" in shell("embed", "--budget", "40kB", "--source", "decoder-1")
    assert "of the 40.0 kB allowed" in shell.error
    events = shell.events("embed", "--budget", "40kB", "--source", "decoder-1")
    assert events[0].total == 0
    assert "--budget much" in (shell("embed", "--budget", "much", code=2) or shell.error)
    shell("embed", "--source", "middle", code=2)


def test_similar_of_one_image(shell: Shell, tmp_path: Path) -> None:
    argv = ["--image", "n1.png", "--at", "20,30", "--at", "n2.png:5,6", "--not", "60,70"]
    shell("similar", *argv, "--out", tmp_path / "heat.tif")
    heat = tifffile.imread(tmp_path / "heat.tif")
    assert heat[20, 30] > 0 > heat[60, 70]
    shell("similar", *argv, "--out", tmp_path / "heat.pdf")
    assert is_figure(tmp_path / "heat.pdf")
    mask = np.zeros((64, 80), np.uint8)
    mask[10:20, 10:20] = 255
    tifffile.imwrite(tmp_path / "mask.tif", mask)
    shell(
        *("similar", "--image", "n1.png", "--region", tmp_path / "mask.tif"),
        *("--compare", shell.project.runs()[1].name, "--out", tmp_path / "both.png"),
    )
    assert is_figure(tmp_path / "both.png")
    for wrong in (
        ("--image", "n1.png", "--at", "20", "--out", "x.tif"),
        ("--image", "n1.png", "--at", "20,30"),
        ("--image", "n1.png", "--at", "20,30", "--out", "x.jpg"),
        ("--image", "n1.png", "--out", "x.tif"),
        ("--at", "20,30", "--out", "x.tif"),
        ("--image", "n1.png", "--at", "1,1", "--not", "2,2", "--how", "max", "--out", "x.tif"),
        ("--image", "n1.png", "--at", "1,1", "--label", "2"),
    ):
        shell("similar", *wrong, code=2)
    shell("similar", "--image", "n1.png", "--at", "20,3000", "--out", "x.tif", code=1)


def test_similar_of_the_folder(shell: Shell, tmp_path: Path) -> None:
    shell(
        *("similar", "--at", "n3.png:20,30", "--save-query", "bright", "--folder"),
        *("--out", tmp_path / "gallery.png", "--top", 3),
    )
    assert is_figure(tmp_path / "gallery.png")
    out = shell("similar", "--query", "bright", "--folder", "--out", tmp_path / "ranks.csv")
    assert out.split()[:3] == ["image", "similarity", "at"]
    with (tmp_path / "ranks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["image"] == "n3.png"
    assert float(rows[0]["score"]) == pytest.approx(1, abs=1e-3)
    assert len(rows) == 5
    events = shell.events(
        "similar", "--query", "bright", "--folder", "--threshold", "0.999", "--label", "foreground"
    )
    data = events[-1].data
    enough = {match["image"] for match in data["matches"] if match["score"] >= 0.999}
    assert set(data["labelled"]) <= enough
    assert set(shell.project.annotations.annotated()) == set(data["labelled"])
    assert "bright" in (shell("similar", "--query", "dark", "--folder", code=1) or shell.error)


def test_neighbours(shell: Shell, tmp_path: Path) -> None:
    (*_, event) = shell.events(
        *("neighbours", "--image", "n0.png", "--count", 2, "--out", tmp_path / "near.png"),
        *("--map", tmp_path / "map.pdf"),
    )
    assert [len(event.data[key]) for key in ("nearest", "farthest")] == [2, 2]
    assert is_figure(tmp_path / "near.png")
    assert is_figure(tmp_path / "map.pdf")
    shell("neighbours", "--image", "n9.png", code=1)
    shell("neighbours", "--image", "n0.png", "--map", "map.tif", code=2)


@pytest.mark.parametrize("kind", ["pca", "tsne", "kmeans"])
def test_colours(kind: str, shell: Shell, tmp_path: Path) -> None:
    shell("colours", "--kind", kind, "--out", tmp_path / "figure.png")
    assert is_figure(tmp_path / "figure.png")
    shell("colours", "--kind", kind, "--out", tmp_path / "each", "--images", "n1.png", "n2.png")
    suffix = "tif" if kind == "kmeans" else "png"
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == [
        f"n1.png.{suffix}",
        f"n2.png.{suffix}",
    ]
    if kind == "kmeans":
        labels = tifffile.imread(tmp_path / "each" / "n1.png.tif")
        assert labels.shape == (64, 80)
        assert 1 <= labels.min() <= labels.max() <= 8
    shell("colours", "--kind", kind, "--out", tmp_path / "figure.jpg", code=2)


def test_suggest(shell: Shell) -> None:
    annotations = shell.project.annotations
    for name in annotations.annotated():
        annotations.clear(name)
    out = shell("suggest", "--count", 2).splitlines()
    assert out[2].startswith("1  n")
    assert "the most typical of 5 images" in out[2]
    assert len(out) == 4
    labels = np.ones((64, 80), np.uint16)
    labels[20:40, 20:40] = 2
    annotations.write("n1.png", labels)
    (*_, event) = shell.events("suggest", "--count", 9)
    found = event.data["suggestions"]
    assert {item["image"] for item in found} == set(shell.project.images) - {"n1.png"}
    assert "more like it" in found[0]["why"]  # with so few, uncertainty is told and not gone by
    assert set(event.data["uncertainty"]) == set(shell.project.images)
    same = suggest(shell.project, run=shell.project.runs()[0].name, device="cpu")
    assert [item.image for item in same] == [item["image"] for item in found]
    store = EmbeddingStore.open(shell.project, shell.project.runs()[0])
    advice = WhatNext(shell.project, store).advise(enough=1)
    assert "uncertain" in advice.suggestions[0].why
    shell("suggest", "--count", 0, code=1)
