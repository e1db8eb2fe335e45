"""The runs of the open project, read off the GUI thread, and the one that is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Failed, Saved, Started
from napari_medssl.project.weights_header import ancestry, answer_of

if TYPE_CHECKING:
    from napari_medssl.events import AnyEvent
    from napari_medssl.project import Project, Run
    from napari_medssl.widgets.session import Session

__all__ = ["RunList"]

_ANSWERS = {
    "forest": "Its random forest predicts.",
    "mean": "The mean of its network and random forest predicts.",
}


class RunList(QObject):
    """Follows the runs on disk.

    Parameters
    ----------
    session : Session
        Whose project this is.
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.all: list[Run] = []
        self.usable: list[Run] = []
        self.origins: dict[str, str] = {}
        """What each usable run descends from and by what it predicts, in sentences."""
        self._chosen: str | None = None

    @property
    def current(self) -> str | None:
        """The chosen run while it is usable, else the newest usable one."""
        names = [run.name for run in self.usable]
        if self._chosen in names:
            return self._chosen
        return names[0] if names else None

    def choose(self, name: str | None) -> None:
        """Use this run from now on; None for always the newest usable one."""
        if name != self._chosen:
            self._chosen = name
            self.changed.emit()

    def clear(self) -> None:
        """Forget everything: another project is opened, or none."""
        self.all, self.usable, self.origins, self._chosen = [], [], {}, None
        self.changed.emit()

    def refresh(self) -> None:
        """Read the runs again; returns at once."""
        project = self._session.project
        if project is None:
            return

        def show(found: tuple[list[Run], dict[str, str]]) -> None:
            if self._session.project is project:
                self.all, self.origins = found
                self.usable = [run for run in self.all if run.name in self.origins]
                self.changed.emit()

        self._session.background(lambda: _read(project), on_result=show, doing="reading the runs")

    def follow(self, event: AnyEvent) -> None:
        """Read again where an event of the active run says that something changed."""
        active = self._session.jobs.last
        if isinstance(event, Started) and event.step > 0:
            self._show_earlier_steps(event)
        first_weights = (
            isinstance(event, Saved)
            and event.what in ("last", "best")
            and active is not None
            and active.run not in [run.name for run in self.usable]
        )
        if first_weights or isinstance(event, Started | Done | Failed):
            self.refresh()

    def _show_earlier_steps(self, started: Started) -> None:
        """Give a resumed run the curve that it had before."""
        project, handle = self._session.project, self._session.active
        if project is None or handle is None:
            return

        def show(earlier: dict[str, list[tuple[int, float]]]) -> None:
            for name, points in earlier.items():
                before = [point for point in points if point[0] <= started.step]
                handle.metrics[name] = [*before, *handle.metrics.get(name, [])]

        self._session.background(
            lambda: project.run(started.run).metrics(), on_result=show, doing="reading the metrics"
        )


def _read(project: Project) -> tuple[list[Run], dict[str, str]]:
    runs = project.runs()
    return runs, {run.name: _origin(run) for run in runs if run.weights() is not None}


def _origin(run: Run) -> str:
    try:
        before, answer = ancestry(run), answer_of(run)
    except MedsslError as error:  # whoever uses the run is told the same
        return error.message
    origin = f"Descends from {', then '.join(before)}." if before else "Was trained from scratch."
    return f"{origin} {_ANSWERS.get(answer, '')}".rstrip()
