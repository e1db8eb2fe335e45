"""How finely the features of a folder are stored, so that they stay within a disk budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_medssl.explore.store import Index
    from napari_medssl.project import Project

__all__ = ["Plan", "decoded_bytes", "expected_plan", "plan", "size_text", "stored_bytes"]

STRIDES = (4, 8, 16)
"""To choose from, the finest that leaves room for enough dimensions; 1 and 2 are used where they are asked for."""
MOST, ENOUGH, FEWEST = 64, 16, 4
"""Dimensions: as many as fit (a multiple of 4); with `ENOUGH`, no coarser stride is tried."""
_HEADER = 128
"""Bytes of a .npy file before its values."""


@dataclass(frozen=True)
class Plan:
    """How finely a folder is stored."""

    stride: int
    """Pixels per cell and axis."""
    dimensions: int
    """Features per cell."""
    bytes: int
    """Of all files together."""
    budget: int | None
    """What was allowed; None where stride and dimensions were given."""

    def text(self) -> str:
        """Say it."""
        allowed = "" if self.budget is None else f" of the {size_text(self.budget)} allowed"
        return (
            f"{self.dimensions} features for every {self.stride} x {self.stride} pixels: "
            f"{size_text(self.bytes)}{allowed}."
        )


def plan(
    shapes: Sequence[tuple[int, int]],
    *,
    budget: int,
    stride: int | None = None,
    dimensions: int | None = None,
) -> Plan:
    """Choose stride and dimensions for a folder.

    Parameters
    ----------
    shapes : sequence of (Y, X)
        Of every image.
    budget : int
        Bytes that the files may take; no limit for what is given by name.
    stride, dimensions : int, optional
        As wanted; chosen within the budget where they are not given.

    Raises
    ------
    MedsslError
        If nothing fits.
    """
    if stride is not None and dimensions is not None:
        return Plan(stride, dimensions, stored_bytes(shapes, stride, dimensions), None)
    strides = STRIDES if stride is None else (stride,)
    counts = range(MOST, FEWEST - 1, -4) if dimensions is None else (dimensions,)
    best: tuple[int, int] | None = None
    for s in strides:
        fitting = (d for d in counts if stored_bytes(shapes, s, d) <= budget)
        most = next(fitting, None)
        if most is not None and (best is None or most > best[1]):
            best = (s, most)
        if best is not None and best[1] >= min(ENOUGH, max(counts)):
            return Plan(*best, stored_bytes(shapes, *best), budget)
    if best is not None:
        return Plan(*best, stored_bytes(shapes, *best), budget)
    least = stored_bytes(shapes, strides[-1], counts[-1])
    raise MedsslError(
        f"The features of {len(shapes)} images need at least {size_text(least)}; the budget is "
        f"{size_text(budget)}.",
        advice="Allow more, or give both stride and dimensions.",
    )


def stored_bytes(shapes: Iterable[tuple[int, int]], stride: int, dimensions: int) -> int:
    """Give the size of the files of a folder."""
    cells = (-(-y // stride) * -(-x // stride) for y, x in shapes)
    return sum(_HEADER + 2 * dimensions * count for count in cells)


def size_text(size: int) -> str:
    """Write a number of bytes for people."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"


def decoded_bytes(project: Project) -> int:
    """Give the size of all images in memory, as their files' own numbers."""
    total = 0
    for name in project.images:
        header = project.header(name)
        y, x = header.shape
        total += y * x * header.channels * np.dtype(header.dtype).itemsize
    return total


def expected_plan(
    project: Project,
    known: Index | None,
    *,
    budget: int | None = None,
    stride: int | None = None,
    dimensions: int | None = None,
) -> Plan:
    """Say how finely a project will be stored.

    What a store has is kept while it is what is asked for: a few more images do not make all of it anew.

    Parameters
    ----------
    project : Project
        The project.
    known : Index, optional
        What is stored already of the same network and source.
    budget : int, optional
        Bytes that the features may take; as many as the decoded images by default.
    stride, dimensions : int, optional
        As for `plan`.

    Raises
    ------
    MedsslError
        If nothing fits.
    """
    shapes = [project.shape(name) for name in project.images]
    allowed = decoded_bytes(project) if budget is None else budget
    if known is not None:
        size = stored_bytes(shapes, known.stride, known.dimensions)
        wanted = stride in (None, known.stride) and dimensions in (None, known.dimensions)
        given = stride is not None and dimensions is not None
        if wanted and (given or size <= allowed):
            return Plan(known.stride, known.dimensions, size, allowed)
    return plan(shapes, budget=allowed, stride=stride, dimensions=dimensions)
