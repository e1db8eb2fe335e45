"""How those who compute elsewhere learn that the experiment pauses or stops, and tell how far they are: by files.

The experiment's folder is the one place that processes of this computer and of others share, whatever started them.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from typing import TYPE_CHECKING, Literal

from napari_medssl.errors import MedsslError
from napari_medssl.events import AnyEvent, Event, Progress, parse_event
from napari_medssl.project.checkpoint import append_line, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medssl.learn.control import Control

__all__ = ["Incoming", "Orders", "Outgoing", "obeying", "order_of"]

Order = Literal["run", "pause", "stop"]

EVERY = 0.3
"""Seconds between two looks at the orders."""
TRIES = 10
"""Looks in vain after which a worker stops."""
APART = 1.0
"""Seconds between two reports of progress."""


class Orders:
    """What workers are to do, written by the one process that hands out tasks.

    Parameters
    ----------
    path : path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.session = secrets.token_hex(8)
        """Orders of another session make a worker stop: who handed its task out is gone."""
        self.give("run")

    def give(self, order: Order) -> None:
        """Let all workers go on, wait, or end."""
        write_json(self.path, {"session": self.session, "order": order})


def order_of(path: Path, session: str) -> Order:
    """Read what those are to do who work for a session; they stop where that cannot be read for some seconds.

    Parameters
    ----------
    path : path
        The file of `Orders`.
    session : str
        Its `session`.
    """
    for _ in range(TRIES):  # a network share may fail for a moment
        try:
            found = read_json(path)
        except MedsslError:
            time.sleep(EVERY)
        else:
            order: Order = found["order"] if found["session"] == session else "stop"
            return order
    return "stop"  # whoever handed the task out sees that nobody asked for it, and says so


@contextlib.contextmanager
def obeying(control: Control, path: Path, session: str) -> Iterator[None]:
    """Follow the orders of a session while inside; parameters as of `order_of`, and what is paused and stopped."""
    left = threading.Event()

    def watch() -> None:
        while not left.wait(EVERY):
            order = order_of(path, session)
            {"run": control.resume, "pause": control.pause, "stop": control.stop}[order]()

    watcher = threading.Thread(target=watch, name="orders", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        left.set()
        watcher.join()


class Outgoing:
    """A worker's reports on one task: everything but for progress, of which one a second is enough.

    Parameters
    ----------
    path : path
        The file; one process writes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0.0

    def send(self, event: Event) -> None:
        """Append an event."""
        if isinstance(event, Progress):
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + APART
        append_line(self._path, event.model_dump_json())


class Incoming:
    """Reads the reports on one task as they come.

    Parameters
    ----------
    path : path
        The file; it may come to be later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def new(self) -> list[AnyEvent]:
        """Give the events since the last time."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                text = file.read()
        except FileNotFoundError:
            return []
        whole = text[: text.rfind(b"\n") + 1]  # the last line may still be being written
        self._read += len(whole)
        return [parse_event(line) for line in whole.splitlines()]
