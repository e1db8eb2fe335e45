"""How soon a large folder can be worked with in napari, and what it adds to the viewer's memory.

    xvfb-run -s "-screen 0 1280x800x24" python benchmarks/viewer_folder.py

Makes a folder of small images and opens it, twice: in a viewer that never saw it (a project is made), and in another
one (the project is opened). Each time: seconds from the click to the first image shown and the list filled, the longest
time that the viewer did not answer, until all files were looked at, and the memory of the process. Beside them stands
a bare napari with an image and a labels layer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil


def viewer_process(kind: str, folder: Path, home: Path) -> None:
    """Measure in a process of its own; prints one line of JSON."""
    import napari
    import numpy as np

    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window._qt_window.setGeometry(0, 0, 1280, 780)
    if kind == "bare":
        viewer.add_image(np.zeros((64, 64), np.uint8))
        viewer.add_labels(np.zeros((64, 64), np.uint16))
        spin(seconds=3.0)
        say(start=megabytes(), end=megabytes())
        return
    from napari_medssl.widgets.session import Session
    from napari_medssl.widgets.workspace import Workspace

    Session.home = home
    Session.engine_command = [sys.executable, "-c", ""]  # not measured here
    workspace = Workspace(viewer)
    viewer.window.add_dock_widget(workspace, name="Workspace", area="right")
    session, step = workspace.session, workspace.steps["Project"].content
    spin(seconds=3.0)
    start = megabytes()
    clicked = time.perf_counter()
    step.use_folder(folder)
    wait = spin(until=lambda: session.image is not None and step.images.model.rowCount() > 0)
    usable = time.perf_counter() - clicked
    rows = step.images.model.rowCount()
    opened = megabytes()
    most = [opened]

    def checked() -> bool:
        most.append(megabytes())
        return session.opening.checking is None

    during = spin(until=checked, seconds=1800)
    took = time.perf_counter() - clicked
    spin(seconds=2.0)
    say(
        usable_s=round(usable, 2),
        rows=rows,
        longest_wait_opening_s=round(wait, 3),
        check_s=round(took, 1),
        longest_wait_checking_s=round(during, 3),
        skipped=len(session.project.report.skipped),
        start=start,
        opened=opened,
        peak=max(most),
        end=megabytes(),
    )
    session.shut_down()


def spin(*, seconds: float = 60.0, until: Any = None) -> float:
    """Let the viewer work; return the longest time for which it did not answer, in seconds."""
    from qtpy.QtWidgets import QApplication

    longest, last = 0.0, time.perf_counter()
    end = last + seconds
    while last < end:
        QApplication.processEvents()
        time.sleep(0.002)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
        if until is not None and until():
            return longest
    if until is not None:
        raise SystemExit("the viewer did not get there in time")
    return longest


def megabytes() -> float:
    """Give the memory of this process that is in use."""
    return round(psutil.Process().memory_info().rss / 1e6, 1)


def say(**data: Any) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--kind", choices=["bare", "plugin"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--home", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        viewer_process(options.kind, options.folder, options.home)
        return 0
    from folder import make_folder

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        make_folder(place / "images", options.files)
        for title, kind in (
            ("bare napari", "bare"),
            ("first opening", "plugin"),
            ("second opening", "plugin"),
        ):
            command = [sys.executable, "-W", "ignore", __file__, "--kind", kind]
            command += ["--folder", str(place / "images"), "--home", str(place / "home")]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            line = next(line for line in done.stdout.splitlines() if line.startswith("{"))
            print(f"{title:<16}{line}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
