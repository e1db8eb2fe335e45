"""What all functions of the Python interface do: open the project, carry a job out and pass its events on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from napari_medssl.engine.job import execute
from napari_medssl.events import Event
from napari_medssl.project import Project

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["OnEvent", "events_of", "opened"]

OnEvent = Callable[[Event], None]


def opened(project: Project | str | Path) -> Project:
    """Give a project that may be named by its folder."""
    return project if isinstance(project, Project) else Project.open(project)


def events_of(job: dict[str, Any], on_event: OnEvent | None) -> Iterator[Event]:
    """Carry out a job, telling the caller's `on_event` of everything."""
    for event in execute(job):
        if on_event is not None:
            on_event(event)
        yield event
