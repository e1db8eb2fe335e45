"""How long the viewer does not react while the engine trains, next to bare napari doing the same redraws.

Three conditions in alternating blocks of one run, all under the same X server:

- ``bare``: napari with one image and an empty dock as wide as the workspace; nothing else runs.
- ``bare, engine training``: the same viewer while the engine trains: what sharing the cores costs.
- ``plugin, engine training``: napari with the workspace docked and following that run.

Each viewer is a process of its own; a viewer that is not being measured draws nothing, and training is paused
(through the workspace's session) in the blocks without it. Ten times a second a 512 x 512 image is replaced by
another one. *Gap* is the time between two turns of the event loop, asked for every 2 ms: the time for which the
viewer could not react. *Redraw* is the time between two frames (100 ms asked for).

    xvfb-run -s "-screen 0 1280x800x24" python benchmarks/viewer_gap.py IMAGE_FOLDER [--json FILE]

Prints a table; with --json writes the figures.
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

BARE, SHARED, PLUGIN = "bare", "bare, engine training", "plugin, engine training"
PERCENTILES = {"p50": 50, "p95": 95, "p99": 99, "max": 100}


class Measure:
    """Redraws the image of a viewer for some seconds and records gaps, in the event loop of napari."""

    def __init__(self, viewer: Any, *, seed: int = 0) -> None:
        from qtpy.QtCore import Qt, QTimer

        rng = np.random.default_rng(seed)
        self.frames = [rng.random((512, 512), dtype=np.float32) for _ in range(10)]
        self.layer = viewer.add_image(self.frames[0], name="redrawn", contrast_limits=(0, 1))
        viewer.reset_view()
        self.turns: list[float] = []
        self.draws: list[float] = []
        self.shown = 0
        self.beat = QTimer(interval=2, timerType=Qt.TimerType.PreciseTimer)
        self.beat.timeout.connect(lambda: self.turns.append(time.perf_counter()))
        self.redraw = QTimer(interval=100, timerType=Qt.TimerType.PreciseTimer)
        self.redraw.timeout.connect(self._show_next)
        canvas = (
            viewer.window._qt_viewer.canvas._scene_canvas
        )  # napari offers no public event for a frame
        canvas.events.draw.connect(
            lambda _: self.draws.append(time.perf_counter()), position="last"
        )

    def run(self, seconds: float) -> dict[str, list[float]]:
        """Measure for this long; milliseconds between turns of the event loop and between frames."""
        from qtpy.QtCore import QEventLoop, QTimer

        self.redraw.start()
        loop = QEventLoop()
        QTimer.singleShot(500, self._begin)  # the first frames settle
        QTimer.singleShot(int(1000 * seconds) + 500, loop.quit)
        loop.exec()
        self.beat.stop()
        self.redraw.stop()
        return {
            "gap": (1000 * np.diff(self.turns)).tolist(),
            "redraw": (1000 * np.diff(self.draws)).tolist(),
        }

    def _begin(self) -> None:
        self.turns, self.draws = [], []
        self.beat.start()

    def _show_next(self) -> None:
        self.shown += 1
        self.layer.data = self.frames[self.shown % len(self.frames)]


def say(**data: Any) -> None:
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


def viewer_process(options: argparse.Namespace) -> None:
    """Obey the parent's lines: ``measure SECONDS``, ``pause``, ``resume``, ``quit``."""
    import napari
    from qtpy.QtWidgets import QWidget

    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window._qt_window.setGeometry(0, 0, 1280, 780)
    session = None
    if options.process == "plugin":
        session, width = follow_a_run(viewer, options)
    else:
        dock, width = QWidget(), options.width
        dock.setFixedWidth(width)
        viewer.window.add_dock_widget(dock, name="empty", area="right")
    measure = Measure(viewer)
    wait(lambda: viewer.window._qt_window.isVisible())
    say(ready=True, width=width, torch="torch" in sys.modules)
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "measure":
            result: dict[str, Any] = measure.run(float(rest[0]))
            canvas = viewer.window._qt_viewer.canvas.native.size()
            result["canvas"] = [canvas.width(), canvas.height()]
            if session is not None and session.active is not None:
                result["step"] = session.active.step
                result["rate"] = session.active.rate
            say(**result)
        elif command == "quit":
            break
        elif session is not None:
            state = {"pause": "paused", "resume": "running"}[command]
            getattr(session, command)()
            wait(lambda state=state: session.active.state == state, seconds=120)
            say(state=session.active.state, step=session.active.step)
    if session is not None:
        session.shut_down()
    sys.stdout.flush()
    os._exit(0)  # the measurements are out; taking GL down takes seconds and proves nothing


