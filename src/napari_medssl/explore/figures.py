"""Figures of what a network sees, to be kept as PNG or PDF.

Drawn without pyplot, so that nothing of matplotlib's global state (and no window system) is touched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from napari_medssl.explore.colours import MapColours, colour_map, wheel
from napari_medssl.explore.similarity import EmbeddingError
from napari_medssl.project.checkpoint import atomic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from napari_medssl.explore.neighbours import Neighbour

__all__ = [
    "Panel",
    "colour_figure",
    "folder_figure",
    "heat_limits",
    "neighbour_figure",
    "save_figure",
    "similarity_figure",
    "tsne_figure",
]

HEAT = "inferno"
OPACITY = 0.62
_INK, _FAINT = "#222222", "#777777"
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 8,
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.linewidth": 0.6,
    "axes.titlesize": 8,
    "axes.titlepad": 4,
    "pdf.fonttype": 42,
}
_SIDE = 2.1
"""Inches of a picture."""
_THUMBNAIL = 48


class Panel(NamedTuple):
    """An image with what is to be seen of it."""

    title: str
    planes: NDArray[np.float32]
    """(C, Y, X) in [0, 1]."""
    heat: NDArray[np.float32] | None = None
    """(Y, X), laid over the image."""
    positive: Sequence[tuple[int, int]] = ()
    """(y, x) of white crosses."""
    negative: Sequence[tuple[int, int]] = ()
    """(y, x) of crossed circles."""


def save_figure(figure: Figure, path: Path, *, dpi: int = 200) -> None:
    """Write a figure, whole or not at all.

    Parameters
    ----------
    figure : Figure
        The figure.
    path : Path
        With the ending ``.png``, ``.pdf`` or ``.svg``.
    dpi : int
        Pixels per inch of a ``.png``.

    Raises
    ------
    EmbeddingError
        If the ending is another one.
    """
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise EmbeddingError(f"{path}: a figure is written as .png, .pdf or .svg.")
    with rc_context(_STYLE), atomic(path) as temporary:
        figure.savefig(temporary, dpi=dpi, facecolor="white")


def heat_limits(heat: NDArray[np.float32]) -> tuple[float, float]:
    """Give the similarities shown darkest and brightest: the median, so that half stays dark, and the highest."""
    low, high = float(np.median(heat)), float(heat.max())
    return (low, high) if high - low > 1e-3 else (high - 1e-3, high)


def similarity_figure(
    rows: Sequence[Sequence[Panel]], *, labels: Sequence[str] = (), common: bool = False
) -> Figure:
    """Draw images with their heat maps, as Pix2Rep's figure 2 and DiCoH's figure 5.

    Parameters
    ----------
    rows : sequence of sequence of Panel
        From top to bottom, from left to right.
    labels : sequence of str
        Written beside each row.
    common : bool
        One range of similarities for all maps, with one scale; each its own otherwise.
    """
    heats = [panel.heat for row in rows for panel in row if panel.heat is not None]
    shared = (
        (float(np.median([np.median(heat) for heat in heats])), max(float(h.max()) for h in heats))
        if common and heats
        else None
    )
    columns = max(len(row) for row in rows)
    with rc_context(_STYLE):
        figure, axes = _grid(len(rows), columns, extra=0.55 if shared else 0.0)
        for number, row in enumerate(rows):
            for axis, panel in zip(axes[number], row, strict=False):
                _draw(axis, panel, shared)
            for axis in axes[number][len(row) :]:
                axis.set_visible(False)
            if number < len(labels):
                axes[number][0].set_ylabel(labels[number], fontsize=8, labelpad=6)
        if shared:
            mappable = next(image for line in axes for axis in line for image in axis.images[1:])
            bar = figure.colorbar(
                mappable, ax=[axis for line in axes for axis in line], shrink=0.7, pad=0.015
            )
            bar.set_label("cosine similarity")
            bar.outline.set_linewidth(0.4)
    return figure


def colour_figure(
    panels: Sequence[Panel], coloured: Sequence[NDArray[np.uint8]], *, columns: int = 4
) -> Figure:
    """Draw images, each with its colour view below."""
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    with rc_context(_STYLE):
        figure, axes = _grid(2 * lines, columns)
        for line in range(lines):
            for column in range(columns):
                number = line * columns + column
                above, below = axes[2 * line][column], axes[2 * line + 1][column]
                if number >= len(panels):
                    above.set_visible(False)
                    below.set_visible(False)
                    continue
                _draw(above, panels[number], None)
                below.imshow(coloured[number], interpolation="nearest")
    return figure


def tsne_figure(
    view: MapColours,
    panels: Sequence[Panel],
    coloured: Sequence[NDArray[np.uint8]],
    *,
    truths: Sequence[NDArray[np.integer]] = (),
    cells: tuple[NDArray[np.float32], NDArray[np.integer]] | None = None,
    class_colours: Mapping[int, str] | None = None,
) -> Figure:
    """Draw Pix2Rep's figure 4: image, truth, the t-SNE map, the image in the colours of the map.

    Parameters
    ----------
    view : MapColours
        Fitted on the folder.
    panels, coloured : sequences
        The images, and each in the colours of the map.
    truths : sequence of ndarray of shape (Y, X), optional
        Label values of each.
    cells : (ndarray of shape (N, D), ndarray of shape (N,)), optional
        Features with label values, for a map coloured by class.
    class_colours : mapping, optional
        Label value -> colour.
    """
    colours = dict(class_colours or {})
    columns = 3 if truths else 2
    with rc_context(_STYLE):
        figure, axes = _grid(len(panels), columns + 1)
        for row, (panel, picture) in enumerate(zip(panels, coloured, strict=True)):
            line = axes[row]
            _draw(line[0], panel, None)
            if truths:
                line[1].imshow(_painted(truths[row], colours), interpolation="nearest")
            line[columns - 1].imshow(picture, interpolation="nearest")
        for row in range(len(panels)):
            axis = axes[row][columns]
            if row == 0:
                _scatter(axis, view.places, colour_map(view.places) / 255)
                axis.set_title("t-SNE, coloured by place")
            elif row == 1 and cells is not None:
                paint = [colours.get(int(value), _FAINT) for value in cells[1]]
                _scatter(axis, view.place(cells[0]), paint)
                axis.set_title("t-SNE, coloured by class")
            else:
                axis.set_visible(False)
        heads = ["image", "truth", "colours of the map"] if truths else ["image", "colours"]
        for axis, head in zip(axes[0], heads, strict=False):
            axis.set_title(head)
    return figure


def neighbour_figure(
    image: Panel,
    nearest: Sequence[tuple[Neighbour, NDArray[np.float32]]],
    farthest: Sequence[tuple[Neighbour, NDArray[np.float32]]],
) -> Figure:
    """Draw an image with its nearest images above and its farthest below."""
    columns = 1 + max(len(nearest), len(farthest))
    with rc_context(_STYLE):
        figure, axes = _grid(2, columns)
        _draw(axes[0][0], image, None)
        axes[1][0].set_visible(False)
        for line, found, word in ((axes[0], nearest, "nearest"), (axes[1], farthest, "farthest")):
            for axis, (neighbour, planes) in zip(line[1:], found, strict=False):
                _draw(axis, Panel(f"{neighbour.distance:.2f}", planes), None)
            for axis in line[1 + len(found) :]:
                axis.set_visible(False)
            if found:
                line[1].set_ylabel(word, fontsize=8)
    return figure


def folder_figure(
    places: NDArray[np.floating],
    thumbnails: Sequence[NDArray[np.float32]],
    *,
    groups: Sequence[str] = (),
) -> Figure:
    """Draw the folder as a map of its images.

    Parameters
    ----------
    places : ndarray of shape (N, 2)
        Where each image lies.
    thumbnails : sequence of ndarray of shape (C, Y, X)
        The images, values in [0, 1].
    groups : sequence of str, optional
        Status, class or group of each image: the colour of its frame.
    """
    known = sorted(set(groups))
    hues = wheel(len(known)) / 255
    with rc_context(_STYLE):
        figure = Figure(figsize=(8, 6.5), layout="constrained")
        FigureCanvasAgg(figure)
        axis = figure.subplots()
        axis.scatter(places[:, 0], places[:, 1], s=1, c=_FAINT)
        size = float(np.clip(16 / np.sqrt(len(places)), 0.25, 1.0))
        for number, (place, planes) in enumerate(zip(places, thumbnails, strict=True)):
            step = max(1, max(planes.shape[1:]) // _THUMBNAIL)
            picture = _visible(planes[:, ::step, ::step])
            zoom = size * _THUMBNAIL / max(picture.shape[:2]) * 0.9
            box = AnnotationBbox(
                OffsetImage(picture, zoom=zoom, cmap="gray"), (place[0], place[1]), pad=0.05
            )
            box.patch.set_linewidth(1.2 if known else 0.3)
            box.patch.set_edgecolor(hues[known.index(groups[number])] if known else _FAINT)
            axis.add_artist(box)
        for number, group in enumerate(known):
            axis.scatter([], [], color=hues[number], label=group)
        if known:
            axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        axis.margins(0.06)
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_visible(False)
    return figure


def _grid(rows: int, columns: int, *, extra: float = 0.0) -> tuple[Figure, list[list[Axes]]]:
    figure = Figure(
        figsize=(columns * _SIDE + 0.3 + extra, rows * (_SIDE + 0.18)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_visible(False)
    return figure, [list(line) for line in axes]


def _draw(axis: Axes, panel: Panel, limits: tuple[float, float] | None) -> None:
    picture = _visible(panel.planes)
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if panel.heat is not None:
        low, high = limits or heat_limits(panel.heat)
        axis.imshow(panel.heat, cmap=HEAT, vmin=low, vmax=high, alpha=OPACITY)
    for y, x in panel.positive:
        axis.plot(x, y, "+", color="black", markersize=11, markeredgewidth=2.6)
        axis.plot(x, y, "+", color="white", markersize=10, markeredgewidth=1.3)
    for y, x in panel.negative:
        axis.plot(x, y, "o", color="black", markersize=8, fillstyle="none", markeredgewidth=2.6)
        axis.plot(x, y, "o", color="white", markersize=8, fillstyle="none", markeredgewidth=1.2)
        axis.plot(x, y, "x", color="white", markersize=5, markeredgewidth=1.2)
    axis.set_title(_short(panel.title))


def _visible(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give grey (Y, X), or red, green and blue (Y, X, 3); other channel counts show their mean."""
    if len(planes) == 3:
        return np.moveaxis(planes, 0, -1)
    grey: NDArray[np.float32] = planes.mean(0)
    return grey


def _painted(labels: NDArray[np.integer], colours: Mapping[int, str]) -> NDArray[np.float32]:
    picture = np.zeros((*labels.shape, 3), np.float32)
    for value, colour in colours.items():
        code = colour.lstrip("#")
        rgb = [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        picture[labels == value] = rgb
    return picture


def _scatter(axis: Axes, places: NDArray[np.floating], colours: Any) -> None:
    axis.scatter(places[:, 0], places[:, 1], s=2.5, c=colours, linewidths=0)
    axis.set_aspect("equal")
    axis.set_xlim(-0.08, 1.08)
    axis.set_ylim(-0.08, 1.08)


def _short(text: str, most: int = 34) -> str:
    """Leave out the middle of a long text: names of images often differ at both ends."""
    if len(text) <= most:
        return text
    return f"{text[:11]}…{text[12 - most :]}"
