"""Whether an image is still the one that was annotated, or predicted."""

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

    from napari_medssl.project.project import Project

__all__ = ["Fingerprint", "Fingerprints"]

Fingerprint = tuple[Identity, str]
"""Size and time of an image's file, and the SHA-256 of the image."""


class Fingerprints:
    """SHA-256 of a project's images, kept with size and time of their files so that each is computed once.

    Of a single image in a file, it is that of the file's bytes. Of one plane of a stack (or of a folder such as
    OME-Zarr) it is that of the plane's values: a time series that grows does not change the planes it had.

    Parameters
    ----------
    project : Project
        Whose images; keeps them in ``derived/fingerprints.json``, which is only a cache.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._path = project.path / "derived" / "fingerprints.json"
        self._known: dict[str, Fingerprint] | None = None
        self._lock = threading.Lock()

    def changed(self, seen: Mapping[str, Fingerprint]) -> frozenset[str]:
        """Tell which images are no longer what they were; read where a file is of another size or time.

        Parameters
        ----------
        seen : mapping
            Image -> its fingerprint of that time. Images that cannot be read any more are not called changed, for the
            project's report tells of them.
        """
        identities: dict[Path, Identity] = {}  # all planes of a stack are in one file
        found, computed = [], False
        for name, (identity, digest) in seen.items():
            try:
                path = self._project.image_path(name)
                if path not in identities:
                    identities[path] = identity_of(path)
                if identities[path] != identity:
                    computed = True
                    if self._of(name, path, identities[path])[1] != digest:
                        found.append(name)
            except (OSError, MedsslError):
                continue
        if computed:
            self.save()
        return frozenset(found)

    def of(self, name: str) -> Fingerprint:
        """Give the fingerprint of an image by its name.

        Raises
        ------
        OSError, MedsslError
            If it cannot be read.
        """
        path = self._project.image_path(name)
        return self._of(name, path, identity_of(path))

    def _of(self, name: str, path: Path, identity: Identity) -> Fingerprint:
        index = self._project.index(name)
        with self._lock:
            known = self._load().get(name)
        if known is not None and known[0] == identity:
            return known
        if index or path.is_dir():
            plane = decode(path, index, axes=self._project.settings.axes)
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

    def _load(self) -> dict[str, Fingerprint]:
        if self._known is None:
            try:
                self._known = {
                    name: ((int(size), int(mtime)), str(digest))
                    for name, (size, mtime, digest) in read_json(self._path).items()
                }
            except (MedsslError, ValueError, TypeError, ArithmeticError, AttributeError):
                self._known = {}  # missing or damaged: only a cache
        return self._known
