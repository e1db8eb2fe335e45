"""A project: a folder of images, what was drawn on them, and what was learned from them."""

from __future__ import annotations

import datetime
import difflib
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_medssl.errors import MedsslError
from napari_medssl.project.annotations import Annotations
from napari_medssl.project.checkpoint import TEMPORARY_PREFIX, WriteError, read_json, write_json
from napari_medssl.project.images import UnreadableImageError, decode
from napari_medssl.project.mask_names import twins
from napari_medssl.project.masks import find_masks, import_masks
from napari_medssl.project.paths import inside, relative_posix
from napari_medssl.project.planes import limits, luminance, rescale, to_channels
from napari_medssl.project.run import Run
from napari_medssl.project.scan import (
    examine,
    is_project,
    list_files,
    load_cache,
    report,
    save_cache,
)
from napari_medssl.project.settings import ProjectSettings, load_settings, write_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medssl.project.masks import ImportReport, MasksAs
    from napari_medssl.project.report import FolderReport
    from napari_medssl.project.scan import Entry

__all__ = ["Project"]

T = TypeVar("T")

_PARTS = frozenset({"derived", "embeddings", "labels", "predictions", "runs"})


class Project:
    """A project on disk. Made by `create` or `open`, not by calling the class.

    Reading (`planes`, `read`, `grey`, `shape`) may be done from several threads at once.
    """

    path: Path
    """The project folder."""
    settings: ProjectSettings
    image_root: Path
    """The image folder, absolute."""
    images: tuple[str, ...]
    """Usable images: POSIX paths relative to `image_root`, in natural order."""
    annotations: Annotations
    imported: ImportReport | None
    """What `create` made of the masks it was given."""

    def __init__(self, path: Path, settings: ProjectSettings, image_root: Path) -> None:
        self.path = path
        self.settings = settings
        self.image_root = image_root
        self.images = ()
        self.annotations = Annotations(self)
        self.imported = None
        self._entries: dict[str, Entry] = {}
        self._report: FolderReport
        self._limits: dict[tuple[str, int, float, float], list[tuple[float, float]]] = {}
        self._notes: tuple[str, ...] = ()
        self._derived_lock = threading.RLock()

    def __repr__(self) -> str:
        return f"Project({str(self.path)!r})"

    @classmethod
    def create(
        cls,
        images: str | Path,
        *,
        project: str | Path | None = None,
        masks: str | Path | None = None,
        masks_as: MasksAs = "auto",
        recursive: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> Project:
        """Make a project for a folder of images. The images are neither copied nor changed.

        Parameters
        ----------
        images : path
            The image folder.
        project : path, optional
            Where to make it; default ``<image folder>-medssl`` beside the image folder.
        masks : path, optional
            A folder of existing masks to import as annotations; may be the image folder itself, or within it.
        masks_as : {"auto", "binary", "classes", "instances", "labels"}
            What the values of the masks mean, see `import_masks`.
        recursive : bool
            Whether folders in the image folder belong to it.
        progress : callable, optional
            Called with (done, total) files while the folder is looked through, then again for the masks.

        Raises
        ------
        MedsslError
            If there is no usable image, or the place is taken or cannot be written.
        """
        root = Path(images).expanduser().resolve()
        if is_project(root):
            raise MedsslError(f"{root} is itself a project.", advice="Open it instead.")
        path = Path(project).expanduser() if project else root.parent / f"{root.name}-medssl"
        path = path.resolve()
        _check_place(path, root)
        mask_folder = Path(masks).expanduser().resolve() if masks else None
        excluded: tuple[str, ...] = ()
        if mask_folder == root:  # masks among their images
            excluded = tuple(twins(list_files(root, recursive=recursive).files))
        elif mask_folder is not None and mask_folder.is_relative_to(root):
            excluded = (mask_folder.relative_to(root).as_posix(),)
        settings = ProjectSettings(
            image_root=relative_posix(root, path), recursive=recursive, excluded=excluded
        )
        made = cls(path, settings, root)
        made._examine({}, progress)
        if not made.images:
            raise MedsslError(f"{root} holds no usable image.\n{made.report.text()}")
        if mask_folder is not None:
            # A wrong folder is refused before anything is written.
            find_masks(made.images, mask_folder, image_root=root)
        if made.report.colour:
            made.settings = settings.model_copy(update={"channels": ("red", "green", "blue")})
        save_cache(made._cache_path, made._entries)
        write_settings(path, made.settings)
        if mask_folder is not None:
            made.imported = import_masks(made, mask_folder, masks_as, progress=progress)
        return made

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        images: str | Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Project:
        """Open a project and look for images that came, went or changed.

        Parameters
        ----------
        path : path
            The project folder, or the ``project.json`` in it.
        images : path, optional
            Where the image folder is now, if it was moved; stored.
        progress : callable, optional
            Called with (done, total) files while new or changed images are looked at.

        Raises
        ------
        MedsslError
            If it is no project, is damaged, was made by a newer version, or its image folder is not found.
        """
        folder = Path(path).expanduser().resolve()
        if folder.name == "project.json":
            folder = folder.parent
        settings = load_settings(folder)
        if images is None:
            root = (folder / settings.image_root).resolve()
            if not root.is_dir():
                raise MedsslError(
                    f"The image folder of the project {folder} is not where it was: {root}.",
                    advice="Move it back, or open the project together with the folder's new place"
                    " (in Python: Project.open(..., images=...)).",
                )
        else:
            root = Path(images).expanduser().resolve()
            settings = settings.model_copy(update={"image_root": relative_posix(root, folder)})
        opened = cls(folder, settings, root)
        cached = load_cache(opened._cache_path)
        changed = opened._examine(cached, progress)
        if images is not None:
            if cached and not set(opened.images) & set(cached):
                raise MedsslError(
                    f"{root} holds none of the {len(cached)} images of the project {folder}."
                )
            write_settings(folder, settings)
        if changed:
            opened._save_cache()
        return opened

    @property
    def name(self) -> str:
        """The project folder's name."""
        return self.path.name

    @property
    def report(self) -> FolderReport:
        """What was found in the image folder, and what was skipped and why."""
        notes = self._notes
        if len(self.settings.channels) == 1 and self._report.colour:
            notes += ("The project is grey: images with colour are turned to grey.",)
        if not notes:
            return self._report
        return self._report.model_copy(update={"notes": self._report.notes + notes})

    def rescan(self, *, progress: Callable[[int, int], None] | None = None) -> FolderReport:
        """Look for images that came, went or changed since.

        Parameters
        ----------
        progress : callable, optional
            Called with (done, total) files.
        """
        if self._examine(self._entries, progress):
            self._save_cache()
        return self.report

    def shape(self, name: str) -> tuple[int, int]:
        """Give (Y, X) of an image without opening it."""
        return self._entry(name).shape

    def read(self, name: str) -> NDArray[np.float32]:
        """Read an image.

        Parameters
        ----------
        name : str
            One of `images`.

        Returns
        -------
        ndarray of float32, (C, Y, X)
            In the file's units; C channels as in ``settings.channels``.

        Raises
        ------
        MedsslError
            If the project has no such image, or it cannot be read any more.
        """
        return self._stored(name).astype(np.float32)

    def planes(self, name: str) -> NDArray[np.float32]:
        """Read an image, normalised to [0, 1] by ``settings.normalisation``; (C, Y, X)."""
        image = self._stored(name)
        normalisation = self.settings.normalisation
        # Images do not change under an open project (a rescan forgets this), and percentiles cost more than decoding.
        key = (name, len(image), normalisation.low, normalisation.high)
        known = self._limits.get(key)
        if known is None:
            known = [limits(plane, normalisation.low, normalisation.high) for plane in image]
            self._limits[key] = known
        scaled = [rescale(plane, *ends) for plane, ends in zip(image, known, strict=True)]
        return scaled[0][np.newaxis] if len(scaled) == 1 else np.stack(scaled)

    def grey(self, name: str) -> NDArray[np.float32]:
        """Read an image as grey (Y, X) before normalisation: 0.299 R + 0.587 G + 0.114 B."""
        return luminance(self._decoded(name))

    def update(self, **changes: Any) -> None:
        """Change settings and store them.

        Parameters
        ----------
        **changes
            Fields of `ProjectSettings`, for example ``classes`` or ``channels``.

        Raises
        ------
        ConfigError
            If a value is not allowed.
        MedsslError
            If a class that is to go is still used in annotations.
        """
        fixed = sorted({"schema_version", "image_root"} & changes.keys())
        if fixed:
            raise MedsslError(
                f"{', '.join(fixed)} cannot be changed here.",
                advice="To tell where the images are now, open the project with images=...",
            )
        # From disk: another process may have changed another field since.
        current = load_settings(self.path)
        settings: ProjectSettings = ProjectSettings.parse(
            {**current.model_dump(), **changes}, where=self.name
        )
        if len(settings.classes) < len(current.classes):
            self._check_unused(current, len(settings.classes))
        write_settings(self.path, settings)
        before, self.settings = self.settings, settings
        if (settings.recursive, settings.excluded) != (before.recursive, before.excluded):
            self.rescan()

    def runs(self) -> list[Run]:
        """Give all runs, the newest first."""
        folder = self.path / "runs"
        if not folder.is_dir():
            return []
        runs = [Run(item) for item in folder.iterdir() if item.is_dir() and item.name[0] != "."]
        return sorted(runs, key=lambda run: run.order, reverse=True)

    def run(self, name: str) -> Run:
        """Give the run of that name; ``latest`` is the newest.

        Raises
        ------
        MedsslError
            If there is none; the message lists those there are.
        """
        runs = self.runs()
        if name == "latest" and runs:
            return runs[0]
        for run in runs:
            if run.name == name:
                return run
        known = ", ".join(run.name for run in runs) or "none yet"
        raise MedsslError(f"The project {self.name} has no run {name!r}. Its runs: {known}.")

    def new_run(self, label: str) -> Run:
        """Make a run folder ``<date>-<label>-<number>``; numbers count all runs of a day.

        Parameters
        ----------
        label : str
            Usually the method's key.
        """
        clean = re.sub(r"[^A-Za-z0-9_]+", "-", label).strip("-")
        if not clean:
            raise MedsslError(f"{label!r} cannot name a run: it has no letter or digit.")
        today = datetime.datetime.now().astimezone().strftime("%Y%m%d")
        number = max((run.order[1] for run in self.runs() if run.order[0] == today), default=0)
        while True:
            number += 1
            path = self.path / "runs" / f"{today}-{clean}-{number:02d}"
            try:
                path.parent.mkdir(exist_ok=True)
                path.mkdir()  # the lock against another process that wants the same name
            except FileExistsError:
                continue
            except OSError as error:
                raise WriteError(f"{path} cannot be made: {error.strerror}.") from error
            return Run(path)

    def prediction_path(self, run: str, name: str) -> Path:
        """Give the file of an image's prediction by a run: ``predictions/<run>/<name>.tif``."""
        return inside(inside(self.path / "predictions", run), name, suffix=".tif")

    def embedding_path(self, run: str, name: str) -> Path:
        """Give the file of an image's embedding by a run: ``embeddings/<run>/<name>.npy``."""
        return inside(inside(self.path / "embeddings", run), name, suffix=".npy")

    def derived(self, key: str, compute: Callable[[], T]) -> T:
        """Give a value that is computed once per project and then kept in ``derived/<key>.json``.

        Parameters
        ----------
        key : str
            Lower-case letters, digits, ``-`` and ``_``.
        compute : callable
            Called where nothing is kept yet; gives something JSON can hold.
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", key) or key == self._cache_path.stem:
            raise MedsslError(
                f"{key!r} cannot be the key of a derived value: lower-case letters, digits, '-' and '_'."
            )
        path = self._cache_path.with_name(f"{key}.json")
        with self._derived_lock:
            if not path.is_file():
                write_json(path, {"value": compute()})
            value: T = read_json(path)["value"]
        return value

    @property
    def _cache_path(self) -> Path:
        return self.path / "derived" / "scan.json"

    def _entry(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            near = difflib.get_close_matches(name, self.images, n=3)
            raise MedsslError(
                f"The project {self.name} has no image {name!r}.",
                advice=f"Did you mean {' or '.join(near)}?" if near else "",
            )
        if entry.reason:
            raise MedsslError(f"The image {name} cannot be used: {entry.reason}.")
        return entry

    def _decoded(self, name: str) -> NDArray[Any]:
        entry = self._entry(name)
        try:
            image = decode(self.image_root / name)
        except UnreadableImageError as error:
            raise UnreadableImageError(
                f"The image {self.image_root / name} cannot be read: {error.message}."
            ) from error
        if image.shape[1:] != entry.shape:
            raise UnreadableImageError(
                f"The image {name} was {entry.shape} and is {image.shape[1:]} now (Y, X).",
                advice="Open the project again.",
            )
        return image

    def _stored(self, name: str) -> NDArray[Any]:
        return to_channels(self._decoded(name), len(self.settings.channels))

    def _examine(
        self, known: dict[str, Entry], progress: Callable[[int, int], None] | None
    ) -> bool:
        """Find the images; tell whether anything differs from `known`."""
        listing = list_files(
            self.image_root, recursive=self.settings.recursive, excluded=self.settings.excluded
        )
        entries = examine(self.image_root, listing.files, known=known, progress=progress)
        changed = entries != known
        self._entries = entries
        self._limits = {}
        self.images = tuple(name for name, entry in entries.items() if not entry.reason)
        self._report = report(listing, entries)
        return changed

    def _save_cache(self) -> None:
        try:
            save_cache(self._cache_path, self._entries)
        except WriteError as error:
            # A project on a read-only share still opens, only slower.
            self._notes = (f"Nothing can be stored in this project: {error.message}",)

    def _check_unused(self, current: ProjectSettings, keep: int) -> None:
        for name in self.annotations.annotated():
            highest = max(self.annotations.counts(name))
            if highest > keep:
                raise MedsslError(
                    f"The class {current.classes[highest - 1].name!r} cannot go: {name} has pixels of it.",
                    advice="Erase them first.",
                )


def _check_place(path: Path, root: Path) -> None:
    if path == root:
        raise MedsslError(
            f"The project cannot be made in the image folder itself ({root}).",
            advice="Choose a folder beside it.",
        )
    if (path / "project.json").exists():
        raise MedsslError(f"There is a project in {path} already.", advice="Open it instead.")
    if path.exists() and not path.is_dir():
        raise MedsslError(f"{path} is a file; a project is a folder.")
    # A creation that was killed may have left parts; they are taken over.
    held = [item.name for item in path.iterdir()] if path.is_dir() else []
    others = [n for n in held if n not in _PARTS and not n.startswith(TEMPORARY_PREFIX)]
    if others:
        raise MedsslError(
            f"The folder {path} holds other things ({', '.join(sorted(others)[:3])}).",
            advice="Choose a new or empty folder for the project.",
        )
