from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from napari_medssl import Project
from napari_medssl.errors import MedsslError

VIEWER = """
import sys, time
from napari_medssl import Project
lock = Project.open(sys.argv[1], quick=True).lock_for_viewer()
print("held", lock.held, flush=True)
time.sleep(60)
"""


def test_a_second_viewer_is_told_who_holds_the_project_and_a_killed_one_holds_nothing(
    project: Project,
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", VIEWER, str(project.path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held True\n"
    with pytest.raises(MedsslError, match=rf"open in another viewer \(process {child.pid} on "):
        project.lock_for_viewer()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    with project.lock_for_viewer() as lock:
        assert lock.held
        with pytest.raises(MedsslError, match=rf"process {os.getpid()} on "):
            Project.open(project.path).lock_for_viewer()
    assert not lock.held
    lock.release()
    again = project.lock_for_viewer()
    assert again.held
    again.release()


def test_a_project_without_room_for_a_lock_says_why_nothing_is_held(project: Project) -> None:
    (project.path / "viewer.lock").mkdir()  # in the way, as nothing stops root from writing
    lock = project.lock_for_viewer()
    assert not lock.held
    assert "cannot be written" in lock.reason
    lock.release()
