"""The figures of the report. Colours keep apart for colour-blind readers (Okabe and Ito)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

__all__ = ["ERRORS", "bars", "comparison", "displayed", "loss_curves", "overlay", "similarity"]

Image = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

ERRORS = {"right": "#f0f0f0", "too much": "#e69f00", "missed": "#56b4e9"}
"""Foreground pixels: in both, in the prediction alone, in the truth alone."""

_BLUE, _ORANGE, _GREEN, _PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
_LINES = (_BLUE, _ORANGE, _GREEN, _PURPLE)
_INK, _FAINT = "#222222", "#8a8a8a"
_CELL = 1.65
"""Inches of one picture in a grid."""


def displayed(planes: Image) -> Image:
    """Turn normalised planes (C, Y, X) into a picture (Y, X, 3) in [0, 1]."""
    picture = np.clip(np.moveaxis(planes, 0, -1), 0.0, 1.0)
    if picture.shape[-1] == 1:
        picture = np.repeat(picture ** np.float32(0.7), 3, axis=-1)  # dim nuclei show on paper too
    return picture[..., :3]


def overlay(picture: Image, prediction: Labels, truth: Labels) -> Image:
    """Colour what is right, too much and missed (see `ERRORS`); where truth is 0, the picture stays."""
    known = truth > 0
    has, should = (prediction > 1) & known, truth > 1
    painted = 0.45 * picture
    for mask, name in (
        (has & should, "right"),
        (has & ~should, "too much"),
        (should & ~has, "missed"),
    ):
        painted[mask] = 0.15 * picture[mask] + 0.85 * np.asarray(to_rgb(ERRORS[name]))
    return painted


def comparison(
    rows: Sequence[tuple[str, Sequence[Image]]], columns: Sequence[str], *, errors: bool = True
) -> Figure:
    """Lay pictures out in a grid.

    Parameters
    ----------
    rows : sequence of (title, pictures)
        One row of (Y, X, 3) pictures each.
    columns : sequence of str
        Titles above the columns.
    errors : bool
        Whether to explain the colours of `overlay` below.
    """
    aspect = rows[0][1][0].shape[0] / rows[0][1][0].shape[1]
    size = (_CELL * len(columns), _CELL * aspect * len(rows) + (0.75 if errors else 0.35))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (title, pictures) in zip(axes, rows, strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            _show(axis, picture)
        line[0].set_ylabel(title, fontsize=8, color=_INK)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9, color=_INK)
    if errors:
        handles = [
            Patch(facecolor=color, edgecolor=_FAINT, linewidth=0.5, label=name)
            for name, color in ERRORS.items()
        ]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8
        )
    return figure


def loss_curves(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Plot the loss of one or several trainings, one panel each; raw values faint, smoothed strong."""
    figure = Figure(figsize=(3.3 * len(curves), 2.4), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (title, points) in zip(axes, curves.items(), strict=True):
        steps, values = np.array(points, dtype=float).T
        axis.plot(steps, values, color=_BLUE, alpha=0.25, linewidth=0.8)
        axis.plot(steps, _smooth(values), color=_BLUE, linewidth=1.8)
        axis.set_title(title, fontsize=9, color=_INK)
        axis.set_xlabel("step", fontsize=8)
        axis.set_ylabel("loss", fontsize=8)
        axis.set_ylim(bottom=0)
        _quiet(axis)
    return figure


def bars(scores: Mapping[str, tuple[float, Sequence[float]]], *, label: str, best: int) -> Figure:
    """Plot the mean of each way to segment, with a dot per image; stress one."""
    names = list(scores)
    figure = Figure(figsize=(6.4, 0.42 * len(names) + 0.8), layout="constrained")
    axis = figure.subplots()
    for row, name in enumerate(names):
        mean, single = scores[name]
        axis.barh(row, mean, height=0.62, color="#7fb8d9" if row == best else "#d3dae0")
        spread = row + 0.2 * np.linspace(-1, 1, len(single)) if len(single) > 1 else [row]
        axis.scatter(single, spread, s=8, color=_INK, alpha=0.55, linewidth=0, zorder=3)
        axis.text(1.01, row, f"{mean:.3f}", va="center", fontsize=9, color=_INK)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.set_xlabel(label, fontsize=8)
    _quiet(axis)
    return figure


def similarity(pictures: Sequence[tuple[Image, Image, tuple[int, int], str]]) -> Figure:
    """Show similarity maps beside their images, the clicked pixel marked in both.

    Parameters
    ----------
    pictures : sequence of (picture, heat, (y, x), title)
        `heat` holds cosine similarities (Y, X).
    """
    height, width = pictures[0][0].shape[:2]
    cell = 2 * _CELL
    figure = Figure(
        figsize=(2 * cell + 0.8, (cell * height / width + 0.15) * len(pictures)),
        layout="constrained",
    )
    axes = figure.subplots(len(pictures), 2, squeeze=False)
    for (left, right), (picture, heat, (y, x), title) in zip(axes, pictures, strict=True):
        _show(left, picture)
        # the fixed range -1..1 would hide the differences that matter
        shown = right.imshow(heat, cmap="viridis", vmin=float(np.percentile(heat, 2)), vmax=1.0)
        right.set_xticks([])
        right.set_yticks([])
        for axis in (left, right):
            axis.plot(x, y, "+", color="white", markersize=15, markeredgewidth=3.4)
            axis.plot(x, y, "+", color=_ORANGE, markersize=13, markeredgewidth=1.6)
        left.set_ylabel(title, fontsize=8, color=_INK)
        bar = figure.colorbar(shown, ax=right, shrink=0.85)
        bar.set_label("cosine similarity", fontsize=7)
        bar.ax.tick_params(labelsize=7)
        bar.outline.set_visible(False)
    marker = Line2D(
        [], [], marker="+", linestyle="", color=_ORANGE, markeredgewidth=1.6, label="clicked pixel"
    )
    figure.legend(handles=[marker], loc="outside lower center", frameon=False, fontsize=8)
    return figure


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a centred window of a twentieth of the points, shorter at the ends."""
    half = max(1, len(values) // 40)
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    smoothed: NDArray[np.float64] = (total[high] - total[low]) / (high - low)
    return smoothed


def _show(axis: Axes, picture: Image) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _quiet(axis: Axes) -> None:
    """Leave the data and little else."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(_FAINT)
    axis.tick_params(colors=_INK, labelsize=8, color=_FAINT)
