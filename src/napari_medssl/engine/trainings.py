"""Trainings that belong to a larger job: begun, gone on with, or done already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from napari_medssl.engine import runs
from napari_medssl.engine.experiment.workplace import Runs
from napari_medssl.engine.job import parse_job
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Event, Note, Paused, Progress, Resumed, Started
from napari_medssl.learn.devices import choose_threads

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_medssl.learn.control import Control
    from napari_medssl.learn.devices import DeviceName
    from napari_medssl.project import Project, Run

__all__ = ["StoppedError", "Trainings"]


class StoppedError(MedsslError):
    """The larger job was asked to end."""

    def __init__(self) -> None:
        super().__init__("The work was stopped.")


class Trainings:
    """Runs of a project, each known by a key.

    Parameters
    ----------
    project : Project
        Whose runs these are.
    path : path
        Where is kept which run belongs to which key.
    control : Control
        Pauses and stops the trainings, too.
    device : {"auto", "cpu", "cuda", "mps"}
        Where to compute.
    threads : int, optional
        CPU threads; unset means what each training finds the fastest.
    """

    def __init__(
        self,
        project: Project,
        path: Path,
        control: Control,
        *,
        device: DeviceName,
        threads: int | None,
    ) -> None:
        self._project, self._control = project, control
        self._device, self._threads = device, threads
        self._runs = Runs(path)

    def is_done(self, key: str) -> bool:
        """Whether there is nothing left to train."""
        run = self._begun(key)
        return run is not None and run.status == "done"

    def run_of(self, key: str) -> Run:
        """Give the run of a training that was begun.

        Raises
        ------
        MedsslError
            If it was not, or somebody deleted it.
        """
        run = self._begun(key)
        if run is None:
            raise MedsslError(f"There is no training of {key} yet.", advice="Start the job again.")
        return run

    def run(
        self, key: str, job: dict[str, Any], title: str, *, seed: int
    ) -> Generator[Event, None, Run]:
        """Make a training, or go on with it where it was stopped or killed; gives its run.

        Yields its progress (in its own steps) and warnings.

        Raises
        ------
        StoppedError
            If it was asked to end.
        MedsslError
            If it fails.
        """
        if self.is_done(key):
            return self.run_of(key)
        common = {"project": str(self._project.path), "device": self._device}
        begun = self._begun(key)
        if begun is not None and begun.job and begun.status != "failed":
            parsed = parse_job({"kind": "resume", "run": begun.name, **common})
        else:
            self.forget(key)
            threads = {"threads": self._threads} if self._threads else {}
            parsed = parse_job(job | common | {"seed": seed} | threads)
        yield Note(text=title)
        try:
            for event in runs.start(parsed, self._control):  # type: ignore[arg-type]
                if isinstance(event, Started):
                    self._runs.set(key, event.run)
                elif isinstance(event, Progress | Paused | Resumed) or (
                    isinstance(event, Note) and event.level == "warning"
                ):
                    yield event
                elif isinstance(event, Done) and event.stopped:
                    raise StoppedError
        finally:
            # The training chose its own number; what comes after must not depend on it.
            torch.set_num_threads(self._threads or choose_threads())
        return self.run_of(key)

    def forget(self, key: str) -> None:
        """Let go of a run, such as one that failed; its folder stays."""
        self._runs.set(key, None)

    def _begun(self, key: str) -> Run | None:
        """Give the run of a training; None before it began, or where somebody deleted it."""
        name = self._runs.get(key)
        return next((run for run in self._project.runs() if run.name == name), None)
