"""What ``project.json`` holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "BACKGROUND",
    "CLASS_COLORS",
    "FOREGROUND",
    "SCHEMA_VERSION",
    "ClassInfo",
    "Normalisation",
    "ProjectSettings",
    "load_settings",
    "write_settings",
]

SCHEMA_VERSION = 1

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

    schema_version: Literal[1] = 1
    image_root: str = Field(min_length=1)
    """The image folder, relative to the project folder, with forward slashes."""
    recursive: bool = True
    """Whether the image folder's own folders belong to it."""
    excluded: tuple[str, ...] = ()
    """Folders and files of the image folder that are no images, relative to it (masks, for example)."""
    channels: tuple[str, ...] = ("grey",)
    """``("grey",)`` or ``("red", "green", "blue")``."""
    classes: tuple[ClassInfo, ...] = (BACKGROUND, FOREGROUND)
    mask_values: dict[int, int] = Field(default_factory=dict)
    """What the values of imported class masks mean: value in the mask -> label value."""
    task: Literal["semantic"] = "semantic"
    normalisation: Normalisation = Normalisation()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.channels not in (("grey",), ("red", "green", "blue")):
            raise ValueError("channels are (grey) or (red, green, blue)")
        if self.image_root.startswith("/") or "\\" in self.image_root:
            raise ValueError("image_root is relative to the project, with forward slashes")
        values = [item.value for item in self.classes]
        if len(values) < 2 or values != list(range(1, len(values) + 1)):
            raise ValueError(
                "classes have the values 1 (background), 2, 3, ... in this order, at least two"
            )
        names = [item.name for item in self.classes]
        if len(set(names)) < len(names):
            raise ValueError(f"two classes have the same name: {', '.join(names)}")
        return self


def load_settings(folder: Path) -> ProjectSettings:
    """Read the ``project.json`` of a project folder.

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
    version = stored.get("schema_version") if isinstance(stored, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise MedsslError(
            f"The project {folder} was made by a newer napari-medssl (schema {version}; this one knows"
            f" {SCHEMA_VERSION}). Nothing was changed.",
            advice="Update napari-medssl to open it.",
        )
    settings: ProjectSettings = ProjectSettings.parse(stored, where=str(file))
    return settings


def write_settings(folder: Path, settings: ProjectSettings) -> None:
    """Write the ``project.json`` of a project folder, atomically."""
    write_json(folder / "project.json", settings.model_dump(mode="json"))
