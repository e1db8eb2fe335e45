"""Kill a viewer while somebody paints in it, and see how much is lost.

    xvfb-run -a python benchmarks/kill_painting.py --kills 20

A viewer paints with real mouse events: many short strokes, with the image changed now and then, or one stroke during
which the button is never released. Each painted pixel is noted, with its time, in a file that survives. The viewer
is killed (SIGKILL) at a random moment, the project is opened again without a viewer, and every pixel that was
painted more than six seconds before must be in the labels.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ALLOWED = 6.0
SIDE = 256
NAMES = ("a.tif", "b.tif", "c.tif")
SPACING = 0.03  # seconds between mouse events: napari drops moves that come in quick succession


@dataclass(frozen=True)
class Kill:
    """What one kill cost."""

    held: bool
    """Whether it was one stroke without a release of the button."""
    painting: float
    """Seconds of painting before the kill."""
    pixels: int
    """Painted before the kill."""
    lost: float
    """Age of the oldest pixel that is not in the labels, in seconds."""


def kill_once(folder: Path, *, seed: int, shortest: float = 2.0, longest: float = 16.0) -> Kill:
    """Paint in a viewer, kill it, open its project.

    Parameters
    ----------
    folder : Path
        Scratch; the user data of the viewer in it may be shared by several kills, the project is new.
    seed : int
        Of the moment, and of what is painted.
    shortest, longest : float
        Seconds of painting before the kill.

    Raises
    ------
    SystemExit
        If the viewer did not get to painting, or a label file is damaged.
    """
    from napari_medssl.project import Project

    rng = random.Random(seed)
    place = folder / f"kill-{seed}"
    make_images(place / "images")
    log = place / "painted.txt"
    held = rng.random() < 0.5
    arguments = [str(place), str(folder / "home"), str(seed), "held" if held else "strokes"]
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, "--paint", *arguments],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    if "painting" not in (child.stdout.readline() or ""):
        child.kill()
        raise SystemExit(f"the viewer ended with code {child.wait()} before it painted")
    painting = rng.uniform(shortest, longest)
    time.sleep(painting)
    died = child.poll()
    if died is not None:
        raise SystemExit(f"the viewer ended by itself with code {died}")
    killed = time.monotonic()
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    project = Project.open(place / "project")
    project.lock_for_viewer().release()  # a dead viewer holds nothing
    labels = {name: project.annotations.read(name) for name in project.images}
    noted = [json.loads(line) for line in log.read_text().split("\n")[:-1]]  # the last may be torn
    ages = [killed - at for at, name, y, x in noted if labels[name][y, x] != 2]
    return Kill(held, painting, len(noted), max(ages, default=0.0))


def make_images(folder: Path) -> None:
    """Make three small images."""
    import tifffile

    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        noise = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
        tifffile.imwrite(folder / name, noise)


# -- the viewer that is killed -------------------------------------------------------------------


def paint(place: Path, home: Path, seed: int, *, held: bool) -> None:
    """Paint until the end comes."""
    import napari

    from napari_medssl.widgets.annotator import Annotator
    from napari_medssl.widgets.session import Session

    Session.home = home
    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.window._qt_window.setGeometry(0, 0, 1200, 780)
    session = Session.of(viewer)
    session.problem.connect(lambda problem: sys.exit(problem.text))
    annotator = Annotator.of(session)
    session.create_project(place / "images", project=place / "project")
    wait(until=lambda: annotator.layer is not None)
    wait(seconds=1.0)
    painter = Painter(viewer, annotator, place / "painted.txt", random.Random(seed))
    sys.stdout.write("painting\n")
    sys.stdout.flush()
    if held:
        painter.one_stroke()
    else:
        painter.strokes()


def wait(*, seconds: float = 60.0, until: Any = None) -> None:
    """Let the viewer work for a while, or until something is true."""
    from qtpy.QtWidgets import QApplication

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        if until is not None and until():
            return
        time.sleep(0.002)
    if until is not None:
        raise SystemExit("the viewer did not get there in time")


class Painter:
    """A hand with a mouse: pixel after pixel, row after row, each noted once it is painted."""

    def __init__(self, viewer: Any, annotator: Any, log: Path, rng: random.Random) -> None:
        self.viewer, self.annotator, self.rng = viewer, annotator, rng
        self.canvas = viewer.window._qt_viewer.canvas.native
        self.log = log.open("a")
        self.places = {name: self.walk() for name in NAMES}

    @staticmethod
    def walk() -> Any:
        """Go through the image in steps, never to a pixel twice."""
        for y in range(20, SIDE - 20, 4):
            for x in range(20, SIDE - 20, 3):
                yield y, x

    def one_stroke(self) -> None:
        """Press the button and never release it."""
        self.start()
        self.move(press=True)
        while True:
            self.move()

    def strokes(self) -> None:
        """Paint short strokes, with pauses shorter than the second after which a pause is saved."""
        while True:
            self.start()
            change = time.monotonic() + self.rng.uniform(4, 9)
            while time.monotonic() < change:
                self.move(press=True)
                for _ in range(self.rng.randint(1, 15)):
                    self.move()
                self.release()
                wait(seconds=self.rng.uniform(0.05, 0.8))
            self.next_image()

    def start(self) -> None:
        """Take the brush."""
        self.annotator.paint_with(2)
        self.annotator.layer.brush_size = 1

    def next_image(self) -> None:
        """Go on to another image; the last strokes are not saved yet."""
        names = self.annotator.session.project.images
        name = names[(names.index(self.annotator.image) + 1) % len(names)]
        self.annotator.session.open_image(name)
        wait(until=lambda: self.annotator.image == name and self.annotator.layer is not None)
        wait(seconds=0.2)

    def move(self, *, press: bool = False) -> None:
        """Move on to the next pixel, pressing the button there if asked to, and note it."""
        name, layer = self.annotator.image, self.annotator.layer
        y, x = next(self.places[name])
        at = time.monotonic()
        place = self.on_canvas(y, x)
        self.send("MouseMove", place, held=not press)
        if press:
            self.send("MouseButtonPress", place, held=True)
        self.last = place
        wait(seconds=SPACING)
        if layer.data[y, x] == 2:  # else napari dropped the move
            self.log.write(json.dumps([at, name, y, x]) + "\n")
            self.log.flush()

    def release(self) -> None:
        """Release the button."""
        self.send("MouseButtonRelease", self.last, held=False)

    def on_canvas(self, y: float, x: float) -> Any:
        """Give the place of a pixel on the canvas."""
        from qtpy.QtCore import QPoint

        camera, size = self.viewer.scene.camera, self.canvas.size()
        middle = camera.center[-2:]
        return QPoint(
            round((x - middle[1]) * camera.zoom + size.width() / 2),
            round((y - middle[0]) * camera.zoom + size.height() / 2),
        )

    def send(self, kind: str, place: Any, *, held: bool) -> None:
        """Send a mouse event."""
        from qtpy.QtCore import QEvent, QPointF, Qt
        from qtpy.QtGui import QMouseEvent
        from qtpy.QtWidgets import QApplication

        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        event = QMouseEvent(
            getattr(QEvent.Type, kind),
            QPointF(place),
            QPointF(self.canvas.mapToGlobal(place)),
            none if kind == "MouseMove" else left,
            left if held else none,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(self.canvas, event)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shortest", type=float, default=2.0, help="seconds of painting")
    parser.add_argument("--longest", type=float, default=16.0)
    parser.add_argument("--paint", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.paint:
        place, home, seed, how = options.paint
        paint(Path(place), Path(home), int(seed), held=how == "held")
        return 0
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.kills):
            kill = kill_once(
                Path(folder),
                seed=options.seed + number,
                shortest=options.shortest,
                longest=options.longest,
            )
            worst = max(worst, kill.lost)
            print(json.dumps({"kill": number + 1, **asdict(kill)}), flush=True)
    print(f"{options.kills} kills; the oldest lost pixel was painted {worst:.2f} s before.")
    return int(worst > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
