"""The one training loop, shared by every pretext method and by fine-tuning."""

from __future__ import annotations

import abc
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import torch
from accelerate import Accelerator
from pydantic import Field
from torch import Tensor, nn

from napari_medssl.config import Config, advanced
from napari_medssl.errors import MedsslError
from napari_medssl.events import Device, Event, Note, Paused, Progress, Resumed, Saved
from napari_medssl.learn.networks import SegmentationModel, save_model
from napari_medssl.learn.patches import Batch, prefetched, step_rng
from napari_medssl.project.checkpoint import atomic

if TYPE_CHECKING:
    import numpy as np

    from napari_medssl.learn.control import Control
    from napari_medssl.project import Run

__all__ = [
    "Task",
    "TrainingConfig",
    "learning_rate_at",
    "to_device",
    "train",
]

REPORT_SECONDS = 0.25


class TrainingConfig(Config):
    """How long, how much at once, how fast."""

    steps: int = Field(600, ge=1, le=10_000_000)
    """Number of optimiser steps."""
    batch_size: int = Field(8, ge=2, le=4096)
    """Patches per step; at least two, since batch normalisation compares them."""
    patch_size: int = Field(128, ge=32, le=2048, multiple_of=32)
    """Side of a patch, pixels."""
    learning_rate: float = Field(3.6e-4, gt=0, le=10)
    """Peak learning rate of AdamW."""
    weight_decay: float = advanced(1e-5, ge=0, le=10)
    """Decoupled weight decay of AdamW."""
    warmup: float = advanced(0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises linearly before it falls along a cosine."""
    validate_every: int = advanced(50, ge=1, le=1_000_000)
    """Steps between two validations."""
    patience: int = advanced(5, ge=0, le=10_000)
    """Validations without improvement before stopping early; 0 never stops early."""
    checkpoint_seconds: float = advanced(120.0, ge=1, le=86_400)
    """Time between two checkpoints; there is one at every pause and stop as well."""
    precision: Literal["auto", "no", "fp16", "bf16"] = advanced("auto")
    """Mixed precision; auto means bf16 or fp16 on a CUDA GPU and none elsewhere."""
    channels_last: bool = advanced(True)
    """Memory layout of images on the device; usually the faster one for convolutions."""


class Task(nn.Module, abc.ABC):
    """What the loop trains: a model, where its batches come from, and what it is asked to do.

    ``forward(batch)`` takes tensors (those of `batch`, with a first axis B) and returns scalars by
    name, among them ``loss``. Everything that must survive an interruption is a parameter, or a buffer.
    """

    model: SegmentationModel

    @abc.abstractmethod
    def batch(self, rng: np.random.Generator) -> Batch:
        """Make one batch; runs in background threads and must use no other randomness than `rng`."""

    @abc.abstractmethod
    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the loss, and whatever else is worth logging, as scalars."""

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Give the groups for the optimiser, each with ``params`` and its peak ``lr``."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": rate}]

    def after_step(self, step: int, total: int) -> None:
        """Do what follows an optimiser step (moving averages, queues)."""

    def validate(self) -> dict[str, float]:
        """Measure on held-out data; may be empty. `score`, if there, decides what is best: higher is."""
        return {}

    def set_training(self) -> None:
        """Put the parts that learn into training mode."""
        self.train()


def learning_rate_at(step: int, total: int, warmup: float) -> float:
    """Give the factor on the peak rate: linear warm-up, then a cosine to zero."""
    rising = max(1, round(warmup * total)) if warmup > 0 else 0
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


class _Progress:
    """What the loop knows beside the weights; saved with every checkpoint."""

    def __init__(self) -> None:
        self.step = 0
        self.best_score = -math.inf
        self.best_step = -1
        self.validated_at = -1


