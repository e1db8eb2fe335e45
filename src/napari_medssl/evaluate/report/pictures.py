"""The figures of reports. Colours are those that colour-blind readers tell apart (Okabe and Ito), and never alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from napari_medssl.evaluate.error_map import Outcome, error_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

__all__ = [
    "ERRORS",
    "activations",
    "alignment",
    "bars",
    "comparison",
    "detection",
    "displayed",
    "loss_curves",
    "outlined",
    "overlay",
    "relatives",
    "short",
    "similarity",
    "spread",
]

Image = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

ERRORS = {"right": "#f0f0f0", "too much": "#e69f00", "missed": "#56b4e9"}
"""Foreground pixels: in both, in the prediction alone, in the truth alone."""
HATCHES = {"right": "", "too much": "////", "missed": ".."}
"""How `overlay` looks beside its colours: plain, striped, dotted."""

_BLUE, _ORANGE, _GREEN, _PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
_LINES = (_BLUE, _ORANGE, _GREEN, _PURPLE)
_INK, _FAINT = "#222222", "#8a8a8a"
_CELL = 1.65
"""Inches of one picture in a grid."""
_SHOWN = 512
"""Pixels along the longer side of a picture with patterns."""


def short(name: str, length: int = 24) -> str:
    """Leave the middle of a long name out."""
    if len(name) <= length:
        return name
    begin = (length - 3) // 2
    return f"{name[:begin]}...{name[begin + 3 - length :]}"


def displayed(planes: Image) -> Image:
    """Turn normalised planes (C, Y, X) into a picture (Y, X, 3) in [0, 1]."""
    picture = np.clip(np.moveaxis(planes, 0, -1), 0.0, 1.0)
    if picture.shape[-1] == 1:
        picture = np.repeat(picture ** np.float32(0.7), 3, axis=-1)  # dim nuclei show on paper too
    return picture[..., :3]


def overlay(picture: Image, prediction: Labels, truth: Labels, value: int | None = None) -> Image:
    """Show what is right, too much and missed by colour and pattern (see `ERRORS`).

    Parameters
    ----------
    picture : ndarray of shape (Y, X, 3)
        What to show it on; where truth is 0 it stays as it is.
    prediction, truth : ndarray of int, (Y, X)
        Labels.
    value : int, optional
        The class; all classes but background by default, where one class in place of another is too much.

    Returns
    -------
    ndarray of shape (Y', X', 3)
        Scaled such that the patterns can be seen.
    """
    picture, prediction, truth = _scaled(picture, prediction, truth)
    known = truth > 0
    outcomes = error_map(prediction, truth, value)
    right, missed = outcomes == Outcome.RIGHT, outcomes == Outcome.MISSED
    much = (outcomes == Outcome.TOO_MUCH) | (outcomes == Outcome.CONFUSED)
    rows, columns = np.indices(truth.shape)
    stripes = (rows + columns) % 9 < 3
    dots = (rows % 8 < 3) & (columns % 8 < 3)
    painted = np.where(known[..., None], 0.45 * picture, picture)
    for mask, name, pattern in (
        (right, "right", np.zeros_like(known)),
        (much, "too much", stripes),
        (missed, "missed", dots),
    ):
        colour = np.asarray(to_rgb(ERRORS[name]))
        painted[mask] = 0.15 * picture[mask] + 0.85 * colour
        painted[mask & pattern] = 0.4 * colour
    return painted


def outlined(picture: Image, labels: Labels) -> Image:
    """Draw the outlines of all classes but background on a picture (Y, X, 3), which is scaled."""
    picture, labels, _ = _scaled(picture, labels, labels)
    inside = np.where(labels > 1, labels, 0).astype(np.int32)
    edge = np.zeros(inside.shape, dtype=bool)
    for axis in (0, 1):
        for shift in (1, 2):
            edge |= inside != np.roll(inside, shift, axis)
    edge[:2], edge[:, :2] = False, False  # what was rolled in from the other side
    painted = picture.copy()
    painted[edge] = to_rgb(_ORANGE)
    return painted


def _scaled(
    picture: Image, first: Labels, second: Labels
) -> tuple[Image, NDArray[np.int32], NDArray[np.int32]]:
    height, width = picture.shape[:2]
    factor = _SHOWN / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    enlarged = cv2.resize(np.ascontiguousarray(picture, np.float32), size, interpolation=smooth)
    labels: list[NDArray[np.int32]] = [
        cv2.resize(part.astype(np.int32), size, interpolation=cv2.INTER_NEAREST).astype(np.int32)
        for part in (first, second)
    ]
    return enlarged.astype(np.float32), labels[0], labels[1]


def comparison(
    rows: Sequence[tuple[str, Sequence[Image]]],
    columns: Sequence[str],
    *,
    errors: bool = True,
    cell: float = _CELL,
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
    cell : float
        Width of a picture, inches.
    """
    aspect = rows[0][1][0].shape[0] / rows[0][1][0].shape[1]
    size = (cell * len(columns), cell * aspect * len(rows) + (0.75 if errors else 0.35))
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
            Patch(facecolor=color, edgecolor=_INK, linewidth=0.5, label=name, hatch=HATCHES[name])
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


