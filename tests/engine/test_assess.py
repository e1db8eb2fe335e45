"""The job of kind assess, on real networks that were hardly trained."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import tifffile
import torch

from napari_medssl import Project, Run, finetune, pretrain
from napari_medssl.engine.job import execute
from napari_medssl.engine.predicting import model_of
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.assessment import Activation, Assessment, Relatives, read_assessments
from napari_medssl.evaluate.measured import measured_on
from napari_medssl.evaluate.report.features import tell_features
from napari_medssl.evaluate.report.page import Report
from napari_medssl.evaluate.representation import mass_inside
from napari_medssl.events import Done, Saved
from napari_medssl.learn.control import Control
from napari_medssl.learn.stages import layers_of
from napari_medssl.project import PatternRule
from napari_medssl.project.checkpoint import write_tiff_labels
from napari_medssl.synthetic import nuclei

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = {"encoder": "mobilenet_v2", "encoder_depth": 3}
TRAINING = {"steps": 6, "batch_size": 2, "patch_size": 32}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Six annotated images, three of the class a and three of b."""
    folder = tmp_path_factory.mktemp("assess")
    rng = np.random.default_rng(7)
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for name in ("a_0", "a_1", "a_2", "b_0", "b_1", "b_2"):
        field = nuclei(rng, shape=(64, 64))
        cv2.imwrite(str(folder / "images" / f"{name}.png"), field.image)
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), field.labels)
    return Project.create(
        folder / "images",
        masks=folder / "masks",
        masks_as="instances",
        image_labels=PatternRule(pattern="^[ab]"),
    )


@pytest.fixture(scope="module")
def tuned(project: Project) -> Run:
    return finetune(
        project, network=NETWORK, training=TRAINING, answer="network", estimate=False, device="cpu"
    )


TAUGHT = ("a_0.png", "b_0.png")


@pytest.fixture(scope="module")
def partly(project: Project) -> Run:
    """A run that learned from some of the annotated images."""
    return finetune(
        project,
        images=TAUGHT,
        mode="full",
        network=NETWORK,
        training=TRAINING,
        answer="network",
        estimate=False,
        device="cpu",
        seed=1,
    )


def assess(project: Project, run: Run, **changes: Any) -> list[Any]:
    job = {"kind": "assess", "project": str(project.path), "run": run.name, "device": "cpu"}
    return list(execute(job | changes))


def test_everything_that_a_project_allows(project: Project, tuned: Run) -> None:
    run = pretrain(
        project,
        "pix2rep",
        config={"dimension": 16},
        network=NETWORK,
        training=TRAINING,
        device="cpu",
    )
    events = assess(project, run, against=tuned.name, rivals=[tuned.name])
    assert isinstance(events[-1], Done)
    (found,) = read_assessments(run)
    assert [event.path for event in events if isinstance(event, Saved)] == [
        str(run.path / "assessments" / f"unbiased-{tuned.name}.{kind}") for kind in ("json", "csv")
    ]
    assert found.neighbourhood is not None
    assert found.neighbourhood.expected == pytest.approx(0.4)  # two of the five others are alike
    assert found.classification is not None
    assert set(found.classification.recalls) == {"a", "b"}
    assert found.classification.chance == 0.5
    assert {pair.image for pair in found.relatives} == set(project.images)
    assert all(pair.image != pair.nearest for pair in found.relatives)
    assert found.spread is not None
    assert found.spread.positive > found.spread.negative
    assert (found.spread.of, found.spread.dimension, found.spread.full) == ("projector", 16, 0.25)
    assert found.likeness is not None
    assert found.likeness.images == 6
    assert found.activations == ()  # it learned features, not classes
    assert any("features, not classes" in note for note in found.notes)
    assert found.cka is not None
    assert len(found.cka.stages) == 3
    assert found.cka.stages == tuple(np.diagonal(found.cka.table))
    assert found.application is not None
    assert found.application.steps == 6
    assert found.application.parameters_added > 0
    assert {time.run for time in found.settling} == {run.name, tuned.name}
    with (run.path / "assessments" / f"unbiased-{tuned.name}.csv").open() as file:
        rows = {(row["measure"], row["of"]): float(row["value"]) for row in csv.DictReader(file)}
    assert rows["cka", "mean over stages"] == pytest.approx(np.mean(found.cka.stages))


def test_a_run_with_itself(project: Project, tuned: Run) -> None:
    assess(project, tuned, against=tuned.name)
    (found,) = read_assessments(tuned)
    assert found.spread is not None
    assert found.spread.of == "encoder"
    assert found.cka is not None
    assert found.cka.stages == pytest.approx([1, 1, 1])
    assert len(found.activations) == 6
    assert any(
        "6 of 6 annotated images taught, and the others are too few" in x for x in found.notes
    )
    for activation in found.activations:
        mask = project.annotations.read(activation.image) == 2
        assert activation.area == pytest.approx(mask.mean())
        stored = tifffile.imread(tuned.path / activation.file)
        assert activation.inside == pytest.approx(mass_inside(stored, mask))
    with pytest.raises(MedsslError, match="batches of 12 images and more; there are 6"):
        assess(project, tuned, against=tuned.name, cka="paper")


def test_images_that_taught_measure_nothing(project: Project, partly: Run, tuned: Run) -> None:
    assess(project, partly)
    (found,) = read_assessments(partly)
    assert found.images == 6  # what takes no annotation
    assert found.likeness is not None
    assert found.likeness.images == 4
    assert {item.image for item in found.activations} == set(project.images) - set(TAUGHT)
    assert any("2 of 6 annotated images taught: they are left out" in x for x in found.notes)
    # of two runs: what either learned from
    others = tuple(name for name in project.images if name not in TAUGHT)
    assert measured_on(project, [partly]).names == others
    assert measured_on(project, [partly, tuned]).names == project.images


