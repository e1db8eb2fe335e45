"""What a running job tells the world: a handful of small, flat, JSON-serialisable messages.

The same events are yielded by the training loop, written to a run's ``events.jsonl``, printed by
``medssl --json`` and read by the viewer.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from napari_medssl.config import Config

__all__ = [
    "AnyEvent",
    "Device",
    "Done",
    "Event",
    "Failed",
    "Note",
    "Paused",
    "Progress",
    "Result",
    "Resumed",
    "Saved",
    "Started",
    "parse_event",
]


class Device(Config):
    """Where the arithmetic runs, and why there: the content of the device badge."""

    name: Literal["cpu", "cuda", "mps"]
    label: str
    """For example ``NVIDIA H100 (79 GiB)`` or ``CPU, 2 threads``."""
    reason: str
    """Why this device, as a sentence."""


class Event(Config):
    """Base of all events."""

    time: float = Field(default_factory=time.time)
    """Seconds since the epoch."""


class Started(Event):
    """A job begins, or goes on from a checkpoint when `step` is above zero."""

    event: Literal["started"] = "started"
    kind: str
    """``pretrain``, ``finetune``, ``predict``, ..."""
    title: str
    """For people: ``MedSASS pretraining on 210 images``."""
    run: str = ""
    """The run's name inside the project; empty when the job makes no run."""
    step: int = 0
    total: int
    device: Device


class Progress(Event):
    """One or several steps were made."""

    event: Literal["progress"] = "progress"
    step: int
    total: int
    rate: float
    """Steps per second, smoothed."""
    eta: float
    """Seconds left at this rate."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Newest values by name: ``loss``, ``learning_rate``, ``validation/loss``, ..."""
    doing: str = ""
    """What the steps are of, where they are not those that the job is named after."""


class Note(Event):
    """Something worth telling: a fallback, a decision taken from the data, a file left out."""

    event: Literal["note"] = "note"
    level: Literal["info", "warning"] = "info"
    text: str


class Paused(Event):
    """The job waits; memory is kept."""

    event: Literal["paused"] = "paused"
    step: int


class Resumed(Event):
    """The job goes on after a pause."""

    event: Literal["resumed"] = "resumed"
    step: int


class Saved(Event):
    """A file is complete on disk."""

    event: Literal["saved"] = "saved"
    what: Literal["last", "best", "prediction", "mask", "embedding", "heat", "report", "export"]
    path: str
    step: int = 0
    image: str = ""
    """The image it belongs to, where it belongs to one."""


class Failed(Event):
    """The job (or the request `id`) ended without its result."""

    event: Literal["failed"] = "failed"
    error: str
    """What went wrong, as a sentence."""
    advice: str = ""
    """What to do about it, as a sentence."""
    details: str = ""
    """Traceback, for the log."""
    id: int | None = None
    """The interactive request that failed, if it was one."""


class Done(Event):
    """The job ended with a result that can be used."""

    event: Literal["done"] = "done"
    run: str = ""
    stopped: bool = False
    """True when it was stopped before its last step (what it had is kept)."""
    summary: str = ""
    """One sentence with the outcome."""
    metrics: dict[str, float] = Field(default_factory=dict)


class Result(Event):
    """The answer to interactive request `id`."""

    event: Literal["result"] = "result"
    id: int
    data: dict[str, Any]


AnyEvent = Annotated[
    Started | Progress | Note | Paused | Resumed | Saved | Failed | Done | Result,
    Field(discriminator="event"),
]
_ADAPTER: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


def parse_event(line: str | bytes) -> AnyEvent:
    """Read one JSON line.

    Raises
    ------
    pydantic.ValidationError
        If the line is not one of the events above.
    """
    return _ADAPTER.validate_json(line)
