"""Removing a layer must not crash the next frame; in a process of its own, because without the guard it does."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, time
import numpy as np
import napari
from napari.layers import Labels
from qtpy.QtWidgets import QApplication
from napari_medssl.widgets.gl_guard import guard_canvas

def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.002)

viewer = napari.Viewer(show_welcome_screen=False)
guard_canvas(viewer)
guard_canvas(viewer)
image = viewer.add_image(np.zeros((360, 360), np.float32))
for size in (256, 360, 300, 256, 360, 300):
    labels = viewer.add_layer(Labels(np.zeros((size, size), np.uint16)))
    labels.mode = "paint"
    spin(0.1)
    image.data = np.zeros((size, size), np.float32)
    viewer.layers.remove(labels)
    spin(0.1)
print("alive", flush=True)
os._exit(0)
"""


def test_removing_a_painted_layer_does_not_crash() -> None:
    child = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT], capture_output=True, text=True, check=False
    )
    assert child.stdout.strip() == "alive", child.stderr[-2000:]
    assert child.returncode == 0
