"""Annotation-efficient segmentation: pretrain without labels, annotate a little, explore a lot.

The names below are the whole public API. They are loaded on first use, so that importing the package
(which napari does to find the plugin) never pays for, or even needs, torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_medssl.engine.api import (
        assess,
        colours,
        compare,
        compare_methods,
        compare_scores,
        embed,
        experiment,
        export,
        finetune,
        label_similar,
        make_query,
        mean_ranks,
        more_annotations,
        neighbours,
        predict,
        pretrain,
        rank,
        recommend,
        resume,
        similar,
        suggest,
    )
    from napari_medssl.project import Project, Run

try:
    from napari_medssl._version import __version__
except ImportError:  # a source tree that was never built
    __version__ = "0+unknown"

_HOME = {
    "Project": "napari_medssl.project",
    "Run": "napari_medssl.project",
    "assess": "napari_medssl.engine.api",
    "colours": "napari_medssl.engine.api",
    "compare": "napari_medssl.engine.api",
    "compare_methods": "napari_medssl.engine.api",
    "compare_scores": "napari_medssl.engine.api",
    "embed": "napari_medssl.engine.api",
    "experiment": "napari_medssl.engine.api",
    "export": "napari_medssl.engine.api",
    "finetune": "napari_medssl.engine.api",
    "label_similar": "napari_medssl.engine.api",
    "make_query": "napari_medssl.engine.api",
    "mean_ranks": "napari_medssl.engine.api",
    "more_annotations": "napari_medssl.engine.api",
    "neighbours": "napari_medssl.engine.api",
    "predict": "napari_medssl.engine.api",
    "pretrain": "napari_medssl.engine.api",
    "rank": "napari_medssl.engine.api",
    "recommend": "napari_medssl.engine.api",
    "resume": "napari_medssl.engine.api",
    "similar": "napari_medssl.engine.api",
    "suggest": "napari_medssl.engine.api",
}

__all__ = [
    "Project",
    "Run",
    "__version__",
    "assess",
    "colours",
    "compare",
    "compare_methods",
    "compare_scores",
    "embed",
    "experiment",
    "export",
    "finetune",
    "label_similar",
    "make_query",
    "mean_ranks",
    "more_annotations",
    "neighbours",
    "predict",
    "pretrain",
    "rank",
    "recommend",
    "resume",
    "similar",
    "suggest",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
