"""Job, project and run files as no program of ours would write them: each is accepted or refused in words.

``MEDSSL_FUZZ=10000 pytest --timeout 0 tests/engine/test_fuzz.py`` tries ten thousand of each.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_medssl.engine.job import execute, parse_job
from napari_medssl.engine.protocol import Request
from napari_medssl.errors import MedsslError
from napari_medssl.learn.control import Control
from napari_medssl.project import Project, Run

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = settings(
    max_examples=int(os.environ.get("MEDSSL_FUZZ", "150")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

HOSTILE = [
    "", ".", "..", "/", "../..", "../outside.txt", "/etc/passwd", "a/../../outside.txt", "\\\\host\\x",
    "C:\\Windows", "C:/x", "~", "~root", "\0", "a\0b", "con", "nul.tif", "x" * 300, "a/" * 200, "%2e%2e/x",
    "project.json", "labels", "runs", "link/x.png", "\u202e", "\ud800", " ", "\n", "*", "?", "a:b", "$(id)",
]  # fmt: skip
"""Names that lead out of a folder, that no file can have, or that mean something to a shell."""

numbers = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([0, 1, -1, 2**31, 2**63, 1e308])
)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        numbers,
        st.sampled_from(HOSTILE),
        st.text(max_size=20),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=8,
)
names = st.one_of(
    st.sampled_from(HOSTILE), st.text(string.printable, max_size=30), st.text(max_size=30)
)


@st.composite
def changed(draw: st.DrawFn, valid: Any) -> Any:
    """Change one to three places of a JSON value: another value, one place less, one more."""
    document = json.loads(json.dumps(valid))
    for _ in range(draw(st.integers(1, 3))):
        holder, key = draw(st.sampled_from(places(document)))
        if holder is None:
            return draw(values)
        deed = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if deed == "replace":
            holder[key] = draw(values)
        elif deed == "remove":
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw(st.text(max_size=12))] = draw(values)
        else:
            holder.append(draw(values))
    return document


def places(document: Any) -> list[tuple[Any, Any]]:
    """List every place of a JSON value as (what holds it, key)."""
    found: list[tuple[Any, Any]] = [(None, None)]
    open_ends = [document]
    while open_ends:
        item = open_ends.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item))
        for key in keys:
            found.append((item, key))
            if isinstance(item[key], dict | list):
                open_ends.append(item[key])
    return found


def torn(valid: bytes) -> st.SearchStrategy[bytes]:
    """Cut a file short, or put other bytes into it."""
    return st.one_of(
        st.integers(0, len(valid) - 1).map(lambda end: valid[:end]),
        st.tuples(st.integers(0, len(valid) - 1), st.binary(min_size=1, max_size=8)).map(
            lambda cut: valid[: cut[0]] + cut[1] + valid[cut[0] + len(cut[1]) :]
        ),
    )


def content(valid: Any) -> st.SearchStrategy[bytes]:
    """Give a damaged version of a JSON file."""
    return st.one_of(
        changed(valid).map(lambda document: json.dumps(document).encode()),
        torn(json.dumps(valid).encode()),
    )


JOBS: list[dict[str, Any]] = [
    {
        "kind": "pretrain",
        "project": "nowhere",
        "device": "cpu",
        "network": {"encoder": "mobilenet_v2", "encoder_depth": 3},
        "method": "medsass",
        "method_config": {"polarity": "bright"},
        "training": {"steps": 6, "batch_size": 2, "patch_size": 32, "learning_rate": 1e-3},
        "seed": 0,
        "threads": 1,
        "from_run": None,
    },
    {"kind": "finetune", "project": "nowhere", "mode": "probe", "images": ["a.png"], "seed": 0},
    {"kind": "predict", "project": "nowhere", "run": "latest", "out": None, "images": ["a.png"]},
    {"kind": "predict", "folder": "nowhere", "run": "run", "out": "there", "overwrite": False},
    {"kind": "resume", "project": "nowhere", "run": "latest", "device": None},
    {"kind": "evaluate", "project": "nowhere", "run": "latest", "report": "report.html"},
    {"kind": "assess", "project": "nowhere", "run": "run", "against": "other", "most": 10},
]


def in_words(action: Callable[[], object]) -> None:
    """Do something that may be refused, with a sentence and in no other way."""
    message = refusal(action)
    if message is not None:
        assert len(message) > 10, message
        assert "Traceback" not in message
        assert "errors.pydantic.dev" not in message


def refusal(action: Callable[[], object]) -> str | None:
    """Give the reason why something was refused, or None where it was done."""
    try:
        action()
    except MedsslError as error:
        return error.message
    return None


@given(data=st.data())
@MANY
def test_job_files_are_accepted_or_refused_in_words(data: st.DataObject) -> None:
    job = data.draw(st.sampled_from(JOBS).flatmap(changed))
    in_words(lambda: parse_job(job, where="job.json"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project deep inside a folder that holds nothing else, so that nothing large is ever looked through."""
    root = tmp_path_factory.mktemp("fuzz") / "1" / "2" / "3"
    folder = root / "images"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (32, 32), dtype=np.uint8))
    project = Project.create(folder)
    project.annotations.write("a.png", np.ones((32, 32), np.uint16))
    run = project.new_run("medsass")
    run.write_job({**JOBS[0], "project": "."})
    (project.path / "labels" / "link").symlink_to(root)
    return project.path


