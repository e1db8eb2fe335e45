"""What ``project.json`` holds."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from napari_medssl.config import Config, refuse_newer, version_of
from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import atomic, read_json, write_json
from napari_medssl.project.image_rules import ImageRule

__all__ = [
    "BACKGROUND",
    "CLASS_COLORS",
    "FOREGROUND",
    "GREY",
    "RGB",
    "SCHEMA_VERSION",
    "ClassInfo",
    "Normalisation",
    "ProjectSettings",
    "load_settings",
    "migrate",
    "write_settings",
]

SCHEMA_VERSION = 4

GREY = ("grey",)
RGB = ("red", "green", "blue")

CLASS_COLORS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""For new classes, in this order; told apart by colour-blind people too (Okabe and Ito)."""


class ClassInfo(Config):
    """One class of a project."""

    value: int = Field(ge=1, le=65535)
    """Its label value; 0 is no class, it means "not annotated"."""
    name: str = Field(min_length=1)
    color: str = Field(pattern=r"^#[0-9a-f]{6}$")
    """``#rrggbb``."""


BACKGROUND = ClassInfo(value=1, name="background", color="#808080")
FOREGROUND = ClassInfo(value=2, name="foreground", color=CLASS_COLORS[0])


class Normalisation(Config):
    """How grey values become 0 to 1: by percentiles of each image and channel, clipped."""

    low: float = Field(default=1.0, ge=0, lt=50)
    """Percentile that becomes 0."""
    high: float = Field(default=99.8, gt=50, le=100)
    """Percentile that becomes 1."""


class ProjectSettings(Config):
    """The settings of a project."""

    schema_version: Literal[4] = 4
    image_root: str = Field(min_length=1)
    """The image folder, relative to the project folder, with forward slashes."""
    recursive: bool = True
    """Whether the image folder's own folders belong to it."""
    excluded: tuple[str, ...] = ()
    """Folders and files of the image folder that are no images, relative to it (masks, for example)."""
    channels: tuple[str, ...] = GREY
    """Names of the channels that are read. Without `channel_indices`, ``("grey",)`` or ``("red", "green", "blue")``."""
    channel_indices: tuple[int, ...] | None = None
    """Which of the stored channels these are, counted from 0; None for files that are grey or RGB."""
    axes: dict[str, str] = Field(default_factory=dict)
    """How the axes of files are to be read, as stored -> as meant, for example ``QYX`` -> ``CYX``."""
    classes: tuple[ClassInfo, ...] = (BACKGROUND, FOREGROUND)
    """Background (1) first, the others by their values, which may have gaps where classes were removed."""
    removed_classes: tuple[ClassInfo, ...] = ()
    """Classes there once were. Runs of that time still predict their values, so no other class ever has these."""
    mask_values: dict[int, int] = Field(default_factory=dict)
    """What the values of imported class masks mean: value in the mask -> label value."""
    task: Literal["semantic"] = "semantic"
    normalisation: Normalisation = Normalisation()
    groups: ImageRule | None = None
    """Which images belong together (a patient's, a plate's): such are never parted between training and test."""
    image_labels: ImageRule | None = None
    """The class of each image as a whole."""

    @field_validator("image_root")
    @classmethod
    def _relative(cls, value: str) -> str:
        _check_relative(value)
        return value

    @field_validator("excluded")
    @classmethod
    def _within(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            _check_relative(name)
            if ".." in PurePosixPath(name).parts:
                raise ValueError(f"{name!r} leads out of the image folder")
        return value

    @field_validator("axes")
    @classmethod
    def _readable(cls, value: dict[str, str]) -> dict[str, str]:
        for stored, meant in value.items():
            if not re.fullmatch(r"[A-Z]{2,9}", stored) or len(stored) != len(meant):
                raise ValueError(f"{stored} cannot be read as {meant}: one capital letter per axis")
            if set(meant) - set("TZPCSYX") or (meant.count("Y"), meant.count("X")) != (1, 1):
                raise ValueError(
                    f"{stored} cannot be read as {meant}: axes are T (time), Z (depth), P (position), C (channel),"
                    " S (red, green, blue), and one Y and one X"
                )
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_channels(self.channels, self.channel_indices)
        values = [item.value for item in self.classes]
        if len(values) < 2 or values[0] != BACKGROUND.value or values != sorted(set(values)):
            raise ValueError(
                "classes have rising values, the first 1 (background), and there are at least two"
            )
        gone = [item.value for item in self.removed_classes]
        if len(set(gone)) < len(gone) or set(gone) & set(values):
            raise ValueError(
                "each value belongs to one class, also the values of classes that were removed"
            )
        names = [item.name for item in self.classes]
        if len(set(names)) < len(names):
            raise ValueError(f"two classes have the same name: {', '.join(names)}")
        return self

    @property
    def known_classes(self) -> tuple[ClassInfo, ...]:
        """The classes, and those that were removed: what a prediction of an older run may hold."""
        return (*self.classes, *self.removed_classes)


def load_settings(folder: Path) -> ProjectSettings:
    """Read the ``project.json`` of a project folder; an older one is brought up to date in memory.

    Raises
    ------
    MedsslError
        If it is missing, damaged, or of a newer schema; nothing is changed.
    """
    file = folder / "project.json"
    if not file.is_file():
        raise MedsslError(
            f"{folder} is no project: it has no project.json.",
            advice="Choose the project folder, or make a project for a folder of images.",
        )
    stored = read_json(file)
    refuse_newer(stored, SCHEMA_VERSION, what=f"The project {folder}", purpose="open it")
    settings: ProjectSettings = ProjectSettings.parse(migrate(stored), where=str(file))
    return settings


def migrate(stored: Any) -> Any:
    """Bring what an older version stored to the present schema; anything else is given back as it is.

    Schema 2 added `channel_indices` and `axes`, schema 3 `groups` and `image_labels`, schema 4 `removed_classes`; their
    defaults mean what the older ones did.
    """
    if version_of(stored) in range(1, SCHEMA_VERSION):
        return {**stored, "schema_version": SCHEMA_VERSION}
    return stored


def write_settings(folder: Path, settings: ProjectSettings) -> None:
    """Write the ``project.json`` of a project folder, atomically.

    One of an older schema is kept beside it, as ``project.json.v1.bak``, for the version that wrote it.
    """
    file = folder / "project.json"
    version = version_of(read_json(file)) if file.is_file() else None
    if version is not None and version < SCHEMA_VERSION:
        with atomic(folder / f"project.json.v{version}.bak") as temporary:
            shutil.copyfile(file, temporary)
    write_json(file, settings.model_dump(mode="json"))


def _check_relative(path: str) -> None:
    """Refuse a path that is not relative in this system's and in any other's way of writing it."""
    if not path or path.startswith("/") or "\\" in path or PureWindowsPath(path).drive:
        raise ValueError(f"{path!r} is not relative, with forward slashes")
    if "\0" in path:
        raise ValueError(f"{path!r} holds a character that no path has")
    os.fsencode(path)  # a ValueError, too, where the system has no such name


def _check_channels(names: tuple[str, ...], indices: tuple[int, ...] | None) -> None:
    if indices is None:
        if names not in (GREY, RGB):
            raise ValueError(
                f"without channel_indices, channels are (grey) or (red, green, blue), not ({', '.join(names)})"
            )
        return
    if not names or len(names) != len(indices):
        raise ValueError("channels and channel_indices are of the same length, at least one each")
    if min(indices) < 0 or len(set(indices)) < len(indices):
        raise ValueError("channel_indices count from 0, each at most once")
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"channels have names that differ, not ({', '.join(names)})")
