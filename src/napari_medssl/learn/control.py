"""Pause, resume and stop a job, from any thread."""

from __future__ import annotations

import threading

__all__ = ["Control"]


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
