"""Experiments: whole units, nothing seen twice, no cell computed twice, scores as counted by hand."""

from __future__ import annotations

import csv
import json
import math
import shutil
import statistics

import cv2
import numpy as np
import pytest
from scipy import stats

from napari_medssl import Project
from napari_medssl.cli import main
from napari_medssl.engine.experiment.ablations import ABLATIONS, ablation_arms
from napari_medssl.engine.experiment.cells import cells_of
from napari_medssl.engine.experiment.ground import copies_across
from napari_medssl.engine.experiment.plan import ExperimentJob, standard_arms
from napari_medssl.engine.experiment.probing import fit_probe
from napari_medssl.engine.experiment.scoring import Scorer
from napari_medssl.engine.experiment.split import divide
from napari_medssl.engine.job import execute
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.label_efficiency import Line, catches_up, paired
from napari_medssl.evaluate.results import Table
from napari_medssl.events import Done, Note
from napari_medssl.learn.control import Control
from napari_medssl.learn.pretext import method
from napari_medssl.project import PatternRule, table_rule
from napari_medssl.synthetic import nuclei

SMALL = {
    "units": (1, 2),
    "draws": 2,
    "tune_units": (2,),
    "tune_draws": 1,
    "supervised": True,
    "pretraining": {"steps": 2, "batch_size": 2, "patch_size": 32},
    "finetuning": {"steps": 2, "batch_size": 2, "patch_size": 32},
    "network": {"encoder_depth": 3},
    "threads": 1,
}


