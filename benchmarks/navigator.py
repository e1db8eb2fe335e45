"""How soon the table of 20,000 images opens, and how smoothly it scrolls beside an empty one.

    xvfb-run -s "-screen 0 1280x800x24" python benchmarks/navigator.py [--json FILE]

Makes a folder of small images with one run, annotations of a few and predictions of all, and opens the project. *Opens*
is the time from the click on **All images** until the rows are painted. Then, in alternating blocks, two tables of the
same size are scrolled with the mouse wheel, thirty times a second: the table of images, whose pictures are read
meanwhile, and a table view without rows. *Gap* is the time between two turns of the event loop, asked for every 2 ms:
the time for which the viewer could not react; *work* is the processor time of the GUI's thread in it, which a busy
machine does not change. Further rows: what sorting and searching all images takes in the viewer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

BLOCKS = 6
RUN = "20260101-medsass-01"
STEP_MS = 33
DONE = 40
PERCENTILES = {"p50": 50, "p99": 99, "max": 100}


def make_project(place: Path, count: int) -> None:
    """Make images, a run that counts as usable, labels of some images and predictions of all."""
    from folder import make_folder

    from napari_medssl.project import Project, write_tiff_labels

    images = place / "images"
    make_folder(images, count)
    project = Project.create(images)
    run = project.path / "runs" / RUN
    run.mkdir(parents=True)
    job = {"kind": "pretrain", "method": "medsass"}
    (run / "job.json").write_text(json.dumps(job), encoding="utf-8")
    (run / "best.safetensors").write_bytes(b"weights")
    labels = np.ones(project.shape(project.images[0]), np.uint16)
    labels[8:20, 8:20] = 2
    for name in project.images[:DONE]:
        project.annotations.write(name, labels, done=True)
    first = project.prediction_path(RUN, project.images[0])
    write_tiff_labels(first, labels, note={})
    content = first.read_bytes()
    for name in project.images[1:]:
        path = project.prediction_path(RUN, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class Gaps:
    """Records the turns of the event loop: when, and the processor time of the thread by then."""

    def __init__(self) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.turns: list[tuple[float, float]] = []
        self.beat = QTimer(interval=2, timerType=Qt.TimerType.PreciseTimer)
        self.beat.timeout.connect(
            lambda: self.turns.append((time.perf_counter(), time.thread_time()))
        )

    def measure(self, seconds: float, scroll: Any) -> np.ndarray:
        """Scroll for this long; return gaps and work in milliseconds, (turns, 2)."""
        from qtpy.QtCore import QEventLoop, Qt, QTimer

        timer = QTimer(interval=STEP_MS, timerType=Qt.TimerType.PreciseTimer)
        timer.timeout.connect(scroll)
        loop = QEventLoop()
        QTimer.singleShot(int(1000 * seconds), loop.quit)
        self.turns = []
        self.beat.start()
        timer.start()
        loop.exec()
        timer.stop()
        self.beat.stop()
        return 1000 * np.diff(self.turns, axis=0)


def wheel(table: Any) -> None:
    """Turn the wheel over a table by one notch."""
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QApplication

    port = table.viewport()
    place = QPointF(port.rect().center())
    event = QWheelEvent(
        place, QPointF(port.mapToGlobal(place.toPoint())), QPoint(), QPoint(0, -120),
        Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(port, event)
    port.update()  # the empty one is drawn as often


def measure(place: Path, count: int, seconds: float) -> dict[str, Any]:
    import napari
    from qtpy.QtWidgets import QApplication, QTableView

    from napari_medssl.widgets.session import Session
    from napari_medssl.widgets.workspace import Workspace

    def spin(until: Any, limit: float = 300.0) -> None:
        end = time.monotonic() + limit
        while not until():
            QApplication.processEvents()
            time.sleep(0.001)
            if time.monotonic() > end:
                raise SystemExit("the viewer did not get there in time")

    project = place / "images-medssl"
    if not project.is_dir():
        make_project(place, count)
    Session.home = place / "home"
    Session.engine_command = [sys.executable, "-c", ""]  # not measured here
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window._qt_window.setGeometry(0, 0, 1280, 780)
    workspace = Workspace(viewer)
    viewer.window.add_dock_widget(workspace, name="Workspace", area="right")
    session = workspace.session
    session.problem.connect(lambda problem: sys.stderr.write(f"{problem.sentence}\n"))
    session.open_project(project)
    spin(lambda: session.image is not None and session.current_run == RUN)
    spin(lambda: len(session.overview.annotated.images) == DONE)
    count = len(session.project.images)  # without the damaged ones
    spin_for(1.0)

    start, work = time.perf_counter(), time.thread_time()
    workspace.all_images.click()
    from napari_medssl.widgets.navigator import Navigator

    navigator = next(w for w in viewer.window.dock_widgets.values() if isinstance(w, Navigator))
    table = navigator.table
    spin(lambda: table.isVisible() and len(table.images.rows) == count)
    table.viewport().repaint()
    opens, opening_work = time.perf_counter() - start, time.thread_time() - work
    spin(lambda: len(table.images.facts.scores) == DONE)
    known = time.perf_counter() - start

    empty = QTableView()
    dock = viewer.window.add_dock_widget(empty, name="empty", area="bottom")
    turns: dict[str, list[np.ndarray]] = {"empty": [], "images": []}
    timer = Gaps()
    own = navigator.parentWidget()
    for _ in range(BLOCKS):
        own.hide()
        dock.show()
        spin_for(0.5)
        turns["empty"].append(timer.measure(seconds, lambda: wheel(empty)))
        dock.hide()
        own.show()
        spin_for(0.5)
        turns["images"].append(timer.measure(seconds, lambda: wheel(table)))
    scrolled = table.verticalScrollBar().value()

    rearranged = {}
    for title, act in (
        ("sort by score", lambda: table.sortByColumn(4, table.horizontalHeader().sortIndicatorOrder())),
        ("search *9?1*", lambda: navigator.search.setText("*9?1*")),
        ("only done", lambda: navigator.status.setCurrentIndex(3)),
        ("show all", navigator.all.click),
    ):  # fmt: skip
        start = time.perf_counter()
        act()
        table.viewport().repaint()
        rearranged[title] = round(1000 * (time.perf_counter() - start), 1)
    result = {
        "images": count,
        "opens_s": round(opens, 3),
        "opening_work_s": round(opening_work, 3),
        "predictions_and_scores_known_s": round(known, 2),
        "gap_ms": {name: percentiles(found, 0) for name, found in turns.items()},
        "work_ms": {name: percentiles(found, 1) for name, found in turns.items()},
        "rows_scrolled": scrolled,
        "rearranging_ms": rearranged,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }
    for what in ("gap_ms", "work_ms"):
        above = result[what]["images"]["p99"] - result[what]["empty"]["p99"]
        result[f"p99_above_empty_{what}"] = round(above, 1)
    session.shut_down()
    return result


def percentiles(blocks: list[np.ndarray], column: int) -> dict[str, float]:
    values = np.concatenate(blocks)[:, column]
    found = {name: float(np.percentile(values, q)) for name, q in PERCENTILES.items()}
    return {"count": len(values), **{name: round(value, 1) for name, value in found.items()}}


def spin_for(seconds: float) -> None:
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.002)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of scrolling in a block")
    parser.add_argument(
        "--folder", type=Path, help="keep images and project here for the next time"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(options.folder or Path(scratch), options.files, options.seconds)
        text = json.dumps(result, indent=1)
        print(text, flush=True)
        if options.json is not None:
            options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
