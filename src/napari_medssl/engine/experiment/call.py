"""The Python interface of experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medssl.engine.calls import OnEvent, events_of, opened
from napari_medssl.engine.experiment.plan import standard_arms
from napari_medssl.evaluate.results import Table
from napari_medssl.learn.pretext import methods as pretext_methods
from napari_medssl.project.paths import given

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_medssl.plan import Start
    from napari_medssl.project import Project

__all__ = ["experiment"]


def experiment(
    project: Project | str | Path,
    *,
    truth: str | Path | None = None,
    methods: Iterable[str] | None = None,
    weights_file: str | Path | None = None,
    name: str = "experiment",
    out: str | Path | None = None,
    on_event: OnEvent | None = None,
    **settings: Any,
) -> Table:
    """Compare pretraining methods on a folder with full truth.

    Parameters
    ----------
    project : Project or path
        The project.
    truth : path, optional
        Folder of masks; by default the annotations of the project that are done.
    methods : iterable of str, optional
        Keys of pretext methods; all by default.
    weights_file : path, optional
        Encoder weights that every method starts from as well.
    name : str
        Of the experiment; under the same name it goes on where it was stopped.
    out : path, optional
        Where it is kept; ``experiments/<name>`` in the project by default.
    on_event : callable, optional
        Called with every event.
    **settings
        Any other field of `ExperimentJob`: ``units``, ``draws``, ``pretraining``, ``arms``, ``workers`` ... Several
        workers import the script that calls this, which must do so under ``if __name__ == "__main__":``.

    Returns
    -------
    Table
        Its `rows` are the finished cells.

    Raises
    ------
    MedsslError
        If a setting is refused, or truth does not suffice.
    """
    project = opened(project)
    starts: tuple[Start, ...] = ("none", "file") if weights_file is not None else ("none",)
    arms = standard_arms(pretext_methods() if methods is None else methods, starts)
    job = {
        "kind": "experiment",
        "project": str(project.path),
        "truth": None if truth is None else str(truth),
        "weights_file": None if weights_file is None else str(weights_file),
        "name": name,
        "out": None if out is None else str(out),
        "arms": [arm.model_dump() for arm in arms],
    } | settings
    for _ in events_of(job, on_event):
        pass
    folder = given(out) if out is not None else project.path / "experiments" / name
    return Table(folder / "results.csv")
