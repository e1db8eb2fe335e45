"""The command `medssl suggest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medssl.cli.arguments import open_project, open_run
from napari_medssl.cli.listing import table
from napari_medssl.cli.storing import FeaturesStoppedError, stored

if TYPE_CHECKING:
    import argparse

    from napari_medssl.cli.display import Sink

__all__ = ["suggest"]

DONE, STOPPED = 0, 130


def suggest(args: argparse.Namespace, sink: Sink) -> int:
    """Carry out ``medssl suggest``."""
    from napari_medssl.explore.what_next import WhatNext

    project = open_project(args.project)
    run = open_run(project, args.run)
    try:
        store = stored(args, sink, project, run)
    except FeaturesStoppedError:
        return STOPPED
    advice = WhatNext(project, store).advise(count=args.count)
    data: dict[str, Any] = {
        "suggestions": [item._asdict() for item in advice.suggestions],
        "uncertainty": {name: item.value for name, item in advice.uncertain.items()},
    }
    rows = [
        [str(number), item.image, item.why, ",".join(map(str, item.box))]
        for number, item in enumerate(advice.suggestions, start=1)
    ]
    text = table(["", "image", "why", "where (y0,x0,y1,x1)"], rows)
    sink.result(data, text if rows else "Every image with stored features is annotated.")
    return DONE
