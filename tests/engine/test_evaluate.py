"""The job of kind evaluate and its report, on a real network that was hardly trained."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from napari_medssl import Project, Run, finetune
from napari_medssl.cli import main
from napari_medssl.engine.api import evaluate
from napari_medssl.engine.job import execute
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.boundary import hausdorff, surface_dice
from napari_medssl.evaluate.instances import aji_plus, detection, overlaps
from napari_medssl.events import Saved
from napari_medssl.learn.control import Control
from napari_medssl.project import PatternRule, load_truth, read_labels
from napari_medssl.project.checkpoint import read_ids
from napari_medssl.synthetic import nuclei


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of three patients with true masks, numbering objects, the first patient's annotated as well."""
    folder = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(7)
    for kind in ("images", "masks", "some"):
        (folder / kind).mkdir()
    for number, name in enumerate(("a_0", "a_1", "b_0", "b_1", "c_0", "c_1")):
        field = nuclei(rng, shape=(64, 64))
        cv2.imwrite(str(folder / "images" / f"{name}.png"), field.image)
        for kind in ("masks", "some")[: 2 if number < 2 else 1]:
            cv2.imwrite(str(folder / kind / f"{name}.png"), field.labels)
    return folder


@pytest.fixture(scope="module")
def project(place: Path) -> Project:
    return Project.create(
        place / "images",
        masks=place / "some",
        masks_as="instances",
        groups=PatternRule(pattern="^[abc]"),
    )


@pytest.fixture(scope="module")
def run(project: Project) -> Run:
    network = {"encoder": "mobilenet_v2", "encoder_depth": 3}
    training = {"steps": 6, "batch_size": 2, "patch_size": 32}
    return finetune(
        project, network=network, training=training, answer="network", estimate=False, device="cpu"
    )


