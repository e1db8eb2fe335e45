"""What training leaves behind while it runs: progress, metrics and checkpoints."""

from __future__ import annotations

import math
import pickle
import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_medssl.errors import MedsslError
from napari_medssl.events import Note, Progress, Saved
from napari_medssl.learn.weights import save_model
from napari_medssl.project.checkpoint import WriteError, atomic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accelerate import Accelerator

    from napari_medssl.events import Event
    from napari_medssl.learn.task import Task
    from napari_medssl.project import Run

__all__ = ["Checkpoint", "Outage", "Position", "Reporter"]

REPORT_SECONDS = 0.25


class Position:
    """What the loop knows beside the weights; saved with every checkpoint."""

    def __init__(self, batch_size: int) -> None:
        self.step = 0
        self.best_score = -math.inf
        self.best_step = -1
        self.trained_score = -math.inf
        self.trained_step = 0
        """Best score since the first step, and where: patience counts from there, not from what training began with."""
        self.validated_at = -1
        self.batch_size = batch_size
        """Smaller than asked for where memory ran out."""


class Outage:
    """A full or read-only disk: told when it begins and when it is over, not at every attempt between.

    Parameters
    ----------
    what : str
        What cannot be written, as the begin of a sentence.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.lasts = False

    def begin(self, error: WriteError) -> Iterator[Note]:
        """Take note that writing failed."""
        if not self.lasts:
            self.lasts = True
            text = f"{self._what} cannot be written, the work goes on and tries again: {error}"
            yield Note(level="warning", text=text)

    def end(self) -> Iterator[Note]:
        """Take note that writing succeeded."""
        if self.lasts:
            self.lasts = False
            yield Note(text=f"{self._what} could be written again: nothing is missing.")


class Reporter:
    """Collects losses without waiting for the device, and reports them a few times a second.

    Parameters
    ----------
    run : Run
        Its metrics are written.
    total : int
        Steps of the whole training.
    position : Position
        Where the loop is.
    rate : float
        Steps per second to begin with, as far as they are known.
    """

    def __init__(self, run: Run, total: int, position: Position, *, rate: float = 0.0) -> None:
        self._run, self._total, self._position = run, total, position
        self._outage = Outage("The run's metrics")
        self._names: list[str] = []
        self._pending: list[Tensor] = []
        self._unwritten: list[tuple[int, dict[str, float]]] = []
        self._rate = rate
        self._latest: dict[str, float] = {}
        self.restart_clock()

    def restart_clock(self) -> None:
        """Begin to count steps and time."""
        self._since = self._reported = time.monotonic()
        self._counted = self._position.step

    def leave_out(self, seconds: float) -> None:
        """Take time that did not go into steps (a pause, a validation) out of the rate."""
        self._since += seconds

    def go_back(self) -> None:
        """Forget what the loop's present position does not know of, which is made anew."""
        self._pending, self._unwritten = [], []
        begun = self._position.step > 0 or self._position.validated_at >= 0
        self._run.truncate_metrics(self._position.step if begun else -1)
        self.restart_clock()

    def add(self, losses: dict[str, Tensor]) -> Iterator[Event]:
        """Take one step's scalars; yields when a report is due."""
        self._names = list(losses)
        self._pending.append(torch.stack([value.detach().float() for value in losses.values()]))
        if time.monotonic() - self._reported >= REPORT_SECONDS:
            yield from self.flush()

    def flush(self, extra: dict[str, float] | None = None) -> Iterator[Event]:
        """Write what was collected to the run's metrics and yield it as one `Progress`.

        Raises
        ------
        MedsslError
            If a loss is not finite.
        """
        rows = torch.stack(self._pending).tolist() if self._pending else []
        self._pending = []
        first = self._position.step - len(rows) + 1
        for step, row in enumerate(rows, start=first):
            values = dict(zip(self._names, row, strict=True))
            if not math.isfinite(values["loss"]):
                yield from self._write()
                raise MedsslError(
                    f"The loss became {values['loss']} at step {step}.",
                    advice="Lower the learning rate, or turn mixed precision off; "
                    "the run resumes from its last checkpoint.",
                )
            self._unwritten.append((step, values))
            self._latest |= values
        if extra:
            self._unwritten.append((self._position.step, extra))
            self._latest |= extra
        yield from self._write()
        if rows or extra:
            self._reported = time.monotonic()
            self._update_rate()
            yield self.progress()

    def progress(self) -> Progress:
        """Say where the loop is."""
        left = self._total - self._position.step
        return Progress(
            step=self._position.step,
            total=self._total,
            rate=self._rate,
            eta=left / self._rate if self._rate > 0 else 0.0,
            metrics=dict(self._latest),
        )

    def _write(self) -> Iterator[Event]:
        try:
            while self._unwritten:
                self._run.log_metrics(*self._unwritten[0])
                self._unwritten.pop(0)
        except WriteError as error:
            yield from self._outage.begin(error)
        else:
            yield from self._outage.end()

    def _update_rate(self) -> None:
        now = time.monotonic()
        steps, seconds = self._position.step - self._counted, now - self._since
        if steps > 0 and seconds > 0:
            newest = steps / seconds
            self._rate = newest if self._rate == 0 else 0.8 * self._rate + 0.2 * newest
            self._since, self._counted = now, self._position.step


