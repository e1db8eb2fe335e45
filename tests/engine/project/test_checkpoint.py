from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import (
    WriteError,
    append_line,
    atomic,
    read_lines,
    read_lines_backwards,
)
from napari_medssl.project.paths import inside

WRITER = """
import sys
from pathlib import Path
from napari_medssl.project.checkpoint import append_line, write_json
folder = Path(sys.argv[1])
for number in range(10**9):
    write_json(folder / "value.json", [number] * 20000)
    append_line(folder / "log.jsonl", f"[{number}, {number}]")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_at_any_moment_every_file_is_whole(tmp_path: Path) -> None:
    for attempt in range(4):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        deadline = time.monotonic() + 60
        size = _size(tmp_path / "log.jsonl")
        while _size(tmp_path / "log.jsonl") == size and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.013 * attempt)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        value = json.loads((tmp_path / "value.json").read_text())
        assert len(value) == 20000
        assert len(set(value)) == 1
        for line in read_lines(tmp_path / "log.jsonl"):
            first, second = json.loads(line)
            assert first == second


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_a_failing_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "value.txt"
    path.write_text("old")

    def interrupted() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_refused_write_says_which_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    def write() -> None:
        with atomic(tmp_path / "file" / "below.txt") as temporary:
            temporary.write_text("")

    with pytest.raises(WriteError, match=r"below\.txt cannot be written"):
        write()


def test_a_torn_last_line_is_left_out_and_the_next_begins_cleanly(tmp_path: Path) -> None:
    log = tmp_path / "log"
    append_line(log, "one")
    append_line(log, "two, long" * 20000)
    with log.open("a") as file:
        file.write("to" * 50000)
    assert [line[:3] for line in read_lines(log)] == ["one", "two"]
    append_line(log, "three")
    assert [line[:5] for line in read_lines(log)] == ["one", "two, ", "three"]
    assert next(read_lines_backwards(log)) == "three"
    assert read_lines(tmp_path / "none") == []


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../out", "", ".", "a\\b.png"])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(MedsslError, match=r"cannot name"):
        inside(tmp_path, name)


def test_links_that_lead_out_or_in_circles_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "away").symlink_to(tmp_path)
    (folder / "circle").symlink_to(folder / "circle")
    with pytest.raises(MedsslError, match="leads out"):
        inside(folder, "away/a.png")
    with pytest.raises(MedsslError, match="cannot be reached"):
        inside(folder, "circle/a.png")
    assert inside(folder, "sub/a.png", suffix=".tif") == folder / "sub" / "a.png.tif"
