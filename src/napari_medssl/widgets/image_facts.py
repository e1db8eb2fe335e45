"""Which images are predicted, and how well where they are annotated: found out off the GUI thread."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.metrics import ClassScore
from napari_medssl.evaluate.taught import taught
from napari_medssl.project import ClassInfo, Run, read_labels
from napari_medssl.project.listing import Identity, identity_of
from napari_medssl.project.predicted import predicted_by_run
from napari_medssl.project.prediction_table import read_prediction_table, replaced_images
from napari_medssl.widgets.classes import BACKGROUND
from napari_medssl.widgets.image_rows import Scored
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["ImageFacts"]

_SECONDS = 0.15  # of scoring at a time: what else is to be read does not wait longer

_Compared = tuple[Identity, Identity, tuple[ClassInfo, ...]]
"""Annotation, prediction, classes: where all are as before, so is the score."""


@dataclass(frozen=True)
class _Found:
    """What is known of a run."""

    predicted: frozenset[str]
    by_others: frozenset[str]
    uncertainty: dict[str, float]
    taught: frozenset[str] | None
    remark: str


class ImageFacts(PerSession):
    """One per session; get it with `ImageFacts.of`. Follows the run whose predictions are shown.

    Parameters
    ----------
    session : Session
        Whose project.
    """

    changed = Signal()
    """Anything below differs."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.run: str | None = None
        """The name of the predictions that all of this is about."""
        self.predicted: set[str] = set()
        """Images with a stored prediction of that name; one of an image that was replaced since is none."""
        self.predicted_by_others: set[str] = set()
        """Of the rest, images with one of any other name."""
        self.uncertainty: dict[str, float] = {}
        """Of those predictions, 0 to 1; of images predicted since the last look it is not known."""
        self.scores: dict[str, Scored] = {}
        """Of the images that are done and predicted; they come in one by one."""
        self.taught: frozenset[str] | None = frozenset()
        """Images whose annotations the run has learned from; None where that cannot be told."""
        self.remark = ""
        """What to keep in mind of the scores, as a sentence."""
        self._project: Project | None = None
        self._compared: dict[str, _Compared] = {}  # of each score
        self._due: set[str] = set()  # to be compared again
        self._looked = False  # so that no score is shown before it is known whether it flatters
        self._meanwhile: list[tuple[str, str]] = []  # (run, image), since the last look began
        self._done: frozenset[str] = frozenset()
        self._listing = OneByOne(session, self.refresh)
        self._scoring = OneByOne(session, self._score)
        session.project_changed.connect(self.refresh)
        session.images_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        session.predictions.applied_changed.connect(self.refresh)
        session.saved_prediction.connect(self._on_prediction)
        session.overview.changed.connect(self._on_labels)
        self._on_labels()
        self.refresh()

    def refresh(self) -> None:
        """Look again which images are predicted; returns at once."""
        session = self.session
        project, shown = session.project, session.predictions
        run, foreign = shown.name, shown.foreign
        if project is not self._project or run != self.run:
            self._forget(project, run)
        if project is None or self._listing.postponed():
            return

        def show(found: _Found) -> None:
            if (self._project, self.run) != (project, run):
                return
            self.predicted, self.predicted_by_others = set(found.predicted), set(found.by_others)
            self.uncertainty = found.uncertainty
            self.taught, self.remark = found.taught, found.remark
            self._looked = True
            for its_run, image in self._meanwhile:
                self._add(its_run, image)
            self.changed.emit()
            self._due |= self.predicted
            self._score()

        def failed(error: BaseException) -> None:
            session.problem.emit(Problem.of(error, doing="looking for predictions"))

        self._meanwhile = []
        folder = Path(foreign.run) if foreign is not None else None
        self._listing.start(lambda: _find(project, run, folder), on_result=show, on_failed=failed)

    def _forget(self, project: Project | None, run: str | None) -> None:
        self._project, self.run, self._looked = project, run, False
        self.predicted, self.predicted_by_others, self.taught = set(), set(), frozenset()
        self.uncertainty, self.remark = {}, ""
        self.scores, self._compared, self._due = {}, {}, set()
        self.changed.emit()

    def _on_prediction(self, run: str, image: str) -> None:
        self._meanwhile.append((run, image))
        self._add(run, image)
        self._score()
        self.changed.emit()
        active = self.session.active
        if active is None or active.kind != "predict":  # else at its end, of all images at once
            self.refresh()

    def _add(self, run: str, image: str) -> None:
        if run == self.run:
            self.predicted.add(image)
            self._due.add(image)
        else:
            self.predicted_by_others.add(image)

    def _on_labels(self) -> None:
        statuses = self.session.overview.annotated.statuses
        self._done = frozenset(name for name, status in statuses.items() if status == "done")
        self._due |= self._done
        self._score()

    def _score(self) -> None:
        """Compare what is done and predicted, a few images at a time."""
        project, run = self._project, self.run
        if project is None or run is None or not self._looked or self._scoring.postponed():
            return
        possible = self._done & self.predicted
        for name in self.scores.keys() - possible:
            del self.scores[name]
            self._compared.pop(name, None)
        names, self._due = self._due & possible, set()
        if not names:
            return
        before = dict(self._compared)

        def show(found: Mapping[str, tuple[_Compared, Scored] | None]) -> None:
            if (self._project, self.run) != (project, run):
                return
            self._due |= names - found.keys()  # it ran out of time
            new = {name: pair for name, pair in found.items() if pair is not None}
            for name, (what, scored) in new.items():
                self._compared[name], self.scores[name] = what, scored
            if new:
                self.changed.emit()
            self._score()

        def failed(error: BaseException) -> None:
            self.session.show_error(error, doing="scoring predictions")

        self._scoring.start(
            lambda: _compare(project, run, names, before), on_result=show, on_failed=failed
        )