def outside(project: Path) -> dict[str, str]:
    """Give the content of all that lies around the project."""
    root = project.parents[3]
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in root.rglob("*")
        if not path.is_relative_to(project)
    }


@given(data=st.data())
@MANY
def test_project_files_are_accepted_or_refused_in_words(place: Path, data: st.DataObject) -> None:
    file = place / "project.json"
    valid, before = file.read_bytes(), outside(place)
    written = data.draw(content(json.loads(valid)))
    file.write_bytes(written)
    shutil.rmtree(place / "derived", ignore_errors=True)
    try:
        in_words(lambda: use(Project.open(place)))
        assert file.read_bytes() == written  # opening changes nothing
        assert outside(place) == before
    finally:
        file.write_bytes(valid)


def use(project: Project) -> None:
    """Touch everything of a project that an odd file let open."""
    assert project.report.text()
    assert [run.name for run in project.runs()]
    for name in project.images[:3]:
        planes = project.planes(name)
        assert planes.shape == (len(project.settings.channels), *project.shape(name))
        project.annotations.read(name)


@given(written=content({**JOBS[0], "project": "."}))
@MANY
def test_a_run_with_a_damaged_job_file_is_refused_in_words(place: Path, written: bytes) -> None:
    project = Project.open(place)
    run = project.runs()[0]
    valid = run.job_path.read_bytes()
    run.job_path.write_bytes(written)
    try:
        in_words(lambda: (run.kind, run.method))
        in_words(lambda: (run.status, run.events(), run.metrics()))
        if refusal(lambda: parse_job(run.job | {"project": str(place)})) is not None:
            job = {"kind": "resume", "project": str(place), "run": run.name}
            in_words(lambda: list(execute(job, control=stopped())))
            assert run.job_path.read_bytes() == written
    finally:
        run.job_path.write_bytes(valid)
        run.events_path.unlink(missing_ok=True)  # each refusal is logged: it would only grow


def stopped() -> Control:
    """Give a control that has said stop already: a job that is accepted after all ends at once."""
    control = Control()
    control.stop()
    return control


@given(name=names)
@MANY
def test_no_name_leads_out_of_its_folder(place: Path, name: str) -> None:
    project = Project.open(place)
    before = outside(place)
    for path_of in (project.prediction_path, project.embedding_path):
        for arguments in ((name, "a.png"), ("run", name)):
            in_words(lambda path_of=path_of, arguments=arguments: stays(path_of, arguments, place))
    labels = np.ones((32, 32), np.uint16)
    if name not in project.images:
        in_words(lambda: project.annotations.write(name, labels))
    in_words(lambda: project.annotations.read(name))
    in_words(lambda: project.read(name))
    in_words(lambda: project.run(name))
    in_words(lambda: project.derived(name, lambda: 0))
    for job in (
        {"kind": "resume", "project": str(place), "run": name},
        {"kind": "finetune", "project": str(place), "images": [name], "from_run": name},
        {"kind": "pretrain", "project": str(place), "from_run": name or "x", "seed": -1},
        {"kind": "predict", "project": str(place), "run": name or "x", "images": [name]},
    ):
        in_words(lambda job=job: list(execute(job, control=stopped())))
    assert outside(place) == before


def stays(path_of: Callable[..., Path], arguments: tuple[str, str], place: Path) -> None:
    """Ask for a path and look where it leads."""
    assert path_of(*arguments).resolve().is_relative_to(place)


@given(
    written=torn(b'{"event":"progress","step":1,"total":2,"rate":1.0,"eta":1.0,"metrics":{}}\n' * 3)
)
@MANY
def test_a_damaged_log_still_opens(place: Path, written: bytes) -> None:
    run = Run(next((place / "runs").iterdir()))
    run.events_path.write_bytes(written)
    assert len(run.events()) <= 3
    assert run.status == "stopped"


@given(request=changed({"id": 1, "request": "predict", "image": "a.png", "method_config": {}}))
@MANY
def test_requests_are_accepted_or_refused(request: Any) -> None:
    with contextlib.suppress(ValidationError):
        assert Request.model_validate_json(json.dumps(request)).id == request["id"]
