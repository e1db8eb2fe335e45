"""Features that a command needs: brought up to date before it, shown only where that is work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medssl.cli.arguments import run_job
from napari_medssl.events import Done, Event, Started

if TYPE_CHECKING:
    import argparse

    from napari_medssl.cli.display import Sink
    from napari_medssl.explore.store import EmbeddingStore
    from napari_medssl.project import Project, Run

__all__ = ["FeaturesStoppedError", "embed_job", "stored"]

DONE = 0


class FeaturesStoppedError(Exception):
    """Storing the features was stopped, so there is nothing to go on with."""


class _Before:
    """Shows a job that comes before what was asked for: without its outcome, and not at all where it had no work."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._works = True

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Started):
            self._works = event.total > 0
        if self._works and (not isinstance(event, Done) or event.stopped):
            self._sink(event)

    def result(self, data: dict[str, Any], text: str) -> None:
        """Show the outcome of a command."""
        self._sink.result(data, text)


def stored(args: argparse.Namespace, sink: Sink, project: Project, run: Run) -> EmbeddingStore:
    """Bring the stored features up to date, and open them.

    Raises
    ------
    FeaturesStoppedError
        If that was stopped.
    """
    from napari_medssl.explore.similarity import EmbeddingError
    from napari_medssl.explore.store import EmbeddingStore

    try:
        store = EmbeddingStore.open(project, run, source=args.source)
    except EmbeddingError:
        pass  # there are none yet
    else:
        if not store.outdated(project, run):
            return store  # seconds sooner: torch is not even loaded
    if run_job(embed_job(args, project, run), _Before(sink)) != DONE:
        raise FeaturesStoppedError
    return EmbeddingStore.open(project, run, source=args.source)


def embed_job(args: argparse.Namespace, project: Project, run: Run) -> dict[str, Any]:
    """Write what the command line asks of `medssl embed` as a job."""
    job = {
        "kind": "embed",
        "project": str(project.path),
        "run": run.name,
        "source": args.source,
    }
    return {**job, "device": args.device} if args.device else job
