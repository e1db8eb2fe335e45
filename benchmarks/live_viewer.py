"""How fast live prediction follows the brush, and what it costs the viewer, next to bare napari painted the same way.

Two viewers in alternating blocks of one run, under the same X server, each a process of its own:

- ``bare``: napari with an image, a Labels layer and an empty dock as wide as the workspace.
- ``live``: napari with the workspace, live prediction on, stored features of every image, some of them annotated.

Both are painted by the same strokes with mouse events in the canvas: half a second each, with 0.7 s after it.
*Latency* is the time from the release of the button to the frame that shows the new prediction. *Gap* is the time
between two turns of the event loop, asked for every 2 ms. No network runs: features are random numbers around a
pattern, as in `live_probe.py`.

    xvfb-run -s "-screen 0 1280x800x24" python benchmarks/live_viewer.py [--side 512] [--images 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

BARE, LIVE = "bare", "live"
PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
STRIDE, DIMENSIONS = 4, 64
MOVES = 25
"""Mouse moves of a stroke, 20 ms apart."""
PAUSE_MS = 700


class Painter:
    """Draws stroke after stroke on the active Labels layer, and records gaps, frames and latencies."""

    def __init__(self, viewer: Any, live: Any = None) -> None:
        from qtpy.QtCore import Qt, QTimer

        self.viewer, self.live = viewer, live
        self.canvas = viewer.window._qt_viewer.canvas  # napari offers no public way to it
        self.rng = np.random.default_rng(0)
        self.turns: list[float] = []
        self.draws: list[float] = []
        self.latencies: list[float] = []
        self.late = 0
        self._released = 0.0
        self._result: Any = None
        self._drawn_next = False
        self._left: list[tuple[float, float]] = []
        self.beat = QTimer(interval=2, timerType=Qt.TimerType.PreciseTimer)
        self.beat.timeout.connect(lambda: self.turns.append(time.perf_counter()))
        self.move = QTimer(interval=20, timerType=Qt.TimerType.PreciseTimer)
        self.move.timeout.connect(self._move)
        self.stroke = QTimer(interval=PAUSE_MS, singleShot=True)
        self.stroke.timeout.connect(self._begin_stroke)
        self.canvas._scene_canvas.events.draw.connect(self._on_draw, position="last")
        if live is not None:
            live.changed.connect(self._on_live)

    def run(self, seconds: float) -> dict[str, Any]:
        """Paint and measure for this long; times in milliseconds."""
        from qtpy.QtCore import QEventLoop, QTimer

        self.latencies, self.late = [], 0
        loop = QEventLoop()
        self.stroke.start()
        QTimer.singleShot(1500, self._settled)
        QTimer.singleShot(int(1000 * seconds) + 1500, loop.quit)
        loop.exec()
        self.beat.stop()
        if self._left:  # no stroke goes on while the other viewer is measured
            self._left = self._left[-1:]
            self._move()
        self.stroke.stop()
        return {
            "gap": (1000 * np.diff(self.turns)).tolist(),
            "redraw": (1000 * np.diff(self.draws)).tolist(),
            "latency": self.latencies,
            "late": self.late,
        }

    def _settled(self) -> None:
        self.turns, self.draws, self.latencies, self.late = [], [], [], 0
        self.beat.start()

    def _begin_stroke(self) -> None:
        if self._released:
            self.late += 1  # the last one is not on the screen yet
        layer = self.viewer.layers.selection.active
        height, width = layer.data.shape
        start = self.rng.uniform(0.15, 0.85, 2) * (height, width)
        end = np.clip(start + self.rng.normal(0, 0.05, 2) * (height, width), 8, height - 8)
        layer.selected_label = int(self.rng.integers(1, 3))
        shares = np.linspace(0, 1, MOVES)
        self._left = [tuple(start + share * (end - start)) for share in shares]
        self._send("press", self._left[0])
        self.move.start()

    def _move(self) -> None:
        place = self._left.pop(0)
        self._send("move", place)
        if not self._left:
            self.move.stop()
            self._result = self.live.result if self.live is not None else None
            self._released = time.perf_counter() if self.live is not None else 0.0
            self._send("release", place)
            self.stroke.start()

    def _on_live(self) -> None:
        if self._released and self.live.result is not self._result:
            self._drawn_next = True

    def _on_draw(self, _: Any) -> None:
        now = time.perf_counter()
        self.draws.append(now)
        if self._drawn_next:
            self.latencies.append(1000 * (now - self._released))
            self._released, self._drawn_next = 0.0, False

    def _send(self, what: str, place: tuple[float, float]) -> None:
        from qtpy.QtCore import QEvent, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        kind, button, held = {
            "press": (QEvent.Type.MouseButtonPress, Qt.MouseButton.LeftButton, True),
            "move": (QEvent.Type.MouseMove, Qt.MouseButton.NoButton, True),
            "release": (QEvent.Type.MouseButtonRelease, Qt.MouseButton.LeftButton, False),
        }[what]
        camera, native = self.viewer.scene.camera, self.canvas.native
        at = QPointF(
            (place[1] - camera.center[-1]) * camera.zoom + native.width() / 2,
            (place[0] - camera.center[-2]) * camera.zoom + native.height() / 2,
        )
        buttons = Qt.MouseButton.LeftButton if held else Qt.MouseButton.NoButton
        event = QMouseEvent(
            kind, at, native.mapToGlobal(at), button, buttons, Qt.KeyboardModifier.NoModifier
        )
        QApplication.sendEvent(native, event)


def say(**data: Any) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


def viewer_process(options: argparse.Namespace) -> None:
    """Obey the parent's lines: ``measure SECONDS``, ``quit``."""
    import napari

    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window._qt_window.setGeometry(0, 0, 1280, 780)
    painter, width, end = (live if options.process == LIVE else bare)(viewer, options)
    wait(lambda: viewer.window._qt_window.isVisible())
    say(ready=True, width=width, torch="torch" in sys.modules)
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "quit":
            break
        say(**painter.run(float(rest[0])))
    end()
    sys.stdout.flush()
    os._exit(0)  # the measurements are out; taking GL down takes seconds and proves nothing