class Page(HTMLParser):
    """The text of a page, its pictures, and whatever it would load from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = ""
        self.pictures: list[dict[str, str | None]] = []
        self.foreign: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs))
        self.foreign += [
            str(value)
            for name, value in attrs
            if name in ("src", "href") and not str(value).startswith("data:")
        ]
        if tag in ("script", "link", "iframe"):
            self.foreign.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_everything_at_once(project: Project, run: Run, place: Path, tmp_path: Path) -> None:
    page = tmp_path / "out" / "report.html"
    page.parent.mkdir()
    found = evaluate(
        project,
        run=run.name,
        truth=place / "masks",
        masks_as="instances",
        objects="connected",
        boundary=True,
        tolerance=1,
        volumes=True,
        report=page,
        device="cpu",
    )
    truth = load_truth(project, place / "masks", masks_as="instances")
    assert [image.image for image in found.images] == ["b_0.png", "b_1.png", "c_0.png", "c_1.png"]
    pairs = {
        image.image: (
            read_labels(project.prediction_path(run.name, image.image)) == 2,
            truth[image.image] == 2,
        )
        for image in found.images
    }
    assert found.outlines is not None
    for name, (has, should) in pairs.items():
        own = found.outlines.images[name]["foreground"]
        distance = hausdorff(has, should)
        assert own.hd95 == (pytest.approx(distance) if math.isfinite(distance) else None)
        assert own.surface_dice == pytest.approx(surface_dice(has, should, tolerance=1))
    assert found.volumes is not None
    for volume in found.volumes.volumes:
        has, should = (np.stack([pairs[name][i] for name in volume.images]) for i in (0, 1))
        expected = 2 * (has & should).sum() / (has.sum() + should.sum())
        assert volume.dice == pytest.approx(expected)
    assert [volume.group for volume in found.volumes.volumes] == ["b", "c"]
    assert found.objects is not None
    name = "c_1.png"
    shared = overlaps(read_ids(project.predicted_objects_path(run.name, name)), truth.objects(name))
    (score,) = (image for image in found.objects.images if image.image == name)
    assert score.aji_plus == pytest.approx(aji_plus(shared))
    assert score.f1_over == pytest.approx([at.f1 for at in detection(shared)])
    assert found.objects.f1_over[0.5] == pytest.approx(found.objects.mean["f1"])

    told = Page(page.read_text(encoding="utf-8"))
    assert told.foreign == []
    assert all(picture["alt"] for picture in told.pictures)
    assert "the masks of 4 images" in told.text
    assert ", on none of which it was fine-tuned." in told.text  # all of its ancestry is known
    assert f"Dice {found.mean_dice:.3f}" in told.text
    assert f"AJI+ {found.objects.mean['aji_plus']:.3f}" in told.text
    assert "a_0.png" not in told.text.split("Settings")[0]  # it taught
    assert json.loads(page.with_suffix(".json").read_text()) == found.model_dump(mode="json")
    with page.with_suffix(".csv").open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert float(rows["b_0.png"]["dice"]) == found.images[0].classes["foreground"].dice
    assert float(rows["b_0.png"]["surface_dice"]) == pytest.approx(
        found.outlines.images["b_0.png"]["foreground"].surface_dice
    )


def test_without_masks_the_annotations_that_did_not_teach_are_truth(
    project: Project, run: Run, place: Path
) -> None:
    with pytest.raises(MedsslError, match="learned by heart"):
        evaluate(project, run=run.name, device="cpu")
    truth = load_truth(project, place / "masks", masks_as="instances")
    labels = truth["b_0.png"].copy()
    labels[:, 32:] = 0  # only a part is annotated
    project.annotations.write("b_0.png", labels)
    project.annotations.path("b_1.png").write_bytes(b"no TIFF")
    found = evaluate(project, run=run.name, device="cpu")
    project.annotations.clear("b_1.png")
    assert any("annotation of b_1.png was left out" in note for note in found.notes)
    (image,) = found.images
    assert image.image == "b_0.png"
    has = read_labels(project.prediction_path(run.name, "b_0.png"))[:, :32] == 2
    should = labels[:, :32] == 2
    assert image.classes["foreground"].true_positives == (has & should).sum()
    assert image.classes["foreground"].false_positives == (has & ~should).sum()
    project.annotations.clear("b_0.png")


def test_objects_that_were_drawn_are_truth_where_they_are_known_as_a_whole(
    project: Project, run: Run, place: Path
) -> None:
    name, truth = "c_0.png", load_truth(project, place / "masks", masks_as="instances")
    project.annotations.write(name, truth[name])
    project.objects.write(name, truth.objects(name))
    found = evaluate(project, run=run.name, objects="connected", device="cpu")
    assert found.objects is not None
    shared = overlaps(read_ids(project.predicted_objects_path(run.name, name)), truth.objects(name))
    assert [image.aji_plus for image in found.objects.images] == [pytest.approx(aji_plus(shared))]
    labels = truth[name].copy()
    labels[:, 32:] = 0  # only a part is annotated
    project.annotations.write(name, labels)
    found = evaluate(project, run=run.name, objects="connected", device="cpu")
    assert found.objects is None
    assert any("Objects are not scored on c_0.png" in note for note in found.notes)
    project.annotations.clear(name)
    project.objects.clear(name)


def test_partly_annotated_images_count_for_what_they_can(
    project: Project, run: Run, place: Path, tmp_path: Path
) -> None:
    """b_0 is annotated as a whole, of c_0 the left half; of each patient one of two slices."""
    whole, partly = "b_0.png", "c_0.png"
    truth = load_truth(project, place / "masks", masks_as="instances")
    for name in (whole, partly):
        labels = truth[name].copy()
        labels[:, 32 if name == partly else 64 :] = 0
        project.annotations.write(name, labels)
        project.objects.write(name, truth.objects(name))
    wanted: dict[str, Any] = {"boundary": True, "objects": "connected", "device": "cpu"}
    found = evaluate(project, run=run.name, **wanted, volumes=True)
    assert [image.image for image in found.images] == [whole, partly]
    assert found.partly == (partly,)
    assert found.objects is not None
    assert [image.image for image in found.objects.images] == [whole]
    assert found.outlines is not None
    assert list(found.outlines.images) == [whole]
    assert list(found.outlines.left_out) == [partly]
    told = "\n".join(found.notes)
    assert "1 of 2 scored images are only partly annotated" in told
    assert "Objects are not scored on c_0.png" in told
    assert "Outlines are not scored on c_0.png" in told
    assert "2 of 2 volumes are not whole" in told
    found.to_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert rows[whole]["f1"]
    assert rows[whole]["surface_dice"]
    assert rows[partly]["dice"]
    assert rows[partly]["f1"] == rows[partly]["surface_dice"] == ""

    project.annotations.clear(whole)
    project.objects.clear(whole)
    found = evaluate(project, run=run.name, **wanted)
    assert found.outlines is None
    assert found.objects is None
    assert "The scored image is only partly annotated" in "\n".join(found.notes)
    project.annotations.clear(partly)
    project.objects.clear(partly)


def test_a_patient_that_taught_is_scored_only_where_that_is_asked_for(
    project: Project, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that learned from a_0 alone; a_1, of the same patient, is annotated as well."""
    copy = Run(shutil.copytree(run.path, run.path.with_name("20260101-finetune-full-09")))
    copy.write_job(run.job | {"images": ["a_0.png"]})
    command = ["evaluate", str(project.path), "--run", copy.name, "--device", "cpu"]
    assert main(command) == 1
    assert 'units "image"' in capsys.readouterr().err
    assert main([*command, "--units", "image"]) == 0
    out = capsys.readouterr().out
    assert "not scored: a_0.png (the run was fine-tuned on it)" in out
    assert "1 of 1 scored images are of a group or file that the run was fine-tuned on" in out
    shutil.rmtree(copy.path)


def test_the_shell_says_it_and_refuses(
    project: Project, run: Run, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", str(project.path), "--run", run.name, "--truth", str(place / "masks")]
    command += ["--masks-as", "instances", "--device", "cpu"]
    assert main([*command, "--volumes", "--background", "--images", "b_0.png", "c_1.png"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"volumes: 2 groups", out)
    assert re.search(r"background: mean 3-D Dice 0\.\d+", out)
    assert main([*command, "--report", str(tmp_path / "report.pdf")]) == 2
    assert "a report is written as .html" in capsys.readouterr().err


def test_volumes_need_groups_and_a_stop_writes_nothing(
    project: Project, run: Run, place: Path
) -> None:
    job: dict[str, Any] = {
        "kind": "evaluate",
        "project": str(project.path),
        "run": run.name,
        "truth": str(place / "masks"),
        "masks_as": "instances",
        "device": "cpu",
    }
    control = Control()
    events = []
    for event in execute(job, control=control):
        events.append(event)
        control.stop()
    assert events[-1].stopped
    assert not any(isinstance(event, Saved) and event.what == "report" for event in events)
    project.update(groups=None)
    with pytest.raises(MedsslError, match="the project has no groups"):
        list(execute(job | {"volumes": True}))
