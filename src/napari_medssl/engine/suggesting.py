"""The Python interface of suggestions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.engine.calls import OnEvent, opened
from napari_medssl.engine.exploring import embed
from napari_medssl.explore.what_next import WhatNext

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.explore.suggest import Suggestion
    from napari_medssl.learn.devices import DeviceName
    from napari_medssl.project import Project

__all__ = ["suggest"]


def suggest(
    project: Project | str | Path,
    *,
    run: str,
    count: int = 5,
    source: str = "mix",
    device: DeviceName = "auto",
    on_event: OnEvent | None = None,
) -> list[Suggestion]:
    """Choose the images that are best annotated next, and where in them to begin.

    As long as fewer than 5 images are annotated (`explore.what_next.ENOUGH`): images that stand for many others.
    Afterwards: images that a linear probe on the features, learned from all annotations, is uncertain about and that
    are unlike the annotated ones. What is not stored yet is stored first, see `embed`.

    Parameters
    ----------
    project : Project or path
        The project.
    run : str
        Name of the run whose features compare the images.
    count : int
        How many; fewer where there are no more without annotation.
    source, device, on_event
        As for `embed`.

    Returns
    -------
    list of Suggestion
        The best first: image, score, why (in words), and the box to begin in (y0, x0, y1, x1; pixels).

    Raises
    ------
    MedsslError
        If `count` is below 1, the project has fewer than two images, or annotations cannot be read.
    """
    project = opened(project)
    store = embed(project, run=run, source=source, device=device, on_event=on_event)
    return list(WhatNext(project, store).advise(count=count).suggestions)
