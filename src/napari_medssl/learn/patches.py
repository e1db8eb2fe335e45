"""From images to batches: a memory-bounded cache, and ``(seed, step) -> batch`` ahead of time."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = [
    "CACHE_BYTES",
    "Batch",
    "Cache",
    "batch_threads",
    "collate",
    "prefetched",
    "step_rng",
]

CACHE_BYTES = 2 * 2**30
"""Memory for the images of a training."""

Batch = dict[str, NDArray[np.generic]]


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


T = TypeVar("T", bound=_Sized)


class Cache(Generic[T]):
    """Keep the last used values, up to a number of bytes. Safe to use from several threads.

    Parameters
    ----------
    load : callable
        Gives the value of a name; its result must have ``nbytes``.
    limit : int
        Bytes to keep; a single larger value is returned without being kept.
    """

    def __init__(self, load: Callable[[str], T], *, limit: int = CACHE_BYTES) -> None:
        self._load = load
        self._limit = limit
        self._values: OrderedDict[str, T] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __call__(self, name: str) -> T:
        """Give the value of `name`, loading it if needed."""
        with self._lock:
            if name in self._values:
                self._values.move_to_end(name)
                return self._values[name]
        value = self._load(name)  # outside the lock: two threads may load twice, never wait
        with self._lock:
            if name not in self._values and value.nbytes <= self._limit:
                self._values[name] = value
                self._bytes += value.nbytes
                while self._bytes > self._limit:
                    self._bytes -= self._values.popitem(last=False)[1].nbytes
        return value


def step_rng(seed: int, step: int) -> np.random.Generator:
    """Give the random generator of one training step.

    All randomness of a step comes from here, so that a run that was stopped and resumed draws what
    it would have drawn.
    """
    return np.random.default_rng((seed, step))


def collate(samples: list[Batch]) -> Batch:
    """Stack samples with equal keys along a new first axis."""
    return {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}


def batch_threads() -> int:
    """Give the number of threads that make batches: half the cores, at most eight."""
    return max(1, min(8, (os.cpu_count() or 2) // 2))


def prefetched(
    make: Callable[[int], Batch], start: int, stop: int, *, threads: int = 2
) -> Generator[Batch]:
    """Yield ``make(step)`` for each step, computed ahead in threads, in order.

    Parameters
    ----------
    make : callable
        Gives the batch of a step; must depend on nothing but the step.
    start, stop : int
        Range of steps.
    threads : int
        Number of threads; twice as many batches are kept ready.
    """
    ready: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="patches") as pool:
        try:
            upcoming = start
            while start < stop:
                while upcoming < min(stop, start + 2 * threads):
                    ready.append(pool.submit(make, upcoming))
                    upcoming += 1
                yield ready.popleft().result()
                start += 1
        finally:
            for future in ready:
                future.cancel()
