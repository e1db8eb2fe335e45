"""The plot of an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from napari_medssl.evaluate.label_efficiency import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from napari_medssl.evaluate.label_efficiency import Line

__all__ = ["curves"]

MARKERS = "osD^vP*X<>hd"
# Told apart by colour-blind people too (Okabe and Ito); markers and dashes differ as well.
COLORS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f")


def curves(lines: Sequence[Line], *, title: str = "", panel: float = 5.2) -> Figure:
    """Draw Dice against annotated units, a panel of `panel` inches per way to segment, with the spread over draws."""
    panels = [
        kind for kind in ("probe", "frozen", "full") if any(x.downstream == kind for x in lines)
    ] or ["probe"]
    figure = Figure(figsize=(panel * len(panels) + 2.4, 4.4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    arms = list(
        dict.fromkeys(x.arm for x in lines if x.downstream not in ("threshold", "zero-shot"))
    )
    for axis, kind in zip(axes, panels, strict=True):
        chosen = [x for x in lines if x.downstream in (kind, "forest")]
        for line in chosen:
            _draw(axis, line, arms.index(line.arm), count=len(chosen))
        for line in lines:
            if line.downstream == "threshold" and line.arm != "pseudo-label":
                axis.axhline(line.mean(0), color="#999999", linewidth=1, linestyle=":")
                axis.annotate(
                    line.arm,
                    (1, line.mean(0)),
                    xycoords=("axes fraction", "data"),
                    ha="right",
                    va="bottom",
                    fontsize=8,
                    color="#666666",
                )
        ticks = sorted({k for line in chosen for k in line.scores})
        axis.set_xscale("log", base=2)
        axis.set_xticks(ticks, [str(k) for k in ticks])
        axis.minorticks_off()
        axis.set_xlabel("annotated units")
        axis.set_title(KINDS[kind])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("Dice")
    handles = dict(
        pair
        for axis in axes
        for pair in zip(*reversed(axis.get_legend_handles_labels()), strict=True)
    )
    figure.legend(
        handles.values(), handles.keys(), loc="outside right upper", fontsize=8, frameon=False
    )
    if title:
        figure.suptitle(title)
    return figure


def _draw(axis: Axes, line: Line, number: int, *, count: int) -> None:
    ks = list(line.scores)
    axis.errorbar(
        [k * (1 + 0.015 * (number - count / 2)) for k in ks],  # bars side by side, not in one place
        [line.mean(k) for k in ks],
        yerr=[line.spread(k) for k in ks],
        color=COLORS[number % len(COLORS)],
        marker=MARKERS[number % len(MARKERS)],
        linestyle=("-", "--", "-.")[number // len(COLORS) % 3],
        markersize=5,
        linewidth=1.4,
        capsize=2,
        label=line.arm,
    )
