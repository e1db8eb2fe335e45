"""The newest scores of a run, as they are kept in its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.metrics import Evaluation
from napari_medssl.project.checkpoint import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.project import Project, Run

__all__ = ["EVALUATION", "REPORT", "changed_since", "read_evaluation"]

EVALUATION = "evaluation.json"
"""The scores, in the folder of the run."""
REPORT = "report.html"
"""Where the viewer has the report on them written, in the same folder."""


def read_evaluation(run: Run) -> Evaluation | None:
    """Read the newest scores of a run; None where it was never evaluated.

    Raises
    ------
    MedsslError
        If the file is damaged, or of a newer version.
    """
    path = run.path / EVALUATION
    if not path.is_file():
        return None
    try:
        found: Evaluation = Evaluation.parse(read_json(path), where=str(path))
    except MedsslError as error:
        raise MedsslError(error.message, advice="Evaluate the run again.") from error
    return found


def changed_since(project: Project, run: Run, evaluation: Evaluation) -> tuple[str, ...]:
    """Give the scored images whose annotation, or prediction, was written after the scores of the run.

    Parameters
    ----------
    project : Project
        Whose images.
    run : Run
        What was scored.
    evaluation : Evaluation
        Its stored scores, as of `read_evaluation`. Where they were made with a folder of masks, annotations do not
        count.
    """
    scored = _written(run.path / EVALUATION)
    with_masks = evaluation.truth is not None and evaluation.truth.folder is not None
    annotated = {} if with_masks else project.annotations.versions()

    def changed(image: str) -> bool:
        _, annotation = annotated.get(image, (0, 0))
        return max(annotation, _written(project.prediction_path(run.name, image))) > scored

    return tuple(row.image for row in evaluation.images if changed(row.image))


def _written(path: Path) -> int:
    """Give the time, in nanoseconds, at which a file was written; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
