"""Asks the engine what suits the open project, once for each state of its images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medssl.events import Done
from napari_medssl.plan import Recommendation

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari_medssl.events import AnyEvent
    from napari_medssl.plan import Start
    from napari_medssl.widgets.problem import Problem
    from napari_medssl.widgets.session import Session

__all__ = ["Planner"]

_FIELDS = frozenset(Recommendation.model_fields)


class Planner(QObject):
    """Keeps the recommendation for the open project.

    It is asked for when the first image is shown, all files were looked at and nothing runs: what is measured on a
    busy computer would be wrong.

    Parameters
    ----------
    session : Session
        Whose project and engine these are.
    """

    changed = Signal()
    """`plan` or `trouble` differ."""
    accepted = Signal(object)
    """The user wants to train by this `Recommendation`."""

    SETTLE_MS = 1500
    """So long nothing may have changed before the engine is asked."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.plan: Recommendation | None = None
        self.start: Start | None = None
        """What the encoder shall start from; None leaves that to the engine."""
        self.trouble: Problem | None = None
        """Why there is no plan, once it was asked for."""
        self._known: dict[Hashable, Recommendation] = {}
        self._asked: Hashable = None
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(self.SETTLE_MS)
        self._soon.timeout.connect(self._ask)
        for signal in (
            session.project_changed,
            session.images_changed,
            session.image_changed,
            session.busy_changed,
            session.opening.checking_changed,
        ):
            signal.connect(self._consider)
        session.run_event.connect(self._on_event)

    def accept(self) -> None:
        """Tell all who want to know that the user wants the plan."""
        if self.plan is not None:
            self.accepted.emit(self.plan)

    def plan_from(self, start: Start) -> None:
        """Have a plan whose encoder starts from there."""
        self.start = start
        self._consider()

    def ask_again(self) -> None:
        """Ask once more after a failure."""
        self._asked = None
        self._show(None)
        self._consider()

    def _on_event(self, event: AnyEvent) -> None:
        last = self._session.jobs.last
        if isinstance(event, Done) and last is not None and last.kind == "compare":
            self._known.clear()  # what was compared changes what is recommended
            self.ask_again()

    def _consider(self) -> None:
        state = self._state()
        if state in self._known:
            self._show(self._known[state])
        elif state != self._asked:
            self._show(None)
            self._asked = None
            if state is not None:
                self._soon.start()

    def _ask(self) -> None:
        session, state = self._session, self._state()
        project = session.project
        if (
            session.closed
            or project is None
            or state in (None, self._asked)
            or session.active is not None
            or session.opening.checking is not None
            or session.image is None
            or project.unchecked
        ):
            return  # what is missing will be signalled

        def arrived(data: dict[str, Any]) -> None:
            plan: Recommendation = Recommendation.parse(
                {key: value for key, value in data.items() if key in _FIELDS}
            )
            self._known[state] = plan
            self._consider()

        def failed(problem: Problem) -> None:
            if self._asked == state:
                self._show(None, problem)

        self._asked = state
        session.request("recommend", on_result=arrived, on_failed=failed, start=self.start)

    def _state(self) -> Hashable:
        """Give what a plan depends on; None while there is nothing to plan for."""
        project = self._session.project
        if project is None or not project.images:
            return None
        settings = project.settings
        channels = settings.channels, settings.channel_indices
        return project.path, project.images, channels, self.start

    def _show(self, plan: Recommendation | None, trouble: Problem | None = None) -> None:
        if (plan, trouble) != (self.plan, self.trouble):
            self.plan, self.trouble = plan, trouble
            self.changed.emit()
