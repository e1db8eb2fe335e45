"""Last step: see how good a run is, where it errs, and what its features are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QFormLayout, QLabel, QPushButton, QTabBar, QVBoxLayout, QWidget

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.evaluated import REPORT
from napari_medssl.widgets.evaluate_compare import EvaluatedRuns
from napari_medssl.widgets.evaluate_options import EvaluateOptions
from napari_medssl.widgets.evaluations import Evaluations
from napari_medssl.widgets.features_page import FeaturesPage
from napari_medssl.widgets.job_progress import JobProgress
from napari_medssl.widgets.live import LivePredictor
from napari_medssl.widgets.more_annotations import MoreAnnotations
from napari_medssl.widgets.run_choice import RunChoice
from napari_medssl.widgets.scores_page import ScoresPage
from napari_medssl.widgets.theme import set_role
from napari_medssl.widgets.truth_choice import TruthChoice
from napari_medssl.widgets.unsaved import check_saved, save_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medssl.project import Project
    from napari_medssl.widgets.session import Session

__all__ = ["PAGES", "EvaluateStep", "Page"]


@dataclass(frozen=True)
class Page:
    """One tab.

    Parameters
    ----------
    title : str
        Its name.
    tip : str
        What it answers, a sentence.
    make : callable
        Makes its widget, when it is opened for the first time.
    """

    title: str
    tip: str
    make: Callable[[Session], QWidget]


PAGES: tuple[Page, ...] = (
    Page("Images", "How good is it on each image, and where does it err?", ScoresPage),
    Page("Features", "What are the features of this run worth?", FeaturesPage),
    Page("Compare", "Which run is better, on the images that both were scored on?", EvaluatedRuns),
    Page("More labels", "What would five more annotated images buy?", MoreAnnotations),
)


class EvaluateStep(QWidget):
    """Choose run and truth, score, look.

    Parameters
    ----------
    session : Session
        Runs the job.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._evaluations = Evaluations.of(session)
        self._live_waits = False
        self.runs = RunChoice(session, others=False)
        self.truth = TruthChoice(session)
        self.options = EvaluateOptions(session)
        self.evaluate = QPushButton("Evaluate")
        set_role(self.evaluate, "primary")
        self.progress = JobProgress(session, "evaluate", unit="images")
        self.outcome = QLabel()
        self.outcome.setWordWrap(True)
        self.tabs = QTabBar()
        self.tabs.setAccessibleName("What to look at")
        self.tabs.setDrawBase(False)
        self.tabs.setExpanding(True)
        self.tabs.setStyleSheet("QTabBar::tab:selected { font-weight: bold; }")
        self.pages: dict[str, QWidget] = {}
        """The pages that were opened, by title."""
        self._lay_out()
        self.open_page(PAGES[0].title)
        self.evaluate.clicked.connect(self._on_evaluate)
        self.tabs.currentChanged.connect(lambda number: self.open_page(PAGES[number].title))
        self._evaluations.plan_changed.connect(self.refresh)
        session.busy_changed.connect(self.refresh)
        session.runs_changed.connect(self.refresh)
        self.refresh()

    def open_page(self, title: str) -> QWidget:
        """Show a page and hide the others; returns its widget."""
        number, page = next((n, page) for n, page in enumerate(PAGES) if page.title == title)
        if title not in self.pages:
            self.pages[title] = page.make(self._session)
            self._column.insertWidget(self._column.count() - 1, self.pages[title])
        for other, widget in self.pages.items():
            widget.setVisible(other == title)
        self.tabs.setCurrentIndex(number)
        return self.pages[title]

    def showEvent(self, event: Any) -> None:  # noqa: N802
        """Look at what is stored; live prediction waits meanwhile, as what is scored are stored predictions."""
        super().showEvent(event)
        if event.spontaneous():  # the window was minimised, the step as it is
            return
        live = LivePredictor.of(self._session)
        self._live_waits = live.on
        live.set_on(False)
        self._evaluations.watch(True)

    def hideEvent(self, event: Any) -> None:  # noqa: N802
        """Look no longer: another step is open, or the window closes."""
        super().hideEvent(event)
        if event.spontaneous():
            return
        self._evaluations.watch(False)
        if self._live_waits and self._session.on_screen:
            LivePredictor.of(self._session).set_on(True)

    def refresh(self) -> None:
        """Bring the button and the last outcome up to date."""
        session = self._session
        free, last = session.active is None, session.jobs.last
        self.evaluate.setEnabled(free and self.truth.possible)
        self.evaluate.setToolTip(
            "Another run is active"
            if not free
            else (
                "Predict these images and compare them with the truth"
                if self.truth.possible
                else ""
            )
        )
        stopped = last is not None and last.kind == "evaluate" and last.state == "stopped"
        self.outcome.setText(last.outcome if last is not None and stopped else "")
        self.outcome.setVisible(stopped)

    def _lay_out(self) -> None:
        choice = QFormLayout()
        choice.setContentsMargins(0, 0, 0, 0)
        for title, widget, box in (
            ("Run", self.runs, self.runs.box),
            ("Truth", self.truth, self.truth.box),
        ):
            label = QLabel(title)
            label.setBuddy(box)
            choice.addRow(label, widget)
        for page in PAGES:
            self.tabs.setTabToolTip(self.tabs.addTab(page.title), page.tip)
        self._column = column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(choice)
        for part in (self.options, self.evaluate, self.progress, self.outcome, self.tabs):
            column.addWidget(part)
        column.addStretch()  # a page that can be higher takes some of it

    def _on_evaluate(self) -> None:
        session = self._session
        project, run = session.project, self._evaluations.run
        if project is None or run is None:
            return
        job = {
            "kind": "evaluate",
            "project": str(project.path),
            "run": run,
            "report": str(project.run(run).path / REPORT),
            "units": self._evaluations.units,
            **self.options.fields(),
        }
        self.evaluate.setEnabled(False)  # until it has begun: a double click is one
        save_all(session)  # what is being painted is truth, too
        session.background(
            lambda: None, on_result=lambda _: self._start(project, job), lane="saving"
        )

    def _start(self, project: Project, job: dict[str, Any]) -> None:
        if self._session.project is not project:
            self.refresh()
            return
        try:
            check_saved(self._session)
            self._session.start_job(job)
        except MedsslError as error:
            self._session.show_error(error)
        self.refresh()