def bare(viewer: Any, options: argparse.Namespace) -> tuple[Painter, int, Any]:
    """Dock an empty widget and show the same image with a Labels layer to paint on."""
    from qtpy.QtWidgets import QWidget

    dock = QWidget()
    dock.setFixedWidth(options.width)
    viewer.window.add_dock_widget(dock, name="empty", area="right")
    viewer.add_image(np.load(Path(options.home) / "open.npy"))
    layer = viewer.add_labels(np.zeros((options.side, options.side), np.uint16))
    viewer.reset_view()
    layer.mode, layer.brush_size = "paint", 10
    return Painter(viewer), options.width, lambda: None


def live(viewer: Any, options: argparse.Namespace) -> tuple[Painter, int, Any]:
    """Dock the workspace on a project with stored features and annotated images, and turn live prediction on."""
    from napari_medssl.widgets.annotator import Annotator
    from napari_medssl.widgets.live import LivePredictor
    from napari_medssl.widgets.session import Session
    from napari_medssl.widgets.workspace import Workspace

    home = Path(options.home)
    Session.home = home
    workspace = Workspace(viewer)
    viewer.window.add_dock_widget(workspace, name="Workspace", area="right")
    session = workspace.session
    session.problem.connect(lambda problem: sys.stderr.write(f"{problem}\n"))
    session.open_project(home / "project")
    wait(lambda: session.image is not None and session.description is not None)
    workspace.open_step("Annotate")
    predictor, annotator = LivePredictor.of(session), Annotator.of(session)
    wait(lambda: annotator.layer is not None and session.current_run is not None)
    annotator.paint_with(1)
    annotator.layer.brush_size = 10
    predictor.set_on(True)
    wait(lambda: predictor.result is not None)
    return Painter(viewer, predictor), workspace.width(), session.shut_down


