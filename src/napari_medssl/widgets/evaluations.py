"""How good the current run is: its stored scores, and what an evaluation would score, found out off the GUI thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import Signal

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.assessment import Assessment, read_assessments
from napari_medssl.evaluate.evaluated import EVALUATION, REPORT, changed_since, read_evaluation
from napari_medssl.evaluate.truth import AnnotationTruth, OnlyRelatedError, held_out
from napari_medssl.events import Done
from napari_medssl.project.masks import find_masks
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.per_session import PerSession

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medssl.evaluate import Evaluation
    from napari_medssl.evaluate.class_scores import Labels
    from napari_medssl.evaluate.truth import Units
    from napari_medssl.events import AnyEvent
    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["Evaluations", "Plan"]


class Plan(NamedTuple):
    """What an evaluation would score."""

    scored: int
    """Images."""
    taught: int
    """Images with truth that the run was fine-tuned on."""
    without: int
    """Images without truth."""
    related: int = 0
    """Images with truth of a group or file that the run was fine-tuned on, besides those of `taught`."""
    units: Units = "group"
    """With "image", `related` ones are scored, too."""
    partly: int = 0
    """Scored images with pixels that nobody annotated; masks are not looked at for that."""
    refused: str = ""
    """Why nothing can be scored, in a sentence or two; empty if something can."""

    def text(self, *, masks: bool) -> str:
        """Say it; `masks`: the truth is a folder of masks."""
        if self.refused:
            return self.refused
        plural = "image" if self.scored == 1 else "images"
        left_out = []
        if self.taught:
            left_out.append(f"{self.taught} used for training")
        if self.related and self.units == "group":
            left_out.append(f"{self.related} of the same group or file as those")
        if self.without:
            left_out.append(
                f"{self.without} {'without a mask' if masks else 'that nobody annotated'}"
            )
        rest = f"; not {_enumerated(left_out)}" if left_out else ""
        sentences = [f"{self.scored} {plural} will be scored{rest}."]
        if self.partly:
            sentences.append(
                f"{_of_those(self.partly)} only partly annotated: pixels without a label do not count."
            )
        if self.related and self.units == "image":
            sentences.append(
                f"{_of_those(self.related)} of a group or file used for training: their scores flatter."
            )
        return " ".join(sentences)


def _of_those(count: int) -> str:
    return f"{count} of them {'is' if count == 1 else 'are'}"


def _enumerated(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


class _Stored(NamedTuple):
    """What is kept of a run."""

    evaluation: Evaluation | None
    assessments: tuple[Assessment, ...]
    report: Path | None
    outdated: tuple[str, ...]
    problem: MedsslError | None
    """Why the assessments cannot be read; the scores can."""


class Evaluations(PerSession):
    """One per session; get it with `Evaluations.of`. Follows the session's current run while it is watched.

    Parameters
    ----------
    session : Session
        Whose runs.
    """

    changed = Signal()
    """`run`, `evaluation`, `assessments`, `report` or `outdated` differ."""
    plan_changed = Signal()
    """`truth`, `units` or `plan` differ."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.run: str | None = None
        """The run that all of this is about."""
        self.evaluation: Evaluation | None = None
        """Its newest scores; None where it has none, or they are being read."""
        self.assessments: tuple[Assessment, ...] = ()
        """What its features are worth, the newest first."""
        self.report: Path | None = None
        """The report that the viewer had written on these scores."""
        self.outdated: tuple[str, ...] = ()
        """Scored images whose annotation or prediction was written after the scores."""
        self.truth: Path | None = None
        """Folder of masks to compare with; None for the annotations that the run did not learn from."""
        self.units: Units = "group"
        """Whether whole groups (or files) that taught are left out, or single images alone."""
        self.plan: Plan | None = None
        """What an evaluation would score; None while that is being found out."""
        self._project: Project | None = None
        self._watched = False
        self._opened: tuple[Evaluation, Mapping[str, Labels]] | None = None
        self._reading = OneByOne(session, self._read)
        self._planning = OneByOne(session, self._make_plan)
        session.project_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        session.labels_changed.connect(self._read)
        session.overview.changed.connect(self._make_plan)
        session.run_event.connect(self._on_event)

    def watch(self, on: bool) -> None:
        """Look at the disk from now on, or no longer: nobody looks at what is found."""
        self._watched = on
        if on:
            self.refresh()

    def refresh(self) -> None:
        """Look again; returns at once."""
        session = self._session
        if (session.project, session.current_run) != (self._project, self.run):
            if session.project is not self._project:
                self.truth, self.units = None, "group"
            self._project, self.run = session.project, session.current_run
            self.evaluation, self.assessments, self.report, self.outdated = None, (), None, ()
            self.changed.emit()
        self._read()
        self._make_plan()

    def compare_with(self, folder: str | Path | None) -> None:
        """Take the masks of this folder as truth, or (None) the annotations; returns at once."""
        self.truth = None if folder is None else Path(folder)
        self._make_plan()

    def keep_apart(self, units: Units) -> None:
        """Leave out whole groups (or files) that taught, or the images that taught alone; returns at once."""
        self.units = units
        self._make_plan()

    def open_truth(self, evaluation: Evaluation) -> Mapping[str, Labels]:
        """Give what scores were made with; to be called in a thread.

        Raises
        ------
        MedsslError
            If it was not recorded, or is gone.
        """
        project, opened = self._project, self._opened
        if opened is not None and opened[0] is evaluation:
            return opened[1]
        if project is None or evaluation.truth is None:
            raise MedsslError(
                "It is not recorded what these scores were compared with.",
                advice="Evaluate the run again.",
            )
        truth = evaluation.truth.open(project)  # looks at all masks: once for all images
        self._opened = (evaluation, truth)
        return truth

    def _read(self) -> None:
        project, run = self._project, self.run
        if project is None or run is None or not self._watched or self._reading.postponed():
            return

        def show(found: _Stored) -> None:
            if (self._project, self.run) != (project, run):
                return
            if found.problem is not None:
                self._session.show_error(found.problem)
            before = (self.evaluation, self.assessments, self.report, self.outdated)
            self.assessments, self.report = found.assessments, found.report
            self.outdated = found.outdated
            if found.evaluation != self.evaluation:  # else what is shown of it stays
                self.evaluation = found.evaluation
            if before != (self.evaluation, self.assessments, self.report, self.outdated):
                self.changed.emit()

        def failed(error: BaseException) -> None:
            self._session.show_error(error, doing=f"reading the scores of {run}")

        self._reading.start(lambda: _stored(project, run), on_result=show, on_failed=failed)

    def _make_plan(self) -> None:
        project, run, folder, units = self._project, self.run, self.truth, self.units
        if not self._watched or self._planning.postponed():
            return
        if self.plan is not None:
            self.plan = None
            self.plan_changed.emit()
        if project is None or run is None:
            return

        def show(plan: Plan) -> None:
            asked = (self._project, self.run, self.truth, self.units)
            if asked == (project, run, folder, units):
                self.plan = plan
                self.plan_changed.emit()

        def failed(error: BaseException) -> None:
            self._session.show_error(error, doing="looking which images can be scored")

        self._planning.start(
            lambda: _planned(project, run, folder, units),
            on_result=show,
            on_failed=failed,
            lane="advising",
        )

    def _on_event(self, event: AnyEvent) -> None:
        last = self._session.jobs.last
        if isinstance(event, Done) and last is not None and last.kind in ("evaluate", "assess"):
            self._read()


