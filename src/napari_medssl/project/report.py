"""What was found in an image folder, in numbers and in sentences."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_medssl.config import Config
from napari_medssl.project.images import plane_names
from napari_medssl.project.mask_names import is_mask_folder, stem, twins
from napari_medssl.project.natural import natural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_medssl.project.entries import Entry
    from napari_medssl.project.images import Header
    from napari_medssl.project.listing import Listing

__all__ = ["FolderReport", "Skipped", "summarise"]


class Skipped(Config):
    """A file that looked like an image and cannot be used."""

    name: str
    """Relative to the image folder."""
    reason: str


class FolderReport(Config):
    """What a folder holds."""

    n_images: int
    """Usable images; a file that was not opened yet counts as one."""
    sizes: tuple[tuple[int, int, int], ...]
    """(Y, X, number of images), the most frequent first."""
    dtypes: dict[str, int]
    """Pixel type -> number of images."""
    channels: str
    """``grey``, ``grey stored as RGB``, ``RGB``, ``3 channels`` or a mixture, in words."""
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
        known = sum(number for _, _, number in self.sizes)
        if not self.n_images:
            lines = ["No usable image."]
        elif not known:
            lines = [f"{_count(self.n_images, 'image')}."]
        else:
            lines = [
                f"{_count(self.n_images, 'image')}: {_sizes(self.sizes)}; {_types(self.dtypes)};"
                f" {self.channels}."
            ]
        if known < self.n_images:
            lines.append(f"Not opened yet: {self.n_images - known}.")
        elif self.decoded < self.n_images:
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
    files: Mapping[str, Entry], reasons: Mapping[str, str], listing: Listing, *, n_images: int
) -> FolderReport:
    """Make the report of a folder.

    Parameters
    ----------
    files : mapping
        All candidates and what is known of them.
    reasons : mapping
        Those that cannot be used, and why.
    listing : Listing
        What was skipped at sight.
    n_images : int
        How many usable images there are.
    """
    skipped = [*listing.skipped]
    skipped += [Skipped(name=name, reason=reason) for name, reason in reasons.items()]
    sizes: Counter[tuple[int, int]] = Counter()
    dtypes: Counter[str] = Counter()
    channels: Counter[str] = Counter()
    stacks: list[str] = []
    deep = False
    coloured = constant = decoded = 0
    for name, entry in files.items():
        header = entry.header
        if name in reasons or header is None:
            continue
        count = entry.planes - len(entry.bad)
        sizes[header.shape] += count
        dtypes[header.dtype] += count
        channels["RGB" if header.rgb else str(header.channels)] += count
        coloured += entry.coloured
        constant += entry.constant
        decoded += entry.seen - len(entry.bad)
        if header.plane_sizes:
            stacks.append(_stack(name, header))
            deep = deep or "Z" in header.plane_axes
        if entry.bad:
            names = plane_names(name, header)
            skipped += [Skipped(name=names[i], reason=reason) for i, reason in entry.bad]
    usable = [name for name in files if name not in reasons]
    notes = _some(stacks, "stack", "stacks")
    if deep:
        notes.append("Volumes are segmented slice by slice: each plane is an image of its own.")
    if coloured and coloured < decoded:
        notes.append(
            f"{_count(coloured, 'image')} of {decoded} looked at {_have(coloured)} colour, the others are grey."
        )
    if constant:
        notes.append(f"{_count(constant, 'image')} {_have(constant)} the same value everywhere.")
    notes += _some(_copies(files, usable), "group of copies", "groups of copies")
    notes += [f"The folder {name} is a project and was left out." for name in listing.projects]
    notes += _mask_notes(usable)
    return FolderReport(
        n_images=n_images,
        sizes=tuple((y, x, number) for (y, x), number in sizes.most_common()),
        dtypes=dict(dtypes.most_common()),
        channels=_channels(channels, coloured),
        colour=coloured > 0,
        decoded=decoded,
        skipped=tuple(sorted(skipped, key=lambda item: natural(item.name))),
        n_others=listing.others,
        notes=tuple(notes),
    )


def _stack(name: str, header: Header) -> str:
    sizes = " x ".join(str(size) for size in header.plane_sizes)
    axes = " x ".join(header.plane_axes)
    return f"{name}: {sizes} planes ({axes}), {_count(header.channels, 'channel')}"


def _copies(files: Mapping[str, Entry], names: Iterable[str]) -> list[str]:
    """Tell which files are the same byte for byte."""
    groups: dict[str, list[str]] = {}
    for name in names:
        if digest := files[name].digest:
            groups.setdefault(digest, []).append(name)
    return [
        f"{', '.join(group[1:4])}{', ...' if len(group) > 4 else ''} and {group[0]} are the same file"
        for group in groups.values()
        if len(group) > 1
    ]


def _some(sentences: Sequence[str], noun: str, nouns: str) -> list[str]:
    """End up to three statements with a full stop, and count the others."""
    more = len(sentences) - 3
    told = [f"{sentence}." for sentence in sentences[:3]]
    if more > 0:
        told.append(f"And {more} more {noun if more == 1 else nouns}.")
    return told


def _channels(channels: Counter[str], coloured: int) -> str:
    if not channels:
        return "none"
    if not set(channels) - {"RGB", "1"}:
        if not coloured:
            return "grey" if "RGB" not in channels else "grey stored as RGB"
        return "RGB" if "1" not in channels else "RGB and grey"
    kinds = sorted(channels, key=lambda kind: (kind == "RGB", kind.zfill(3)))
    words = [kind if kind == "RGB" else _count(int(kind), "channel") for kind in kinds]
    return " or ".join(words)


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