def train(
    task: Task,
    *,
    run: Run,
    config: TrainingConfig,
    device: Device,
    control: Control,
    seed: int,
    resume: bool = False,
    on_start: Callable[[int], Event],
) -> Iterator[Event]:
    """Train, yielding events; at every return the run folder holds the last and the best weights.

    Parameters
    ----------
    task : Task
        What to train.
    run : Run
        Where weights, checkpoints and metrics go.
    config : TrainingConfig
        How long, how fast.
    device : Device
        Where to compute.
    control : Control
        Looked at between steps.
    seed : int
        With the step number it determines all randomness.
    resume : bool
        Go on from the run's checkpoint; the result is what it would have been uninterrupted.
    on_start : callable
        Gives the `Started` event for the step that comes first.

    Raises
    ------
    MedsslError
        If the loss is not finite, or a checkpoint cannot be read.
    """
    accelerator = Accelerator(
        cpu=device.name == "cpu", mixed_precision=_precision(config.precision, device)
    )
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    if config.channels_last:
        task.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        task.parameter_groups(config.learning_rate), weight_decay=config.weight_decay
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    wrapped, optimizer = accelerator.prepare(task, optimizer)
    progress = _Progress()
    reporter = _Reporter(run, config.steps, progress)
    checkpoint = _Checkpoint(run, task, optimizer, accelerator, progress, reporter)
    if resume:
        checkpoint.load()
        run.truncate_metrics(progress.step)
    reporter.restart_clock()
    yield on_start(progress.step)
    if not resume:
        yield from checkpoint.save()  # from here on the run can be resumed

    def one_step(batch: Batch) -> dict[str, Tensor]:
        """Update once; a function, so that no autocast context is open at a yield."""
        torch.manual_seed(seed * 1_000_003 + progress.step)  # dropout and the like
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * learning_rate_at(progress.step, config.steps, config.warmup)
        losses: dict[str, Tensor] = wrapped(to_device(batch, accelerator.device, layout))
        accelerator.backward(losses["loss"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        task.after_step(progress.step, config.steps)
        return losses

    batches = prefetched(
        lambda step: task.batch(step_rng(seed, step)),
        progress.step,
        config.steps,
        threads=max(1, min(8, (os.cpu_count() or 2) // 2)),
    )
    task.set_training()
    try:
        while True:
            if progress.validated_at < progress.step and (
                progress.step % config.validate_every == 0 or progress.step == config.steps
            ):
                yield from _validate(task, progress, reporter, checkpoint)
                if _exhausted(progress, config):
                    yield Note(
                        text=f"Stopped early at step {progress.step}: no improvement in "
                        f"{config.patience} validations since step {progress.best_step}."
                    )
                    break
            if progress.step == config.steps or control.stopped:
                break
            if control.paused:
                yield from checkpoint.save()
                yield Paused(step=progress.step)
                began = time.monotonic()
                control.wait_while_paused()
                reporter.leave_out(time.monotonic() - began)
                if not control.stopped:
                    yield Resumed(step=progress.step)
                continue
            losses = one_step(next(batches))
            progress.step += 1
            yield from reporter.add(losses)
            if checkpoint.due(config.checkpoint_seconds):
                yield from checkpoint.save()
    finally:
        batches.close()  # ends its threads
    yield from checkpoint.save()


def _validate(
    task: Task, progress: _Progress, reporter: _Reporter, checkpoint: _Checkpoint
) -> Iterator[Event]:
    began = time.monotonic()
    task.eval()
    with torch.no_grad():
        measured = task.validate()
    task.set_training()
    reporter.leave_out(time.monotonic() - began)
    progress.validated_at = progress.step
    if measured:
        yield from reporter.flush({f"validation/{name}": v for name, v in measured.items()})
        # Without a score nothing is best but the last; not-a-number is never an improvement.
        score = measured.get("score", -math.inf)
        if score > progress.best_score:
            progress.best_score, progress.best_step = score, progress.step
            yield from checkpoint.save_best()


def _exhausted(progress: _Progress, config: TrainingConfig) -> bool:
    waited = progress.step - max(progress.best_step, 0)
    return (
        config.patience > 0
        and progress.best_step >= 0
        and waited >= config.patience * config.validate_every
        and progress.step < config.steps
    )


def _precision(wanted: str, device: Device) -> str:
    if wanted != "auto":
        return wanted
    if device.name != "cuda":
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def to_device(batch: Batch, device: torch.device, layout: torch.memory_format) -> dict[str, Tensor]:
    """Copy a batch to the device, images (four axes) in the wanted memory layout."""
    tensors = {}
    for name, array in batch.items():
        tensor = torch.from_numpy(array)
        if device.type == "cuda":
            tensor = tensor.pin_memory()
        tensor = tensor.to(device, non_blocking=True)
        tensors[name] = tensor.to(memory_format=layout) if tensor.ndim == 4 else tensor
    return tensors


class _Reporter:
    """Collects losses without waiting for the device, and reports them a few times a second."""

    def __init__(self, run: Run, total: int, progress: _Progress) -> None:
        self._run, self._total, self._progress = run, total, progress
        self._names: list[str] = []
        self._pending: list[Tensor] = []
        self._rate = 0.0
        self._latest: dict[str, float] = {}
        self.restart_clock()

    def restart_clock(self) -> None:
        """Begin to count steps and time."""
        self._since = self._reported = time.monotonic()
        self._counted = self._progress.step

    def leave_out(self, seconds: float) -> None:
        """Take time that did not go into steps (a pause, a validation) out of the rate."""
        self._since += seconds

    def add(self, losses: dict[str, Tensor]) -> Iterator[Event]:
        """Take one step's scalars; yields when a report is due."""
        self._names = list(losses)
        self._pending.append(torch.stack([value.detach().float() for value in losses.values()]))
        if time.monotonic() - self._reported >= REPORT_SECONDS:
            yield from self.flush()

    def flush(self, extra: dict[str, float] | None = None) -> Iterator[Event]:
        """Write what was collected to the run's metrics and yield it as one `Progress`."""
        rows = torch.stack(self._pending).tolist() if self._pending else []
        self._pending = []
        first = self._progress.step - len(rows) + 1
        for step, row in enumerate(rows, start=first):
            values = dict(zip(self._names, row, strict=True))
            if not math.isfinite(values["loss"]):
                raise MedsslError(
                    f"The loss became {values['loss']} at step {step}.",
                    advice="Lower the learning rate, or turn mixed precision off; "
                    "the run resumes from its last checkpoint.",
                )
            self._run.log_metrics(step, values)
            self._latest |= values
        if extra:
            self._run.log_metrics(self._progress.step, extra)
            self._latest |= extra
        if not rows and not extra:
            return
        self._reported = time.monotonic()
        self._update_rate()
        left = self._total - self._progress.step
        yield Progress(
            step=self._progress.step,
            total=self._total,
            rate=self._rate,
            eta=left / self._rate if self._rate > 0 else 0.0,
            metrics=dict(self._latest),
        )

    def _update_rate(self) -> None:
        now = time.monotonic()
        steps, seconds = self._progress.step - self._counted, now - self._since
        if steps > 0 and seconds > 0:
            newest = steps / seconds
            self._rate = newest if self._rate == 0 else 0.8 * self._rate + 0.2 * newest
            self._since, self._counted = now, self._progress.step


class _Checkpoint:
    """Writes ``last``, ``best`` and the state to resume from."""

    def __init__(
        self,
        run: Run,
        task: Task,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        progress: _Progress,
        reporter: _Reporter,
    ) -> None:
        self._run, self._task, self._optimizer = run, task, optimizer
        self._accelerator, self._progress, self._reporter = accelerator, progress, reporter
        self._written = time.monotonic()

    def due(self, seconds: float) -> bool:
        """Whether the last checkpoint is this old."""
        return time.monotonic() - self._written >= seconds

    def save_best(self) -> Iterator[Event]:
        """Keep the present weights as the best."""
        save_model(self._task.model, self._run.best_path)
        yield Saved(what="best", path=self._run.best_path.name, step=self._progress.step)

    def save(self) -> Iterator[Event]:
        """Keep the present weights as the last, with all that resuming needs."""
        yield from self._reporter.flush()  # finds a loss that is not finite before it is kept
        save_model(self._task.model, self._run.last_path)
        scaler = self._accelerator.scaler
        state = {
            "task": self._task.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "progress": vars(self._progress),
        }
        with atomic(self._run.state_path) as temporary:
            torch.save(state, temporary)
        yield Saved(what="last", path=self._run.last_path.name, step=self._progress.step)
        self._written = time.monotonic()

    def load(self) -> None:
        """Go back to the state last written by `save`."""
        path = self._run.state_path
        if not path.is_file():
            raise MedsslError(
                f"The run {self._run.name} has no checkpoint ({path.name} is missing).",
                advice="Start it anew.",
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
        self._task.load_state_dict(state["task"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._accelerator.scaler is not None and state["scaler"]:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        vars(self._progress).update(state["progress"])
