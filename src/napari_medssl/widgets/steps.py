"""The seven steps in order: what each is called, when it is possible, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medssl.widgets.annotate_step import AnnotateStep
from napari_medssl.widgets.evaluate_step import EvaluateStep
from napari_medssl.widgets.explore import ExplorePanel
from napari_medssl.widgets.finetune_step import FinetuneStep
from napari_medssl.widgets.predict_step import PredictStep
from napari_medssl.widgets.pretrain_step import PretrainStep
from napari_medssl.widgets.project_step import ProjectStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_medssl.widgets.session import Session

__all__ = ["STEPS", "StepInfo"]


@dataclass(frozen=True)
class StepInfo:
    """One step of the workspace.

    Parameters
    ----------
    title : str
        Its name.
    make : callable
        Makes its content for a session.
    why_not : callable
        Says in a few words what is missing, or nothing when the step is possible.
    state : callable
        Says in a few words how far it is.
    """

    title: str
    make: Callable[[Session], QWidget]
    why_not: Callable[[Session], str]
    state: Callable[[Session], str]


def _needs_images(session: Session) -> str:
    if session.project is None:
        return "needs a project"
    return "" if session.project.images else "the project has no usable image"


def _needs_labels(session: Session) -> str:
    missing = _needs_images(session)
    if missing:
        return missing
    return "" if session.overview.annotated.images else "annotate an image first"


def _needs_run(session: Session) -> str:
    missing = _needs_images(session)
    if missing:
        return missing
    return "" if session.current_run is not None else "train a network first"


def _project_state(session: Session) -> str:
    if session.project is None:
        return ""
    count = len(session.project.images)
    return f"{count} image{'' if count == 1 else 's'}"


def _runs_state(session: Session, kind: str) -> str:
    active = session.active
    if active is not None and active.kind == kind:
        return f"{100 * active.step // active.total} %" if active.total else "starting"
    count = sum(run.kind == kind for run in session.usable_runs)
    return f"{count} run{'' if count == 1 else 's'}" if count else ""


def _annotate_state(session: Session) -> str:
    if session.project is None:
        return ""
    count = len(session.overview.annotated.images)
    return f"{count} of {len(session.project.images)}" if count else ""


STEPS = (
    StepInfo("Project", ProjectStep, lambda session: "", _project_state),
    StepInfo("Pretrain", PretrainStep, _needs_images, lambda s: _runs_state(s, "pretrain")),
    StepInfo("Annotate", AnnotateStep, _needs_images, _annotate_state),
    StepInfo("Finetune", FinetuneStep, _needs_labels, lambda s: _runs_state(s, "finetune")),
    StepInfo("Explore", ExplorePanel, _needs_run, lambda session: ""),
    StepInfo("Predict", PredictStep, _needs_images, lambda s: _runs_state(s, "predict")),
    StepInfo("Evaluate", EvaluateStep, _needs_run, lambda s: _runs_state(s, "evaluate")),
)
