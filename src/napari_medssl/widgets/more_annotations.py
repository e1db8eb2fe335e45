"""What five more annotated images would buy: asked of probes on the features, shown as a curve and a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medssl.errors import MedsslError
from napari_medssl.explore.live_project import SOURCE
from napari_medssl.widgets.learning_plot import LearningPlot
from napari_medssl.widgets.long_work import LongWork, ProgressRow
from napari_medssl.widgets.rows import button
from napari_medssl.widgets.run_features import Network, RunFeatures, RunState, Wanted
from napari_medssl.widgets.theme import colors_of, set_role

if TYPE_CHECKING:
    from napari_medssl.evaluate.extrapolation import Forecast, Point
    from napari_medssl.evaluate.learning_curve import EvaluatedRun, ProbeImage, Untaught
    from napari_medssl.project import Project, Run
    from napari_medssl.widgets.long_work import Progress
    from napari_medssl.widgets.problem import Problem
    from napari_medssl.widgets.run_features import Stored
    from napari_medssl.widgets.session import Session

__all__ = ["MORE", "MoreAnnotations"]

MORE = 5
"""How many more images are asked for."""


class _Question(NamedTuple):
    project: Project
    network: Untaught
    images: tuple[str, ...]
    groups: dict[str, str]
    runs: tuple[EvaluatedRun, ...]


class _Answer(NamedTuple):
    points: tuple[Point, ...]
    forecast: Forecast | None
    why_not: str


class MoreAnnotations(QWidget):
    """Asks what more annotated images would buy, and shows the answer.

    Parameters
    ----------
    session : Session
        Whose annotations, and whose current run: its features, or those of the newest network that it descends from
        and that has not learned from the annotations.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._project = session.project
        self._asked = 0  # how often; what was stopped may be told of later
        self._question: _Question | None = None  # that is being answered, or was
        self._seen: dict[str, ProbeImage] = {}
        self._features = RunFeatures(session, self, channel="more")
        self._build()
        self.estimate_button.clicked.connect(self.estimate)
        self.gathering.stop_clicked.connect(self.stop)
        self._features.advanced.connect(self.gathering.advance)
        self._features.finished.connect(self._fit)
        self._features.failed.connect(self._on_problem)
        self.fitting.changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        session.overview.changed.connect(self.refresh)
        session.project_changed.connect(self._on_project)
        session.viewer.events.theme.connect(self._on_theme)
        self.refresh()

    def _build(self) -> None:
        self.estimate_button = button(
            "Estimate",
            "Probes on the features learn from some of the annotated images and are scored on the others.\n"
            "It takes seconds once the features are made, and changes nothing.",
        )
        self.gathering = ProgressRow()
        self.fitting = LongWork(self._session)
        self.sentence, self.hint = QLabel(), QLabel()
        for label in (self.sentence, self.hint):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.PlainText)
        set_role(self.sentence, "heading")
        set_role(self.hint, "hint")
        self.plot = LearningPlot(colors_of(self._session.viewer.theme))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        parts = (self.estimate_button, self.gathering, self.fitting, self.sentence, self.plot)
        for part in (*parts, self.hint):
            column.addWidget(part)
        self._clear()

    # -- commands --------------------------------------------------------------------------------

    def estimate(self) -> None:
        """Ask; returns at once."""
        session, project, run = self._session, self._session.project, self._run()
        if project is None or run is None or self._why_not():
            return
        self.stop()
        self._clear()
        self.gathering.begin("Looking at the annotated images ...")
        self.estimate_button.setEnabled(False)
        number = self._asked

        def asked(question: _Question) -> None:
            if number == self._asked:
                self._gather(question)

        def failed(error: BaseException) -> None:
            if number == self._asked:
                self._on_failed(error)

        session.background(lambda: _ask(project, run), on_result=asked, on_failed=failed)

    def stop(self) -> None:
        """Ask for nothing more."""
        self._asked += 1
        self._features.stop()
        self.gathering.end()
        self.fitting.cancel()
        self.refresh()

    def refresh(self) -> None:
        """Show what is true now."""
        why = self._why_not()
        busy = self.gathering.isVisibleTo(self) or self.fitting.running
        self.estimate_button.setEnabled(not why and not busy)
        if self._question is None:
            self.hint.setText(
                why or f"Says what {MORE} more annotated images would buy, as far as these tell."
            )

    # -- answering -------------------------------------------------------------------------------

    def _run(self) -> Run | None:
        current = self._session.current_run
        return next((run for run in self._session.usable_runs if run.name == current), None)

    def _why_not(self) -> str:
        from napari_medssl.evaluate.learning_curve import FEWEST

        if self._run() is None:
            return "It takes a network: pretrain one, or fine-tune."
        there = len(self._session.overview.annotated.images)
        if there < FEWEST:
            return f"It takes {FEWEST} annotated images; there are {there}."
        return ""

    def _gather(self, question: _Question) -> None:
        """Ask for the features of the annotated images, each of which is read at once."""
        from napari_medssl.evaluate.learning_curve import probe_image

        self._question, self._seen = question, {}
        project = question.project
        state = RunState(question.network.run.name, question.network.at_start)
        network = Network.of(question.network.run, state, SOURCE)

        def wanted(name: str) -> Wanted:
            def read(stored: Stored) -> ProbeImage:
                cells = np.load(stored.path, mmap_mode="r", allow_pickle=False)
                labels = project.annotations.read(name)
                return probe_image(name, labels, cells, stored.stride)

            def take(seen: ProbeImage) -> None:
                self._seen[name] = seen

            return Wanted(network, name, read, take)

        self.gathering.begin(f"Features of {len(question.images)} annotated images ...")
        self._features.ask([wanted(name) for name in question.images])

    def _fit(self) -> None:
        question, seen = self._question, self._seen
        self.gathering.end()
        if question is None:
            return

        def done(answer: _Answer) -> None:
            if self._question is question:
                self._show(question, answer)

        self.fitting.start(
            "Probes that learn from more and more images ...",
            lambda progress: _answer(question, seen, progress),
            doing="estimating what more annotations would buy",
            on_result=done,
        )

    def _show(self, question: _Question, answer: _Answer) -> None:
        found = answer.forecast
        self.plot.show_curve(answer.points, found, question.runs)
        self.plot.setVisible(bool(answer.points))
        self._say(found.sentence() if found is not None else answer.why_not)
        parts = [
            f"● linear probes on the frozen features of {question.network.title}, scored on annotated images that they"
            " had not seen; the bars are the luck of the choice. Fine-tuning mostly scores higher, and may gain more."
        ]
        if question.runs:
            sets = {run.images for run in question.runs}
            which = "the same images" if len(sets) == 1 else "images of its own"
            parts.append(f"◆ fine-tuned runs, as they were evaluated, each on {which}.")
        if found is not None:
            parts += [
                f"★ with {found.more} more; the band holds {found.level:.0%}.",
                *found.remarks(),
            ]
        self.hint.setText(" ".join(parts))

    def _say(self, text: str) -> None:
        self.sentence.setText(text)
        self.sentence.setVisible(bool(text))

    def _clear(self) -> None:
        self._question = None
        self.plot.show_curve((), None, ())
        self.plot.setVisible(False)
        self._say("")

    # -- what goes wrong, and what others change -------------------------------------------------

    def _on_failed(self, error: BaseException) -> None:
        self.stop()
        if isinstance(error, MedsslError):  # that it cannot be told is an answer
            self._say(str(error))
        else:
            self._session.show_error(error, doing="looking at the annotated images")

    def _on_problem(self, problem: Problem) -> None:
        self._clear()
        self.stop()
        self._session.problem.emit(problem)

    def _on_project(self) -> None:
        if self._session.project is not self._project:
            self._project = self._session.project
            self._clear()
            self.stop()

    def _on_theme(self) -> None:
        self.plot.set_colors(colors_of(self._session.viewer.theme))


def _ask(project: Project, run: Run) -> _Question:
    from napari_medssl.evaluate.learning_curve import evaluated_runs, untaught
    from napari_medssl.project.units import units_of

    damaged = project.annotations.damaged()
    images = tuple(name for name in project.annotations.annotated() if name not in damaged)
    return _Question(
        project, untaught(project, run), images, units_of(project), evaluated_runs(project)
    )


def _answer(question: _Question, seen: dict[str, ProbeImage], progress: Progress) -> _Answer:
    from napari_medssl.evaluate.extrapolation import forecast, points
    from napari_medssl.evaluate.learning_curve import probe_scores

    measured: tuple[Point, ...] = ()
    try:
        scores = probe_scores(seen, groups=question.groups, progress=progress)
        measured = points(scores)
        found = forecast(scores, annotated=len(seen), more=MORE, groups=question.groups)
    except MedsslError as error:  # that it cannot be told is an answer
        return _Answer(measured, None, str(error))
    return _Answer(measured, found, "")
