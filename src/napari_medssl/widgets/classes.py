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


def free_colour(classes: Sequence[ClassInfo]) -> str:
    """Pick the first colour of the palette that no class has; the palette again from the start if all do."""
    taken = {item.color.lower() for item in classes}
    for colour in PALETTE:
        if colour not in taken:
            return colour
    return PALETTE[len(classes) % len(PALETTE)]


def add(classes: Sequence[ClassInfo], name: str) -> tuple[ClassInfo, ...]:
    """Add a class with the next value and a colour that is still free."""
    name = _usable(classes, name)
    value = max(item.value for item in classes) + 1
    return (*classes, ClassInfo(value=value, name=name, color=free_colour(classes)))


def rename(classes: Sequence[ClassInfo], value: int, name: str) -> tuple[ClassInfo, ...]:
    """Give the class with this value another name."""
    name = _usable([item for item in classes if item.value != value], name)
    return tuple(
        item.model_copy(update={"name": name}) if item.value == value else item for item in classes
    )


def recolour(classes: Sequence[ClassInfo], value: int, colour: str) -> tuple[ClassInfo, ...]:
    """Give the class with this value another colour, ``#rrggbb``."""
    return tuple(
        item.model_copy(update={"color": colour.lower()}) if item.value == value else item
        for item in classes
    )


def remove(classes: Sequence[ClassInfo], value: int) -> tuple[ClassInfo, ...]:
    """Take the last class away.

    Raises
    ------
    MedsslError
        For the background, for the only class beside it, and for a class that is not the last one: the
        values of the classes after it are on disk and stay what they are.
    """
    if value == BACKGROUND:
        raise MedsslError("The background class is fixed: it cannot be removed.")
    if len(classes) <= 2:
        raise MedsslError(
            "A project has at least one class beside the background.",
            advice="Rename this one instead.",
        )
    last = max(item.value for item in classes)
    if value != last:
        raise MedsslError(
            "Only the last class can be removed, because the values of the others are on disk.",
            advice="Rename this one instead, or remove the classes after it first.",
        )
    return tuple(item for item in classes if item.value != value)


def _usable(others: Sequence[ClassInfo], name: str) -> str:
    name = " ".join(name.split())
    if not name:
        raise MedsslError("A class needs a name.")
    if any(item.name.casefold() == name.casefold() for item in others):
        raise MedsslError(
            f"There is already a class called {name!r}.", advice="Choose another name."
        )
    return name
