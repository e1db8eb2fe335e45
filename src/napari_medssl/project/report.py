"""What was found in an image folder, in numbers and in sentences."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_medssl.config import Config
from napari_medssl.project.mask_names import is_mask_folder, stem, twins

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FolderReport", "Skipped", "summarise"]


class Skipped(Config):
    """A file that looked like an image and cannot be used."""

    name: str
    """Relative to the image folder."""
    reason: str


class FolderReport(Config):
    """What a folder holds."""

    n_images: int
    """Usable images."""
    sizes: tuple[tuple[int, int, int], ...]
    """(Y, X, number of images), the most frequent first."""
    dtypes: dict[str, int]
    """Pixel type -> number of images."""
    channels: str
    """``grey``, ``grey stored as RGB``, ``RGB`` or a mixture, in words."""
    colour: bool
    """True if the channels of any decoded image differ."""
    decoded: int
    """Images whose pixels were looked at; of the others only the header."""
    skipped: tuple[Skipped, ...]
    n_others: int
    """Files that are no images; ignored."""
    notes: tuple[str, ...]

    def text(self) -> str:
        """Put the report into readable sentences, one a line."""
        lines = [
            f"{_count(self.n_images, 'image')}: {_sizes(self.sizes)}; {_types(self.dtypes)};"
            f" {self.channels}."
            if self.n_images
            else "No usable image."
        ]
        if self.decoded < self.n_images:
            lines.append(
                f"The pixels of {self.decoded} were looked at; of the others only the header."
            )
        lines += self.notes
        if self.skipped:
            lines.append(f"{_count(len(self.skipped), 'file')} skipped:")
            lines += [f"  {item.name}: {item.reason}" for item in self.skipped[:10]]
            if len(self.skipped) > 10:
                lines.append(f"  and {len(self.skipped) - 10} more")
        if self.n_others:
            lines.append(f"{_count(self.n_others, 'other file')} ignored.")
        return "\n".join(lines)


def summarise(
    *,
    sizes: Counter[tuple[int, int]],
    dtypes: Counter[str],
    stored_grey: int,
    coloured: int,
    constant: int,
    decoded: int,
    skipped: Sequence[Skipped],
    others: int,
    projects: Sequence[str],
    names: Sequence[str],
) -> FolderReport:
    """Make the report from counts over the usable images.

    Parameters
    ----------
    sizes, dtypes : Counter
        Images of each (Y, X) and of each pixel type.
    stored_grey, coloured, constant, decoded : int
        Images with one stored channel; with channels that differ; of one value only; decoded at all.
    skipped : sequence of Skipped
        In the order to be shown.
    others : int
        Files that are no images.
    projects : sequence of str
        Project folders left out.
    names : sequence of str
        The usable images.
    """
    count = sum(sizes.values())
    notes = []
    if coloured and coloured < decoded:
        notes.append(
            f"{_count(coloured, 'image')} of {decoded} looked at {_have(coloured)} colour, the others are grey."
        )
    if constant:
        notes.append(f"{_count(constant, 'image')} {_have(constant)} the same value everywhere.")
    notes += [f"The folder {name} is a project and was left out." for name in projects]
    notes += _mask_notes(names)
    return FolderReport(
        n_images=count,
        sizes=tuple((y, x, number) for (y, x), number in sizes.most_common()),
        dtypes=dict(dtypes.most_common()),
        channels=_channels(count, stored_grey, coloured),
        colour=coloured > 0,
        decoded=decoded,
        skipped=tuple(skipped),
        n_others=others,
        notes=tuple(notes),
    )


def _channels(count: int, stored_grey: int, coloured: int) -> str:
    if not count:
        return "none"
    if not coloured:
        return "grey" if stored_grey == count else "grey stored as RGB"
    return "RGB" if stored_grey == 0 else "RGB and grey"


def _mask_notes(names: Sequence[str]) -> list[str]:
    """Say so where masks seem to have been taken for images."""
    stems: dict[str, set[str]] = {}
    for name in names:
        folder, _, bare = stem(name).rpartition("/")
        stems.setdefault(folder or ".", set()).add(bare)
    notes = [
        f"The folder {folder} seems to hold masks of {other}, not images: choose {other} as the image folder"
        f" and {folder} as the mask folder."
        for folder in stems
        if is_mask_folder(folder)
        for other in stems
        if not is_mask_folder(other) and stems[other] & stems[folder]
    ]
    masks = twins(names)
    if masks:
        mask, image = next(iter(masks.items()))
        notes.append(
            f"{_count(len(masks), 'file')} such as {mask} may be masks ({mask} of {image}), not images: give the"
            " image folder as the mask folder, too, to use them so."
        )
    return notes


def _sizes(sizes: Sequence[tuple[int, int, int]]) -> str:
    if len(sizes) == 1:
        return f"all {sizes[0][0]} x {sizes[0][1]}"
    shown = ", ".join(f"{number} of {y} x {x}" for y, x, number in sizes[:3])
    return shown if len(sizes) <= 3 else f"{shown}, {len(sizes) - 3} more sizes"


def _types(dtypes: Mapping[str, int]) -> str:
    if len(dtypes) == 1:
        return next(iter(dtypes))
    return ", ".join(f"{number} {name}" for name, number in dtypes.items())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"
