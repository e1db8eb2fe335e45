"""Before training: whether it fits into memory, and which threads and memory layout are the fastest.

Both are found out by doing a little of the real work and putting everything back.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_medssl.events import Event, Note
from napari_medssl.learn.devices import choose_threads
from napari_medssl.learn.memory import (
    MemoryShortageError,
    available,
    gibibytes,
    peak_memory,
    ran_out,
    release,
)
from napari_medssl.learn.patches import (
    CACHE_BYTES,
    Batch,
    batch_threads,
    prefetched,
    step_rng,
)
from napari_medssl.learn.task import SMALLEST_BATCH, Task, TrainingConfig, to_device

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from accelerate import Accelerator

    from napari_medssl.learn.control import Control

__all__ = ["Choice", "check_memory", "expected_memory", "layout_of", "try_out"]

STEPS = 5
"""Steps of a candidate: one to warm up, the others are timed."""
SHORT = 20
"""A training of so few steps is over before a trial pays."""
BUDGET_SECONDS = 20.0
BUDGET_SHARE = 0.1
"""A trial may take this share of the training's expected time, and never more than the budget."""
OBVIOUS = 1.3
"""A candidate whose first timed step takes this many times the best one's needs no further step."""
WORKSPACE = 1.1
"""What a step takes on top of the activations that it keeps for the backward pass (whose own memory comes free
again as it goes back); measured 1.0 on a CPU with MobileNetV2, 32 patches of 128 pixels, and ResNet34, 8 of 256."""


@dataclass(frozen=True)
class Choice:
    """How to compute."""

    threads: int
    channels_last: bool
    seconds: float | None = None
    """Of a step, where it was measured."""

    @property
    def rate(self) -> float:
        """Steps per second; 0 where it was not measured."""
        return 1 / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        plural = "s" if self.threads > 1 else ""
        layout = "last" if self.channels_last else "first"
        return f"{self.threads} thread{plural}, channels {layout}"


def layout_of(channels_last: bool) -> torch.memory_format:
    """Give torch's name of a memory layout."""
    return torch.channels_last if channels_last else torch.contiguous_format


