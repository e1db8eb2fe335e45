from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from napari_medssl.engine.job import parse_job
from napari_medssl.errors import MedsslError
from napari_medssl.events import Device, Done, Failed, Note, Progress, Saved, Started
from napari_medssl.project import Run
from napari_medssl.project.working_scale import ScaleRule

if TYPE_CHECKING:
    from napari_medssl import Project

DEVICE = Device(name="cpu", label="CPU", reason="test")
STARTED = Started(kind="pretrain", title="test", total=10, device=DEVICE)
STEP = Progress(step=1, total=10, rate=1.0, eta=9.0, metrics={"loss": 0.5})

WORKER = """
import sys, time
from napari_medssl.events import Progress
from napari_medssl.project import Run
run = Run(sys.argv[1])
with run.lock():
    (run.path / ".tmp-left.pt").write_bytes(b"half")
    run.append(Progress(step=1, total=10, rate=1.0, eta=9.0))
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_status_follows_the_process_even_when_it_is_killed(project: Project) -> None:
    run = project.new_run("medsass")
    assert run.status == "stopped"
    child = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(run.path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    assert project.run(run.name).status == "running"
    with pytest.raises(MedsslError, match="worked on by another process"), run.lock():
        pass
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert run.status == "stopped"
    with run.lock():
        assert not (run.path / ".tmp-left.pt").exists()
        assert run.status == "running"


@pytest.mark.parametrize(
    ("last", "status"),
    [
        ([Done(run="r")], "done"),
        ([Done(run="r", stopped=True)], "stopped"),
        ([Failed(error="out of memory", details="x" * 200_000)], "failed"),
        ([Done(run="r"), Saved(what="report", path="report.html"), Note(text="ok")], "done"),
        ([Failed(error="e"), STARTED, STEP], "stopped"),
    ],
)
def test_status_is_read_from_the_last_event(project: Project, last: list, status: str) -> None:
    run = project.new_run("test")
    for event in [STARTED, STEP, *last]:
        run.append(event)
    assert run.status == status
    with run.events_path.open("a") as file:
        file.write('{"event": "fai')
    assert run.status == status
    assert run.events() == [STARTED, STEP, *last]
    run.append(STEP)
    assert run.events()[-1] == STEP


def test_metrics_come_back_and_are_cut_on_resume(project: Project) -> None:
    run = project.new_run("test")
    assert run.metrics() == {}
    run.truncate_metrics(5)
    for step in (1, 2, 3):
        run.log_metrics(step, {"loss": 1 / step, "validation/dice, mean": math.inf})
    with run.metrics_path.open("a") as file:
        file.write("4,lo")
    assert run.metrics()["loss"] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    run.truncate_metrics(after_step=2)
    run.log_metrics(3, {"loss": 0.25})
    assert run.metrics() == {
        "loss": [(1, 1.0), (2, 0.5), (3, 0.25)],
        "validation/dice, mean": [(1, math.inf), (2, math.inf)],
    }
    assert run.metrics_path.read_text().splitlines()[0] == "step,name,value"


def test_runs_are_listed_newest_first_and_named_in_errors(project: Project) -> None:
    assert project.runs() == []
    with pytest.raises(MedsslError, match="Its runs: none yet"):
        project.run("latest")
    first, second, third = (project.new_run(label) for label in ("medsass", "full: top!", "a"))
    assert [run.name.split("-", 1)[1] for run in project.runs()] == [
        "a-03",
        "full-top-02",
        "medsass-01",
    ]
    assert project.run("latest") == third
    assert project.run(first.name) == first
    with pytest.raises(MedsslError, match=f"no run 'nothing'. Its runs: {third.name}, "):
        project.run("nothing")
    assert second.method == "full-top"
    second.write_job({"kind": "pretrain", "method": "medsass", "training": {"steps": 3}})
    assert (second.kind, second.method) == ("pretrain", "medsass")
    assert Run(second.path).job["training"] == {"steps": 3}


def test_weights_fall_back_to_the_last(project: Project) -> None:
    run = project.new_run("test")
    assert run.weights() is None
    run.last_path.write_bytes(b"")
    assert run.weights() == run.last_path
    run.best_path.write_bytes(b"")
    assert run.weights() == run.best_path
    assert run.weights("last") == run.last_path


def test_outputs_stay_in_their_folders(project: Project) -> None:
    path = project.prediction_path("r1", "more/wide.png")
    assert path == project.path / "predictions" / "r1" / "more" / "wide.png.tif"
    assert project.embedding_path("r1", "cell1.png").name == "cell1.png.npy"
    with pytest.raises(MedsslError, match="cannot name"):
        project.prediction_path("..", "cell1.png")
    with pytest.raises(MedsslError, match="There is no run folder"):
        Run(Path("/nowhere"))


def test_a_run_of_a_newer_version_is_refused_untouched_and_does_not_hide_the_others(
    project: Project,
) -> None:
    old, new = project.new_run("first"), project.new_run("second")
    old.write_job({"kind": "pretrain", "method": "medsass"})
    assert json.loads(old.job_path.read_text())["schema_version"] == 2
    assert old.job == {"kind": "pretrain", "method": "medsass"}
    old.job_path.write_text('{"kind": "finetune"}')  # as written before jobs had a version
    assert old.job["kind"] == "finetune"
    new.write_job({"kind": "pretrain"})
    new.job_path.write_text(json.dumps({"schema_version": 3, "kind": "dream", "method": "x"}))
    (new.path / ".tmp-x").write_text("the newer program's")
    before = {path: path.read_bytes() for path in new.path.iterdir()}
    with pytest.raises(MedsslError, match=r"second-02 was made by a newer .*schema 3.*Update"):
        _ = new.job
    with pytest.raises(MedsslError, match="newer napari-medssl"), new.lock():
        pass
    assert [(run.method, run.kind) for run in project.runs()] == [
        ("second", ""),
        ("first", "finetune"),
    ]
    assert {path: path.read_bytes() for path in new.path.iterdir()} == before
    # A stored job is also a job file, to repeat the training with.
    stored = {"schema_version": 1, "kind": "pretrain", "project": "p", "method": "medsass"}
    assert parse_job(stored).kind == "pretrain"
    with pytest.raises(MedsslError, match=r"job was made by a newer napari-medssl \(schema 3"):
        parse_job({**stored, "schema_version": 3})
    new.job_path.write_text('{"schema_version": "soon"}')
    with pytest.raises(MedsslError, match="schema_version is 'soon'"):
        _ = new.job


def test_a_clock_that_was_set_back_does_not_make_the_newest_run_an_older_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = iter(["20260403", "20260403", "20240101", "20260404"])
    monkeypatch.setattr("napari_medssl.project.run._today", lambda: next(days))
    names = [project.new_run("m").name for _ in range(4)]
    assert names == ["20260403-m-01", "20260403-m-02", "20260403-m-03", "20260404-m-01"]
    assert [run.name for run in project.runs()] == names[::-1]


def test_a_job_of_version_1_reads_at_the_files_own_scale_and_as_the_network_alone(
    project: Project,
) -> None:
    training = {"steps": 5, "learning_rate": 0.1, "layer_decay": 0.5, "patience": 3}
    run = project.new_run("old")
    old = {"schema_version": 1, "kind": "finetune", "project": "p", "training": training}
    run.job_path.write_text(json.dumps(old))
    assert run.job_version == 1
    job = parse_job({**run.job, "schema_version": 2})
    assert job.scale == ScaleRule(rule="fixed", value=1)
    assert (job.answer, job.estimate) == ("network", False)
    assert (job.training.steps, job.training.learning_rate) == (5, 0.1)
    run.job_path.write_text(json.dumps({**old, "kind": "pretrain", "training": {}}))
    assert parse_job(run.job).scale == ScaleRule()
