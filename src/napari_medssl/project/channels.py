"""Which of the stored channels of a file a project reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.planes import to_channels
from napari_medssl.project.settings import GREY, RGB

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from napari_medssl.project.images import Header

__all__ = ["Choice", "choose", "common_names", "default_choice", "pick", "stored_names", "unfit"]

MAX_CHANNELS = 4
"""Files with up to so many channels are read whole, unless the user chooses."""

Choice = tuple[tuple[str, ...], tuple[int, ...] | None]
"""`channels` and `channel_indices` of the settings."""


def stored_names(header: Header) -> tuple[str, ...]:
    """Name the stored channels of a file, for people to choose from."""
    if header.rgb:
        return RGB
    if header.channels == 1:
        return GREY
    given = header.channel_names
    if len(given) == header.channels == len(set(given)) and all(given):
        return given
    return _numbered(header.channels)


def common_names(headers: Iterable[Header]) -> tuple[str, ...]:
    """Name the channels that all these files have; files that disagree on the names have numbered ones."""
    known = {stored_names(header) for header in headers}
    if len(known) <= 1:
        return next(iter(known), ())
    count = min(len(names) for names in known)
    heads = {names[:count] for names in known}
    if len(heads) == 1:
        return heads.pop()
    return GREY if count == 1 else _numbered(count)


def default_choice(headers: Sequence[Header], *, coloured: bool) -> Choice:
    """Choose the channels of a new project.

    Parameters
    ----------
    headers : sequence of Header
        Of its files.
    coloured : bool
        Whether red, green and blue differ in any of them.

    Returns
    -------
    Choice
        Grey or RGB where all files are; all channels where the files agree on their number and it is small; else
        the first.
    """
    if all(header.rgb or header.channels == 1 for header in headers):
        return (RGB if coloured else GREY), None
    common = common_names(headers)
    count = len({header.channels for header in headers})
    used = common if count == 1 and len(common) <= MAX_CHANNELS else common[:1]
    return used, tuple(range(len(used)))


def choose(wanted: Sequence[str | int], headers: Sequence[Header]) -> Choice:
    """Find the channels that somebody asks for.

    Parameters
    ----------
    wanted : sequence of str or int
        Names, or numbers counted from 0 (also as text, where no channel is named so). ``grey`` alone and ``red, green,
        blue`` mean what they always do, where some files are grey or RGB.
    headers : sequence of Header
        Of the files that have them.

    Raises
    ------
    MedsslError
        If there is no such channel.
    """
    named = tuple(str(item) for item in wanted)
    plain = not headers or any(header.rgb or header.channels == 1 for header in headers)
    if named in (GREY, RGB) and plain:
        return named, None
    stored = common_names(headers)
    indices = []
    for item in wanted:
        if item in stored:
            indices.append(stored.index(str(item)))
        elif str(item).isdecimal() and int(item) < len(stored):
            indices.append(int(item))
        else:
            known = ", ".join(f"{i} ({name})" for i, name in enumerate(stored)) or "not known"
            raise MedsslError(f"The images have no channel {item!r}. Their channels: {known}.")
    return tuple(stored[i] for i in indices), tuple(indices)


def unfit(header: Header, choice: Choice) -> str:
    """Say why a file cannot give the chosen channels; empty where it can."""
    _, indices = choice
    if indices is None:
        if header.rgb or header.channels == 1:
            return ""
        return f"it has {header.channels} channels, but the project reads grey or RGB"
    if max(indices) < header.channels:
        return ""
    have = "1 channel" if header.channels == 1 else f"{header.channels} channels"
    return f"it has only {have}, but the project reads channel {max(indices)} (counted from 0)"


def pick(image: NDArray[Any], choice: Choice) -> NDArray[Any]:
    """Give an image (stored channels, Y, X) the chosen channels."""
    names, indices = choice
    return to_channels(image, len(names)) if indices is None else image[np.array(indices)]


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"channel {number}" for number in range(count))
