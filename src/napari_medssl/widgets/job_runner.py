"""Runs one job at a time in an engine process and follows its events."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QObject, Signal

from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Failed, Progress, Started
from napari_medssl.widgets.engine_client import RunProcess
from napari_medssl.widgets.run_handle import RunHandle, Stand

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.events import AnyEvent
    from napari_medssl.widgets.session import Session

__all__ = ["JobRunner"]

_KEPT_LOGS = 30


class JobRunner(QObject):
    """Owner of the active run.

    Parameters
    ----------
    session : Session
        Whose runs these are.
    """

    arrived = Signal(object)
    idle = Signal()
    """The last child and its stand in the activity dock are gone."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._session = session
        self.active: RunHandle | None = None
        self.last: RunHandle | None = None
        self._stand: Stand | None = None
        # a run is over with its last event; its process ends a little later, perhaps after the next began
        self._children: list[RunProcess] = []

    @property
    def quiet(self) -> bool:
        """Whether neither a child nor its stand is left."""
        return not self._children and (self._stand is None or self._stand.finished)

    def start(self, job: dict[str, Any]) -> RunHandle:
        """Write the job file and start an engine on it."""
        if self.active is not None:
            raise MedsslError(f"{self.active.name} is still running.", advice="Stop it first.")
        folder = self._session.folder()
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}-{job['kind']}"
        job_file = folder / "jobs" / f"{stem}.json"
        log = folder / "logs" / f"{stem}.log"
        job_file.parent.mkdir(parents=True, exist_ok=True)
        job_file.write_text(json.dumps(job, indent=1), encoding="utf-8")
        _forget_old(job_file.parent)
        child = RunProcess(self._session.engine_command, job_file, log=log, parent=self)
        _forget_old(log.parent)
        handle = RunHandle(job, child)
        self.active = self.last = handle
        self._children.append(child)
        child.arrived.connect(self._on_event)
        child.finished.connect(partial(self._on_finished, child))
        child.start()
        return handle

    def tell(self, command: Literal["pause", "resume", "stop"]) -> None:
        """Pass a command on to the active run; nothing happens when there is none."""
        handle = self.active
        if handle is None:
            return
        if command == "stop":
            handle.state = "stopping"
        handle.process.tell(command)

    def shut_down(self) -> None:
        """Let the active run save and end, waiting a few seconds at most."""
        children, self._children = self._children, []
        for child in children:
            child.arrived.disconnect()
            child.finished.disconnect()
            if self.active is not None and child is self.active.process:
                child.tell("stop")
            child.shut_down(patience=5000)
        self.active = None
        if self._stand is not None:
            self._stand.end()

    def _on_event(self, event: AnyEvent) -> None:
        handle = self.active
        if handle is None:
            return
        before = handle.doing
        handle.take(event)
        if isinstance(event, Started) or handle.doing != before:
            if self._stand is not None:
                self._stand.end()
            self._stand = Stand(handle.doing or handle.title)
            self._stand.worker_finished.connect(self._settle)
        if isinstance(event, Progress) and self._stand is not None:
            self._stand.advance(event.step / max(event.total, 1))
        if isinstance(event, Done | Failed):
            self.active = None
            if self._stand is not None:
                self._stand.end()
        self.arrived.emit(event)

    def _on_finished(self, child: RunProcess) -> None:
        self._children.remove(child)
        child.deleteLater()
        self._settle()

    def _settle(self) -> None:
        if self.quiet:
            self.idle.emit()


def _forget_old(folder: Path) -> None:
    of_jobs = sorted(folder.glob("[0-9]*"))  # begin with the date; the other logs rotate
    for path in of_jobs[:-_KEPT_LOGS]:
        path.unlink(missing_ok=True)
