"""Everything on disk: the only room that knows paths. Neither torch nor Qt."""

from __future__ import annotations

from napari_medssl.project.annotations import Annotations, Status
from napari_medssl.project.checkpoint import (
    WriteError,
    atomic,
    read_json,
    read_labels,
    write_json,
    write_tiff_labels,
)
from napari_medssl.project.images import UnreadableImageError
from napari_medssl.project.masks import (
    ImportReport,
    MasksAs,
    import_masks,
    read_truth,
)
from napari_medssl.project.project import Project
from napari_medssl.project.report import FolderReport, Skipped
from napari_medssl.project.run import Run, RunStatus
from napari_medssl.project.scan import scan
from napari_medssl.project.settings import ClassInfo, Normalisation, ProjectSettings
from napari_medssl.project.truth import Truth, load_truth

__all__ = [
    "Annotations",
    "ClassInfo",
    "FolderReport",
    "ImportReport",
    "MasksAs",
    "Normalisation",
    "Project",
    "ProjectSettings",
    "Run",
    "RunStatus",
    "Skipped",
    "Status",
    "Truth",
    "UnreadableImageError",
    "WriteError",
    "atomic",
    "import_masks",
    "load_truth",
    "read_json",
    "read_labels",
    "read_truth",
    "scan",
    "write_json",
    "write_tiff_labels",
]