def _find(project: Project, run: str | None, folder: Path | None) -> _Found:
    """Look at the predictions of a run; `folder` is that of a run of another project."""
    by_run = predicted_by_run(project)
    rows = read_prediction_table(project, run) if run is not None else {}
    predicted = by_run.pop(run, frozenset()) if run is not None else frozenset()
    predicted -= replaced_images(project, rows)
    others: frozenset[str] = frozenset()
    for name, images in by_run.items():
        images -= predicted | others  # of these it is known
        its = read_prediction_table(project, name) if images else {}
        others |= images - replaced_images(
            project, {image: its[image] for image in images & its.keys()}
        )
    if run is None:
        return _Found(predicted, others, {}, frozenset(), "")
    uncertainty = {name: row.uncertainty for name, row in rows.items() if name in predicted}
    learned: frozenset[str] | None
    try:
        known = taught(project, Run(folder) if folder is not None else project.run(run))
    except MedsslError as error:
        learned = None
        remark = f"It cannot be told which images {run} has learned from: {error.message}"
    else:
        learned = known.annotated
        remark = ""
        if known.unknown:
            unknown = ", ".join(known.unknown)
            remark = f"It is not known what {unknown} learned from: the score may flatter."
    return _Found(predicted, others, uncertainty, learned, remark)


def _compare(
    project: Project, run: str, names: Iterable[str], before: Mapping[str, _Compared]
) -> dict[str, tuple[_Compared, Scored] | None]:
    """Score images whose files differ from those scored before, for a while; None for those that are as before."""
    end = time.monotonic() + _SECONDS
    found: dict[str, tuple[_Compared, Scored] | None] = {}
    for name in names:
        labels, prediction = project.annotations.path(name), project.prediction_path(run, name)
        try:
            files = (identity_of(labels), identity_of(prediction), project.settings.classes)
        except FileNotFoundError:  # deleted meanwhile: it is listed without it next time
            found[name] = None
            continue
        found[name] = None if files == before.get(name) else (files, _scored(project, run, name))
        if time.monotonic() > end:
            break
    return found


def _scored(project: Project, run: str, name: str) -> Scored:
    try:
        truth = project.annotations.read(name)
        prediction = read_labels(project.prediction_path(run, name))
        counts = {
            item.name: ClassScore.count(prediction, truth, item.value)
            for item in project.settings.classes
            if item.value != BACKGROUND
        }
    except MedsslError as error:
        return Scored({}, str(error))
    return Scored(
        {
            label: count.dice
            for label, count in counts.items()
            if count.true_positives + count.false_positives + count.false_negatives
        }
    )
