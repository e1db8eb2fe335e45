"""Whether an image is still the one that was annotated."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import WriteError, read_json, write_json
from napari_medssl.project.entries import digest_of
from napari_medssl.project.images import decode
from napari_medssl.project.listing import Identity, identity_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Fingerprints"]


class Fingerprints:
    """SHA-256 of images, kept with size and time of their files so that each is computed once.

    Of a single image in a file, it is that of the file's bytes. Of one plane of a stack (or of a folder such as
    OME-Zarr) it is that of the plane's values: a time series that grows does not change the planes it had.

    Parameters
    ----------
    path : Path
        Where they are kept; only a cache.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[Identity, str]] | None = None
        self._lock = threading.Lock()

    def of(
        self, name: str, path: Path, index: tuple[int, ...], *, axes: Mapping[str, str]
    ) -> tuple[Identity, str]:
        """Give identity and fingerprint of an image.

        Parameters
        ----------
        name : str
            Its name in the project.
        path, index, axes
            Its file, its plane there, and how stored axes are read.

        Raises
        ------
        OSError, MedsslError
            If it cannot be read.
        """
        identity = identity_of(path)
        with self._lock:
            known = self._load().get(name)
        if known is not None and known[0] == identity:
            return known
        if index or path.is_dir():
            plane = decode(path, index, axes=axes)
            made = hashlib.sha256(f"{plane.dtype.name} {plane.shape}".encode())
            made.update(np.ascontiguousarray(plane).data)
            digest = made.hexdigest()
        else:
            digest = digest_of(path)
        with self._lock:
            self._load()[name] = (identity, digest)
        return identity, digest

    def save(self) -> None:
        """Keep them for the next opening; where nothing can be written they are computed again then."""
        with self._lock:
            rows = {name: [*identity, digest] for name, (identity, digest) in self._load().items()}
        try:
            write_json(self._path, rows)
        except WriteError:
            return

    def _load(self) -> dict[str, tuple[Identity, str]]:
        if self._known is None:
            try:
                self._known = {
                    name: ((int(size), int(mtime)), str(digest))
                    for name, (size, mtime, digest) in read_json(self._path).items()
                }
            except (MedsslError, ValueError, TypeError, ArithmeticError, AttributeError):
                self._known = {}  # missing or damaged: only a cache
        return self._known
