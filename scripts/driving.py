"""A real window with the workspace, driven from a script: by its mouse and keys, and photographed."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import napari
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QCheckBox

from napari_medssl.widgets.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from qtpy.QtWidgets import QComboBox, QWidget

    Pixel = tuple[float, float]

__all__ = ["LEFT", "NONE", "DrivenWindow"]

LEFT = Qt.MouseButton.LeftButton
NONE = Qt.KeyboardModifier.NoModifier


class DrivenWindow:
    """A viewer of 1280x800 with the workspace docked.

    Parameters
    ----------
    out : Path
        Folder of the photographs.
    theme : str
        napari's theme.
    """

    def __init__(self, out: Path, *, theme: str) -> None:
        self.out = out
        self.suffix = "" if theme == "dark" else f"-{theme}"
        self.viewer = napari.Viewer(show=True)
        self.viewer.theme = theme
        self.window = self.viewer.window._qt_window
        self.window.setGeometry(0, 0, 1280, 800)
        self.workspace = Workspace(self.viewer)
        self.viewer.window.add_dock_widget(self.workspace, name="MedSSL", area="right")
        self.session = self.workspace.session
        self.clicks = self.keys = 0
        self.photographed = 0.0
        """Seconds that went into photographs of the screen."""
        self.session.problem.connect(
            lambda problem: sys.exit(f"{problem.sentence}\n{problem.details}")
        )

    @property
    def canvas(self) -> QWidget:
        """The widget that images are drawn in."""
        return self.viewer.window._qt_viewer.canvas.native

    # -- as a user -------------------------------------------------------------------------------

    def click(self, widget: QWidget, at: QPoint | None = None) -> None:
        """Click a widget; one that is out of sight or greyed out is an error, as it is for a user."""
        name = getattr(widget, "text", widget.objectName)() or type(widget).__name__
        self.wait(until=widget.isEnabled, limit=60, what=f"{name} can be clicked")
        place = widget.rect().center() if at is None else at
        if at is None and isinstance(widget, QCheckBox):
            place.setX(12)  # beside its words a wide one cannot be clicked
        if not widget.isVisible() or not widget.visibleRegion().contains(place):
            raise LookupError(f"{name} is not in sight.")
        QTest.mouseClick(widget, LEFT, NONE, place)
        self.clicks += 1
        self.wait(seconds=0.05)

    def choose(self, box: QComboBox, text: str) -> None:
        """Choose an entry of a box in its list."""
        self.click(box)
        view = box.view()
        row = next(n for n in range(box.count()) if text in box.itemText(n))
        index = box.model().index(row, box.modelColumn())
        self.wait(seconds=0.8)  # for a moment the list takes no click: it may be half a double one
        self.click(view.viewport(), view.visualRect(index).center())

    def press(self, key: Qt.Key, modifier: Qt.KeyboardModifier = NONE) -> None:
        """Press a key: whatever has the keyboard gets it."""
        QTest.keyClick(self.window.focusWidget() or self.canvas, key, modifier)
        self.keys += 1
        self.wait(seconds=0.05)

    def write(self, text: str) -> None:
        """Type a text."""
        QTest.keyClicks(self.window.focusWidget(), text)
        self.keys += len(text)
        self.wait(seconds=0.05)

    def click_pixel(self, pixel: Pixel, modifier: Qt.KeyboardModifier = NONE) -> None:
        """Click a pixel of the open image."""
        place = self.place_of(pixel)
        self._send(QEvent.Type.MouseMove, place, held=False, modifier=modifier)
        self._send(QEvent.Type.MouseButtonPress, place, held=True, modifier=modifier)
        self._send(QEvent.Type.MouseButtonRelease, place, held=False, modifier=modifier)
        self.clicks += 1

    def drag(self, pixels: Sequence[Pixel]) -> None:
        """Press the mouse at the first pixel, move it over the others, and let it go at the last."""
        places = [self.place_of(pixel) for pixel in pixels]
        self._send(QEvent.Type.MouseMove, places[0], held=False)
        self._send(QEvent.Type.MouseButtonPress, places[0], held=True)
        for place in places[1:]:
            self._send(QEvent.Type.MouseMove, place, held=True)
        self._send(QEvent.Type.MouseButtonRelease, places[-1], held=False)
        self.clicks += 1

    def place_of(self, pixel: Pixel) -> QPoint:
        """Give the place of a pixel (y, x) of the open image in the canvas."""
        world = self.session.image_layer.data_to_world(pixel)
        camera, size = self.viewer.scene.camera, self.canvas.size()
        return QPoint(
            round((world[1] - camera.center[-1]) * camera.zoom + size.width() / 2),
            round((world[0] - camera.center[-2]) * camera.zoom + size.height() / 2),
        )

    def _send(
        self,
        kind: QEvent.Type,
        place: QPoint,
        *,
        held: bool,
        modifier: Qt.KeyboardModifier = NONE,
    ) -> None:
        self.wait(seconds=0.03)  # napari drops moves that come in quick succession
        nothing = Qt.MouseButton.NoButton
        event = QMouseEvent(
            kind,
            QPointF(place),
            QPointF(self.canvas.mapToGlobal(place)),
            nothing if kind == QEvent.Type.MouseMove else LEFT,
            LEFT if held else nothing,
            modifier,
        )
        if kind == QEvent.Type.MouseButtonPress:
            self.canvas.setFocus()  # as Qt does at a press of a real mouse
        QApplication.sendEvent(self.canvas, event)

    # -- as a photographer -----------------------------------------------------------------------

    def shot(self, name: str) -> None:
        """Photograph the window."""
        self.wait(seconds=1.0)
        path = self.out / f"{name}{self.suffix}.png"
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)
        print(path, flush=True)

    def screen_shot(self, name: str) -> None:
        """Photograph the whole screen, with menus and dialogs."""
        start = time.monotonic()
        self.wait(seconds=1.0)
        path = self.out / f"{name}{self.suffix}.png"
        if not self.window.screen().grabWindow(0).save(str(path)):
            raise OSError(f"{path} could not be written.")
        self.photographed += time.monotonic() - start
        print(path, flush=True)

    def wait(
        self,
        *,
        seconds: float = 0.0,
        until: Callable[[], bool] | None = None,
        limit: float = 900,
        what: str = "",
    ) -> None:
        """Let the viewer work for a while, or until something is true."""
        end = time.monotonic() + (seconds if until is None else limit)
        while time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.01)
            if until is not None and until():
                return
        if until is not None:
            raise TimeoutError(f"waited {limit:.0f} s in vain{f' until {what}' if what else ''}")
