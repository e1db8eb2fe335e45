"""The scores of an evaluation as tidy CSV files, for pandas and spreadsheets."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from napari_medssl.evaluate.class_scores import ClassScore
from napari_medssl.evaluate.instances import THRESHOLDS
from napari_medssl.evaluate.objects import MEASURES
from napari_medssl.evaluate.outlines import OutlineScore
from napari_medssl.project.checkpoint import atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from napari_medssl.evaluate.metrics import Evaluation

__all__ = ["write_csv"]

_OVER = tuple(f"f1_{round(100 * at)}" for at in THRESHOLDS)
"""Columns of F1 over thresholds of the overlap: ``f1_50`` to ``f1_95``."""


def write_csv(evaluation: Evaluation, path: Path) -> tuple[Path, Path]:
    """Write the scores of images, and beside them those of pixels pooled over images; each atomically.

    Parameters
    ----------
    evaluation : Evaluation
        The scores.
    path : Path
        Gets one line per image and class. Scores of objects, with F1 over thresholds of the overlap, stand in each
        line of their image; cells are empty where objects or outlines of an image were not scored.

    Returns
    -------
    tuple of Path
        `path`, and ``NAME-pooled.csv`` beside it: one line per class of all images together, and of each volume.
    """
    pooled = path.with_name(f"{path.stem}-pooled.csv")
    head, lines = _images(evaluation)
    _write(path, head, lines)
    _write(
        pooled,
        ["pooled", "group", "images", "class", *ClassScore.model_fields],
        _pooled(evaluation),
    )
    return path, pooled


def _images(evaluation: Evaluation) -> tuple[list[str], Iterator[list[Any]]]:
    found = () if evaluation.objects is None else evaluation.objects.images
    objects = {row.image: row for row in found}
    measures = [*MEASURES, *_OVER] if objects else []
    outlines = {} if evaluation.outlines is None else evaluation.outlines.images
    drawn = list(OutlineScore.model_fields) if outlines else []

    def lines() -> Iterator[list[Any]]:
        for row in evaluation.images:
            counted = objects.get(row.image)
            own: list[Any] = [None] * len(measures)
            if counted is not None:
                own = [*(getattr(counted, name) for name in MEASURES), *counted.f1_over]
            for label, score in row.classes.items():
                near = outlines.get(row.image, {}).get(label)
                edge = [None if near is None else getattr(near, name) for name in drawn]
                yield [row.image, label, *score.model_dump().values(), *edge, *own]

    return ["image", "class", *ClassScore.model_fields, *drawn, *measures], lines()


def _pooled(evaluation: Evaluation) -> Iterator[list[Any]]:
    for label, score in evaluation.pooled.items():
        count = len(evaluation.images)
        yield ["all images", None, count, label, *score.model_dump().values()]
    for volume in () if evaluation.volumes is None else evaluation.volumes.volumes:
        for label, score in volume.classes.items():
            own = score.model_dump().values()
            yield ["volume", volume.group, len(volume.images), label, *own]


def _write(path: Path, head: list[str], lines: Iterable[list[Any]]) -> None:
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(lines)
