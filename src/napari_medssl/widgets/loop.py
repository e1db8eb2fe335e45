"""The loop of annotating and training: train on what there is, then show the next image with its prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal

from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Failed
from napari_medssl.project.next_training import NextTraining, next_training
from napari_medssl.widgets.annotation_commands import next_unannotated
from napari_medssl.widgets.annotator import Annotator
from napari_medssl.widgets.object_editor import ObjectEditor
from napari_medssl.widgets.one_by_one import OneByOne
from napari_medssl.widgets.per_session import PerSession
from napari_medssl.widgets.suggestions import Suggestions
from napari_medssl.widgets.unsaved import check_saved, save_all

if TYPE_CHECKING:
    from napari_medssl.widgets.run_handle import RunHandle
    from napari_medssl.widgets.session import Session

__all__ = ["Loop"]


class Loop(PerSession):
    """One per session; get it with `Loop.of`.

    When its training is over, its run is the current one (`Predictions` sees to that), and the next image opens with
    its prediction; unless the user painted or opened something meanwhile, for that is not to be taken away.

    Parameters
    ----------
    session : Session
        Whose annotations and runs.
    """

    changed = Signal()
    """Anything that a widget shows."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.plan: NextTraining | None = None
        """What would be started; None while that is not known."""
        self.anew = False
        """Whether to start from the pretrained network in any case."""
        self.objects = True
        """Whether to learn objects, too, where any are drawn."""
        self.said = ""
        """What came of the last training; empty once the annotations differ."""
        self._handle: RunHandle | None = None
        self._starting = False
        self._undisturbed = (
            False  # neither painted nor gone to another image since the training began
        )
        self._predict_next = ""  # the run that is to predict the image that is being opened
        self._watched = False
        self._looking = OneByOne(session, self.refresh)
        session.overview.changed.connect(self._on_overview)
        session.runs_changed.connect(self.refresh)
        session.project_changed.connect(self._on_project)
        session.busy_changed.connect(self.changed)
        session.run_event.connect(self._on_event)
        session.image_closing.connect(self._disturb)
        session.image_changed.connect(self._on_image)
        Annotator.of(session).state_changed.connect(self._on_painting)
        ObjectEditor.of(session).state_changed.connect(self._on_painting)

    # -- what there is ---------------------------------------------------------------------------

    @property
    def job(self) -> RunHandle | None:
        """The training that it started, while it runs."""
        handle = self._handle
        return handle if handle is not None and handle is self.session.active else None

    @property
    def why_not(self) -> str:
        """Why nothing can be trained now, as a sentence; empty if it can."""
        session = self.session
        if session.project is None:
            return "Open a project first."
        if session.active is not None:
            return f"Wait until {session.active.name} is over."
        if len(session.overview.annotated.pixels) < 2:
            return "Paint some background and some of each class first."
        if self.plan is None or self._starting:
            return "Looking at what is annotated ..."
        return ""

    # -- commands --------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look at the annotations from now on: somebody sees the answer."""
        if not self._watched:
            self._watched = True
            self.refresh()

    def choose(self, *, anew: bool | None = None, objects: bool | None = None) -> None:
        """Change `anew` or `objects`."""
        before = (self.anew, self.objects)
        self.anew = self.anew if anew is None else anew
        self.objects = self.objects if objects is None else objects
        if (self.anew, self.objects) != before:
            self.plan = None
            self.refresh()
            self.changed.emit()

    def refresh(self) -> None:
        """Plan again, if anybody watches; returns at once."""
        session, anew, objects = self.session, self.anew, self.objects
        project, runs = session.project, list(session.usable_runs)
        if project is None or not self._watched or self._looking.postponed():
            return

        def done(plan: NextTraining) -> None:
            if session.project is project and (anew, objects) == (self.anew, self.objects):
                self.plan = plan
                self.changed.emit()

        def failed(error: BaseException) -> None:
            if session.project is project:
                session.show_error(error, doing="choosing how to train")

        self._looking.start(
            lambda: next_training(project, runs, anew=anew, objects=objects),
            on_result=done,
            on_failed=failed,
        )

    def start(self) -> None:
        """Save what is painted and train on all annotations; returns at once."""
        session = self.session
        self.watch()
        project, runs = session.project, list(session.usable_runs)
        anew, objects = self.anew, self.objects
        if project is None or self.why_not:
            self.changed.emit()
            return
        save_all(session)
        self._starting = True
        self.said = ""

        def planned(plan: NextTraining) -> None:
            self._starting = False
            if session.project is not project:
                self.changed.emit()
                return
            self.plan = plan
            try:
                check_saved(session)
                self._handle = session.start_job(plan.job(project))
            except MedsslError as error:
                session.show_error(error)
            else:
                self._undisturbed = True
            self.changed.emit()

        def failed(error: BaseException) -> None:
            self._starting = False
            session.show_error(error, doing="choosing how to train")
            self.changed.emit()

        session.background(
            lambda: next_training(project, runs, anew=anew, objects=objects),
            on_result=planned,
            on_failed=failed,
            lane="saving",  # after what was painted is on the disk
        )
        self.changed.emit()

    def stop(self) -> None:
        """End the training; what was learned is kept."""
        if self.job is not None:
            self.session.stop()

    # -- following -------------------------------------------------------------------------------

    def _on_overview(self) -> None:
        self.refresh()
        self.changed.emit()

    def _on_project(self) -> None:
        self.plan, self.said, self._predict_next = None, "", ""
        self.refresh()
        self.changed.emit()

    def _on_painting(self) -> None:
        drawn = Annotator.of(self.session).saving, ObjectEditor.of(self.session).saving
        if any(saving.state == "unsaved" for saving in drawn):
            self._disturb()
            if self.said:
                self.said = ""
                self.changed.emit()

    def _disturb(self) -> None:
        self._undisturbed = False

    def _on_event(self, event: object) -> None:
        handle = self._handle
        if handle is None or handle is not self.session.jobs.last:
            return
        if isinstance(event, Done):
            self._finish(event)
        elif isinstance(event, Failed):
            self._undisturbed = False  # the problem is shown by the session
        self.changed.emit()

    def _finish(self, event: Done) -> None:
        goes_on = self._undisturbed and not event.stopped
        self._undisturbed = False
        self.said = f"{'Stopped' if event.stopped else 'Trained'}. {event.run}: {event.summary}"
        if not goes_on:
            return
        session = self.session
        self._predict_next = event.run
        best = Suggestions.of(session).best
        if best is not None:
            session.open_image(best.image)
        else:
            next_unannotated(Annotator.of(session))

    def _on_image(self) -> None:
        run, self._predict_next = self._predict_next, ""
        if run and run == self.session.current_run:  # else another one was chosen or trained since
            self.session.predictions.predict(run)
