"""The children: torn lines, kills, newest-wins, and an engine that cannot be started."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from napari_medssl.events import Failed
from napari_medssl.widgets.engine_client import EngineProcess, Lines, RunProcess
from napari_medssl.widgets.warm_engine import WarmEngine

if TYPE_CHECKING:
    from pathlib import Path


def test_lines_wait_for_their_end():
    lines = Lines()
    assert lines.feed(b'{"a": 1}\n{"b"') == [b'{"a": 1}']
    assert lines.feed(b": 2}\r\n\n") == [b'{"b": 2}']
    assert lines.feed(b"rest") == []
    assert lines.torn == b"rest"


@pytest.fixture
def job(tmp_path: Path, image_folder: Path) -> dict:
    from napari_medssl.project import Project

    project = Project.create(image_folder)
    return {"kind": "pretrain", "project": str(project.path), "training": {"steps": 5}}


def run(job: dict, tmp_path: Path, command: list[str]) -> tuple[RunProcess, list]:
    file = tmp_path / "job.json"
    file.write_text(json.dumps(job))
    process = RunProcess(command, file, log=tmp_path / "log.txt")
    events: list = []
    process.arrived.connect(events.append)
    return process, events


def test_a_run_ends_with_done_and_stray_lines_go_to_the_log(job, tmp_path, fake_engine, qtbot):
    process, events = run(job, tmp_path, fake_engine)
    with qtbot.waitSignal(process.finished, timeout=20_000):
        process.start()
    assert [event.event for event in events][-1] == "done"
    assert sum(event.event == "progress" for event in events) == 5
    assert "a library talks" in process.log.read_text()


def test_a_failure_is_told_once(job, tmp_path, fake_engine, qtbot):
    process, events = run(job | {"seed": 13}, tmp_path, fake_engine)
    with qtbot.waitSignal(process.finished, timeout=20_000):
        process.start()
    failures = [event for event in events if isinstance(event, Failed)]
    assert [failure.error for failure in failures] == ["The batch does not fit into memory."]


def test_a_killed_engine_becomes_a_sentence(job, tmp_path, fake_engine, qtbot, until):
    process, events = run(job | {"seed": 66}, tmp_path, fake_engine)
    process.start()
    until(lambda: bool(events))
    with qtbot.waitSignal(process.finished, timeout=20_000):
        os.kill(process.pid, signal.SIGKILL)
    assert isinstance(events[-1], Failed)
    assert "killed" in events[-1].error
    assert "smaller batch" in events[-1].advice
    assert '{"event": "progr' in process.log.read_text()


def test_an_engine_that_is_not_there(tmp_path, qtbot):
    process = EngineProcess(["/nowhere/python"], ["run"], log=tmp_path / "log.txt")
    with qtbot.waitSignal(process.finished, timeout=20_000):
        process.start()
    assert "could not be started" in process.how_it_ended().sentence


@pytest.fixture
def warm(tmp_path, fake_engine):
    engine = WarmEngine(fake_engine, log=tmp_path / "serve.log")
    yield engine
    engine.shut_down()


def ask(engine: WarmEngine, answers: list, project: str, **fields) -> None:
    engine.ask(
        fields.pop("kind", "device"),
        project=project,
        on_result=lambda data: answers.append(("answer", fields.get("run"), data)),
        on_failed=lambda problem: answers.append(("problem", fields.get("run"), problem)),
        **fields,
    )


def test_the_newest_request_of_a_kind_wins(warm, job, until):
    answers: list = []
    for number in range(5):
        ask(warm, answers, job["project"], run=str(number))
    ask(warm, answers, job["project"], kind="embed", image="a.png", run="e")
    until(lambda: not warm.busy)
    assert [answer[:2] for answer in answers] == [("answer", "4"), ("answer", "e")]


def test_the_warm_engine_starts_again_after_it_was_killed(warm, job, until):
    answers: list = []
    ask(warm, answers, job["project"])
    until(lambda: len(answers) == 1)
    os.kill(warm.pid, signal.SIGKILL)
    ask(warm, answers, job["project"])
    until(lambda: len(answers) == 2)
    assert answers[1][0] == "answer"


def test_a_request_that_kills_the_engine_twice_is_a_problem(warm, job, until):
    answers: list = []
    ask(warm, answers, job["project"], run="crash")
    until(lambda: len(answers) == 1)
    assert answers[0][0] == "problem"
    assert "exit code 3" in answers[0][2].sentence
