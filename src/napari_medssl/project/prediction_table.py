"""What a run predicted of each image, in numbers: ``predictions/<run>/images.csv``.

A row is added once everything that belongs to an image is complete on disk, so it is also what says that an image is
predicted: what a killed job leaves behind, what weights made that are not the run's any more, and what was predicted of
an image that another one has replaced since, does not count.
"""

from __future__ import annotations

import csv
import functools
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medssl.errors import MedsslError
from napari_medssl.project.checkpoint import append_line, atomic, read_lines
from napari_medssl.project.entries import digest_of
from napari_medssl.project.image_files import label_files
from napari_medssl.project.locks import held

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_medssl.project.fingerprints import Fingerprint
    from napari_medssl.project.project import Project
    from napari_medssl.project.run import Run

__all__ = [
    "PredictionRow",
    "add_to_table",
    "predicted_images",
    "prediction_name",
    "read_prediction_table",
    "replaced_images",
    "weights_digest",
]

_COLUMNS = (
    "image",
    "uncertainty",
    "objects",
    "bytes",
    "weights",
    "image_size",
    "image_mtime",
    "image_sha256",
)
_SHARE = "share of "
_DIGITS = 16
_SHORT = 8


@dataclass(frozen=True)
class PredictionRow:
    """What a run predicted of one image."""

    uncertainty: float
    """Mean over the pixels of the entropy of the class probabilities, over that of chance: 0 to 1."""
    shares: Mapping[str, float]
    """Name of each class -> its share of the pixels."""
    objects: int | None
    """Number of objects; None where none were told apart."""
    bytes: int
    """Size of the label file that the row belongs to."""
    weights: str
    """`weights_digest` of the weights that predicted it; of another project's run, `applied_run.weights_here`."""
    seen: Fingerprint
    """Of the image that was predicted."""


def read_prediction_table(project: Project, run: str) -> dict[str, PredictionRow]:
    """Read what is known of each predicted image.

    Parameters
    ----------
    project : Project
        Whose images.
    run : str
        Name of the predictions: that of a run of the project, or what `prediction_name` gives.

    Returns
    -------
    dict
        Image -> its newest row; empty where nothing was predicted. Rows that make no sense are left out: what they
        belong to is predicted again.
    """
    found = {}
    # a last line torn by a kill is none
    for fields in csv.DictReader(read_lines(_path(project, run))):
        try:
            found[fields["image"]] = PredictionRow(
                uncertainty=float(fields["uncertainty"]),
                shares={
                    column.removeprefix(_SHARE): float(value)
                    for column, value in fields.items()
                    if isinstance(column, str) and column.startswith(_SHARE)
                },
                objects=int(fields["objects"]) if fields["objects"] else None,
                bytes=int(fields["bytes"]),
                weights=fields["weights"],
                seen=(
                    (int(fields["image_size"]), int(fields["image_mtime"])),
                    fields["image_sha256"],
                ),
            )
        except (KeyError, TypeError, ValueError):
            continue
    return found


def add_to_table(
    project: Project, run: str, image: str, row: PredictionRow, *, classes: Sequence[str]
) -> None:
    """Say that an image is predicted; its label file is complete by now.

    Parameters
    ----------
    project : Project
        Whose images.
    run : str
        Name of the predictions.
    image : str
        Name of the image.
    row : PredictionRow
        What was predicted; a later row of an image replaces an earlier one.
    classes : sequence of str
        Names of all classes. A table of other columns is begun anew.

    Raises
    ------
    WriteError
        If the system refuses.
    """
    path = _path(project, run)
    (size, mtime), digest = row.seen
    header = [*_COLUMNS, *(_SHARE + name for name in classes)]
    line = _line(
        [
            image,
            f"{row.uncertainty:.5f}",
            "" if row.objects is None else str(row.objects),
            str(row.bytes),
            row.weights,
            str(size),
            str(mtime),
            digest,
            *(f"{row.shares[name]:.5f}" for name in classes),
        ]
    )
    busy = f"Another process is writing {path}."
    # the warm engine adds an image while a job goes through the folder
    with held(path.with_suffix(".lock"), busy=busy, unwritable=f"{path} cannot be written"):
        if _header(path) == header:
            append_line(path, line)
            return
        with atomic(path) as temporary:
            temporary.write_text(f"{_line(header)}\n{line}\n", encoding="utf-8", newline="")


def predicted_images(project: Project, run: str, weights: str) -> frozenset[str]:
    """Give the images whose prediction is complete on disk, was made by these very weights, and is of this very image.

    Parameters
    ----------
    project : Project
        Whose images.
    run : str
        Name of the predictions.
    weights : str
        Of the run as it is now, see `PredictionRow`.
    """
    sizes = {name: size for name, (size, _) in label_files(_path(project, run).parent)}
    rows = {
        image: row
        for image, row in read_prediction_table(project, run).items()
        if row.weights == weights and sizes.get(image) == row.bytes
    }
    return frozenset(rows) - replaced_images(project, rows)


def replaced_images(project: Project, rows: Mapping[str, PredictionRow]) -> frozenset[str]:
    """Give the images that are others than those that were predicted.

    Parameters
    ----------
    project : Project
        Whose images.
    rows : mapping
        Image -> what was predicted of it.
    """
    return project.fingerprints.changed({image: row.seen for image, row in rows.items()})


def prediction_name(project: Project, run: Run) -> str:
    """Name the folder of a run's predictions in a project.

    Returns
    -------
    str
        The name of the project's own run. That of another project's run with a digest of its weights added, as the
        project may have a run of the same name; the same wherever that other project lies.

    Raises
    ------
    MedsslError
        If it is of another project and has no weights.
    """
    if run.path.parent == (project.path / "runs").resolve():
        return run.name
    weights = run.weights()
    if weights is None:
        raise MedsslError(f"The run {run.name} has no weights.", advice="Choose another run.")
    return f"{run.name}.{weights_digest(weights)[:_SHORT]}"


def weights_digest(path: Path) -> str:
    """Give the start of the SHA-256 of a weights file: tells weights apart wherever they are copied.

    Raises
    ------
    MedsslError
        If it cannot be read.
    """
    try:
        status = path.stat()
        return _digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise MedsslError(f"{path} cannot be read: {error.strerror}.") from error


@functools.lru_cache(maxsize=64)
def _digest(path: Path, size: int, time: int) -> str:
    # size and time are for the cache alone: they change with the file
    return digest_of(path)[:_DIGITS]


def _path(project: Project, run: str) -> Path:
    return project.prediction_path(run, "images").with_name("images.csv")


def _header(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        return next(csv.reader([file.readline()]), [])


def _line(fields: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    return text.getvalue()
