"""The t-SNE map beside the image: outlined places light up in the image, and parts of the image on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medssl.widgets.scatter import Group, Scatter, inside
from napari_medssl.widgets.theme import set_role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medssl.explore.colouring import Colouring, Painted
    from napari_medssl.project import ClassInfo
    from napari_medssl.widgets.theme import Colors

__all__ = ["MapPanel"]

_MOST_RINGS = 1500  # more would only make one blot

_HOW = (
    "Drag around points: their pixels light up in the image. "
    "Click in the image, with Explore off: its place is ringed here."
)


class MapPanel(QWidget):
    """The scatter, what its points are coloured by, and what is lit up.

    Parameters
    ----------
    colors : Colors
        The theme's colours.
    """

    lit = Signal(object)
    """Cells ``(Y / stride, X / stride)`` of the open image that lie in the outline; None when there is none."""
    region_wanted = Signal()
    """The region that is drawn in the image shall light up."""

    def __init__(self, colors: Colors, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._colouring: Colouring | None = None
        self._painted: Painted | None = None
        self._classes: Sequence[ClassInfo] = ()
        self._outline: NDArray[np.floating] | None = None
        self.by = QComboBox()
        self.by.addItem("place on the map", "place")
        self.by.addItem("class, where annotated", "class")
        self.by.setAccessibleName("Points coloured by")
        self.by.setToolTip(
            "By place: the colours of the image.\nBy class: annotated pixels of the whole folder."
        )
        self.scatter = Scatter(colors, lasso=True, square=True, height=235)
        self.scatter.setToolTip(
            "Drag: outline. Wheel: zoom. Middle button: move. Double click: all."
        )
        self.text = QLabel(_HOW)
        self.text.setWordWrap(True)
        self.text.setMinimumHeight(2 * self.text.fontMetrics().lineSpacing())
        set_role(self.text, "hint")
        self.region = QPushButton("Light up the region drawn")
        self.region.setToolTip(
            "Rings on the map what is drawn in the selected Labels or Shapes layer."
        )
        self.clear = QPushButton("Clear")
        self.clear.setToolTip("Nothing is lit up any more.")
        points = QHBoxLayout()
        points.addWidget(QLabel("Points by"))
        points.addWidget(self.by, 1)
        below = QHBoxLayout()
        below.addWidget(self.region, 1)
        below.addWidget(self.clear)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.scatter, 1)
        column.addWidget(self.text)
        column.addLayout(points)
        column.addLayout(below)
        self.by.activated.connect(self._draw)
        self.scatter.outlined.connect(self._on_outline)
        self.scatter.clicked.connect(self._on_click)
        self.scatter.missed.connect(self.forget)
        self.region.clicked.connect(self.region_wanted)
        self.clear.clicked.connect(self.forget)

    def set_colors(self, colors: Colors) -> None:
        """Follow the theme."""
        self.scatter.set_colors(colors)
        self._draw()

    def show_map(self, colouring: Colouring | None, classes: Sequence[ClassInfo]) -> None:
        """Show the map of a folder."""
        self._colouring, self._classes = colouring, classes
        self.forget()
        labelled = colouring is not None and colouring.labelled is not None
        self.by.setEnabled(labelled)
        if not labelled:
            self.by.setCurrentIndex(0)
        self._draw()
        self.scatter.show_all()

    def show_image(self, painted: Painted | None) -> None:
        """Take another image; what is outlined lights up in it."""
        self._painted = painted
        self.scatter.light_up(None)
        self._tell_lit()

    def ring(self, cells: NDArray[np.bool_], what: str) -> None:
        """Ring the places of cells ``(Y / stride, X / stride)`` of the open image.

        Parameters
        ----------
        cells : ndarray of bool
            Which.
        what : str
            What they are, to say where they lie: ``The region``.
        """
        if self._painted is None or self._painted.grid is None:
            return
        self.forget()
        places = self._painted.grid[cells]
        if len(places) > _MOST_RINGS:
            rng = np.random.default_rng(0)
            shown = places[rng.choice(len(places), _MOST_RINGS, replace=False)]
        else:
            shown = places
        self.scatter.light_up(shown)
        count = len(places)
        self.text.setText(
            f"{what}: {count} cell{'s' if count != 1 else ''} of {self._painted.stride} x "
            f"{self._painted.stride} pixels, ringed on the map."
        )

    def forget(self) -> None:
        """Light up nothing."""
        self._outline = None
        self.scatter.clear_outline()
        self.scatter.light_up(None)
        self.text.setText(_HOW)
        self.lit.emit(None)

    def _draw(self) -> None:
        colouring = self._colouring
        if colouring is None or colouring.places is None:
            self.scatter.clear()
            return
        labelled = colouring.labelled
        if self.by.currentData() == "class" and labelled is not None:
            groups = [
                Group(info.name, info.color, np.flatnonzero(labelled.values == info.value))
                for info in self._classes
                if (labelled.values == info.value).any()
            ]
            places = np.concatenate([labelled.places, colouring.places])
            self.scatter.show_groups(places, groups)
        else:
            self.scatter.show_coloured(colouring.places, colouring.palette)

    def _on_outline(self, corners: NDArray[np.floating]) -> None:
        self._outline = corners
        self.scatter.light_up(None)
        self._tell_lit()

    def _on_click(self, _: int) -> None:
        self.forget()

    def _tell_lit(self) -> None:
        painted = self._painted
        if self._outline is None:
            return
        if painted is None or painted.grid is None:
            self.lit.emit(None)
            return
        cells = inside(painted.grid.reshape(-1, 2), self._outline).reshape(painted.grid.shape[:2])
        self.lit.emit(cells)
        count, total = int(cells.sum()), cells.size
        self.text.setText(
            f"Outlined: {count} of {total} cells of this image ({count / total:.0%})."
            if count
            else "Nothing of this image lies in the outline; other images may."
        )
