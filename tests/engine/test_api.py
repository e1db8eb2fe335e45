"""The Python interface on a whole project: predict, similar, evaluate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_medssl import Project, finetune, predict, pretrain, similar
from napari_medssl.engine.api import evaluate
from napari_medssl.errors import MedsslError
from napari_medssl.project import Run, load_truth, read_labels


@pytest.fixture
def run(project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]) -> Run:
    return pretrain(project, network=tiny_network, training=tiny_training)


def test_predict_a_project_and_a_folder_agree(
    project: Project, run: Run, nuclei_folder: Path, tmp_path: Path
) -> None:
    inside = predict(project, run=run.name)
    outside = predict(nuclei_folder / "images", run=run, out=tmp_path / "out")
    assert len(inside) == len(outside) == 6
    for a, b in zip(inside, outside, strict=True):
        np.testing.assert_array_equal(read_labels(a), tifffile.imread(b))
    assert predict(project, run=run.name, overwrite=False) == []
    assert not (nuclei_folder / "images" / "project.json").exists()


def test_one_damaged_image_does_not_end_the_folder(project: Project, run: Run) -> None:
    victim = project.image_root / project.images[2]
    victim.write_bytes(victim.read_bytes()[:100])
    notes: list[str] = []
    project = Project.open(project.path)
    written = predict(
        project, run=run.name, on_event=lambda e: notes.append(getattr(e, "text", ""))
    )
    assert len(written) == 5


def test_similarity_is_one_at_the_query_and_lower_elsewhere(
    project: Project, run: Run, tmp_path: Path
) -> None:
    heat = similar(
        project, run=run.name, image=project.images[0], at=(20, 30), out=tmp_path / "h.tif"
    )
    assert heat.shape == (64, 64)
    assert heat.dtype == np.float32
    assert heat[20, 30] == pytest.approx(1, abs=1e-4)
    assert heat.min() < 0.9
    assert heat.max() <= 1
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "h.tif"), heat)
    with pytest.raises(MedsslError, match="outside"):
        similar(project, run=run.name, image=project.images[0], at=(64, 0))


def test_evaluate_scores_the_predictions_on_disk(
    annotated_project: Project,
    nuclei_folder: Path,
    tiny_network: dict[str, Any],
    tiny_training: dict[str, Any],
) -> None:
    project = annotated_project
    teaching = project.images[:2]
    run = finetune(
        project,
        network=tiny_network,
        training=tiny_training,
        images=teaching,
        answer="network",
        estimate=False,
    )
    result = evaluate(project, run=run.name, truth=nuclei_folder / "masks")
    truth = load_truth(project, nuclei_folder / "masks")
    name = project.images[3]
    predicted = read_labels(project.prediction_path(run.name, name)) == 2
    true = truth[name] == 2
    expected = 2 * (predicted & true).sum() / max(1, predicted.sum() + true.sum())
    row = next(row for row in result.images if row.image == name)
    assert row.classes["foreground"].dice == pytest.approx(expected)
    assert [row.image for row in result.images] == list(project.images[2:])
    assert set(result.skipped) == set(teaching)
    with pytest.raises(MedsslError, match="fine-tuned on every image that could be scored"):
        evaluate(project, run=run.name, truth=nuclei_folder / "masks", images=teaching)


def test_a_run_for_other_channels_is_refused(project: Project, run: Run, tmp_path: Path) -> None:
    import cv2

    (tmp_path / "colour").mkdir()
    rng = np.random.default_rng(0)
    for n in range(3):
        cv2.imwrite(
            str(tmp_path / "colour" / f"{n}.png"), rng.integers(0, 255, (64, 64, 3), np.uint8)
        )
    colour = Project.create(tmp_path / "colour")
    with pytest.raises(MedsslError, match="made for the channels"):
        predict(colour, run=run.path)


def test_importing_the_package_and_the_project_loads_no_torch() -> None:
    code = (
        "import sys, napari_medssl, napari_medssl.project, napari_medssl.engine.protocol, "
        "napari_medssl.explore.similarity, napari_medssl.cli\n"
        "from napari_medssl import Project\n"
        "bad = {'torch', 'qtpy', 'napari', 'magicgui'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