def make_project(home: Path, side: int, count: int) -> None:
    """Write images of nuclei, a store of their features, and strokes in all but the first."""
    import cv2
    import tifffile

    from napari_medssl.explore.store import Entry, Index, file_of, index_path, store_path
    from napari_medssl.project import Project
    from napari_medssl.project.entries import digest_of
    from napari_medssl.project.listing import identity_of
    from napari_medssl.synthetic import nuclei

    rng = np.random.default_rng(0)
    (home / "images").mkdir()
    truths = {}
    for n in range(count):
        field = nuclei(np.random.default_rng(n), shape=(side, side))
        tifffile.imwrite(home / "images" / f"{n}.tif", field.image.astype(np.uint16))
        truths[f"{n}.tif"] = np.where(field.labels > 0, 2, 1).astype(np.uint16)
        if n == 0:
            np.save(home / "open.npy", field.image)
    project = Project.create(home / "images", project=home / "project")
    run = project.new_run("benchmark")
    run.write_job({"kind": "pretrain", "method": "medsass"})
    run.best_path.write_bytes(b"weights")
    size, mtime = identity_of(run.best_path)
    index = Index(
        run=run.name,
        source="mix",
        stride=STRIDE,
        dimensions=DIMENSIONS,
        weights_sha256=digest_of(run.best_path),
        weights_size=size,
        weights_mtime=mtime,
    )
    folder = store_path(project, run.name, "mix")
    for name, truth in truths.items():
        cells = -(-side // STRIDE)
        coarse = cv2.resize(
            (truth == 2).astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA
        )
        features = rng.normal(size=(cells, cells, DIMENSIONS)) * np.geomspace(1, 0.02, DIMENSIONS)
        features[..., 0] = 2 * coarse + 0.5 * features[..., 0]
        path = file_of(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, features.astype(np.float16))
        size, mtime = identity_of(project.image_path(name))
        index.images[name] = Entry(shape=truth.shape, sha256="0" * 64, size=size, mtime=mtime)
        drawn = np.zeros(truth.shape, np.uint8)
        for ends in rng.integers(0, side, (12, 2, 2)):
            cv2.line(drawn, ends[0].tolist(), ((3 * ends[0] + ends[1]) // 4).tolist(), 1, 9)
        if name != project.images[0]:
            project.annotations.write(name, np.where(drawn, truth, 0).astype(np.uint16))
    index.write(index_path(folder))
    strokes = np.zeros((side, side), np.uint16)  # both classes, so that there is a prediction
    strokes[:6, :6], strokes[-6:, -6:] = 1, 2
    project.annotations.write(project.images[0], strokes)


def wait(condition: Any, *, seconds: float = 120) -> None:
    from qtpy.QtCore import QCoreApplication

    end = time.monotonic() + seconds
    while not condition():
        QCoreApplication.processEvents()
        time.sleep(0.005)
        if time.monotonic() > end:
            raise SystemExit("the viewer did not get there in time")


class Viewer:
    """One of the two viewers, as the parent sees it."""

    def __init__(self, process: str, options: argparse.Namespace, *, width: int = 0) -> None:
        command = [sys.executable, __file__, "--process", process, "--home", options.home]
        command += ["--side", str(options.side), "--width", str(width)]
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.started = self._answer()

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and wait for the answer."""
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Close it."""
        self.child.stdin.write("quit\n")
        self.child.stdin.flush()
        self.child.wait(30)

    def _answer(self) -> dict[str, Any]:
        for line in self.child.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit("a viewer ended; its reason stands above")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    make_project(Path(options.home), options.side, options.images)
    followed = Viewer(LIVE, options)
    plain = Viewer(BARE, options, width=followed.started["width"])
    found: dict[str, dict[str, list[float]]] = {
        name: {"gap": [], "redraw": [], "latency": []} for name in (BARE, LIVE)
    }
    late = 0
    for _ in range(options.blocks):
        for name, viewer in ((BARE, plain), (LIVE, followed)):
            block = viewer.ask(f"measure {options.seconds}")
            for key, values in found[name].items():
                values += block[key]
            late += block["late"]
    plain.end()
    followed.end()
    rows = {
        name: {f"{key}_ms": summary(values) for key, values in own.items() if values}
        for name, own in found.items()
    }
    return {
        "viewers": rows,
        "p99_gap_above_bare_ms": rows[LIVE]["gap_ms"]["p99"] - rows[BARE]["gap_ms"]["p99"],
        "strokes_overtaken_by_the_next": late,
        "torch_in_the_viewers_process": followed.started["torch"],
        "side": options.side,
        "annotated_images": options.images,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }


def summary(values: list[float]) -> dict[str, float]:
    return {"count": len(values)} | {
        name: float(np.percentile(values, at)) for name, at in PERCENTILES.items()
    }


def table(result: dict[str, Any]) -> str:
    lines = [f"{'ms':28}" + "".join(f"{name:>9}" for name in ("count", *PERCENTILES))]
    for key, title in (
        ("latency_ms", "stroke end to frame"),
        ("gap_ms", "event loop gap"),
        ("redraw_ms", "time between frames"),
    ):
        for viewer, row in result["viewers"].items():
            if key in row:
                figures = "".join(f"{row[key][name]:9.1f}" for name in PERCENTILES)
                lines.append(f"{f'{title}, {viewer}':28}{row[key]['count']:9.0f}{figures}")
    lines.append(f"p99 gap above bare napari: {result['p99_gap_above_bare_ms']:+.1f} ms")
    lines.append(
        f"{result['side']} x {result['side']}, {result['annotated_images']} annotated images,"
        f" {result['cores']} cores, load {result['load'][0]:.1f};"
        f" {result['strokes_overtaken_by_the_next']} strokes overtaken by the next"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=512, help="of every image, pixels")
    parser.add_argument("--images", type=int, default=5, help="annotated images")
    parser.add_argument("--blocks", type=int, default=4, help="blocks per viewer")
    parser.add_argument("--seconds", type=float, default=10.0, help="per block")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--process", choices=[BARE, LIVE], help=argparse.SUPPRESS)
    parser.add_argument("--home", default="", help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        viewer_process(options)
        return
    with tempfile.TemporaryDirectory() as home:
        options.home = home
        result = measure(options)
    print(table(result))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
