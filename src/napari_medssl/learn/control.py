"""Pause, resume and stop a job, from any thread."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from napari_medssl.events import Paused, Resumed

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_medssl.events import Event

__all__ = ["Control", "pausing"]


class Control:
    """The three switches of a running job. The job looks at them between two steps."""

    def __init__(self) -> None:
        self._running = threading.Event()
        self._running.set()
        self._stopped = threading.Event()

    def pause(self) -> None:
        """Ask the job to wait."""
        self._running.clear()

    def resume(self) -> None:
        """Let a waiting job go on."""
        self._running.set()

    def stop(self) -> None:
        """Ask the job to end, keeping what it has; a waiting job ends too."""
        self._stopped.set()
        self._running.set()

    @property
    def paused(self) -> bool:
        """Whether the job is asked to wait."""
        return not self._running.is_set()

    @property
    def stopped(self) -> bool:
        """Whether the job is asked to end."""
        return self._stopped.is_set()

    def wait_while_paused(self) -> None:
        """Block until `resume` or `stop`."""
        self._running.wait()


def pausing(control: Control, step: int) -> Generator[Event, None, float]:
    """Wait where a job is asked to, between two steps.

    Parameters
    ----------
    control : Control
        The job's.
    step : int
        Steps made so far, for the events.

    Yields
    ------
    Event
        `Paused`, and `Resumed` unless the job was stopped meanwhile.

    Returns
    -------
    float
        Seconds that it took.
    """
    if not control.paused:
        return 0.0
    yield Paused(step=step)
    began = time.monotonic()
    control.wait_while_paused()
    seconds = time.monotonic() - began
    if not control.stopped:
        yield Resumed(step=step)
    return seconds
