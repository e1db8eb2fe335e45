from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from napari_medssl.cli import main
from napari_medssl.demo import cases, tissue
from napari_medssl.synthetic import nuclei

if TYPE_CHECKING:
    import pytest


def test_demo_on_own_images_with_masks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = cases._settings(steps=2, batch_size=2, patch_size=32)
    monkeypatch.setattr(cases, "_pretraining", lambda steps: tiny)
    monkeypatch.setattr(cases, "_finetuning", lambda steps: ("--mode", "full", *tiny))
    rng = np.random.default_rng(0)
    for number in range(5):
        field = nuclei(rng, shape=(64, 64))
        for part, array in (("images", field.image), ("masks", (field.labels > 0) * np.uint8(255))):
            (tmp_path / part).mkdir(exist_ok=True)
            tifffile.imwrite(tmp_path / part / f"n{number}.tif", array)
    out = tmp_path / "report"
    argv = ["demo", "--quick", "--out", str(out), "--device", "cpu"]
    assert (
        main([*argv, "--images", str(tmp_path / "images"), "--masks", str(tmp_path / "masks")]) == 0
    )
    printed = capsys.readouterr().out.strip().splitlines()
    assert Path(printed[-1]) == out / "report.html"
    page = (out / "report.html").read_text(encoding="utf-8")
    for part in ("Otsu", "MedSASS, no annotation", "2 annotated images, pretrained"):
        assert part in page
    for command in ("init", "pretrain", "finetune", "predict", "similar"):
        assert f"\nmedssl {command} " in page or f">medssl {command} " in page
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r"(src|href)=\"(?!data:)", page)  # nothing comes from elsewhere
    assert "http" not in re.sub(r"base64,[^\"]*", "", page)


def test_demo_never_clears_a_foreign_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["demo", "--out", str(tmp_path)]) == 1
    assert "not the demo's" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert main(["demo", "--masks", "m", "--out", str(tmp_path / "new")]) == 1


def test_tissue_pieces_fit_together() -> None:
    images, truth, strokes = tissue.tiles(), tissue.truth(), tissue.strokes()
    assert tuple(images) == tuple(truth) == tissue.tile_names()
    for name, image in images.items():
        assert image.shape == (tissue.TILE, tissue.TILE, 3)
        assert truth[name].shape == image.shape[:2]
        assert set(np.unique(truth[name])) == {0, 1, 2}
    for name, labels in strokes.items():
        painted = (labels > 0) & (truth[name] > 0)
        assert set(np.unique(labels)) == {0, 1, 2}
        assert (labels == truth[name])[painted].mean() > 0.98  # the strokes keep to the outlines
