"""A viewer that paints a stroke and then leaves in one of several ways; run as a child by test_leaving.py."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import napari
from napari.settings import get_settings
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.session import Session


def spin(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        QApplication.processEvents()
        time.sleep(0.01)
        if time.monotonic() > end:
            raise SystemExit("waited in vain")


def main(folder: str, home: str, how: str) -> None:
    Session.home = Path(home)
    Session.engine_command = [sys.executable, str(Path(__file__).with_name("fake_engine.py"))]
    get_settings().application.confirm_close_window = False
    viewer = napari.Viewer(show_welcome_screen=False)
    session = Session.of(viewer)
    session.problem.connect(lambda problem: sys.stderr.write(f"PROBLEM {problem.sentence}\n"))
    annotator = Annotator.of(session)
    session.create_project(folder)
    spin(lambda: annotator.layer is not None)
    annotator.layer.paint((10, 10), 2)
    if how == "exit":  # a script that ends
        return
    if how == "quit":  # the application ends, the window was never closed
        QTimer.singleShot(0, QApplication.quit)
        napari.run()
        return
    job = {"kind": "pretrain", "project": str(session.project.path), "training": {"steps": 4000}}
    session.start_job(job)
    spin(lambda: session.active.step > 0)
    window = viewer.window._qt_window

    def press_stop() -> None:
        box = session._guard.box
        if box is None:
            QTimer.singleShot(50, press_stop)
        else:
            next(b for b in box.buttons() if b.text() == "Stop, keep and close").click()

    def press_keys() -> None:
        QTest.keyClick(window, Qt.Key.Key_Q, Qt.KeyboardModifier.ControlModifier)
        QTimer.singleShot(50, press_stop)

    window.activateWindow()
    QTimer.singleShot(500, press_keys)
    napari.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