def follow_a_run(viewer: Any, options: argparse.Namespace) -> tuple[Any, int]:
    """Dock the workspace, open a project and start a pretraining that outlasts the measurement."""
    from napari_medssl.widgets.session import Session
    from napari_medssl.widgets.workspace import Workspace

    home = Path(options.home)
    Session.home = home
    workspace = Workspace(viewer)
    viewer.window.add_dock_widget(workspace, name="Workspace", area="right")
    session = workspace.session
    session.problem.connect(lambda problem: sys.stderr.write(f"{problem}\n"))
    session.create_project(options.folder, project=home / "project")
    wait(lambda: session.image is not None and session.description is not None)
    session.start_job(
        {
            "kind": "pretrain",
            "project": str(session.project.path),
            "method": "medsass",
            "method_config": {},
            "network": {"encoder": options.encoder},
            "training": {"steps": 1_000_000, "batch_size": options.batch},
            "from_run": None,
            "device": "cpu",
            "seed": 0,
        }
    )
    workspace.open_step("Pretrain")  # with its live curves
    wait(lambda: session.active is not None and session.active.step >= 3, seconds=300)
    session.pause()
    wait(lambda: session.active.state == "paused", seconds=120)
    for layer in viewer.layers:
        layer.visible = False  # both viewers draw one image
    return session, workspace.width()


def wait(condition: Any, *, seconds: float = 60) -> None:
    from qtpy.QtCore import QCoreApplication

    end = time.monotonic() + seconds
    while not condition():
        QCoreApplication.processEvents()
        time.sleep(0.005)
        if time.monotonic() > end:
            raise SystemExit("the viewer did not get there in time")


class Viewer:
    """One of the two viewers, as the parent sees it."""

    def __init__(self, kind: str, options: argparse.Namespace, *, width: int = 0) -> None:
        command = [
            sys.executable, __file__, options.folder, "--process", kind, "--home", options.home,
            "--encoder", options.encoder, "--batch", str(options.batch), "--width", str(width),
        ]  # fmt: skip
        self.child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.started = self.read()

    def read(self) -> dict[str, Any]:
        """Wait for the child's next answer."""
        assert self.child.stdout is not None
        for line in self.child.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        raise SystemExit(f"the viewer ended with code {self.child.wait()}")

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        assert self.child.stdin is not None
        self.child.stdin.write(command + "\n")
        self.child.stdin.flush()
        return self.read()

    def end(self) -> None:
        """Let the child go."""
        assert self.child.stdin is not None
        if self.child.poll() is None:
            self.child.stdin.write("quit\n")
            self.child.stdin.close()
            self.child.wait(60)


def summary(values: list[float]) -> dict[str, float]:
    found = {name: float(np.percentile(values, q)) for name, q in PERCENTILES.items()}
    return {"count": len(values), **found}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    plugin = Viewer("plugin", options)
    bare = Viewer("bare", options, width=plugin.started["width"])
    gaps: dict[str, list[float]] = {BARE: [], SHARED: [], PLUGIN: []}
    redraws: dict[str, list[float]] = {BARE: [], SHARED: [], PLUGIN: []}
    canvases: dict[str, list[int]] = {}
    steps = []
    try:
        for _ in range(options.blocks):
            for condition in (BARE, SHARED, PLUGIN):
                if condition == SHARED:
                    before = plugin.ask("resume")["step"]
                block = (plugin if condition == PLUGIN else bare).ask(f"measure {options.seconds}")
                gaps[condition] += block["gap"]
                redraws[condition] += block["redraw"]
                canvases[condition] = block["canvas"]
            steps.append(plugin.ask("pause")["step"] - before)
    finally:
        plugin.end()
        bare.end()
    rows = {
        condition: {"gap_ms": summary(gaps[condition]), "redraw_ms": summary(redraws[condition])}
        for condition in gaps
    }
    return {
        "conditions": rows,
        "p99_above_bare_ms": rows[PLUGIN]["gap_ms"]["p99"] - rows[BARE]["gap_ms"]["p99"],
        "p99_redraw_above_bare_ms": rows[PLUGIN]["redraw_ms"]["p99"]
        - rows[BARE]["redraw_ms"]["p99"],
        "training_steps_meanwhile": sum(steps),
        "torch_in_the_viewers_process": plugin.started["torch"],
        "canvas": canvases,
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "blocks": options.blocks,
        "seconds": options.seconds,
    }


def table(result: dict[str, Any]) -> str:
    lines = []
    for what, title in (("gap_ms", "event loop gap, ms"), ("redraw_ms", "time between frames, ms")):
        lines.append(f"{title:30}" + "".join(f"{name:>9}" for name in ("count", *PERCENTILES)))
        for condition, row in result["conditions"].items():
            values = row[what]
            lines.append(
                f"  {condition:28}{values['count']:9.0f}"
                + "".join(f"{values[name]:9.1f}" for name in PERCENTILES)
            )
    lines.append(f"p99 gap of the plugin above bare napari: {result['p99_above_bare_ms']:+.1f} ms")
    lines.append(f"p99 frame time above bare napari: {result['p99_redraw_above_bare_ms']:+.1f} ms")
    lines.append(
        f"{result['training_steps_meanwhile']} training steps meanwhile; {result['cores']} cores, "
        f"load {result['load'][0]:.1f}"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="a folder of images to train on")
    parser.add_argument("--blocks", type=int, default=5, help="blocks per condition")
    parser.add_argument("--seconds", type=float, default=8.0, help="per block")
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--process", choices=["bare", "plugin"], help=argparse.SUPPRESS)
    parser.add_argument("--home", default="", help=argparse.SUPPRESS)
    parser.add_argument("--width", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        viewer_process(options)
        return
    options.folder = str(Path(options.folder).resolve())
    with tempfile.TemporaryDirectory() as home:
        options.home = home
        result = measure(options)
    print(table(result))
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
