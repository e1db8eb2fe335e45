"""Keeps the process alive when a layer is removed: works round a fault of vispy 0.17.

vispy switches vertex attribute arrays on before it draws a visual and never off again. When a layer is
removed, its vertex buffers are deleted; OpenGL then reads those arrays, still switched on, from the address
that was an offset into the buffer, and the next draw of any visual ends in a segmentation fault (Mesa) or an
access violation (Windows; napari issue 8471). Points, and Labels whose brush was used, do it reliably.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from vispy.gloo import gl

if TYPE_CHECKING:
    import napari

__all__ = ["guard_canvas"]

_ATTRIBUTES = 16  # every OpenGL has at least so many, and vispy numbers them from 0

_guarded: WeakSet[Any] = WeakSet()


def guard_canvas(viewer: napari.Viewer) -> None:
    """Switch the attribute arrays off after each frame of this viewer; once is enough.

    Each visual switches those that it needs on again before it is drawn.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose canvas.
    """
    canvas = viewer.window._qt_viewer.canvas._scene_canvas  # napari offers no public way to it
    if canvas in _guarded:
        return
    _guarded.add(canvas)
    canvas.events.draw.connect(_switch_off, position="last")


def _switch_off(_: object) -> None:
    # called while the canvas's own context is current
    for index in range(_ATTRIBUTES):
        gl.glDisableVertexAttribArray(index)
