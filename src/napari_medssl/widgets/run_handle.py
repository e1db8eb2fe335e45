"""What the viewer knows of the run that is active now."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal

from napari.qt.threading import thread_worker
from qtpy.QtCore import QObject, Signal

from napari_medssl.events import Done, Failed, Note, Paused, Progress, Resumed, Started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.qt.threading import GeneratorWorker

    from napari_medssl.events import AnyEvent, Device
    from napari_medssl.widgets.engine_client import RunProcess

__all__ = ["RunHandle", "Stand", "title_of"]

State = Literal["starting", "running", "paused", "stopping", "done", "stopped", "failed"]

_TITLES = {
    "pretrain": "Pretraining",
    "finetune": "Fine-tuning",
    "predict": "Prediction",
    "embed": "Storing of features",
    "export": "Export",
    "resume": "Resumed run",
    "assess": "Assessment",
    "evaluate": "Evaluation",
    "experiment": "Experiment",
    "compare": "Comparison of methods",
}
"""What a job is called before it says its own title."""


def title_of(kind: str) -> str:
    """Name a kind of job in words."""
    return _TITLES.get(kind, kind.capitalize())


class RunHandle:
    """The state of one job, kept up to date by its events.

    Parameters
    ----------
    job : dict
        The job that was started.
    process : RunProcess
        The child that works on it.
    """

    def __init__(self, job: dict[str, Any], process: RunProcess) -> None:
        self.job = job
        self.process = process
        self.kind = str(job["kind"])
        self.title = ""
        self.run = str(job.get("run") or "") if self.kind == "resume" else ""
        self.step = 0
        self.total = 0
        self.rate = 0.0
        self.eta = 0.0
        self.device: Device | None = None
        self.state: State = "starting"
        self.outcome = ""
        self.notes: list[Note] = []
        self.metrics: dict[str, list[tuple[int, float]]] = {}

    @property
    def over(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self.state in ("done", "stopped", "failed")

    @property
    def name(self) -> str:
        """What to call it in a sentence: the title, or the run, or what kind of job it is."""
        return self.title or self.run or title_of(self.kind)

    def take(self, event: AnyEvent) -> None:
        """Follow one event."""
        if isinstance(event, Started):
            self.kind, self.title, self.run = event.kind, event.title, event.run
            self.step, self.total, self.device = event.step, event.total, event.device
            if self.state == "starting":
                self.state = "running"
        elif isinstance(event, Progress):
            self.step, self.total = event.step, event.total
            self.rate, self.eta = event.rate, event.eta
            for name, value in event.metrics.items():
                points = self.metrics.setdefault(name, [])
                # each event repeats the newest validation; only a new one is a point
                if not (name.startswith("validation/") and points and points[-1][1] == value):
                    points.append((event.step, value))
        elif isinstance(event, Note):
            self.notes.append(event)
        elif isinstance(event, Paused) and self.state == "running":
            self.state = "paused"
        elif isinstance(event, Resumed) and self.state == "paused":
            self.state = "running"
        elif isinstance(event, Done):
            self.state, self.outcome = ("stopped" if event.stopped else "done"), event.summary
            self.run = event.run or self.run
        elif isinstance(event, Failed):
            self.state, self.outcome = "failed", event.error


class Stand(QObject):
    """Stands for the child process in napari's activity dock and task manager.

    The child does the work; this worker only sleeps in a thread until it is told of progress, and it
    never raises (superqt swallows a `RuntimeError` of a generator and the task would stay busy).

    Parameters
    ----------
    title : str
        Shown in the activity dock.
    """

    _PARTS = 100
    worker_finished = Signal()

    def __init__(self, title: str) -> None:
        super().__init__()
        self._wake = threading.Event()
        self._part = 0
        self._over = False
        self._worker: GeneratorWorker[None, None, None] = thread_worker(
            self._watch, progress={"total": self._PARTS, "desc": title}
        )()
        self.finished = False
        self._worker.finished.connect(self._on_finished)
        self._worker.start()

    def advance(self, fraction: float) -> None:
        """Show that this fraction (0 to 1) of the work is done."""
        self._part = min(self._PARTS, int(fraction * self._PARTS))
        self._wake.set()

    def end(self) -> None:
        """Let the worker return."""
        self._over = True
        self._wake.set()

    def _watch(self) -> Iterator[None]:
        shown = 0
        while not self._over:
            self._wake.wait(0.02 if shown < self._part else 0.25)
            self._wake.clear()
            if shown < self._part and not self._over:
                shown += 1
                yield
            elif self._worker.abort_requested:
                return

    def _on_finished(self) -> None:
        self.finished = True
        self.worker_finished.emit()
