"""How the events of a job look in a terminal, and how one Ctrl-C becomes a stop that keeps the work."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from napari_medssl.events import (
    Done,
    Event,
    Failed,
    Note,
    Paused,
    Progress,
    Result,
    Resumed,
    Saved,
    Started,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["Human", "Json", "Sink", "duration", "stop_on_signal"]

_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 5.0
"""Between progress lines where the output is a file or a pipe."""
_BAR = 24


class Sink(Protocol):
    """Where the events of a command go."""

    def __call__(self, event: Event) -> None:
        """Show one event."""

    def result(self, data: dict[str, Any], text: str) -> None:
        """Show the outcome of a command that has one beyond its events."""


class Json:
    """One event per line on standard output, and nothing else."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout

    def __call__(self, event: Event) -> None:
        """Print one event."""
        self._out.write(event.model_dump_json() + "\n")
        self._out.flush()

    def result(self, data: dict[str, Any], text: str) -> None:
        """Print the data as a `Result`."""
        self(Result(id=0, data=data))


class Human:
    """Progress and notes on standard error; results on standard output, where they can be piped.

    Parameters
    ----------
    error, out : TextIO, optional
        The two streams; standard error and output by default.
    """

    def __init__(self, error: TextIO | None = None, out: TextIO | None = None) -> None:
        self._error = error or sys.stderr
        self._out = out or sys.stdout
        self._terminal = self._error.isatty()
        self._drawn = 0.0
        self._line_open = False

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Started):
            at = f", from step {event.step}" if event.step else ""
            self._line(f"{event.title}{at}")
            self._line(f"  on {event.device.label}: {event.device.reason}")
        elif isinstance(event, Note):
            self._line(f"  {'warning' if event.level == 'warning' else 'note'}: {event.text}")
        elif isinstance(event, Paused | Resumed):
            self._line(f"  {event.event} at step {event.step}")
        elif isinstance(event, Saved):
            if event.what in ("report", "heat", "export"):
                self._line(f"  wrote {event.path}")
        elif isinstance(event, Failed):
            self._line(f"medssl: {event.error} {event.advice}".rstrip())
        elif isinstance(event, Done):
            self._done(event)

    def result(self, data: dict[str, Any], text: str) -> None:
        """Print the text."""
        self._close_line()
        self._out.write(text.rstrip("\n") + "\n")
        self._out.flush()

    def _done(self, event: Done) -> None:
        if event.stopped:
            self._line("Stopped; what was learned so far is kept.")
        self._close_line()
        if event.summary:
            self._out.write(event.summary + "\n")
        if event.run:
            self._out.write(f"run: {event.run}\n")
        self._out.flush()

    def _progress(self, event: Progress) -> None:
        now, last = time.monotonic(), event.step >= event.total
        wait = _REDRAW_SECONDS if self._terminal else _LINE_SECONDS
        if now - self._drawn < wait and not last:
            return
        self._drawn = now
        text = progress_line(event, bar=self._terminal)
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._error.write("\r\x1b[K" + text[:width])
            self._line_open = True
            self._error.flush()
        else:
            self._line(text)

    def _line(self, text: str) -> None:
        self._close_line()
        self._error.write(text + "\n")
        self._error.flush()

    def _close_line(self) -> None:
        if self._line_open:
            self._error.write("\n")
            self._line_open = False


def progress_line(event: Progress, *, bar: bool = True) -> str:
    """Lay out one progress event: bar, steps, rate, time left, loss, the best-known score."""
    share = min(1.0, event.step / event.total) if event.total else 1.0
    full = round(share * _BAR)
    parts = [
        *([event.doing] if event.doing else []),
        f"[{'#' * full}{'.' * (_BAR - full)}]" if bar else f"{share:4.0%}",
        f"{event.step}/{event.total}",
        f"{event.rate:.1f}/s",
    ]
    if event.step < event.total:
        parts.append(f"{duration(event.eta)} left")
    shown = ("loss", "validation/loss")
    parts += [f"{name} {event.metrics[name]:.4g}" for name in shown if name in event.metrics]
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Write a duration for people: ``8 s``, ``3:20 min``, ``2:05 h``."""
    seconds = max(0.0, seconds)
    if seconds == float("inf") or seconds != seconds:
        return "?"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


@contextmanager
def stop_on_signal(stop: Callable[[], None]) -> Iterator[None]:
    """While inside, Ctrl-C (or SIGTERM, as cluster schedulers send it) calls `stop` once.

    A second one raises `KeyboardInterrupt`. Outside the main thread, where Python delivers no
    signals, this does nothing.

    Parameters
    ----------
    stop : callable
        Asks the job to stop after its current step.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        stop()
        # not through sys.stderr: the signal may have come in the middle of a write to it
        os.write(2, b"\nStopping after this step and keeping what was learned. Again to abort.\n")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
