"""The Python interface of Explore: several runs asked the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari_medssl.engine.calls import opened
from napari_medssl.engine.exploring import FullFeatures, asked_for
from napari_medssl.engine.predicting import chosen_images, find_run
from napari_medssl.explore.labelled import labelled_cells
from napari_medssl.explore.separability import Separability, separability_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.explore.query import Query
    from napari_medssl.learn.devices import DeviceName
    from napari_medssl.project import Project

__all__ = ["Comparison", "compare"]


class Comparison(NamedTuple):
    """What one run makes of a query."""

    run: str
    heat: NDArray[np.float32]
    """(Y, X)."""
    separability: Separability | None
    """Of the project's annotations in the run's features; None where there are too few."""
    at_start: bool = False
    """Whether this is the network as it was before the run."""


def compare(
    project: Project | str | Path,
    *,
    runs: Sequence[str],
    image: str,
    query: Query | str,
    before: bool = False,
    source: str = "mix",
    device: DeviceName = "auto",
) -> list[Comparison]:
    """Ask several runs the same: before and after pretraining, one method and another.

    All networks are measured alike, on features at a stride of 4 pixels that are computed for it and not stored.

    Parameters
    ----------
    project : Project or path
        The project.
    runs : sequence of str
        Names of the runs.
    image : str
        Name of the image that is mapped.
    query : Query or str
        Examples, in this image or others; or the name under which they are kept.
    before : bool
        Whether to ask each run's network as it was before its first step as well; `source` is then ``mix``.
    source, device
        As for `embed`.

    Returns
    -------
    list of Comparison
        In the order of `runs`, what was before each run ahead of it.

    Raises
    ------
    MedsslError
        If there is no such run or image, or an example lies outside its image.
    """
    project = opened(project)
    chosen_images(project, (image,))
    asked = asked_for(project, query)
    annotated = project.annotations.annotated()
    compared = []
    for name in runs:
        run = find_run(name, project)
        for at_start in (True, False) if before else (False,):
            features = FullFeatures(project, run, source=source, device=device, at_start=at_start)
            heat = features(image).heat(asked.prototypes(features))
            separable = None
            if len(annotated) > 1:
                labels = ((name, project.annotations.read(name)) for name in annotated)
                separable = separability_of(labelled_cells(features.grid, labels))
            compared.append(Comparison(run.name, heat, separable, at_start=at_start))
    return compared
