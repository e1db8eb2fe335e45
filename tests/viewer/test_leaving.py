"""However a viewer ends, the last stroke is on the disk, runs are stopped and kept, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from napari_medssl.project import Project
from napari_medssl.widgets.background import wait_for_background


@pytest.mark.parametrize("how", ["exit", "quit", "ctrl+q"])
def test_leaving(image_folder: Path, tmp_path: Path, how: str) -> None:
    script = Path(__file__).with_name("leaving.py")
    child = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            str(script),
            str(image_folder),
            str(tmp_path / "home"),
            how,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    said = child.stdout + child.stderr
    assert child.returncode == 0, said
    assert "Traceback" not in said
    assert "deleted" not in said
    assert "PROBLEM" not in said
    project = Project.open(image_folder.with_name(f"{image_folder.name}-medssl"))
    assert project.annotations.read("a.png")[10, 10] == 2
    project.lock_for_viewer().release()  # nobody holds it
    assert [run.status for run in project.runs()] == (["stopped"] if how == "ctrl+q" else [])


def test_what_waits_for_a_thread_is_not_begun_after_leaving_but_saved(workspace) -> None:
    session, go_on, begun = workspace.session, threading.Event(), []
    for lane in ("checking", "saving"):
        session.background(go_on.wait, on_result=begun.append, lane=lane)
        session.background(partial(begun.append, lane), on_result=begun.append, lane=lane)
    threading.Timer(0.2, go_on.set).start()
    session.shut_down()
    assert wait_for_background()
    assert begun == ["saving"]
