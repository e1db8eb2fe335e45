"""The engine as the viewer meets it: a child process that speaks JSON lines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from napari_medssl import pretrain
from napari_medssl.engine.protocol import Description
from napari_medssl.events import AnyEvent, Done, Failed, Note, Paused, Progress, Resumed, Started
from napari_medssl.project import Project, read_labels

EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
ENGINE = [sys.executable, "-m", "napari_medssl.engine"]


def start(*arguments: str, log: IO[str] | int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*ENGINE, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        bufsize=1,
    )


def say(child: subprocess.Popen[str], message: dict[str, Any]) -> None:
    assert child.stdin is not None
    child.stdin.write(json.dumps(message) + "\n")
    child.stdin.flush()


def events(child: subprocess.Popen[str]) -> Iterator[AnyEvent]:
    assert child.stdout is not None
    for line in child.stdout:
        yield EVENT.validate_json(line)  # every line of standard output is an event


def finish(child: subprocess.Popen[str]) -> int:
    for stream in (child.stdin, child.stdout):
        if stream is not None and not stream.closed:
            stream.close()
    return child.wait(timeout=60)


@pytest.fixture
def job_file(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any], tmp_path: Path
) -> Path:
    path = tmp_path / "job.json"
    job = {
        "kind": "pretrain",
        "project": str(project.path),
        "network": tiny_network,
        "training": tiny_training | {"steps": 5000, "patience": 0},
        "threads": 1,
    }
    path.write_text(json.dumps(job))
    return path


def test_pause_resume_and_stop_by_command(project: Project, job_file: Path) -> None:
    child = start("run", str(job_file), "--control")
    kinds: list[type] = []
    for event in events(child):
        kinds.append(type(event))
        if isinstance(event, Progress) and Paused not in kinds:
            say(child, {"command": "pause"})
        if isinstance(event, Paused):
            say(child, {"command": "resume"})
        if isinstance(event, Resumed):
            say(child, {"command": "stop"})
    assert finish(child) == 130, [kind.__name__ for kind in kinds]
    assert kinds[0] is Started
    assert kinds[-1] is Done
    assert project.run("latest").status == "stopped"
    assert project.run("latest").weights("best") is not None


@pytest.mark.parametrize("end", ["stdin", "stdout"])
def test_a_viewer_that_goes_away_is_a_stop_that_keeps(
    project: Project, job_file: Path, tmp_path: Path, end: str
) -> None:
    log = tmp_path / "log"
    with log.open("w") as stream:
        child = start("run", str(job_file), "--control", log=stream)
    for event in events(child):
        if isinstance(event, Progress):
            break
    if end == "stdin":
        assert child.stdin is not None
        child.stdin.close()
        for _ in events(child):
            pass
    assert finish(child) == 130
    assert project.run("latest").status == "stopped"
    assert project.run("latest").weights("last") is not None
    assert "Traceback" not in log.read_text()
    assert "BrokenPipe" not in log.read_text()


def test_a_failure_is_a_sentence_and_the_traceback_is_apart(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"kind": "pretrain", "project": str(tmp_path / "nowhere")}))
    child = start("run", str(path))
    (failed,) = events(child)
    assert finish(child) == 1
    assert isinstance(failed, Failed)
    assert "nowhere" in failed.error
    assert "Traceback" not in failed.error
    assert "Traceback" in failed.details


def test_describe_lists_methods_with_their_settings() -> None:
    done = subprocess.run(
        [*ENGINE, "describe"], capture_output=True, text=True, check=True, timeout=120
    )
    description = Description.model_validate_json(done.stdout)
    medsass = next(m for m in description.methods if m.key == "medsass")
    assert "polarity" in medsass.config_schema["properties"]
    assert set(description.jobs) == {
        "pretrain",
        "finetune",
        "predict",
        "compare",
        "embed",
        "experiment",
        "export",
        "assess",
        "evaluate",
    }
    assert "mobilenet_v2" in description.encoders
    assert description.device.reason


def test_the_warm_engine_answers_and_survives_a_bad_request(
    project: Project, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    run = pretrain(project, network=tiny_network, training=tiny_training)
    child = start("serve")
    image = project.images[0]
    common = {"project": str(project.path), "run": run.name, "threads": 1}
    say(child, {"id": 1, "request": "predict", "image": image, **common})
    say(child, {"id": 2, "request": "predict", "image": "no such.png", **common})
    say(child, {"id": 3, "request": "embed", "image": image, **common})
    say(child, {"id": 4, "request": "preview", "image": image, "method": "medsass", **common})
    answers = {}
    for event in events(child):
        if not isinstance(event, Note):
            answers[event.id] = event
        if len(answers) == 4:
            break
    assert finish(child) == 0
    labels = read_labels(project.path / answers[1].data["path"])
    assert set(np.unique(labels)) <= {1, 2}
    assert isinstance(answers[2], Failed)
    assert "no such.png" in answers[2].error
    embedding = np.load(project.path / answers[3].data["path"])
    assert embedding.shape == (32, 32, 64)
    assert embedding.dtype == np.float16
    seen, label = answers[4].data["layers"]
    assert seen["text"].startswith("What the network sees: 64 x 64 pixels, those of the file")
    assert np.load(project.path / seen["path"]).shape == (64, 64, 3)
    assert np.load(project.path / label["path"]).shape == (64, 64)
