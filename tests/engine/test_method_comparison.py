"""Methods compared on the project's own annotations: the table, going on after a stop, and what is recommended then."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from napari_medssl import Project
from napari_medssl.cli import main
from napari_medssl.engine.job import execute
from napari_medssl.engine.protocol import Request
from napari_medssl.engine.serve import Interactive
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Note
from napari_medssl.learn.bundled import ENCODER
from napari_medssl.learn.control import Control
from napari_medssl.learn.recommend import recommend
from napari_medssl.project import PatternRule
from napari_medssl.project.method_comparison import (
    Candidate,
    MethodComparison,
    comparisons_of,
    newest_comparison,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.plan import Answer

SETTINGS = {
    "network.encoder": "mobilenet_v2",
    "network.encoder_depth": 3,
    "finetuning.steps": 3,
    "finetuning.batch_size": 2,
    "finetuning.patch_size": 32,
    "steps": 3,
}


@pytest.fixture
def few(nuclei_folder: Path) -> Project:
    """Four annotated images."""
    for name in ("field_4.png", "field_5.png"):
        (nuclei_folder / "images" / name).unlink()
        (nuclei_folder / "masks" / name).unlink()
    return Project.create(
        nuclei_folder / "images", masks=nuclei_folder / "masks", masks_as="instances"
    )


def job_of(project: Project) -> dict[str, Any]:
    job: dict[str, Any] = {"kind": "compare", "project": str(project.path)}
    for key, value in SETTINGS.items():
        *outer, last = key.split(".")
        place = job
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = value
    return job | {"methods": ["medsass"]}


def of(method: str | None, title: str, *networks: float) -> Candidate:
    scores: dict[str, dict[Answer, float]] = {
        f"{number}.png": {"network": value, "forest": 0.5, "mean": 0.6}
        for number, value in enumerate(networks)
    }
    return Candidate(method=method, title=title, runs=("a",), scores=scores, seconds=60)


def comparison_of(*candidates: Candidate) -> MethodComparison:
    network = {"encoder": ENCODER, "encoder_weights": "imagenet"}
    methods = [one.method for one in candidates if one.method is not None]
    return MethodComparison(
        asked={"network": network},
        folds=3,
        trainings={name: {} for name in (*methods, "finetune")},
        expected={},
        candidates=candidates,
    )


def test_a_stopped_comparison_goes_on_and_repeats_nothing(
    few: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    control = Control()
    for event in execute(job_of(few), control=control):
        if isinstance(event, Note) and event.text == "MedSASS: fine-tuning":
            control.stop()
    assert isinstance(event, Done)
    assert event.stopped
    [(folder, half)] = comparisons_of(few).items()
    assert [candidate.title for candidate in half.candidates] == ["random weights alone"]
    assert newest_comparison(few) is None
    before = {run.name: run.status for run in few.runs()}
    assert sorted(before.values()) == ["done", "done", "stopped"]

    told = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    assert main(["compare", str(few.path), "--methods", "medsass", *told, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [(again, found)] = comparisons_of(few).items()
    assert again == folder
    assert found.candidates[0] == half.candidates[0]
    assert [candidate.title for candidate in found.candidates] == [
        "random weights alone",
        "MedSASS",
    ]
    assert {run.name: run.status for run in few.runs()} == dict.fromkeys(before, "done")
    assert {name for one in found.candidates for name in one.runs} == set(before)
    assert all(len(candidate.scores) == 4 for candidate in found.candidates)
    # the forest learns from the annotations alone
    assert found.candidates[0].dice("forest") == found.candidates[1].dice("forest")
    assert lines[-1]["data"]["verdict"] == found.verdict()
    steps = [line["step"] for line in lines if line.get("event") == "progress"]
    assert steps == sorted(steps)
    # its network is another than the recommended one, so it says nothing of that
    assert all("leave-one-out" not in item.why for item in recommend(few).advice)


def test_two_groups_are_needed_and_the_time_is_told_before(
    few: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    few.update(groups=PatternRule(pattern="field"))
    with pytest.raises(MedsslError, match=r"annotated images: 4, all of one group\."):
        list(execute(job_of(few)))
    few.update(groups=None)
    request = Request(id=1, request="compare", project=str(few.path))
    text = Interactive(tell=print).answer(request)["text"]
    assert text.startswith("MedSASS (")
    assert "ImageNet alone" in text
    assert "take about" in text
    assert main(["compare", str(few.path), "--methods", "medsass", "dicoh", "--estimate"]) == 0
    assert capsys.readouterr().out.startswith("MedSASS, DiCoH (")
    assert main(["compare", str(few.path), "--methods", "magic"]) == 2
    assert not (few.path / "comparisons").exists()
    assert few.runs() == []


def test_a_difference_counts_beyond_a_standard_error_of_the_pairs() -> None:
    alone = of(None, "ImageNet alone", 0.2, 0.5, 0.8)
    better = comparison_of(alone, of("medsass", "MedSASS", 0.23, 0.54, 0.83))
    assert better.best == better.candidates[1]
    assert "MedSASS is ahead" in better.verdict()
    worse = comparison_of(alone, of("medsass", "MedSASS", 0.17, 0.46, 0.77))
    assert worse.best == alone
    same = comparison_of(alone, of("medsass", "MedSASS", 0.1, 0.7, 0.8))
    assert same.best is None
    assert "no difference that these annotations can show" in same.verdict()
    assert same.rows()[1][1] == "0.533 ± 0.219"


def test_what_was_compared_is_recommended(few: Project) -> None:
    alone = of(None, "ImageNet alone", 0.2, 0.5, 0.8)
    comparison = comparison_of(alone, of("dicoh", "DiCoH", 0.23, 0.54, 0.83))
    folder = few.path / "comparisons" / "one"
    folder.mkdir(parents=True)
    comparison.write(folder)
    advice = {item.name: item for item in recommend(few).advice}["method"]
    assert (advice.value, advice.basis) == ("DiCoH", "measured here")
    assert "DiCoH 0.533, ImageNet alone 0.500, difference +0.033 ± 0.003" in advice.why
    assert recommend(few, start="none").job["method"] == "medsass"
    assert recommend(few, method="pix2rep").job["method"] == "pix2rep"