@pytest.fixture
def place(tmp_path):
    """A project of 10 images with full truth beside it."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(10):
        scene = nuclei(rng, shape=(64, 64))
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), scene.image)
        mask = (scene.labels > 0).astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), mask)
    Project.create(tmp_path / "images", project=tmp_path / "project")
    return tmp_path


def job_of(place, **changes):
    arms = standard_arms(("medsass", "pix2rep"), ())
    return {
        "kind": "experiment",
        "project": str(place / "project"),
        "truth": str(place / "masks"),
        "arms": [arm.model_dump() for arm in arms],
        **SMALL,
        **changes,
    }


def test_stopped_anywhere_and_run_again_it_gives_the_table_of_an_undisturbed_experiment(place):
    few = {
        "arms": [arm.model_dump() for arm in standard_arms(("medsass",), ())],
        "units": (1, 2),
        "draws": 1,
    }
    whole = list(execute(job_of(place, name="whole", **few)))
    assert isinstance(whole[-1], Done)
    assert not whole[-1].stopped
    folder = place / "project" / "experiments"
    for after in (4, 12, 20, 28, 36, 1000):
        control = Control()
        for number, event in enumerate(
            execute(job_of(place, name="parts", **few), control=control)
        ):
            if number == after:
                control.stop()
            last = event
    assert isinstance(last, Done)
    assert not last.stopped

    def numbers(name):
        with (folder / name / "results.csv").open(newline="") as file:
            rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
        return sorted(rows, key=lambda row: list(row.values()))

    assert numbers("parts") == numbers("whole")
    cells = [(r["arm"], r["downstream"], r["k"], r["draw"]) for r in numbers("parts")]
    assert len(set(cells)) == len(cells) == 3 + 1 + 2 * 2 + 2 + 2 + 1
    again = [e for e in execute(job_of(place, name="parts", **few)) if isinstance(e, Note)]
    assert not any("pretraining" in note.text.partition(":")[2] for note in again)
    teaching = Project.open(folder / "parts" / "project")
    assert {run.kind for run in teaching.runs()} == {"pretrain"}  # scored networks are not kept
    report = (folder / "parts" / "report.md").read_text()
    assert "random forest" in report
    assert (folder / "parts" / "dice-test.png").stat().st_size > 5_000
    page = (folder / "parts" / "report.html").read_text()
    assert (
        "medsass, fine-tuned, beside scratch, fine-tuned: undecided, as there is one draw" in page
    )
    assert "cells are not there yet" not in page
    assert page.count('alt="Errors of scratch, medsass on 3 images."') == 1
    assert "http" not in page.replace("http-equiv", "")


def test_copies_across_the_division_are_named(place):
    project = Project.open(place / "project")
    split = divide(project.images, {}, test=0.3, validation=0.2, seed=0)
    assert list(copies_across(project, split)) == []
    taught, tested = split.pool[0], split.test[0]
    picture = cv2.imread(str(place / "images" / taught), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(place / "images" / tested), np.ascontiguousarray(np.rot90(picture)))
    (told,) = copies_across(Project.open(place / "project"), split)
    assert (
        f"1 of 3 images of test are all but copies of images of the pool, such as {tested}" in told
    )


def test_images_that_score_are_seen_by_no_training(place):
    list(
        execute(
            job_of(
                place,
                tune_draws=0,
                draws=1,
                units=(1,),
                tune_units=(),
                forest=False,
                supervised=False,
            )
        )
    )
    teaching = Project.open(place / "project" / "experiments" / "experiment" / "project")
    split = divide([f"{n}.png" for n in range(10)], {}, test=0.3, validation=0.2, seed=0)
    assert set(teaching.images) == set(split.pool)
    assert Project.open(place / "project").annotations.annotated() == ()


def test_annotation_rates_become_units_with_all_of_them_besides():
    job = ExperimentJob(project="p", rates=(0.02, 0.1, 0.3), tune="both", tune_draws=1, draws=2)
    cells = cells_of(job, pool=20, classes=1)
    for mode in ("full", "frozen"):
        tuned = [cell for cell in cells if (cell.arm, cell.downstream) == ("scratch", mode)]
        assert [cell.k for cell in tuned] == [1, 2, 6, 20]
    probes = [cell for cell in cells if (cell.arm, cell.downstream) == ("scratch", "probe")]
    assert [(cell.k, cell.draw) for cell in probes] == [
        (k, d) for k in (1, 2, 6, 20) for d in (0, 1)
    ]
    with pytest.raises(MedsslError, match="shares above 0 and up to 1"):
        ExperimentJob.parse({"project": "p", "rates": [0.1, 2]})


def test_the_integrated_criterion_is_reported(place, capsys):
    changes = {
        "arms": [arm.model_dump() for arm in standard_arms((), ())],
        "rates": (0.2, 0.6),
        "draws": 1,
        "tune_draws": 0,
        "forest": False,
        "supervised": False,
    }
    events = list(execute(job_of(place, **changes)))
    assert any(
        getattr(event, "text", "").endswith("all of them are annotated as well.")
        for event in events
    )
    folder = place / "project" / "experiments" / "experiment"
    rows = {(row.arm, row.k, row.draw): row.dice for row in Table(folder / "results.csv").rows}
    few, some, everything = (rows["scratch", k, 0] for k in (1, 3, 5))
    expected = (few + some) / 2 / everything
    report = (folder / "report.md").read_text()
    assert f"| scratch, linear probe | {expected:.3f}" in report
    command = ["ranks", str(folder / "results.csv"), "--downstream", "probe"]
    assert main([*command, "--by", "dice"]) == 0
    assert "scratch" in capsys.readouterr().out
    assert main(command) == 0
    # its plan is a config that repeats it; nothing is left to be computed
    capsys.readouterr()
    plan = ["--config", str(folder / "plan.json"), "--estimate"]
    assert main(["experiment", str(place / "project"), *plan]) == 0
    assert capsys.readouterr().out.startswith("0 cells would take")


def test_groups_are_never_divided_and_draws_grow_by_keeping_what_they_had():
    images = [f"p{n % 6}/{n}.png" for n in range(30)]
    groups = {name: name.split("/")[0] for name in images}
    split = divide(images, groups, test=0.3, validation=0.2, seed=3)
    parts = [set(split.images(part)) for part in (split.pool, split.validation, split.test)]
    assert set.union(*parts) == set(images)
    assert sum(map(len, parts)) == len(images)
    for part in parts:
        assert len(part) % 5 == 0  # each group has five images
    assert set(split.drawn(1, 4)) < set(split.drawn(2, 4))
    assert len({split.drawn(1, draw) for draw in range(20)}) > 1
    with pytest.raises(MedsslError, match="there are 2"):
        divide(["a", "b"], {}, test=0.5, validation=0.2, seed=0)


def test_other_settings_under_the_same_name_are_refused(place):
    few = {
        "tune_draws": 0,
        "draws": 1,
        "units": (1,),
        "tune_units": (),
        "forest": False,
        "supervised": False,
    }
    arms = [arm.model_dump() for arm in standard_arms((), ())]
    list(execute(job_of(place, **few, arms=arms)))
    longer = {**SMALL["finetuning"], "probe_l2": 7.0}
    with pytest.raises(MedsslError, match="finetuning"):
        list(execute(job_of(place, **few, arms=arms, finetuning=longer)))
    more = job_of(place, **few | {"draws": 2}, arms=arms)  # more cells are welcome
    assert "5 cells" in list(execute(more))[-1].summary


def test_every_draw_has_a_pretraining_of_its_own(place):
    """Also in a folder of a version where that of the first draw served all: its finished cells stay."""
    arms = [arm.model_dump() for arm in standard_arms(("pix2rep",), ())]
    few = {"units": (1,), "tune_units": (1,), "forest": False, "supervised": False, "arms": arms}
    folder = place / "project" / "experiments" / "experiment"
    list(execute(job_of(place, **few, draws=2)))
    teaching = Project.open(folder / "project")
    assert sorted(run.job["seed"] for run in teaching.runs()) == [0, 1]
    before = {row.cell: row for row in Table(folder / "results.csv").rows}
    runs = json.loads((folder / "runs.json").read_text())
    shutil.rmtree(teaching.run(runs.pop("pix2rep/1")).path)
    (folder / "runs.json").write_text(json.dumps(runs))
    plan = json.loads((folder / "plan.json").read_text())
    del plan["network"]["last_width"]
    (folder / "plan.json").write_text(json.dumps(plan))
    list(execute(job_of(place, **few, draws=3)))
    after = {row.cell: row for row in Table(folder / "results.csv").rows}
    assert {cell: after[cell] for cell in before} == before
    assert len(after) == len(before) + 2  # a probe on each arm
    assert sorted(run.job["seed"] for run in Project.open(folder / "project").runs()) == [0, 2]


def test_a_units_dice_counts_all_its_pixels():
    scorer = Scorer({"a1": "a", "a2": "a", "b1": "b"}, [2])
    truth = np.array([[2, 2, 1, 1]], dtype=np.uint16)
    scorer.add("a1", np.array([[2, 1, 1, 1]]), truth)  # TP 1, FN 1
    scorer.add("a2", np.array([[2, 2, 2, 1]]), truth)  # TP 2, FP 1
    scorer.add("b1", np.array([[1, 1, 1, 1]]), np.ones((1, 4), np.uint16))  # rightly empty
    found = scorer.scores()
    assert found["dice"] == pytest.approx((2 * 3 / (2 * 3 + 2) + 1) / 2)
    assert found["dice_images"] == pytest.approx((2 / 3 + 4 / 5 + 1) / 3)
    assert found["iou_images"] == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)
    assert found["dice_pooled"] == pytest.approx(6 / 8)


def test_paired_differences_have_students_interval():
    ours = Line("ours", "probe", False, {2: {0: 0.8, 1: 0.7, 2: 0.9}})
    other = Line(
        "scratch", "probe", True, {2: {0: 0.5, 1: 0.6, 2: 0.5, 3: 0.1}, 8: {0: 0.79, 1: 0.85}}
    )
    (found,) = paired(ours, other)
    values = [0.3, 0.1, 0.4]
    low, high = stats.t.interval(
        0.95, 2, statistics.fmean(values), statistics.stdev(values) / math.sqrt(3)
    )
    assert (found.pairs, found.mean) == (3, pytest.approx(statistics.fmean(values)))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert catches_up(ours, k=2, reference=other) == 8


def test_the_probe_is_the_optimum_of_its_convex_problem():
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(400, 5)).astype(np.float32) * [3, 1, 1, 1, 0.1] + 2
    targets = (pixels[:, 0] + rng.normal(size=400) > 2).astype(np.int64)
    weight, bias = fit_probe(pixels.astype(np.float32), targets, classes=2, l2=0.05 * 400)
    scale = float(pixels.std(0).max()) + 1e-6

    def loss(change):
        logits = pixels @ (weight + change).T + bias
        logits -= logits.max(1, keepdims=True)
        chosen = logits[np.arange(400), targets] - np.log(np.exp(logits).sum(1))
        return -chosen.mean() + 0.025 * np.square((weight + change) * scale).sum()

    best = loss(0)
    for direction in rng.normal(size=(20, 2, 5)):
        assert loss(1e-2 * direction) > best
    assert ((pixels @ weight.T + bias).argmax(1) == targets).mean() > 0.7


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_are_settings_that_their_method_takes(name):
    arms = ablation_arms(name, start="imagenet")
    ExperimentJob.parse({"project": "p", "arms": [arm.model_dump() for arm in arms]})
    settings = [method(arm.method).config_type.parse(arm.method_config) for arm in arms]
    assert (
        len(
            {
                (s.model_dump_json(), a.start, str(a.network))
                for s, a in zip(settings, arms, strict=True)
            }
        )
        > 1
    )


def test_the_shell_tells_the_time_first_and_refuses_in_words(place, capsys):
    common = ["experiment", str(place / "project"), "--truth", str(place / "masks")]
    assert main([*common, "--estimate", "--methods", "medsass", "--units", "1"]) == 0
    assert "would take about" in capsys.readouterr().out
    assert not (place / "project" / "experiments" / "experiment" / "results.csv").exists()
    assert main([*common, "--methods", "medsas"]) == 2
    assert "medsass" in capsys.readouterr().err
    assert main([*common, "--units", "0"]) == 2
    assert "units" in capsys.readouterr().err


def test_what_the_numbers_stand_on_may_not_change(place):
    """Other truth, or another division, under the same name would mix tables and leak images that score."""
    few = {"tune_draws": 0, "draws": 1, "units": (1,), "tune_units": (), "forest": False}
    few |= {"arms": [arm.model_dump() for arm in standard_arms((), ())], "supervised": False}
    list(execute(job_of(place, **few, estimate=True, seed=5)))  # settles nothing
    list(execute(job_of(place, **few)))
    project = Project.open(place / "project")
    project.update(groups=PatternRule(pattern=r"[0-4]"))
    with pytest.raises(MedsslError, match="groups"):
        list(execute(job_of(place, **few)))
    project.update(groups=None)
    mask = np.zeros((64, 64), np.uint8)
    mask[:9] = 255
    cv2.imwrite(str(place / "masks" / "3.png"), mask)
    with pytest.raises(MedsslError, match="labels of truth"):
        list(execute(job_of(place, **few)))


def test_images_of_a_unit_that_scores_are_not_trained_on_even_without_truth(place):
    for number in range(5, 10):
        (place / "masks" / f"{number}.png").unlink()
    project = Project.open(place / "project")
    project.update(groups=PatternRule(pattern=r"\d"))
    table = place / "groups.csv"
    table.write_text("image,patient\n" + "".join(f"{n}.png,p{n % 5}\n" for n in range(10)))
    project.update(groups=table_rule(table, "patient"))
    few = {"tune_draws": 0, "draws": 1, "units": (1,), "tune_units": (), "forest": False}
    arms = [arm.model_dump() for arm in standard_arms((), ())]
    list(execute(job_of(place, **few, arms=arms, supervised=False)))
    teaching = Project.open(place / "project" / "experiments" / "experiment" / "project")
    patients = {int(name[0]) % 5 for name in teaching.images}
    assert (
        len(teaching.images) == 2 * len(patients) < 10
    )  # whole patients, also those without masks
    assert teaching.groups() == {n: g for n, g in project.groups().items() if n in teaching.images}


def test_a_draw_that_shows_no_foreground_costs_its_own_cells_alone(place):
    for number in range(10):
        mask = np.zeros((64, 64), np.uint8)
        if number % 2:
            mask[:9] = 255
        cv2.imwrite(str(place / "masks" / f"{number}.png"), mask)
    arms = [arm.model_dump() for arm in standard_arms((), ())]
    job = job_of(place, arms=arms, units=(1,), tune_units=(1,), draws=6, tune_draws=6, forest=False)
    events = list(execute(job))
    failed = [e.text for e in events if isinstance(e, Note) and "No result" in e.text]
    assert any("two classes" in text for text in failed)
    rows = Table(place / "project" / "experiments" / "experiment" / "results.csv").rows
    assert len([row for row in rows if row.downstream == "full"]) == 6 - len(failed) > 0
    assert f"{len(failed)} failed" in events[-1].summary
