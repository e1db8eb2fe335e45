"""A project that is moved, copied, or lies where nothing may be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_medssl import Project

NOBODY = 65534

# Root may write anywhere: this becomes somebody who may not, once everything is imported.
READER = """
import os, sys
import numpy as np
from napari_medssl import Project
from napari_medssl.errors import MedsslError
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
project = Project.open(sys.argv[1], quick="quick" in sys.argv)
print(len(project.images), project.annotations.annotated(), project.planes("cell2.png").shape)
list(project.check())
print([note for note in project.report.notes if "Nothing can be stored" in note] != [])
print(len(project.report.skipped), {item.reason for item in project.report.skipped})
print(project.lock_for_viewer().held)
try:
    project.annotations.write("cell2.png", np.full((32, 40), 2))
    print("written")
except MedsslError as error:
    print(error.message.endswith("Permission denied."), error.advice)
"""


@pytest.fixture
def shared(folder: Path) -> Iterator[Path]:
    """A folder with a project that others may read; pytest's own folders let nobody in."""
    with tempfile.TemporaryDirectory(prefix="medssl-test-") as made:
        place = Path(made)
        place.chmod(0o755)
        shutil.copytree(folder, place / "images")
        project = Project.create(place / "images", project=place / "project")
        project.annotations.write("cell1.png", np.full((32, 40), 2))
        yield place
        for path in [place, *place.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lock_up(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def read_as_nobody(*arguments: object) -> list[str]:
    command = [sys.executable, "-c", READER, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(os.name == "nt", reason="permissions are another thing there")
@pytest.mark.parametrize("quick", ["quick", "whole"])
def test_a_read_only_project_opens_says_so_and_loses_nothing(shared: Path, quick: str) -> None:
    shutil.rmtree(shared / "project" / "derived")
    lock_up(shared / "project")
    before = content(shared)
    assert read_as_nobody(shared / "project", quick) == [
        "12 ('cell1.png',) (1, 32, 40)",
        "True",
        "0 set()",
        "False",
        "True Make the folder writable.",
    ]
    assert content(shared) == before


@pytest.mark.skipif(os.name == "nt", reason="permissions are another thing there")
def test_a_read_only_image_folder_is_all_a_project_needs(shared: Path) -> None:
    lock_up(shared / "images")
    (shared / "images" / "cell9.png").chmod(0o000)
    (shared / "images" / "more").chmod(0o000)
    if os.getuid() == 0:
        for path in [shared / "project", *(shared / "project").rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
    before = content(shared / "images") if os.getuid() == 0 else {}
    found = read_as_nobody(shared / "project")
    assert found[:2] == ["10 ('cell1.png',) (1, 32, 40)", "False"]
    assert found[2].startswith("2 ")
    assert "the folder cannot be read (Permission denied)" in found[2]
    assert "cannot be read any more (Permission denied)" in found[2]
    assert found[3:] == ["True", "written"]
    if before:
        assert content(shared / "images") == before
