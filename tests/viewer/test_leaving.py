"""However a viewer ends, the last stroke is on the disk, runs are stopped and kept, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_medssl.project import Project


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
