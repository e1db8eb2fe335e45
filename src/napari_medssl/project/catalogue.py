"""The files of an image folder and what is known of them: listed at once, looked at in time."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from napari_medssl.project.channels import common_names, unfit
from napari_medssl.project.entries import Entry, digest_of, look
from napari_medssl.project.images import (
    FOLDER_EXTENSIONS,
    Header,
    extension_of,
    plane_names,
    split_plane,
)
from napari_medssl.project.listing import LAYERS, Listing, list_files
from napari_medssl.project.parallel import in_parallel
from napari_medssl.project.paths import given
from napari_medssl.project.report import FolderReport, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from napari_medssl.project.channels import Choice

__all__ = ["DECODE_ALL", "DECODE_SAMPLE", "Catalogue", "Checked", "scan"]

DECODE_ALL = 500
"""Folders of up to so many images are decoded whole when they are scanned."""

DECODE_SAMPLE = 200
"""Of larger folders, so many images, evenly spread."""

TELL_SECONDS, TELL_FILES = 0.5, 200
"""A check tells how far it is as often as this."""

_GONE = Entry(size=0, mtime=0, reason="the file is no longer there", passing=True)


@dataclass(frozen=True, slots=True)
class Checked:
    """How far a check is."""

    done: int
    """Files that need no more looking at."""
    total: int
    images_changed: bool
    """Whether images appeared (the planes of a stack) or went (a damaged file) since it was last told."""


class Catalogue:
    """The candidates of an image folder, and of the folder of layers where there is one.

    Several threads may use it. `files` and `images` are replaced, never changed in place but for the value of a
    file that was looked at.

    Parameters
    ----------
    root : Path
        The image folder.
    layers : Path, optional
        Where images are that came from napari layers; their names begin with ``(layers)/``.
    recursive, excluded, axes
        See `ProjectSettings`.
    choice : tuple
        `channels` and `channel_indices` of the settings; None where any will do.
    """

    def __init__(
        self,
        root: Path,
        layers: Path | None = None,
        *,
        recursive: bool = True,
        excluded: tuple[str, ...] = (),
        axes: Mapping[str, str] | None = None,
        choice: Choice | None = None,
    ) -> None:
        self.root = root
        self.recursive = recursive
        self.excluded = excluded
        self.axes = dict(axes or {})
        self.choice = choice
        self.files: dict[str, Entry] = {}
        self.images: tuple[str, ...] = ()
        self._layers = layers
        self._listing = Listing()
        self._same_size: frozenset[str] = frozenset()
        self._headers: dict[Header, Header] = {}
        self._report: FolderReport | None = None
        self._lock = threading.RLock()

    def path(self, file: str) -> Path:
        """Give the path of a file by its name."""
        folder, _, rest = file.partition("/")
        if folder == LAYERS and self._layers is not None:
            return self._layers / rest
        return self.root / file

    def refresh(self, known: Mapping[str, Entry] | None = None) -> bool:
        """List the files again and keep what is known of those that did not change.

        Parameters
        ----------
        known : mapping, optional
            What is known of them; by default what this catalogue knows.

        Returns
        -------
        bool
            Whether anything is new, changed or gone.

        Raises
        ------
        MedsslError
            If the folder cannot be read.
        """
        listing = list_files(self.root, recursive=self.recursive, excluded=self.excluded)
        if self._layers is not None and self._layers.is_dir():
            added = list_files(self._layers, recursive=False).files
            listing.files |= {f"{LAYERS}/{name}": identity for name, identity in added.items()}
        with self._lock:
            known = self.files if known is None else known
            files = {}
            for name, (size, mtime) in listing.files.items():
                entry = known.get(name)
                if entry is None or entry.passing or (entry.size, entry.mtime) != (size, mtime):
                    entry = Entry(size=size, mtime=mtime)
                files[name] = entry
            sizes = Counter(entry.size for entry in files.values())
            self._same_size = frozenset(n for n, entry in files.items() if sizes[entry.size] > 1)
            changed = files != dict(known)
            self._listing = listing
            self.files = files
            self._rebuild()
        return changed

    def examine(
        self, *, sample: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Open every file that never was, and decode as many as a user waits for.

        Up to `DECODE_ALL` files are decoded, of more an even sample; besides, always those whose values may be NaN
        (floating point) and those whose end looks wrong.

        Parameters
        ----------
        sample : int, optional
            Open only so many files, evenly spread.
        progress : callable, optional
            Called with (done, total) in the calling thread.
        """
        fresh = [name for name, entry in self.files.items() if not entry.opened]
        if sample is not None and len(fresh) > sample:
            fresh = [fresh[i * len(fresh) // sample] for i in range(sample)]
        count = len(fresh)
        chosen = (
            set(fresh)
            if count <= DECODE_ALL
            else {fresh[i * count // DECODE_SAMPLE] for i in range(DECODE_SAMPLE)}
        )

        def open_one(name: str) -> tuple[str, Entry]:
            planes = int(name in chosen)
            return name, look(self.path(name), self.entry(name), axes=self.axes, planes=planes)

        # More threads than cores: on network drives the time goes into waiting.
        workers = min(16, 4 * (os.cpu_count() or 1))
        found: dict[str, Entry] = {}
        for batch in in_parallel(open_one, fresh, workers):
            found.update(batch)
            if progress is not None:
                progress(len(found), count)
        self._learn(found)

    def entry(self, file: str) -> Entry:
        """Give what is known of a file; it may have gone since somebody learned its name."""
        return self.files.get(file, _GONE)

    def look(self, file: str) -> Entry:
        """Give what is known of a file, which is opened if it never was."""
        entry = self.entry(file)
        if not entry.opened:
            self._learn({file: look(self.path(file), entry, axes=self.axes, patient=False)})
            entry = self.entry(file)
        return entry

    def check(self, stop: Callable[[], bool]) -> Iterator[Checked]:
        """Look at all that was not looked at: decode every plane, compare the bytes of files of one size.

        Parameters
        ----------
        stop : callable
            Asked often; where it says so, the check ends early.

        Yields
        ------
        Checked
            Every half second or 200 files, and at the end.
        """
        waiting = [name for name in self.files if self._unchecked(name)]
        total = len(self.files)
        done = total - len(waiting)
        closed = threading.Event()

        def stopped() -> bool:
            return closed.is_set() or stop()

        def check_one(name: str) -> tuple[str, Entry]:
            path, entry = self.path(name), self.entry(name)
            if not entry.checked:
                entry = look(path, entry, axes=self.axes, planes=None, stopped=stopped)
            if self._undigested(name, entry):
                try:
                    entry = replace(entry, digest=digest_of(path))
                except OSError as error:
                    reason = f"cannot be read any more ({error.strerror})"
                    entry = replace(entry, reason=reason, passing=True)
            return name, entry

        # Few threads: the viewer that waits for nothing here needs a core, too.
        workers = max(2, min(8, (os.cpu_count() or 1) // 2))
        images, last = self.images, time.monotonic()
        found: dict[str, Entry] = {}
        try:
            with closing(in_parallel(check_one, waiting, workers, stop=stopped)) as batches:
                for batch in batches:
                    found.update(batch)
                    if len(found) < TELL_FILES and time.monotonic() - last < TELL_SECONDS:
                        continue
                    self._learn(found)
                    done += len(found)
                    found = {}
                    yield Checked(done, total, self.images is not images)
                    images, last = self.images, time.monotonic()
        finally:
            closed.set()
            self._learn(found)
        yield Checked(len(self.files) - self.unchecked, len(self.files), self.images is not images)

    @property
    def unchecked(self) -> int:
        """How many files were not yet fully looked at."""
        return sum(self._unchecked(name) for name in self.files)

    def find(self, name: str) -> tuple[str, tuple[int, ...]] | None:
        """Give the file and the index of an image by its name; None where there is none of that name."""
        if name in self.files:
            return name, ()
        file, index = split_plane(name)
        if not index or file not in self.files:
            return None
        header = self.look(file).header
        return (file, index) if header is not None and name in _planes(file, header) else None

    def images_in(self, file: str) -> tuple[str, ...]:
        """Name the usable images of a file, which is opened if it never was."""
        return self._names(file, self.look(file))

    def reason(self, name: str) -> str:
        """Say why an image cannot be used; empty where it can."""
        found = self.find(name)
        if found is None:
            return "there is no such image"
        file, index = found
        entry = self.look(file)
        reason = self._reason(file, entry)
        if reason or entry.header is None:
            return reason
        names = _planes(file, entry.header)
        if name not in names:
            return f"it is a stack, whose planes are {names[0]} to {names[-1]}"
        bad = dict(entry.bad) if index else {}
        return bad.get(names.index(name), "") if bad else ""

    @property
    def stored_channels(self) -> tuple[str, ...]:
        """Names of the channels that all files have, as far as they were looked at."""
        return common_names(self.headers())

    def headers(self) -> tuple[Header, ...]:
        """Give the different headers of usable files."""
        return tuple({e.header: None for e in self.files.values() if e.header and not e.reason})

    def choose(self, choice: Choice) -> None:
        """Read these channels from now on; files that lack them are skipped."""
        with self._lock:
            self.choice = choice
            self._rebuild()

    def report(self) -> FolderReport:
        """Sum up what is known."""
        with self._lock:
            if self._report is None:
                reasons = {name: self._reason(name, entry) for name, entry in self.files.items()}
                self._report = summarise(
                    self.files,
                    {name: reason for name, reason in reasons.items() if reason},
                    self._listing,
                    n_images=len(self.images),
                )
            return self._report

    def _reason(self, file: str, entry: Entry) -> str:
        """Say why a file cannot be used, as far as it is known."""
        if entry.reason or entry.header is None:
            return entry.reason
        other = file.removesuffix(".tif")
        if entry.header.plane_sizes and other != file and other in self.files:
            return f"the labels of its planes would lie where those of {other} do; rename it"
        return unfit(entry.header, self.choice) if self.choice is not None else ""

    def _unchecked(self, name: str) -> bool:
        entry = self.entry(name)
        return not entry.checked or self._undigested(name, entry)

    def _undigested(self, name: str, entry: Entry) -> bool:
        return (
            name in self._same_size
            and not (entry.reason or entry.digest)
            and extension_of(name) not in FOLDER_EXTENSIONS
        )

    def _learn(self, found: Mapping[str, Entry]) -> None:
        """Take over what was found of some files, unless they changed meanwhile."""
        with self._lock:
            before, after = [], []
            for name, entry in found.items():
                old = self.files.get(name)
                if old is None or (old.size, old.mtime) != (entry.size, entry.mtime):
                    continue
                if entry.header is not None:  # thousands of files share a few
                    shared = self._headers.setdefault(entry.header, entry.header)
                    entry = replace(entry, header=shared)
                before.append(self._names(name, old))
                after.append(self._names(name, entry))
                self.files[name] = entry
            self._report = None
            if before != after:
                self._rebuild()

    def _rebuild(self) -> None:
        self._report = None
        images = tuple(
            name for file, entry in self.files.items() for name in self._names(file, entry)
        )
        if images != self.images:
            self.images = images

    def _names(self, file: str, entry: Entry) -> tuple[str, ...]:
        """Name the usable images of a file; one that was never opened counts as one."""
        if self._reason(file, entry):
            return ()
        if entry.header is None or not entry.header.plane_sizes:
            return (file,)
        names = _planes(file, entry.header)
        bad = dict(entry.bad)
        return tuple(n for i, n in enumerate(names) if i not in bad) if bad else names


def scan(
    folder: str | Path,
    *,
    recursive: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> FolderReport:
    """Look through a folder of images without making a project; writes nothing.

    Parameters
    ----------
    folder : path
        The image folder.
    recursive : bool
        Look into its folders too.
    progress : callable, optional
        Called with (done, total) files.

    Raises
    ------
    MedsslError
        If there is no such folder.
    """
    catalogue = Catalogue(given(folder).resolve(), recursive=recursive)
    catalogue.refresh()
    catalogue.examine(progress=progress)
    return catalogue.report()


@lru_cache(maxsize=256)
def _planes(file: str, header: Header) -> tuple[str, ...]:
    return tuple(plane_names(file, header))