def _stored(project: Project, name: str) -> _Stored:
    run = project.run(name)
    scores, page = run.path / EVALUATION, run.path / REPORT
    # newer scores may have been made without a report: then it tells of former ones
    both = page.is_file() and scores.is_file()
    fits = both and page.stat().st_mtime_ns >= scores.stat().st_mtime_ns
    evaluation, report = read_evaluation(run), page if fits else None
    outdated = () if evaluation is None else changed_since(project, run, evaluation)
    try:
        return _Stored(evaluation, read_assessments(run), report, outdated, None)
    except MedsslError as error:
        return _Stored(evaluation, (), report, outdated, error)


def _planned(project: Project, name: str, folder: Path | None, units: Units) -> Plan:
    try:
        annotations = AnnotationTruth(project)
        truth: Mapping[str, object] = (
            annotations
            if folder is None
            else find_masks(project.images, folder, image_root=project.image_root)
        )
        run = project.run(name)
        scored, taught, related = held_out(project, run, project.images, truth, units=units)
        partly = sum(map(annotations.partly, scored)) if folder is None else 0
    except OnlyRelatedError as error:
        return Plan(0, 0, 0, related=error.count, refused=error.message)
    except MedsslError as error:  # the engine would say the same
        return Plan(0, 0, 0, refused=str(error))
    without = len(project.images) - len({*scored, *taught, *related})
    return Plan(len(scored), len(taught), without, len(related), units, partly)