class Checkpoint:
    """Writes ``last``, ``best`` and the state to resume from; goes back to it."""

    def __init__(
        self,
        run: Run,
        task: Task,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        position: Position,
        reporter: Reporter,
    ) -> None:
        self._run, self._task, self._optimizer = run, task, optimizer
        self._accelerator, self._position, self._reporter = accelerator, position, reporter
        self._outage = Outage("Checkpoints")
        self._tried = time.monotonic()

    def due(self, seconds: float) -> bool:
        """Whether the last attempt at a checkpoint was this long ago."""
        return time.monotonic() - self._tried >= seconds

    def save_best(self, score: float) -> Iterator[Event]:
        """Keep the model as it is now as the best."""
        try:
            save_model(self._task.model, self._run.best_path)
        except WriteError as error:  # the best one before it stays the best
            yield from self._outage.begin(error)
            return
        self._position.best_score, self._position.best_step = score, self._position.step
        yield Saved(what="best", path=self._run.best_path.name, step=self._position.step)

    def save(self, *, required: bool = False) -> Iterator[Event]:
        """Keep the present weights as the last, with all that resuming needs.

        Where the disk does not take them, the checkpoint before stays, and there will be another attempt.

        Raises
        ------
        WriteError
            If the checkpoint is `required` (nothing follows that could try again) and cannot be written.
        """
        yield from self._reporter.flush()  # finds a loss that is not finite before it is kept
        self._tried = time.monotonic()
        try:
            save_model(self._task.model, self._run.last_path)
            with atomic(self._run.state_path) as temporary, temporary.open("wb") as file:
                torch.save(self._state(), file)
        except WriteError as error:
            if required:
                raise WriteError(
                    f"The weights of step {self._position.step} cannot be saved: {error.message}",
                    advice=f"{error.advice} Then resume the run: it goes on from its last whole checkpoint.",
                ) from error
            yield from self._outage.begin(error)
            return
        yield from self._outage.end()
        yield Saved(what="last", path=self._run.last_path.name, step=self._position.step)

    def load(self) -> None:
        """Go back to the state last written by `save`.

        Raises
        ------
        MedsslError
            If it cannot be read.
        """
        path = self._run.state_path
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise MedsslError(
                f"The checkpoint of the run {self._run.name} cannot be read ({path.name}): {error}",
                advice="Restore it from a copy, or start a new run from this one's weights.",
            ) from error
        self._task.load_state_dict(state["task"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._accelerator.scaler is not None and state["scaler"]:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        vars(self._position).update(state["progress"])
        self._task.limit_batch(self._position.batch_size)

    def _state(self) -> dict[str, object]:
        scaler = self._accelerator.scaler
        return {
            "task": self._task.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "progress": vars(self._position),
        }