def spread(
    scores: Mapping[str, Sequence[float]],
    means: Mapping[str, tuple[float, float, float]],
    *,
    label: str,
) -> Figure:
    """Plot every score as a dot, a row per class, with the mean and its interval below.

    Parameters
    ----------
    scores : mapping
        Class -> score of each image.
    means : mapping
        Class -> mean, and the lower and upper end of its interval (not a number where there is none).
    label : str
        What is scored.
    """
    figure = Figure(figsize=(6.8, 0.75 * len(scores) + 0.7), layout="constrained")
    axis = figure.subplots()
    for row, (name, values) in enumerate(scores.items()):
        place = row + 0.18 * np.sin(np.arange(len(values)) * 2.4)  # so that equal dots are seen
        axis.scatter(values, place, s=16, color=_BLUE, alpha=0.5, linewidth=0, label=None)
        mean, low, high = means[name]
        if np.isfinite(low):
            axis.plot([low, high], [row + 0.36] * 2, color=_ORANGE, linewidth=2.2)
        axis.plot(mean, row + 0.36, "D", color=_ORANGE, markersize=6)
        axis.annotate(
            f"{mean:.3f}",
            (mean, row + 0.36),
            (0, -13),
            textcoords="offset points",
            ha="center",
            fontsize=8,
            color=_INK,
        )
    axis.set_yticks(range(len(scores)), list(scores), fontsize=9)
    axis.set_ylim(len(scores) - 0.25, -0.5)
    axis.set_xlim(-0.02, 1.02)
    axis.set_xlabel(label, fontsize=8)
    _quiet(axis)
    return figure


def activations(pictures: Sequence[tuple[str, Image, Image, Labels]]) -> Figure:
    """Show class activation maps over their images, with the outline of the true class.

    Parameters
    ----------
    pictures : sequence of (title, picture, activation, mask)
        (Y, X, 3), (Y, X) of 0 or more, (Y, X) above 0 within.
    """
    columns = min(4, len(pictures))
    rows = -(-len(pictures) // columns)
    cell = 1.25 * _CELL
    figure = Figure(figsize=(cell * columns, (cell + 0.3) * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, (title, picture, activation, mask) in zip(axes.flat, pictures, strict=False):
        _show(axis, 0.6 * picture.mean(-1, keepdims=True).repeat(3, -1))
        top = float(activation.max()) or 1.0
        axis.imshow(activation, cmap="magma", vmin=0, vmax=top, alpha=0.65)
        axis.contour(mask > 0, levels=[0.5], colors=["white"], linewidths=1)
        axis.set_title(title, fontsize=8, color=_INK)
    for axis in list(axes.flat)[len(pictures) :]:
        axis.set_visible(False)
    return figure


def alignment(table: Sequence[Sequence[float]], *, rows: str, columns: str) -> Figure:
    """Show how alike each stage of one encoder (rows) is to each of another, the figures within."""
    values = np.asarray(table)
    figure = Figure(
        figsize=(0.75 * values.shape[1] + 2.0, 0.55 * values.shape[0] + 0.9), layout="constrained"
    )
    axis = figure.subplots()
    shown = axis.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for y, x in np.ndindex(*values.shape):
        ink = "white" if values[y, x] < 0.6 else "black"
        axis.text(x, y, f"{values[y, x]:.2f}", ha="center", va="center", fontsize=8, color=ink)
    axis.set_xticks(range(values.shape[1]), [str(n + 1) for n in range(values.shape[1])])
    axis.set_yticks(range(values.shape[0]), [str(n + 1) for n in range(values.shape[0])])
    axis.set_xlabel(f"stage of {columns}", fontsize=8)
    axis.set_ylabel(f"stage of {rows}", fontsize=8)
    axis.tick_params(labelsize=8)
    figure.colorbar(shown, ax=axis).ax.tick_params(labelsize=7)
    return figure


def detection(f1_over: Mapping[float, float]) -> Figure:
    """Plot the mean F1 against the overlap from which on an object counts as found."""
    figure = Figure(figsize=(3.6, 2.3), layout="constrained")
    axis = figure.subplots()
    axis.plot(list(f1_over), list(f1_over.values()), "o-", color=_BLUE, markersize=4)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel("overlap (IoU) from which on an object is found", fontsize=8)
    axis.set_ylabel("F1", fontsize=8)
    _quiet(axis)
    return figure


def relatives(rows: Sequence[Sequence[tuple[str, Image]]]) -> Figure:
    """Show images (first column) beside the most and the least similar one, with titles; of each the middle square."""
    lines = max(title.count("\n") + 1 for row in rows for title, _ in row)
    size = (3 * _CELL, (_CELL + 0.13 * lines) * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis, (title, picture) in zip(line, row, strict=True):
            side = min(picture.shape[:2])
            top, left = ((length - side) // 2 for length in picture.shape[:2])
            _show(axis, picture[top : top + side, left : left + side])
            axis.set_title(title, fontsize=7, color=_INK)
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
