"""How much memory there is, how much training will need, and how a lack of it is recognised."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import torch

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MemoryShortageError",
    "Peak",
    "available",
    "gibibytes",
    "peak_memory",
    "ran_out",
    "release",
]

_SIGNS = (
    "can't allocate memory",  # torch's CPU allocator
    "bad_alloc",  # C++ libraries
    "MPS backend out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_CGROUPS = Path("/sys/fs/cgroup")
_SAMPLING_SECONDS = 0.01


class MemoryShortageError(MedsslError):
    """There is not enough memory even for the smallest portion of the work."""


def ran_out(error: BaseException) -> bool:
    """Whether an error means that memory, the GPU's or the computer's, did not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


@contextmanager
def lack_explained() -> Iterator[None]:
    """Say in words that memory ran out where nothing smaller can be tried.

    Raises
    ------
    MemoryShortageError
        Instead of what the libraries raise.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        raise MemoryShortageError(
            f"There is not enough memory for this job ({error}).",
            advice="Close other programs, lower batch_size or patch_size, or choose another device.",
        ) from error


def release(device: torch.device) -> None:
    """Give back what torch keeps of the device's memory without using it."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def gibibytes(count: float) -> str:
    """Write a number of bytes for people: ``1.1 GiB``, ``210 MiB``."""
    return f"{count / 2**30:.1f} GiB" if count >= 0.95 * 2**30 else f"{count / 2**20:.0f} MiB"


def available() -> int:
    """Give the bytes this process can still take.

    That is the computer's available memory, or less where a limit holds: ``ulimit -v``, or the control
    group that a cluster or a container gives a job.
    """
    room = [psutil.virtual_memory().available]
    if sys.platform != "win32":
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            room.append(limit - psutil.Process().memory_info().vms)
    room += _control_group_room()
    return max(0, min(room))


def _control_group_room() -> Iterator[int]:
    """Yield what each control group around this process (version 2, Linux) leaves free."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return
    own = next((line[3:].strip("/") for line in lines if line.startswith("0::")), None)
    if own is None:
        return
    folder = _CGROUPS / own
    for group in (folder, *folder.parents):
        if group == _CGROUPS.parent:
            return
        try:
            limit = (group / "memory.max").read_text(encoding="utf-8").strip()
            used = int((group / "memory.current").read_text(encoding="utf-8"))
            statistics = (group / "memory.stat").read_text(encoding="utf-8").splitlines()
        except OSError:  # the root has none of these files, a container may hide its parents
            continue
        if limit != "max":
            cached = dict(line.split() for line in statistics).get("inactive_file", "0")
            yield int(limit) - used + int(cached)


@dataclass
class Peak:
    """The most memory that was in use while it was watched."""

    bytes: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watch memory: the GPU's as torch counts it, otherwise that of the whole process."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        try:
            yield peak
        finally:
            peak.bytes = torch.cuda.max_memory_allocated(device)
        return
    process, over = psutil.Process(), threading.Event()

    def watch() -> None:
        while True:
            peak.bytes = max(peak.bytes, process.memory_info().rss)
            if over.wait(_SAMPLING_SECONDS):
                return

    thread = threading.Thread(target=watch, name="peak-memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
