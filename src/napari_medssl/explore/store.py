"""The embedding store: the pixel features of a folder, as one network sees it, on disk.

One ``.npy`` of half precision per image, ``(Y / stride, X / stride, D)``, opened memory-mapped and cast to single
precision where it is computed with: a matrix-vector product in half precision is 15 times slower. Beside them an
index tells what they were made from, so that what is no longer true is known without opening a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from napari_medssl.config import Config, refuse_newer
from napari_medssl.explore.similarity import EmbeddingError, PixelEmbedding
from napari_medssl.project.checkpoint import read_json, write_json
from napari_medssl.project.listing import identity_of
from napari_medssl.project.paths import inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.project import Project, Run

__all__ = [
    "EmbeddingStore",
    "Entry",
    "Index",
    "file_of",
    "index_path",
    "store_path",
    "weights_of",
]

SCHEMA_VERSION = 1


class Entry(Config):
    """One stored image, and the image file that it was made from."""

    shape: tuple[int, int]
    """(Y, X) of the image."""
    sha256: str
    """Of the image's content, see `Fingerprints`."""
    size: int
    mtime: int
    """Size and time (ns) of the image's file: while they are the same, the content is not read again."""


class Index(Config):
    """What a store holds."""

    schema_version: Literal[1] = 1
    run: str
    source: str
    """``mix``, ``decoder-2``, ``encoder-4``, ``projector``."""
    stride: int
    dimensions: int
    weights_sha256: str
    weights_size: int
    weights_mtime: int
    images: dict[str, Entry] = Field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Index:
        """Read ``<run>.<source>.json``.

        Raises
        ------
        MedsslError
            If it is missing, damaged or of a newer version.
        """
        data = read_json(path)
        refuse_newer(data, SCHEMA_VERSION, what=str(path))
        index: Index = cls.parse(data, where=str(path))
        return index

    def write(self, path: Path) -> None:
        """Write it, atomically."""
        write_json(path, self.model_dump(mode="json"))

    def made_alike(self, other: Index) -> bool:
        """Whether both come from the same network, at the same stride and dimensions."""
        keys = ("run", "source", "stride", "dimensions", "weights_sha256")
        return all(getattr(self, key) == getattr(other, key) for key in keys)


def store_path(project: Project, run: str, source: str) -> Path:
    """Give the folder ``embeddings/<run>.<source>``; the index is beside it, with ``.json`` added."""
    return inside(project.path / "embeddings", f"{run}.{source}")


def index_path(folder: Path) -> Path:
    """Give the index of a store's folder."""
    return folder.with_name(f"{folder.name}.json")


def file_of(folder: Path, name: str) -> Path:
    """Give the file of an image in a store's folder."""
    return inside(folder, name, suffix=".npy")


def weights_of(run: Run, source: str) -> Path | None:
    """Give the file of a run that the features from a source depend on; None while there is none."""
    if source == "projector":  # it is trained with the last weights and kept with the checkpoint
        return run.state_path if run.state_path.is_file() else None
    return run.weights("best")