def test_damaged_annotations_are_left_out(project: Project, tuned: Run) -> None:
    names = ("a_0.png", "b_1.png")
    paths = [project.annotations.path(name) for name in names]
    before = [path.read_bytes() for path in paths]
    paths[0].write_bytes(b"no TIFF")
    small = np.ones((9, 9), np.uint16)  # a file that is sound, and fits another image
    write_tiff_labels(paths[1], small, note={"counts": {"1": 81}, "done": False})
    try:
        events = assess(project, tuned)
    finally:
        for path, content in zip(paths, before, strict=True):
            path.write_bytes(content)
    assert isinstance(events[-1], Done)
    found = read_assessments(tuned)[0]
    assert found.likeness is not None
    assert found.likeness.images == 4
    assert not set(names) & {item.image for item in found.activations}
    for name in names:
        assert sum(name in note for note in found.notes) == 1


def test_cka_as_in_the_paper_against_a_loop(tmp_path: Path, tuned: Run, partly: Run) -> None:
    rng = np.random.default_rng(3)
    for n in range(12):
        picture = nuclei(rng, shape=(32, 32)).image
        assert cv2.imwrite(str(tmp_path / f"{n:02}.png"), picture)
    project = Project.create(tmp_path)
    job = {"kind": "assess", "project": str(project.path), "run": str(tuned.path), "device": "cpu"}
    list(execute(job | {"against": str(partly.path), "cka": "paper"}))
    assessments = {item.name: item for item in read_assessments(tuned)}
    found = assessments[f"paper-{partly.name}"].cka
    assert found is not None
    assert (found.images, found.batches, found.table) == (12, 1, ())
    images = torch.from_numpy(np.stack([project.planes(name) for name in project.images]))
    by_stage: dict[int, list[float]] = {}
    for first, second in zip(
        *(layers_of(model_of(run), images, np.copy) for run in (tuned, partly)), strict=True
    ):
        grams = []
        for maps in (first.value, second.value):
            flat = maps.reshape(12, -1).astype(np.float64)
            flat -= flat.mean(0)
            grams.append(flat @ flat.T)
        k, m = grams
        score = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
        by_stage.setdefault(first.stage, []).append(score)
    expected = [np.mean(by_stage[stage]) for stage in sorted(by_stage)]
    assert found.stages == pytest.approx(expected, abs=1e-6)
    assert max(found.stages) < 0.999  # they are not the same network


def test_maps_that_are_empty_are_counted_and_in_no_mean() -> None:
    def activation(image: str, inside: float | None, area: float) -> Activation:
        return Activation(
            image=image, label="cell", inside=inside, area=area, file="", top=0, left=0
        )

    maps = (activation("a", 0.6, 0.2), activation("b", None, 0.9), activation("c", 0.8, 0.4))
    found = Assessment(run="r", encoder="e", images=3, side=32, activations=maps)
    (focus,) = found.focus()
    assert (focus.inside, focus.area) == (pytest.approx(0.7), pytest.approx(0.3))
    assert "0.300 of the area (2 images; 1 of 3 maps are empty)" in found.text()
    assert ("inside", "b: cell", None) in list(found.rows())
    nothing = found.model_copy(update={"activations": maps[1:2]})
    assert "class activation inside cell: 1 of 1 maps are empty" in nothing.text()


def test_a_report_goes_on_without_what_cannot_be_read(
    project: Project, tuned: Run, tmp_path: Path
) -> None:
    tifffile.imwrite(tuned.path / "map.tif", np.ones((64, 64), np.float32))
    maps = tuple(
        Activation(
            image=name, label="foreground", inside=None, area=0.1, file="map.tif", top=0, left=0
        )
        for name in ("a_1.png", "b_0.png")
    )
    beside = Relatives(
        image="a_1.png",
        label="a",
        nearest="a_0.png",
        nearest_label="a",
        farthest="b_1.png",
        farthest_label="b",
    )
    found = Assessment(
        run="r", encoder="e", images=6, side=64, activations=maps, relatives=(beside,)
    )
    damaged = found.write(tuned)[0]
    image, labels = project.image_root / "a_0.png", project.annotations.path("b_0.png")
    before = image.read_bytes(), labels.read_bytes()
    image.write_bytes(b"no image")
    labels.write_bytes(b"no TIFF")
    try:
        report = Report("Scores", lead="")
        tell_features(report, tuned, project)
    finally:
        image.write_bytes(before[0])
        labels.write_bytes(before[1])
    report.write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "a_0.png cannot be shown beside its relatives" in page
    assert "The activation map of b_0.png cannot be shown" in page
    assert "What decisions rest on" in page  # the others are shown
    damaged.write_bytes(b"{")
    try:
        report = Report("Scores", lead="")
        tell_features(report, tuned, project)
    finally:
        damaged.unlink()
    report.write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Its assessments cannot be shown" in page


def test_stop_leaves_nothing(project: Project, tuned: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in tuned.path.rglob("*.json")}
    control = Control()
    job = {"kind": "assess", "project": str(project.path), "run": tuned.name, "device": "cpu"}
    events = []
    for event in execute(job, control=control):
        events.append(event)
        control.stop()
    assert events[-1].stopped
    assert {path: path.stat().st_mtime_ns for path in tuned.path.rglob("*.json")} == before
