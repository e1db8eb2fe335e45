"""Changing the classes of a project: each function returns the new tuple of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.errors import MedsslError
from napari_medssl.project import ClassInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PALETTE", "add", "free_colour", "recolour", "remove", "rename"]

PALETTE = ("#e69f00", "#56b4e9", "#d55e00", "#009e73", "#f0e442", "#cc79a7", "#0072b2")
"""Colours that people with any kind of colour vision tell apart (Okabe and Ito 2008), without the black."""

BACKGROUND = 1
_SHADES = (1.0, 0.75, 0.55, 0.4)


def free_colour(classes: Sequence[ClassInfo]) -> str:
    """Pick the first colour that no class has: of the palette, then of its darker shades; any if all are taken."""
    taken = {item.color.lower() for item in classes}
    for shade in _SHADES:
        for colour in PALETTE:
            darker = _darker(colour, shade)
            if darker not in taken:
                return darker
    return PALETTE[len(classes) % len(PALETTE)]


def add(
    classes: Sequence[ClassInfo], name: str, *, removed: Sequence[ClassInfo] = ()
) -> tuple[ClassInfo, ...]:
    """Add a class with a colour that is still free, and a value that no class ever had.

    Parameters
    ----------
    classes : sequence of ClassInfo
        The project's.
    name : str
        Of the new one.
    removed : sequence of ClassInfo
        Those there once were: runs of that time still predict their values.
    """
    name = _usable(classes, name)
    value = max(item.value for item in (*classes, *removed)) + 1
    return (*classes, ClassInfo(value=value, name=name, color=free_colour(classes)))


def rename(classes: Sequence[ClassInfo], value: int, name: str) -> tuple[ClassInfo, ...]:
    """Give the class with this value another name."""
    name = _usable([item for item in classes if item.value != value], name)
    return tuple(
        item.model_copy(update={"name": name}) if item.value == value else item for item in classes
    )


def recolour(classes: Sequence[ClassInfo], value: int, colour: str) -> tuple[ClassInfo, ...]:
    """Give the class with this value another colour, ``#rrggbb``.

    Raises
    ------
    MedsslError
        If another class has it already.
    """
    for item in classes:
        if item.value != value and item.color == colour.lower():
            raise MedsslError(
                f"The class {item.name!r} has the colour {colour.lower()} already.",
                advice="Choose another one, so that they can be told apart.",
            )
    return tuple(
        item.model_copy(update={"color": colour.lower()}) if item.value == value else item
        for item in classes
    )


def remove(classes: Sequence[ClassInfo], value: int) -> tuple[ClassInfo, ...]:
    """Take a class away; the others keep their values, which are on disk.

    Raises
    ------
    MedsslError
        For the background, and for the only class beside it.
    """
    if value == BACKGROUND:
        raise MedsslError("The background class is fixed: it cannot be removed.")
    if len(classes) <= 2:
        raise MedsslError(
            "A project has at least one class beside the background.",
            advice="Rename this one instead.",
        )
    return tuple(item for item in classes if item.value != value)


def _darker(colour: str, shade: float) -> str:
    parts = (round(int(colour[at : at + 2], 16) * shade) for at in (1, 3, 5))
    return "#" + "".join(f"{part:02x}" for part in parts)


def _usable(others: Sequence[ClassInfo], name: str) -> str:
    name = " ".join(name.split())
    if not name:
        raise MedsslError("A class needs a name.")
    if any(item.name.casefold() == name.casefold() for item in others):
        raise MedsslError(
            f"There is already a class called {name!r}.", advice="Choose another name."
        )
    return name
