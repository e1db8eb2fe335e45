"""The Python interface of Explore: several runs asked the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from napari_medssl.engine.calls import opened
from napari_medssl.engine.exploring import FullFeatures, asked_for
from napari_medssl.engine.predicting import chosen_images, find_run
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.measured import measured_on
from napari_medssl.explore.labelled import MOST_IMAGES, evenly, labelled_cells
from napari_medssl.explore.separability import Separability, separability_of
from napari_medssl.learn.predict import warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
    notes: tuple[str, ...] = ()
    """What to keep in mind of the separability, in sentences; the same for all networks."""


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

    All networks are measured alike, on features at a stride of 4 pixels that are computed for it and not stored; and
    on the same annotated images, 40 at most: those that taught one of the runs are left out where the others are
    enough. Where an annotation cannot be read, a warning says so and the others are used.

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
    found = [find_run(name, project) for name in runs]
    measured = measured_on(project, found)
    annotated = evenly(measured.names, MOST_IMAGES)
    compared = []
    for run in found:
        for at_start in (True, False) if before else (False,):
            features = FullFeatures(project, run, source=source, device=device, at_start=at_start)
            heat = features(image).heat(asked.prototypes(features))
            separable = None
            if len(annotated) > 1:
                labels = _readable(project, annotated)
                cells = labelled_cells(features.grid, labels, groups=measured.groups)
                separable = separability_of(cells)
            compared.append(
                Comparison(run.name, heat, separable, at_start=at_start, notes=measured.notes)
            )
    return compared


def _readable(project: Project, names: Sequence[str]) -> Iterator[tuple[str, NDArray[np.uint16]]]:
    """Give the labels (Y, X) of images, and warn of those that are damaged."""
    for name in names:
        try:
            yield name, project.annotations.read(name)
        except MedsslError as error:
            warn(f"Left out {name}: {error}")