def check_memory(task: Task, *, seed: int, device: torch.device) -> None:
    """Refuse a training that the computer's memory cannot hold, before anything is lost by it.

    A lack of GPU memory raises an error that can be dealt with; a lack of the computer's own does not
    always: the system may end the process, or others.

    Raises
    ------
    MemoryShortageError
        Saying how much is missing and which batch size would fit.
    """
    wanted = task.training_config.batch_size
    fixed, sample = _need(task, seed=seed, device=device)
    room = available()
    if fixed + wanted * sample <= room:
        return
    fits = int((room - fixed) // sample) if room > fixed else 0
    advice = (
        f"Set batch_size to {fits} or less, or lower patch_size."
        if fits >= SMALLEST_BATCH
        else "No batch size would fit: lower patch_size, choose a smaller encoder, or close other programs."
    )
    raise MemoryShortageError(
        f"Training in batches of {wanted} needs about {gibibytes(fixed + wanted * sample)} of memory; "
        f"{gibibytes(room)} are free.",
        advice=advice,
    )


def expected_memory(task: Task, *, seed: int, device: torch.device) -> int:
    """Estimate the bytes that a training will take, as `check_memory` does before it."""
    fixed, sample = _need(task, seed=seed, device=device)
    return round(fixed + task.training_config.batch_size * sample)


def _need(task: Task, *, seed: int, device: torch.device) -> tuple[float, float]:
    """Estimate the bytes that training will take: whatever the batch, and for each sample of it."""
    wanted = task.training_config.batch_size
    task.limit_batch(SMALLEST_BATCH)
    try:
        batch = task.batch(step_rng(seed, 0))
        on_gpu = device.type == "cuda"
        kept = 0 if on_gpu else _kept_for_backward(task, batch)
    finally:
        task.limit_batch(wanted)
    queued = 2 * batch_threads() + 1
    sample = sum(array.nbytes for array in batch.values()) * queued + WORKSPACE * kept
    learnt = sum(parameter.nbytes for parameter in task.parameters() if parameter.requires_grad)
    fixed = 0 if on_gpu else 3 * learnt  # gradients, and the optimiser's two moments
    return fixed + _cached(task), sample / SMALLEST_BATCH


def _cached(task: Task) -> int:
    """Give the bytes that the cache of images will hold: float32 planes, and a mask or labels."""
    total = 0
    for name in task.images:
        height, width = task.project.shape(name)
        total += 4 * (len(task.project.settings.channels) + 1) * height * width
        if total >= CACHE_BYTES:
            return CACHE_BYTES
    return total


def _kept_for_backward(task: Task, batch: Batch) -> int:
    """Give the bytes that a forward pass keeps for the backward pass, apart from the parameters."""
    own = {tensor.untyped_storage().data_ptr() for tensor in task.state_dict().values()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tensors = to_device(batch, torch.device("cpu"), torch.contiguous_format)
    with _put_back(task, torch.device("cpu")):
        task.set_training()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            losses = task(tensors)  # alive until all is counted: storages are told apart by address
        del losses
    return sum(kept.values())


def try_out(
    task: Task,
    *,
    config: TrainingConfig,
    accelerator: Accelerator,
    control: Control,
    seed: int,
    threads: int | None,
) -> Generator[Event, None, Choice]:
    """Measure a few steps, and choose what was not asked for; nothing else changes.

    Parameters
    ----------
    task : Task
        What will be trained; everything it learns here is forgotten again. Where memory runs out its
        batch is halved, which stays and is told.
    config : TrainingConfig
        `channels_last` is chosen where it is unset.
    accelerator : Accelerator
        Gives device and precision.
    control : Control
        A stop ends the trial.
    seed : int
        Of the training, whose own first batches are used.
    threads : int, optional
        CPU threads; where unset, all idle cores, half of them and one are compared.

    Returns
    -------
    Choice
        Trainings too short for a trial get the usual choice, without a time.
    """
    device = accelerator.device
    usual = Choice(threads or choose_threads(), config.channels_last is not False)
    if config.steps <= SHORT:
        return usual
    numbers = {usual.threads}
    if threads is None and device.type == "cpu":
        numbers |= {max(1, usual.threads // 2), 1}
    layouts = {True, False} if config.channels_last is None else {usual.channels_last}
    stopwatch = _Stopwatch(task, config, accelerator, control, seed)
    while True:
        try:
            with peak_memory(device) as peak:
                tried = _compared(stopwatch, usual, numbers=numbers, layouts=layouts)
            break
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
        # Not above: there, the error's traceback still holds the tensors.
        release(device)
        yield Note(level="warning", text=task.halve_batch(device))
    release(device)
    best = min(tried, key=_seconds)
    if not control.stopped:
        yield Note(text=_in_words(best, tried, steps=config.steps, memory=peak.bytes))
    return best


class _Stopwatch:
    """Makes a few steps of the training, says how long one takes, and undoes them."""

    def __init__(
        self,
        task: Task,
        config: TrainingConfig,
        accelerator: Accelerator,
        control: Control,
        seed: int,
    ) -> None:
        self._task, self._config, self._seed = task, config, seed
        self._accelerator, self._control = accelerator, control
        self._began = time.monotonic()
        self._steps = 0

    def is_over(self, seconds: float) -> bool:
        """Whether another candidate would cost too much, when the best one's steps take `seconds`."""
        expected = seconds * self._config.steps
        spent = time.monotonic() - self._began + STEPS * seconds
        return self._control.stopped or spent > min(BUDGET_SECONDS, BUDGET_SHARE * expected)

    def warm_up(self) -> None:
        """Read the images of the first batches, so that no candidate pays for it; as many as time allows."""
        began = time.monotonic()
        self._steps = 0
        while self._steps < 2 or (
            self._steps < STEPS and time.monotonic() - began < BUDGET_SECONDS / 4
        ):
            self._task.batch(step_rng(self._seed, self._steps))
            self._steps += 1
        self._began = time.monotonic()

    def time(self, choice: Choice, *, best: float) -> Choice:
        """Give the choice with its seconds a step."""
        task, device = self._task, self._accelerator.device
        layout = layout_of(choice.channels_last)
        torch.set_num_threads(choice.threads)
        seconds: list[float] = []
        batches = prefetched(
            lambda step: task.batch(step_rng(self._seed, step)),
            0,
            self._steps,
            threads=batch_threads(),
        )
        with _put_back(task, device), closing(batches):
            task.to(device=device, memory_format=layout)  # type: ignore[call-overload]
            optimizer = torch.optim.AdamW(task.parameter_groups(self._config.learning_rate))
            task.set_training()
            began = time.monotonic()
            for step, batch in enumerate(batches):
                with self._accelerator.autocast():
                    losses = task(to_device(batch, device, layout))
                losses["loss"].backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                task.after_step(step, self._config.steps)
                _wait_for(device)
                now = time.monotonic()
                seconds.append(now - began)
                began = now
                loses = step > 0 and seconds[-1] > OBVIOUS * best
                if loses or self._control.stopped or now - self._began > BUDGET_SECONDS:
                    break
        return replace(choice, seconds=statistics.median(seconds[1:] or seconds))


def _compared(
    stopwatch: _Stopwatch, usual: Choice, *, numbers: set[int], layouts: set[bool]
) -> list[Choice]:
    """Time the usual choice, then as far as time allows the other numbers of threads, then the other layout."""
    stopwatch.warm_up()
    tried = [stopwatch.time(usual, best=math.inf)]
    for number in sorted(numbers - {usual.threads}, reverse=True):
        best = min(tried, key=_seconds)
        if not stopwatch.is_over(_seconds(best)):
            tried.append(stopwatch.time(replace(usual, threads=number), best=_seconds(best)))
    for layout in layouts - {usual.channels_last}:
        best = min(tried, key=_seconds)
        if not stopwatch.is_over(_seconds(best)):
            rival = replace(best, channels_last=layout)
            tried.append(stopwatch.time(rival, best=_seconds(best)))
    return tried


def _seconds(choice: Choice) -> float:
    assert choice.seconds is not None  # it was timed
    return choice.seconds


def _in_words(best: Choice, tried: list[Choice], *, steps: int, memory: int) -> str:
    """Say what to expect, for example "About 12 minutes: 0.31 s a step, 1.1 GiB of memory; 2 threads"."""
    seconds = _seconds(best)
    text = f"About {duration(steps * seconds)}: {_short(seconds)} a step, {gibibytes(memory)} of memory; {best}."
    slower = [f"{choice} {_short(_seconds(choice))}" for choice in tried if choice is not best]
    return f"{text} Slower: {'; '.join(slower)}." if slower else text


def _short(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"


def duration(seconds: float) -> str:
    """Say a time in words: ``40 seconds``, ``12 minutes``, ``1.6 hours``."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{max(1, round(seconds))} seconds"


def _wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was given: it works on while Python goes on."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@contextmanager
def _put_back(task: Task, device: torch.device) -> Iterator[None]:
    """Undo what happens to a task and to torch's randomness, down to the strides of every tensor."""
    kept = {name: tensor.detach().clone() for name, tensor in _tensors(task)}
    modes = {module: module.training for module in task.modules()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            task.cpu()
            for name, tensor in _tensors(task):
                tensor.data = kept[name]
            for parameter in task.parameters():
                parameter.grad = None
            for module, mode in modes.items():
                module.training = mode


def _tensors(task: Task) -> Iterator[tuple[str, Tensor]]:
    yield from itertools.chain(task.named_parameters(), task.named_buffers())
