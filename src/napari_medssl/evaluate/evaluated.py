"""The newest scores of a run, as they are kept in its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.metrics import Evaluation
from napari_medssl.project.checkpoint import read_json

if TYPE_CHECKING:
    from napari_medssl.project import Run

__all__ = ["EVALUATION", "REPORT", "read_evaluation"]

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
