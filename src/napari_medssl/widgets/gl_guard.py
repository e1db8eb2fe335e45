"""Keeps the process alive when a layer is removed: works round a fault of napari 0.9.

When a layer is removed, napari has vispy delete the layer's OpenGL programs, buffers and textures at once, in
whichever OpenGL context happens to be current. Since the last frame that is Qt's own, for putting the window
together, and not the canvas's. Objects that one context deletes while another one has them bound crash the
next draw: a segmentation fault with Mesa, an access violation on Windows (napari issue 8471). Points, and
Labels whose brush was in use, do it reliably.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

if TYPE_CHECKING:
    import napari

__all__ = ["guard_canvas"]

_guarded: WeakSet[Any] = WeakSet()


def guard_canvas(viewer: napari.Viewer) -> None:
    """Make the canvas's context the current one whenever a layer is about to be removed.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose canvas; asking more than once changes nothing.
    """
    canvas = viewer.window._qt_viewer.canvas.native  # napari offers no public way to it
    if canvas in _guarded:
        return
    _guarded.add(canvas)
    weakly = ref(canvas)

    def make_current() -> None:
        there = weakly()
        if there is not None and there.isValid():
            there.makeCurrent()

    viewer.layers.events.removing.connect(make_current)
