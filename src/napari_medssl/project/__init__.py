"""Everything on disk: the only room that knows paths. Neither torch nor Qt."""

from __future__ import annotations

from napari_medssl.project.annotations import Annotations, Status
from napari_medssl.project.catalogue import Checked, scan
from napari_medssl.project.checkpoint import (
    WriteError,
    atomic,
    read_json,
    read_labels,
    write_json,
    write_tiff_labels,
)
from napari_medssl.project.image_rules import (
    ImageRule,
    PatternRule,
    RuleReport,
    TableRule,
    check_rule,
    table_columns,
    table_rule,
)
from napari_medssl.project.images import UnreadableImageError
from napari_medssl.project.masks import ImportReport, MasksAs, import_masks
from napari_medssl.project.objects import Objects
from napari_medssl.project.project import Project
from napari_medssl.project.report import FolderReport, Skipped
from napari_medssl.project.run import Run, RunStatus
from napari_medssl.project.settings import ClassInfo, Normalisation, ProjectSettings
from napari_medssl.project.truth import Truth, load_truth
from napari_medssl.project.viewer_lock import ViewerLock

__all__ = [
    "Annotations",
    "Checked",
    "ClassInfo",
    "FolderReport",
    "ImageRule",
    "ImportReport",
    "MasksAs",
    "Normalisation",
    "Objects",
    "PatternRule",
    "Project",
    "ProjectSettings",
    "RuleReport",
    "Run",
    "RunStatus",
    "Skipped",
    "Status",
    "TableRule",
    "Truth",
    "UnreadableImageError",
    "ViewerLock",
    "WriteError",
    "atomic",
    "check_rule",
    "import_masks",
    "load_truth",
    "read_json",
    "read_labels",
    "scan",
    "table_columns",
    "table_rule",
    "write_json",
    "write_tiff_labels",
]
