"""Similarity by click: asks the engine for the features of the open image, and paints the heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Points
from qtpy.QtCore import QObject, Signal

from napari_medssl.widgets.features import Features
from napari_medssl.widgets.gl_guard import guard_canvas
from napari_medssl.widgets.layers import find_layer, mark, remove_layer
from napari_medssl.widgets.placement import follow, transforms
from napari_medssl.widgets.problem import Problem
from napari_medssl.widgets.shortcuts import bind_on_our_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import napari
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_medssl.widgets.features import State
    from napari_medssl.widgets.session import Session

__all__ = ["Explorer"]

_CLICK_PIXELS = 4  # a mouse that moves further on the screen while pressed is dragging


class Explorer(QObject):
    """One per session; get it with `Explorer.of`.

    Parameters
    ----------
    session : Session
        Whose open image is explored.
    """

    changed = Signal()
    """Anything that a panel shows."""

    @classmethod
    def of(cls, session: Session) -> Explorer:
        """Return the session's explorer, making it on first use."""
        found = session.findChild(cls)
        return found if isinstance(found, cls) else cls(session)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.session = session
        guard_canvas(session.viewer)
        self.active = False
        self.following = False
        self.queries: list[tuple[int, int]] = []
        """The clicked pixels, (y, x) of the image."""
        self.limits = (0.0, 1.0)
        """Similarities shown as black and as white."""
        self.automatic = True
        """Whether `limits` are chosen anew for each map."""
        self.opacity = 0.7
        self._cursor: tuple[int, int] | None = None
        self.features = Features(session)
        self.features.arrived.connect(self._compare)
        self.features.changed.connect(self.changed)
        self._comparing = False
        self._compare_again = False
        self._setting = False
        self._end_follow: list[Callable[[], None]] = []
        session.image_closing.connect(self._on_image_closing)
        session.image_changed.connect(self._on_image)
        session.runs_changed.connect(self._on_runs)
        session.project_changed.connect(self.changed)
        bind_on_our_layers(session.viewer, {"Q": self._on_key, "W": self._on_hold})

    # -- commands --------------------------------------------------------------------------------

    def set_active(self, on: bool) -> None:
        """React to clicks in the image, or no longer."""
        if on == self.active:
            return
        self.active = on
        viewer = self.session.viewer
        if on:
            viewer.mouse_drag_callbacks.append(self._on_press)
            viewer.mouse_move_callbacks.append(self._on_move)
            self._stop_painting()
            self._ask()
        else:
            viewer.mouse_drag_callbacks.remove(self._on_press)
            viewer.mouse_move_callbacks.remove(self._on_move)
            self.set_following(False)
        self.changed.emit()

    def set_following(self, on: bool) -> None:
        """Compare with the pixel under the cursor, wherever it goes, or with the clicked ones again."""
        if on == self.following:
            return
        if on:
            self.set_active(True)
        self.following = on
        self._cursor = None
        if not on and self.queries:
            self._compare()
        self.changed.emit()

    def ask(self, y: int, x: int, *, add: bool = False) -> None:
        """Compare the image with a pixel.

        Parameters
        ----------
        y, x : int
            The pixel.
        add : bool
            Keep the pixels asked before; the map is then the similarity to their mean.

        A pixel outside the image is not asked.
        """
        if not self._inside(y, x):
            return
        self.queries = [*self.queries, (y, x)] if add else [(y, x)]
        self._show_queries()
        if self._ask():
            self._compare()
        self.changed.emit()

    def clear(self) -> None:
        """Forget the clicked pixels and remove the map."""
        self.queries, self._cursor = [], None
        for end in self._end_follow:
            end()
        self._end_follow.clear()
        remove_layer(self.session.viewer, "heat")
        remove_layer(self.session.viewer, "query")
        self.changed.emit()

    def set_limits(self, low: float, high: float) -> None:
        """Show similarities from `low` to `high`, from now on."""
        self.automatic = False
        self._apply_limits(low, high)

    def set_automatic(self, on: bool) -> None:
        """Choose the limits for each map: from its median to 1."""
        self.automatic = on
        layer = self.heat
        if on and layer is not None:
            self._apply_limits(*_limits_of(layer.data))
        self.changed.emit()

    def set_opacity(self, opacity: float) -> None:
        """Set how strongly the map shows, from 0 to 1."""
        self.opacity = opacity
        if self.heat is not None:
            self.heat.opacity = opacity

    @property
    def heat(self) -> Image | None:
        """The layer with the map."""
        return find_layer(self.session.viewer, "heat")

    # -- mouse and keys --------------------------------------------------------------------------

    def _on_key(self, _: Layer) -> None:
        self.set_active(not self.active)

    def _on_hold(self, _: Layer) -> Iterator[None]:
        was = self.active
        self.set_following(True)
        yield
        self.set_following(False)
        if not was:
            self.set_active(False)

    def _on_press(self, viewer: napari.Viewer, event: Any) -> Iterator[None]:
        if event.button != 1 or not self._listens() or "Control" in event.modifiers:
            return
        start = np.asarray(event.pos, dtype=float)
        dragged = False
        yield
        while event.type == "mouse_move":
            # seen from the screen, so that it means the same at every zoom
            dragged |= bool(np.hypot(*(np.asarray(event.pos) - start)) > _CLICK_PIXELS)
            yield
        pixel = self._pixel_at(event.position)
        if not dragged and pixel is not None:
            self.ask(*pixel, add="Shift" in event.modifiers)

    def _on_move(self, viewer: napari.Viewer, event: Any) -> None:
        if not self.following or not self._listens():
            return
        pixel = self._pixel_at(event.position)
        if pixel is not None and pixel != self._cursor:
            self._cursor = pixel
            if self._ask():
                self._compare()

    def _listens(self) -> bool:
        viewer = self.session.viewer
        active = viewer.layers.selection.active
        drawing = active is not None and active.mode not in ("pan_zoom", "transform")
        return viewer.dims.ndisplay == 2 and not drawing

    def _pixel_at(self, position: Any) -> tuple[int, int] | None:
        layer = self.session.image_layer
        if layer is None:
            return None
        y, x = (int(value) for value in np.round(layer.world_to_data(position))[-2:])
        return (y, x) if self._inside(y, x) else None

    def _inside(self, y: int, x: int) -> bool:
        layer = self.session.image_layer
        if layer is None:
            return False
        height, width = layer.data.shape[:2]
        return bool(0 <= y < height and 0 <= x < width)

    def _stop_painting(self) -> None:
        # a click cannot both paint and ask
        viewer, layer = self.session.viewer, self.session.image_layer
        if layer is not None and not self._listens():
            viewer.layers.selection.active = layer

    # -- features --------------------------------------------------------------------------------

    def _ask(self) -> bool:
        """Whether the features are here; if not, they are asked for."""
        features = self.features.get()
        self.changed.emit()
        return features is not None

    @property
    def state(self) -> State:
        """Where the features of the open image are."""
        return self.features.state

    @property
    def why(self) -> str:
        """Why the features could not be computed."""
        return self.features.why

    # -- the map ---------------------------------------------------------------------------------

    def _compare(self) -> None:
        # one comparison at a time, in a thread; when it is done the newest question is next
        features = self.features.current
        queries = self._asked()
        if features is None or not queries:
            return
        if self._comparing:
            self._compare_again = True
            return
        self._comparing = True

        def done(heat: NDArray[np.float32]) -> None:
            self._comparing = False
            if features is self.features.current and self._asked():
                self._show(heat)
            if self._compare_again:
                self._compare_again = False
                self._compare()

        def failed(error: BaseException) -> None:
            self._comparing = self._compare_again = False
            self.session.problem.emit(Problem.of(error, doing="comparing the pixels"))

        self.session.background(
            lambda: features.similarity(queries), on_result=done, on_failed=failed
        )

    def _asked(self) -> list[tuple[int, int]]:
        if self.following and self._cursor is not None:
            return [self._cursor]
        return list(self.queries)

    def _show(self, heat: NDArray[np.float32]) -> None:
        image_layer = self.session.image_layer
        if image_layer is None or image_layer.data.shape[:2] != heat.shape:
            return
        layer = self.heat
        limits = _limits_of(heat) if self.automatic else self.limits
        if layer is None:
            layer = Image(
                heat,
                name="similarity",
                colormap="inferno",
                blending="translucent_no_depth",
                opacity=self.opacity,
                contrast_limits=limits,
                interpolation2d="nearest",
                **transforms(image_layer),
            )
            mark(layer, "heat", image=self.session.image, run=self.session.current_run)
            self._add(layer)
            layer.contrast_limits_range = (-1.0, 1.0)
            layer.events.contrast_limits.connect(self._on_layer_limits)
            layer.events.opacity.connect(self._on_layer_opacity)
        else:
            layer.data = heat
        self._apply_limits(*limits)
        self.changed.emit()

    def _show_queries(self) -> None:
        image_layer = self.session.image_layer
        if image_layer is None:
            return
        layer = find_layer(self.session.viewer, "query")
        if layer is not None:
            layer.data = np.array(self.queries, dtype=float)
            return
        height, width = image_layer.data.shape[:2]
        layer = Points(
            np.array(self.queries, dtype=float),
            name="clicked pixels",
            symbol="cross",
            size=max(4.0, min(height, width) / 32),
            face_color="#00e5ff",
            border_color="#000000",
            border_width=0.12,
            **transforms(image_layer),
        )
        mark(layer, "query", image=self.session.image)
        self._add(layer)

    def _add(self, layer: Layer) -> None:
        viewer, image_layer = self.session.viewer, self.session.image_layer
        active = viewer.layers.selection.active
        viewer.add_layer(layer)
        query = find_layer(viewer, "query")
        if query is not None and query is not layer:  # the crosses stay on top
            viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(query))
        if active is not None:
            viewer.layers.selection.active = active
        if image_layer is not None:
            self._end_follow.append(follow(image_layer, layer))

    def _apply_limits(self, low: float, high: float) -> None:
        self.limits = (low, max(high, low + 1e-3))
        layer = self.heat
        if layer is not None:
            self._setting = True
            layer.contrast_limits = self.limits
            self._setting = False
        self.changed.emit()

    def _on_layer_limits(self) -> None:
        # moved in napari's own controls
        layer = self.heat
        if layer is not None and not self._setting:
            self.automatic = False
            self.limits = (float(layer.contrast_limits[0]), float(layer.contrast_limits[1]))
            self.changed.emit()

    def _on_layer_opacity(self) -> None:
        layer = self.heat
        if layer is not None:
            self.opacity = float(layer.opacity)
            self.changed.emit()

    # -- what others change ----------------------------------------------------------------------

    def _on_image_closing(self) -> None:
        # before the next image is shown: its view is fitted to all layers. Not in a closing window.
        if self.session.viewer.window._qt_window.isVisible():
            self.clear()

    def _on_image(self) -> None:
        self.clear()
        if self.active:
            self._ask()

    def _on_runs(self) -> None:
        if (self.active or self.queries) and self._ask():
            self._compare()
        self.changed.emit()


def _limits_of(heat: NDArray[np.float32]) -> tuple[float, float]:
    # half of the image stays dark, so that what is alike stands out however similar all pixels are
    low = float(np.median(heat[:: max(1, heat.shape[0] // 256), :: max(1, heat.shape[1] // 256)]))
    return (min(low, 0.999), 1.0)
