"""The one training loop, shared by every pretext method and by fine-tuning."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from torch import Tensor

from napari_medssl.errors import MedsslError
from napari_medssl.events import Device, Event, Note
from napari_medssl.learn.control import pausing
from napari_medssl.learn.memory import ran_out, release
from napari_medssl.learn.patches import Batch, batch_threads, prefetched, step_rng
from napari_medssl.learn.recording import Checkpoint, Position, Reporter
from napari_medssl.learn.task import UNREADABLE, Task, TrainingConfig, to_device
from napari_medssl.learn.trial import Choice, check_memory, layout_of, try_out
from napari_medssl.learn.weights import save_model

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from napari_medssl.learn.control import Control
    from napari_medssl.project import Run

__all__ = [
    "Task",
    "TrainingConfig",
    "learning_rate_at",
    "to_device",
    "train",
]


def learning_rate_at(step: int, total: int, warmup: float) -> float:
    """Give the factor on the peak rate: linear warm-up, then a cosine to zero."""
    rising = max(1, round(warmup * total)) if warmup > 0 else 0
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))


def train(
    task: Task,
    *,
    run: Run,
    config: TrainingConfig,
    device: Device,
    control: Control,
    seed: int,
    threads: int | None = None,
    resume: bool = False,
    on_start: Callable[[int], Event],
    on_choice: Callable[[Choice], None],
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
    threads : int, optional
        CPU threads to compute with; a few steps show the best number where it is unset.
    resume : bool
        Go on from the run's checkpoint; the result is what it would have been uninterrupted.
    on_start : callable
        Gives the `Started` event for the step that comes first.
    on_choice : callable
        Keeps, before the first checkpoint, how to compute: a resumed run must compute the same way.

    Raises
    ------
    MedsslError
        If memory does not suffice, the loss is not finite, or a checkpoint cannot be read or written.
    """
    accelerator = _accelerator(config.precision, device)
    choice = Choice(threads or torch.get_num_threads(), config.channels_last is not False)
    if not resume:
        yield on_start(0)
        check_memory(task, seed=seed, device=accelerator.device)
        choice = yield from try_out(
            task,
            config=config,
            accelerator=accelerator,
            control=control,
            seed=seed,
            threads=threads,
        )
        on_choice(choice)
    torch.set_num_threads(choice.threads)
    layout = layout_of(choice.channels_last)
    task.to(memory_format=layout)
    optimizer = _optimizer(task.parameter_groups(config.learning_rate), config)
    peaks = [group["lr"] for group in optimizer.param_groups]
    wrapped, optimizer = accelerator.prepare(task, optimizer)
    position = Position(task.training_config.batch_size)
    reporter = Reporter(run, config.steps, position, rate=choice.rate)
    checkpoint = Checkpoint(run, task, optimizer, accelerator, position, reporter)
    if resume:
        checkpoint.load()
    reporter.go_back()
    if resume:
        yield on_start(position.step)
    else:
        task.prepare()
        yield from task.told()
        yield from checkpoint.save(required=True)  # from here on the run can be resumed
        if choice.rate:
            yield reporter.progress()

    def one_step(batch: Batch) -> dict[str, Tensor]:
        """Update once; a function, so that no autocast context is open at a yield."""
        torch.manual_seed(seed * 1_000_003 + position.step)  # dropout and the like
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * learning_rate_at(position.step, config.steps, config.warmup)
        losses: dict[str, Tensor] = wrapped(to_device(batch, accelerator.device, layout))
        accelerator.backward(losses["loss"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        task.after_step(position.step, config.steps)
        return losses

    def upcoming() -> Generator[Batch]:
        """Make the batches of the steps that are left, ahead of time."""
        return prefetched(
            lambda step: task.batch(step_rng(seed, step)),
            position.step,
            config.steps,
            threads=batch_threads(),
        )

    def with_smaller_batches() -> Iterator[Event]:
        """Go back to the last checkpoint, since the step that failed was half done, and halve the batch."""
        optimizer.zero_grad(set_to_none=True)
        release(accelerator.device)
        reached = position.step
        told = task.halve_batch(accelerator.device)
        size = task.training_config.batch_size
        checkpoint.load()
        reporter.go_back()
        task.limit_batch(size)
        position.batch_size = size
        again = f" Steps {position.step + 1} to {reached + 1} are made again." if reached else ""
        yield Note(level="warning", text=told + again)
        yield from checkpoint.save()

    batches = upcoming()
    task.set_training()
    reporter.restart_clock()
    try:
        while True:
            if (
                task.validate_every
                and position.validated_at < position.step
                and (position.step % task.validate_every == 0 or position.step == config.steps)
            ):
                yield from _validate(task, position, reporter, checkpoint)
            # Not only after a validation made here: the last process may have ended just behind it.
            if position.validated_at == position.step and _exhausted(position, config, task):
                yield Note(
                    text=f"Stopped early at step {position.step}: no improvement since step "
                    f"{position.trained_step}."
                )
                break
            if position.step == config.steps or control.stopped:
                break
            if control.paused:
                yield from checkpoint.save()
                reporter.leave_out((yield from pausing(control, position.step)))
                continue
            try:
                losses = one_step(next(batches))
            except (MemoryError, RuntimeError) as error:
                if not ran_out(error):
                    raise
                losses = None
            if losses is None:  # not above: there, the error's traceback still holds the tensors
                batches.close()
                yield from with_smaller_batches()
                batches = upcoming()
                continue
            position.step += 1
            yield from reporter.add(losses)
            yield from task.told()
            if checkpoint.due(config.checkpoint_seconds):
                yield from checkpoint.save()
    finally:
        batches.close()  # ends its threads
    yield from checkpoint.save(required=True)
    if not task.validate_every:
        save_model(task.kept(), run.best_path)
        yield from task.told()


def _validate(
    task: Task, position: Position, reporter: Reporter, checkpoint: Checkpoint
) -> Iterator[Event]:
    """Measure the model and keep it if it is the best."""
    began = time.monotonic()
    task.eval()
    with torch.no_grad():
        try:
            measured = task.validate()
        except UNREADABLE as error:  # held-out images have gone: learning goes on without them
            measured = {}
            task.tell(f"No validation at step {position.step}: {error}")
    task.set_training()
    reporter.leave_out(time.monotonic() - began)
    position.validated_at = position.step
    yield from task.told()
    # Without a score nothing is best but the last; not-a-number is never an improvement.
    score = measured.get("score", -math.inf)
    if measured:
        yield from reporter.flush({f"validation/{name}": v for name, v in measured.items()})
    if position.step > 0 and score > position.trained_score:
        position.trained_score, position.trained_step = score, position.step
    if score > position.best_score:
        yield from checkpoint.save_best(score)


def _exhausted(position: Position, config: TrainingConfig, task: Task) -> bool:
    waited = position.step - position.trained_step
    return (
        task.patience > 0
        and position.trained_score > -math.inf
        and waited >= task.patience * max(task.validate_every, task.epoch)
        and position.step < config.steps
    )


def _optimizer(groups: list[dict[str, Any]], config: TrainingConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=config.weight_decay)
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay)


def _accelerator(wanted: str, device: Device) -> Accelerator:
    precision = _precision(wanted, device)
    try:
        return Accelerator(cpu=device.name == "cpu", mixed_precision=precision)
    except ValueError as error:  # Accelerate has one precision for the life of a process
        raise MedsslError(
            f"This process has trained with another precision than {precision} before.",
            advice="Train in a new process.",
        ) from error


def _precision(wanted: str, device: Device) -> str:
    native = device.name == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if wanted == "auto":
        return "no" if device.name != "cuda" else "bf16" if native else "fp16"
    if wanted == "fp16" and device.name == "cpu":
        raise MedsslError("fp16 is no precision for a CPU.", advice='Set precision to "auto".')
    if wanted == "bf16" and device.name == "cuda" and not native:
        raise MedsslError(
            f"{device.label} has no bf16: it would be imitated, slowly.",
            advice='Set precision to "auto" or "fp16".',
        )
    return wanted
