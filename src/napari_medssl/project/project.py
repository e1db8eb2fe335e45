"""A project: a folder of images, what was drawn on them, and what was learned from them."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from napari_medssl.errors import MedsslError
from napari_medssl.project import layers
from napari_medssl.project.annotations import Annotations
from napari_medssl.project.channels import choose, default_choice
from napari_medssl.project.checkpoint import read_json, write_json
from napari_medssl.project.entries import load_entries
from napari_medssl.project.fingerprints import Fingerprints
from napari_medssl.project.folder import ImageFolder
from napari_medssl.project.image_rules import assign, stored_rule
from napari_medssl.project.images import split_plane
from napari_medssl.project.listing import LAYERS, is_project, list_files
from napari_medssl.project.mask_names import twins
from napari_medssl.project.masks import find_masks, import_masks
from napari_medssl.project.objects import Objects
from napari_medssl.project.paths import given, inside, relative_posix
from napari_medssl.project.places import check_place, project_folder
from napari_medssl.project.run import Run, list_runs, make_run
from napari_medssl.project.settings import ProjectSettings, load_settings, write_settings
from napari_medssl.project.viewer_lock import ViewerLock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_medssl.project.channels import Choice
    from napari_medssl.project.entries import Entry
    from napari_medssl.project.image_rules import ImageRule
    from napari_medssl.project.layers import Indexable
    from napari_medssl.project.masks import ImportReport, MasksAs
    from napari_medssl.project.report import FolderReport
    from napari_medssl.project.settings import ClassInfo

__all__ = ["PREDICTED_MAPS", "PredictedMap", "Project"]

T = TypeVar("T")

PredictedMap = Literal["probability", "uncertainty"]
"""Maps that a prediction can be kept with."""
PREDICTED_MAPS: tuple[PredictedMap, ...] = ("probability", "uncertainty")

QUICK_SAMPLE = 24
"""So many files are opened to choose the channels of a project that is made quickly."""

_CACHES = frozenset({"scan", "fingerprints"})
_RULES = frozenset({"groups", "image_labels"})


class Project(ImageFolder):
    """A project on disk. Made by `create` or `open`, not by calling the class."""

    annotations: Annotations
    objects: Objects
    fingerprints: Fingerprints
    imported: ImportReport | None
    """What `create` made of the masks it was given."""

    def __init__(self, path: Path, settings: ProjectSettings, image_root: Path) -> None:
        super().__init__(path, settings, image_root)
        self.fingerprints = Fingerprints(self)
        self.annotations = Annotations(self)
        self.objects = Objects(self)
        self.imported = None
        self._vanished: tuple[str, ...] = ()
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
        channels: Sequence[str | int] | None = None,
        axes: Mapping[str, str] | None = None,
        groups: ImageRule | None = None,
        image_labels: ImageRule | None = None,
        empty: bool = False,
        quick: bool = False,
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
        channels : sequence of str or int, optional
            Names or numbers (counted from 0) of the channels to read. Default: grey or RGB, if the files are; else
            all channels if the files agree on their number and it is at most 4, or the first.
        axes : mapping, optional
            How stored axes are to be read where the file does not tell, such as ``{"QYX": "CYX"}``.
        groups, image_labels : PatternRule or TableRule, optional
            Which images belong together, and the class of each image as a whole; see `image_rules`.
        empty : bool
            The folder may be without images: they will come from layers (`add_layer`).
        quick : bool
            Only list the files, but for a few; `check` does the rest.
        progress : callable, optional
            Called with (done, total) files while the folder is looked through, then again for the masks.

        Raises
        ------
        MedsslError
            If there is no usable image, or the place is taken or cannot be written.
        """
        root = given(images).resolve()
        if is_project(root):
            raise MedsslError(f"{root} is itself a project.", advice="Open it instead.")
        path = given(project) if project else root.parent / f"{root.name}-medssl"
        path = path.resolve()
        check_place(path, root)
        mask_folder = given(masks).resolve() if masks else None
        excluded: tuple[str, ...] = ()
        if mask_folder == root:  # masks among their images
            excluded = tuple(twins(list_files(root, recursive=recursive).files))
        elif mask_folder is not None and mask_folder.is_relative_to(root):
            excluded = (mask_folder.relative_to(root).as_posix(),)
        settings: ProjectSettings = ProjectSettings.parse(
            {
                "image_root": relative_posix(root, path),
                "recursive": recursive,
                "excluded": excluded,
                "axes": dict(axes or {}),
            },
            where=path.name,
        )
        made = cls(path, settings, root)
        made._find_images({}, quick=quick, sample=QUICK_SAMPLE, progress=progress)
        made._choose(channels)
        if not made.images and not empty:
            raise MedsslError(f"{root} holds no usable image.\n{made.report.text()}")
        if mask_folder is not None:
            # A wrong folder is refused before anything is written.
            find_masks(made.images, mask_folder, image_root=root)
        rules = {"groups": groups, "image_labels": image_labels}
        made.settings = made.settings.model_copy(update=made._usable(rules))
        write_settings(path, made.settings)
        made._save_cache()
        if mask_folder is not None:
            made.imported = import_masks(made, mask_folder, masks_as, progress=progress)
        return made

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        images: str | Path | None = None,
        quick: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Project:
        """Open a project and look for images that came, went or changed.

        Parameters
        ----------
        path : path
            The project folder, or the ``project.json`` in it.
        images : path, optional
            Where the image folder is now, if it was moved; stored.
        quick : bool
            Only list the files: one that was never opened counts as one usable image until it is looked at, by
            `check`, or because something of it is asked for.
        progress : callable, optional
            Called with (done, total) files while new or changed images are looked at.

        Raises
        ------
        MedsslError
            If it is no project, is damaged, was made by a newer version, or its image folder is not found.
        """
        folder = project_folder(path)
        settings = load_settings(folder)
        if images is None:
            root = (folder / settings.image_root).resolve()
            if not root.is_dir():
                raise MedsslError(
                    f"The image folder of the project {folder} is not where it was: {root}.",
                    advice="Move it back, or tell where it is now: medssl check PROJECT --images FOLDER"
                    " (in Python: Project.open(..., images=...)).",
                )
        else:
            root = given(images).resolve()
            settings = settings.model_copy(update={"image_root": relative_posix(root, folder)})
        opened = cls(folder, settings, root)
        cached = load_entries(opened._cache_path, axes=settings.axes)
        changed = opened._find_images(cached, quick=quick, progress=progress)
        if images is not None:
            before = {name for name in cached if not name.startswith(f"{LAYERS}/")}
            if before and not before & opened._catalogue.files.keys():
                raise MedsslError(
                    f"{root} holds none of the {len(before)} images of the project {folder}."
                )
            opened._store(lambda: write_settings(folder, settings))
        if changed and not quick:
            opened._save_cache()
        return opened

    @property
    def report(self) -> FolderReport:
        """What was found in the image folder, and what was skipped and why."""
        found = super().report
        notes = []
        if self._vanished:
            some = ", ".join(self._vanished[:3]) + (", ..." if len(self._vanished) > 3 else "")
            notes.append(
                f"Annotated, but no longer there: {len(self._vanished)} ({some}). The annotations are kept."
            )
        if self._unwritable:
            notes.append(f"Nothing can be stored in this project: {self._unwritable}")
        return found.model_copy(update={"notes": (*found.notes, *notes)}) if notes else found

    def update(self, **changes: Any) -> None:
        """Change settings and store them.

        Parameters
        ----------
        **changes
            Fields of `ProjectSettings`, for example ``classes`` or ``channels``. The latter alone may be names or
            numbers (counted from 0) of stored channels, and `channel_indices` follow.

        Raises
        ------
        ConfigError
            If a value is not allowed.
        MedsslError
            If a class that is to go is still used in annotations, or a rule for `groups` or `image_labels` gives no
            image a value.
        """
        fixed = sorted({"schema_version", "image_root"} & changes.keys())
        if fixed:
            raise MedsslError(
                f"{', '.join(fixed)} cannot be changed here.",
                advice="To tell where the images are now, open the project with images=...",
            )
        if "removed_classes" in changes:
            raise MedsslError("removed_classes follow from classes: they are not set.")
        # From disk: another process may have changed another field since.
        current = load_settings(self.path)
        if "channels" in changes and "channel_indices" not in changes:
            if tuple(changes["channels"]) == current.channels:
                chosen: Choice = (current.channels, current.channel_indices)
            else:
                chosen = choose(changes["channels"], self._catalogue.headers())
            changes = {**changes, "channels": chosen[0], "channel_indices": chosen[1]}
        settings: ProjectSettings = ProjectSettings.parse(
            {**current.model_dump(exclude={"removed_classes"}), **changes}, where=self.name
        )
        kept = {item.value for item in settings.classes}
        removed = tuple(item for item in current.known_classes if item.value not in kept)
        settings = settings.model_copy(update={"removed_classes": removed})
        rules = {key: getattr(settings, key) for key in _RULES & changes.keys()}
        settings = settings.model_copy(update=self._usable(rules))
        self._check_unused([item for item in current.classes if item.value not in kept])
        write_settings(self.path, settings)
        self._apply(settings)

    def groups(self) -> dict[str, str]:
        """Give image -> the group it belongs to (a patient, a plate), for the images that have one.

        Raises
        ------
        MedsslError
            If the table that says so cannot be read any more, or fits no image.
        """
        return self._values(self.settings.groups)

    def image_labels(self) -> dict[str, str]:
        """Give image -> its class as a whole, for the images that have one; errors as for `groups`."""
        return self._values(self.settings.image_labels)

    def runs(self) -> list[Run]:
        """Give all runs, the newest first."""
        return list_runs(self.path / "runs")

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
        return make_run(self.path / "runs", label)

    def lock_for_viewer(self) -> ViewerLock:
        """Hold the project for a viewer until the lock's `release`, or until this process dies.

        In a folder that cannot be written nothing is held, and the lock's `reason` says why.

        Raises
        ------
        MedsslError
            If another viewer holds it; the message says which.
        """
        return ViewerLock(self.path)

    def add_layer(
        self,
        data: Indexable,
        *,
        name: str,
        axes: str,
        channel_names: Sequence[str] = (),
        scale: tuple[float, float] | None = None,
        translate: tuple[float, float] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> tuple[str, ...]:
        """Store an open napari layer as an image of the project, plane by plane.

        Parameters
        ----------
        data : array-like
            Anything with shape, type and slices: numpy, dask, the finest level of a pyramid.
        name : str
            The layer's.
        axes : str
            A letter for each axis: T, Z, C, S (red, green, blue), Y and X.
        channel_names : sequence of str
            One for each of C; may be empty.
        scale, translate : tuple of float, optional
            (y, x) as the layer had them; `placement` gives them back.
        progress : callable, optional
            Called with (done, total) written pages.

        Returns
        -------
        tuple of str
            The new names among `images`.

        Raises
        ------
        MedsslError
            If it cannot be stored, or is no usable image for this project; the message says why.
        """
        given = {"scale": scale, "translate": translate}
        placement: layers.Placement = layers.Placement.parse(
            {key: value for key, value in given.items() if value is not None}, where=name
        )
        written = layers.write_layer(
            self.path / "layers",
            data,
            name=name,
            axes=axes,
            channel_names=channel_names,
            placement=placement,
            progress=progress,
        )
        file = f"{LAYERS}/{written}"
        first = not self._catalogue.files
        self._find_images(None, quick=True)
        header = self._catalogue.look(file).header
        if first and header is not None:  # a project made without images has no channels yet
            channels, indices = default_choice([header], coloured=header.rgb)
            self.update(channels=channels, channel_indices=indices)
        if names := self._catalogue.images_in(file):
            return names
        reason = self._catalogue.reason(file)
        path = self._catalogue.path(file)
        path.unlink()
        path.with_suffix(".json").unlink()
        self._find_images(None, quick=True)
        raise MedsslError(f"The layer {name} cannot be used in this project: {reason}.")

    def placement(self, name: str) -> tuple[tuple[float, float], tuple[float, float]]:
        """Give (scale, translate), (y, x) each, of an image: as its layer had them; ones and zeros for files."""
        if not name.startswith(f"{LAYERS}/"):
            return (1.0, 1.0), (0.0, 0.0)
        kept = layers.read_placement(self.image_path(name))
        return kept.scale, kept.translate

    def prediction_path(self, run: str, name: str) -> Path:
        """Give the file of an image's prediction by a run: ``predictions/<run>/<name>.tif``."""
        return inside(inside(self.path / "predictions", run), name, suffix=".tif")

    def predicted_objects_path(self, run: str, name: str) -> Path:
        """Give the file of an image's objects as a run predicts them: ``predictions/<run>.objects/<name>.tif``."""
        return self.prediction_path(f"{run}.objects", name)

    def predicted_distance_path(self, run: str, name: str) -> Path:
        """Give the file of the distance map that they were found in: ``predictions/<run>.distance/<name>.tif``."""
        return self.prediction_path(f"{run}.distance", name)

    def predicted_map_path(self, run: str, name: str, which: PredictedMap) -> Path:
        """Give the file of class probabilities or of uncertainty: ``predictions/<run>.<which>/<name>.tif``."""
        return self.prediction_path(f"{run}.{which}", name)

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
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,99}", key) or key in _CACHES:
            raise MedsslError(
                f"{key!r} cannot be the key of a derived value: lower-case letters, digits, '-' and '_'."
            )
        path = self._cache_path.with_name(f"{key}.json")
        with self._derived_lock:
            if not path.is_file():
                write_json(path, {"value": compute()})
            value: T = read_json(path)["value"]
        return value

    def _find_images(
        self,
        known: Mapping[str, Entry] | None,
        *,
        quick: bool,
        sample: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> bool:
        changed = super()._find_images(known, quick=quick, sample=sample, progress=progress)
        self._vanished = tuple(
            name
            for name in self.annotations.stored()
            if split_plane(name)[0] not in self._catalogue.files
        )
        return changed

    def _choose(self, wanted: Sequence[str | int] | None) -> None:
        """Settle the channels of a new project."""
        if wanted is not None:
            channels, indices = choose(wanted, self._catalogue.headers())
        else:
            headers = self._catalogue.headers()
            channels, indices = default_choice(headers, coloured=self._catalogue.report().colour)
        settings: ProjectSettings = ProjectSettings.parse(
            self.settings.model_dump() | {"channels": channels, "channel_indices": indices},
            where=self.name,
        )
        self._apply(settings)

    def _apply(self, settings: ProjectSettings) -> None:
        """Work with other settings from now on."""
        before, self.settings = self.settings, settings
        catalogue = self._catalogue
        catalogue.choose(self._choice)
        if settings.axes != before.axes:
            catalogue.axes = dict(settings.axes)
            self._find_images({}, quick=False)
            self._save_cache()
        elif (settings.recursive, settings.excluded) != (before.recursive, before.excluded):
            catalogue.recursive, catalogue.excluded = settings.recursive, settings.excluded
            self.rescan()

    def _values(self, rule: ImageRule | None) -> dict[str, str]:
        return assign(rule, self.images, folder=self.path) if rule is not None else {}

    def _usable(self, rules: Mapping[str, ImageRule | None]) -> dict[str, ImageRule | None]:
        """Give rules as they are stored; refuses those that give no image a value."""
        kept = {}
        for key, rule in rules.items():
            kept[key] = stored_rule(rule, self.path) if rule is not None else None
            self._values(kept[key])
        return kept

    def _check_unused(self, going: Sequence[ClassInfo]) -> None:
        for name in self.annotations.annotated() if going else ():
            counts = self.annotations.counts(name)
            for item in going:
                if counts.get(item.value):
                    raise MedsslError(
                        f"The class {item.name!r} cannot go: {name} has pixels of it.",
                        advice="Erase them first.",
                    )
