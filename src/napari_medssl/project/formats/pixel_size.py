"""The size of a pixel, as image files state it: in many units, or not at all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medssl.project.formats.header import Layout

__all__ = ["micrometres", "per_axis", "plausible_pixel_size"]

SMALLEST, LARGEST = 1e-5, 1e5
"""Micrometres: a tenth of an angstrom, 10 cm. No image has smaller or larger pixels."""

_UNITS = {
    name: length
    for length, names in {
        1e6: ("m", "meter", "metre"),
        1e4: ("cm", "centimeter", "centimetre"),
        1e3: ("mm", "millimeter", "millimetre"),
        # with the micro sign, with the Greek letter, as ImageJ writes either in ASCII
        1.0: ("\u00b5m", "\u03bcm", r"\u00B5m", "um", "micron", "micrometer", "micrometre"),
        1e-3: ("nm", "nanometer", "nanometre"),
        1e-4: ("\u00c5", "\u212b", "angstrom"),
        1e-6: ("pm", "picometer", "picometre"),
    }.items()
    for name in names
}
"""Name of a unit -> micrometres. Not the inch: it says how large an image is printed."""

_NONSENSE = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError)


def micrometres(length: Any, unit: object) -> float:
    """Return a length in micrometres; NaN where the unit is none of a physical length, such as a pixel.

    Raises
    ------
    TypeError, ValueError, OverflowError
        If the length is not a number.
    """
    return float(length) * _UNITS.get(str(unit).removesuffix("s"), math.nan)


def per_axis(stored_axes: str, y: float, x: float) -> list[float]:
    """Return the spacing along each stored axis where only that of Y and X is known; NaN for the others."""
    return [{"Y": y, "X": x}.get(axis, math.nan) for axis in stored_axes]


def plausible_pixel_size(
    layout: Layout, spacing: Callable[[], Sequence[float]]
) -> tuple[float, float] | None:
    """Return (y, x) in micrometres, to six digits, or None where a file states none that can be true.

    Parameters
    ----------
    layout : Layout
        Which of the stored axes are read as Y and X.
    spacing : callable
        Reads the spacing along each stored axis, in micrometres. It may stumble over what is missing or makes no
        sense: an image is usable without its pixel size.
    """
    try:
        stored = spacing()
        y, x = (float(f"{stored[layout.letters.index(axis)]:.6g}") for axis in "YX")
    except _NONSENSE:
        return None
    return (y, x) if all(SMALLEST <= side <= LARGEST for side in (y, x)) else None
