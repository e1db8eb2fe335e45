"""The Python interface of the forecast: what more annotated images would buy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from napari_medssl.engine.calls import OnEvent, opened
from napari_medssl.engine.embedding import usual_stride
from napari_medssl.engine.exploring import FullFeatures
from napari_medssl.engine.predicting import find_run
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.extrapolation import forecast
from napari_medssl.evaluate.learning_curve import probe_image, probe_scores, untaught
from napari_medssl.events import Note, Progress, Started
from napari_medssl.learn.devices import choose_device
from napari_medssl.project.units import units_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medssl.evaluate.extrapolation import Forecast
    from napari_medssl.learn.devices import DeviceName
    from napari_medssl.project import Project

__all__ = ["more_annotations"]


def more_annotations(
    project: Project | str | Path,
    *,
    run: str,
    more: int = 5,
    device: DeviceName = "auto",
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> Forecast:
    """Estimate what more annotated images would buy, from those that there are.

    Linear probes on the features of a network learn from 1, 2, ... of the annotated images, several draws of each,
    and are scored on the others; a learning curve is fitted to their Dice and extended. The network is the run's, or
    where that has learned from annotated images, the newest one that it descends from and that has not. Fine-tuning
    mostly scores higher than a probe; what it gains by more images may differ.

    Parameters
    ----------
    project : Project or path
        The project.
    run : str
        Name of the run, or the path of its folder.
    more : int
        How many more images.
    device : {"auto", "cpu", "cuda", "mps"}
        Where to compute the features.
    seed : int
        Which images are drawn.
    on_event : callable, optional
        Called with every event.

    Returns
    -------
    Forecast
        Scores now and then with intervals, the gain, the curve, and the points that it was fitted to.

    Raises
    ------
    MedsslError
        If `more` is below 1; if fewer than 4 images, or fewer than two classes, are annotated; if every network that
        the run descends from has learned from them; or if the scores do not tell, see
        `napari_medssl.evaluate.extrapolation.forecast`.
    """
    if more < 1:  # before features are computed for it
        raise MedsslError(f"more = {more} images must be at least 1.")
    project = opened(project)
    network = untaught(project, find_run(run, project))
    damaged = project.annotations.damaged()
    names = [name for name in project.annotations.annotated() if name not in damaged]
    tell = on_event or (lambda _: None)
    tell(
        Started(
            kind="more",
            title=f"Features of {len(names)} annotated images with {network.title}",
            total=len(names),
            device=choose_device(device),
        )
    )
    for name, why in damaged.items():
        tell(Note(level="warning", text=f"Left out {name}: {why}"))
    features = FullFeatures(project, network.run, device=device, at_start=network.at_start)
    began, images = time.monotonic(), {}
    for done, name in enumerate(names, start=1):
        cells, stride = features.grid(name, usual_stride(project.shape(name)))
        labels = project.annotations.read(name)
        images[name] = probe_image(name, labels, cells, stride)
        rate = done / (time.monotonic() - began)
        tell(Progress(step=done, total=len(names), rate=rate, eta=(len(names) - done) / rate))
    groups = units_of(project)
    scores = probe_scores(images, groups=groups, seed=seed)
    return forecast(scores, annotated=len(images), more=more, groups=groups)