class EmbeddingStore:
    """The stored features of a project's images by one run; made by ``medssl embed``.

    Parameters
    ----------
    folder : Path
        Where the ``.npy`` files are.
    index : Index
        What is in them.
    names : sequence of str
        The images to offer, in their order; those without an entry are left out.
    """

    def __init__(self, folder: Path, index: Index, names: Iterable[str]) -> None:
        self.folder = folder
        self.index = index
        self.names = tuple(name for name in names if name in index.images)

    @classmethod
    def open(cls, project: Project, run: Run | str, *, source: str = "mix") -> EmbeddingStore:
        """Open what is stored of a project.

        Parameters
        ----------
        project : Project
            The project.
        run : Run or str
            The run, or its name.
        source : str
            What of the network the features come from.

        Raises
        ------
        EmbeddingError
            If nothing is stored.
        MedsslError
            If the index is damaged or of a newer version.
        """
        name = run if isinstance(run, str) else run.name
        folder = store_path(project, name, source)
        advice = f"Make them: medssl embed {project.path} --run {name}" + (
            "." if source == "mix" else f" --source {source}."
        )
        if not index_path(folder).is_file():
            raise EmbeddingError(
                f"There are no stored features of the run {name} ({source}).", advice=advice
            )
        store = cls(folder, Index.read(index_path(folder)), project.images)
        if not store.names:
            raise EmbeddingError(
                f"The stored features of the run {name} ({source}) are of none of the images.",
                advice=advice,
            )
        return store

    def __len__(self) -> int:
        return len(self.names)

    @property
    def stride(self) -> int:
        """Pixels per cell and axis."""
        return self.index.stride

    @property
    def dimensions(self) -> int:
        """Features per cell."""
        return self.index.dimensions

    @property
    def nbytes(self) -> int:
        """Size of the files of `names`, bytes."""
        return sum(self.path(name).stat().st_size for name in self.names)

    def path(self, name: str) -> Path:
        """Give the file of an image."""
        return file_of(self.folder, name)

    def shape(self, name: str) -> tuple[int, int]:
        """Give (Y, X) of an image."""
        return self._entry(name).shape

    def outdated(self, project: Project, run: Run) -> tuple[str, ...]:
        """Give the images of a project that are not stored, or have changed since (or the network has).

        Looks at the sizes and times of files only; ``medssl embed`` looks at the content of those that differ.
        """
        weights = weights_of(run, self.index.source)
        known = (self.index.weights_size, self.index.weights_mtime)
        if weights is None or identity_of(weights) != known:
            return project.images
        return tuple(name for name in project.images if not self._is_of(project, name))

    def read(self, name: str) -> NDArray[np.float16]:
        """Open the features of an image, memory-mapped.

        Returns
        -------
        ndarray of float16, (Y / stride, X / stride, D)

        Raises
        ------
        EmbeddingError
            If the file is missing, or is not what the index says.
        """
        shape = self._entry(name).shape
        expected = (-(-shape[0] // self.stride), -(-shape[1] // self.stride), self.dimensions)
        try:
            found = np.load(self.path(name), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise EmbeddingError(
                f"The stored features of {name} cannot be read: {error}.",
                advice=f"Delete {self.folder} and make them again.",
            ) from error
        if found.shape != expected or found.dtype != np.float16:
            raise EmbeddingError(
                f"The stored features of {name} are {found.dtype} of shape {found.shape}, not float16 of {expected}.",
                advice=f"Delete {self.folder} and make them again.",
            )
        stored: NDArray[np.float16] = found
        return stored

    def flat(self, name: str) -> NDArray[np.float32]:
        """Read the features of an image as ``(cells, D)``, in single precision."""
        return self.read(name).reshape(-1, self.dimensions).astype(np.float32)

    def grid(self, name: str) -> tuple[NDArray[np.float16], int] | None:
        """Open the features of an image as `read` does, and tell the stride; None where none are stored."""
        return (self.read(name), self.stride) if name in self.index.images else None

    def pixels(self, name: str) -> PixelEmbedding:
        """Read the features of an image, ready to be asked."""
        return PixelEmbedding(self.read(name), stride=self.stride, shape=self.shape(name))

    def sample(
        self, count: int, *, seed: int = 0, names: Sequence[str] | None = None
    ) -> NDArray[np.float32]:
        """Draw cells from images, the same number of each.

        Parameters
        ----------
        count : int
            About so many; all cells where there are fewer.
        seed : int
            Which.
        names : sequence of str, optional
            The images; all by default.

        Returns
        -------
        ndarray of float32, (N, D)
        """
        rng = np.random.default_rng(seed)
        names = self.names if names is None else names
        if count < len(names):
            chosen = np.linspace(0, len(names) - 1, count).round().astype(int)
            names = tuple(names[i] for i in chosen)
        each = -(-count // len(names))
        parts = []
        for name in names:
            cells = self.read(name).reshape(-1, self.dimensions)
            rows = np.sort(rng.choice(len(cells), min(each, len(cells)), replace=False))
            parts.append(cells[rows].astype(np.float32))
        return np.concatenate(parts)

    def _is_of(self, project: Project, name: str) -> bool:
        """Whether what is stored of an image was made from its file as that is now."""
        entry = self.index.images.get(name)
        if entry is None:
            return False
        try:
            identity = identity_of(project.image_path(name))
        except OSError:  # the file is gone
            return False
        return (entry.size, entry.mtime) == identity

    def _entry(self, name: str) -> Entry:
        if name not in self.index.images:
            raise EmbeddingError(
                f"There are no stored features of the image {name!r}.",
                advice="Make them: medssl embed.",
            )
        return self.index.images[name]
