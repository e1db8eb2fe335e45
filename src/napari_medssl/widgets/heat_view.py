"""The layers of Explore: the map, the crosses on the examples, the outlines of example regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image, Labels, Points
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, Signal

from napari_medssl.errors import MedsslError
from napari_medssl.explore.query import Point, Region
from napari_medssl.widgets.layers import find_layer, mark, remove_layer
from napari_medssl.widgets.placement import follow, transforms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_medssl.widgets.session import Session

__all__ = ["COLORMAPS", "HeatView", "limits_of"]

COLORMAPS = ("inferno", "viridis", "magma", "plasma", "turbo", "gray")
"""Offered for the map; dark is unlike in all of them but turbo, which is blue there."""

_ORDER = ("heat", "outline", "region", "query")  # from below
_EXAMPLE, _COUNTER, _MATCH = ("cross", "#00e5ff"), ("x", "#ff9f1c"), ("ring", "#ffffff")


class HeatView(QObject):
    """Keeps the layers on the open image, and how the map is shown.

    Parameters
    ----------
    session : Session
        In whose viewer.
    """

    changed = Signal()
    """`limits`, `automatic`, `opacity` or `colormap` differ."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.limits = (0.0, 1.0)
        """Similarities shown as darkest and as brightest."""
        self.automatic = True
        """Whether `limits` are chosen anew for each map."""
        self.opacity = 0.7
        self.colormap = COLORMAPS[0]
        """One of `COLORMAPS`."""
        self._contrast = False
        self._setting = False
        self._ends: dict[str, Callable[[], None]] = {}

    @property
    def heat(self) -> Image | None:
        """The layer with the map."""
        return find_layer(self._session.viewer, "heat")

    # -- showing ---------------------------------------------------------------------------------

    def show(self, heat: NDArray[np.float32], *, contrast: bool) -> None:
        """Show a map of the open image.

        Parameters
        ----------
        heat : ndarray of float32, (Y, X)
            Similarities in [-1, 1].
        contrast : bool
            Whether 0 is where examples and counter-examples are equally near.

        Raises
        ------
        MedsslError
            If the image that is shown has another size.
        """
        image_layer = self._session.image_layer
        if image_layer is None:
            return
        height, width = image_layer.data.shape[:2]
        if heat.shape != (height, width):
            raise MedsslError(
                f"The features of {self._session.image} are of {heat.shape[0]} x {heat.shape[1]} pixels, the image "
                f"that is shown has {height} x {width}.",
                advice="The file has changed: open the image again.",
            )
        self._contrast = contrast
        layer = self.heat
        limits = limits_of(heat, contrast=contrast) if self.automatic else self.limits
        if layer is None:
            layer = Image(
                heat,
                name="similarity",
                colormap=self.colormap,
                blending="translucent_no_depth",
                opacity=self.opacity,
                contrast_limits=limits,
                interpolation2d="nearest",
                **transforms(image_layer),
            )
            mark(layer, "heat", image=self._session.image, run=self._session.current_run)
            self.add(layer)
            layer.contrast_limits_range = (-1.0, 1.0)
            layer.events.contrast_limits.connect(self._on_layer_limits)
            layer.events.opacity.connect(self._on_layer_opacity)
            layer.events.colormap.connect(self._on_layer_colormap)
        else:
            layer.data = heat
            mark(layer, "heat", image=self._session.image, run=self._session.current_run)
        self._apply_limits(*limits)

    def show_examples(
        self, parts: Sequence[Point | Region], *, match: tuple[int, int] | None
    ) -> None:
        """Mark the examples that lie in the open image, and the place that was gone to."""
        image = self._session.image
        here = [part for part in parts if part.image == image]
        self._show_points([part for part in here if isinstance(part, Point)], match)
        self._show_regions([part for part in here if isinstance(part, Region)])

    def clear(self) -> None:
        """Remove all layers."""
        for role in _ORDER:
            self.remove(role)

    def remove_map(self) -> None:
        """Remove the map; the marks on the examples stay."""
        self.remove("heat")

    def remove(self, role: str) -> None:
        """Remove what `add` put on the open image; it no longer follows the image."""
        if role in self._ends:
            self._ends.pop(role)()
        remove_layer(self._session.viewer, role)

    def add(self, layer: Layer) -> None:
        """Put a marked layer at its place on the open image; what is selected stays selected."""
        viewer, image_layer = self._session.viewer, self._session.image_layer
        active = viewer.layers.selection.active
        viewer.add_layer(layer)
        role = layer.metadata["medssl"]["role"]
        for above in _ORDER[_ORDER.index(role) + 1 :]:
            found = find_layer(viewer, above)
            if found is not None:
                viewer.layers.move(viewer.layers.index(layer), viewer.layers.index(found))
                break
        if active is not None:
            viewer.layers.selection.active = active
        if image_layer is not None:
            if role in self._ends:  # of one that was removed by hand
                self._ends.pop(role)()
            self._ends[role] = follow(image_layer, layer)

    def _show_points(self, points: list[Point], match: tuple[int, int] | None) -> None:
        image_layer = self._session.image_layer
        if image_layer is None:
            return
        layer = find_layer(self._session.viewer, "query")
        places = [(float(point.y), float(point.x)) for point in points]
        looks = [_EXAMPLE if point.positive else _COUNTER for point in points]
        if match is not None:
            places.append((float(match[0]), float(match[1])))
            looks.append(_MATCH)
        if layer is None:
            if not places:
                return
            height, width = image_layer.data.shape[:2]
            layer = Points(
                np.empty((0, 2)),
                name="examples",
                size=max(4.0, min(height, width) / 32),
                border_color="#000000",
                border_width=0.12,
                **transforms(image_layer),
            )
            mark(layer, "query", image=self._session.image)
            self.add(layer)
        layer.data = np.array(places, dtype=float).reshape(-1, 2)
        if places:
            layer.symbol = [symbol for symbol, _ in looks]
            layer.face_color = [color for _, color in looks]

    def _show_regions(self, regions: list[Region]) -> None:
        image_layer = self._session.image_layer
        if image_layer is None:
            return
        layer = find_layer(self._session.viewer, "region")
        shape = image_layer.data.shape[:2]
        drawn = np.zeros(shape, np.uint8)
        for region in regions:
            drawn[region.mask(shape)] = 1 if region.positive else 2
        if layer is not None:
            layer.data = drawn
        elif regions:
            layer = Labels(
                drawn,
                name="example regions",
                opacity=1.0,
                colormap=DirectLabelColormap(
                    color_dict={0: "transparent", 1: _EXAMPLE[1], 2: _COUNTER[1], None: "#ff00ff"}
                ),
                **transforms(image_layer),
            )
            layer.contour = 2
            layer.editable = False
            mark(layer, "region", image=self._session.image)
            self.add(layer)

    # -- how the map looks -----------------------------------------------------------------------

    def set_limits(self, low: float, high: float) -> None:
        """Show similarities from `low` to `high`, from now on."""
        self.automatic = False
        self._apply_limits(low, high)

    def set_automatic(self, on: bool) -> None:
        """Choose the limits for each map: from its median to 1, a contrast from 0 to its highest value."""
        self.automatic = on
        layer = self.heat
        if on and layer is not None:
            self._apply_limits(*limits_of(layer.data, contrast=self._contrast))
        self.changed.emit()

    def set_opacity(self, opacity: float) -> None:
        """Set how strongly the map shows, from 0 to 1."""
        self.opacity = opacity
        if self.heat is not None:
            self.heat.opacity = opacity

    def set_colormap(self, name: str) -> None:
        """Set the colours of the map, by a name that napari knows."""
        self.colormap = name
        if self.heat is not None:
            self.heat.colormap = name
        self.changed.emit()

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

    def _on_layer_colormap(self) -> None:
        layer = self.heat
        if layer is not None:
            self.colormap = str(layer.colormap.name)
            self.changed.emit()


def limits_of(heat: NDArray[np.float32], *, contrast: bool) -> tuple[float, float]:
    """Choose which similarities of a map ``(Y, X)`` are shown darkest and brightest."""
    if contrast:  # below 0 a pixel is nearer to a counter-example
        return (0.0, max(float(heat.max()), 1e-3))
    # half of the image stays dark, so that what is alike stands out however similar all pixels are
    low = float(np.median(heat[:: max(1, heat.shape[0] // 256), :: max(1, heat.shape[1] // 256)]))
    return (min(low, 0.999), 1.0)
