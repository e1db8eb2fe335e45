"""The Python interface: each function carries out one job in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medssl.engine.calls import OnEvent, events_of, opened
from napari_medssl.engine.exploring import (
    Comparison,
    colours,
    compare,
    embed,
    label_similar,
    make_query,
    neighbours,
    rank,
    similar,
)
from napari_medssl.engine.predicting import score, with_truth
from napari_medssl.events import Done, Saved
from napari_medssl.project import MasksAs, Project, Run, load_truth

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_medssl.evaluate import Evaluation
    from napari_medssl.learn.devices import DeviceName
    from napari_medssl.learn.finetune import Mode

__all__ = [
    "Comparison",
    "colours",
    "compare",
    "embed",
    "evaluate",
    "finetune",
    "label_similar",
    "make_query",
    "neighbours",
    "predict",
    "pretrain",
    "rank",
    "resume",
    "similar",
]


def pretrain(
    project: Project | str | Path,
    method: str = "medsass",
    *,
    config: Mapping[str, Any] | None = None,
    network: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    from_run: str | None = None,
    device: DeviceName = "auto",
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> Run:
    """Pretrain a network on a project's images, without labels.

    Parameters
    ----------
    project : Project or path
        The project.
    method : str
        Key of a pretext method (``medssl describe`` lists them).
    config, network, training : mapping, optional
        Settings that differ from the defaults, of the method, of `NetworkConfig`, of `TrainingConfig`.
    from_run : str, optional
        Name of an earlier run to start from.
    device : {"auto", "cpu", "cuda", "mps"}
        Where to compute.
    seed : int
        Same seed, same result (on the same machine).
    on_event : callable, optional
        Called with every event.

    Returns
    -------
    Run
        Finished, with its weights.

    Raises
    ------
    MedsslError
        If a setting is refused or the training fails.
    """
    return _train(
        project,
        {
            "kind": "pretrain",
            "method": method,
            "method_config": dict(config or {}),
            "network": dict(network or {}),
            "training": dict(training or {}),
            "from_run": from_run,
            "device": device,
            "seed": seed,
        },
        on_event,
    )


def finetune(
    project: Project | str | Path,
    *,
    from_run: str | None = None,
    mode: Mode = "frozen",
    images: Iterable[str] | None = None,
    network: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    device: DeviceName = "auto",
    seed: int = 0,
    on_event: OnEvent | None = None,
) -> Run:
    """Train on a project's annotations.

    Parameters
    ----------
    project : Project or path
        The project.
    from_run : str, optional
        Name of the run to start from; a fresh network otherwise.
    mode : {"probe", "frozen", "full"}
        Linear probe on the features, decoder on a frozen encoder, or the whole network.
    images : iterable of str, optional
        Annotated images to use; all of them by default.
    network, training : mapping, optional
        Settings that differ from the defaults, of `NetworkConfig`, of `FinetuneConfig`.
    device, seed, on_event
        As for `pretrain`.

    Returns
    -------
    Run
        Finished, with its weights.

    Raises
    ------
    MedsslError
        If a setting is refused, nothing is annotated, or the training fails.
    """
    return _train(
        project,
        {
            "kind": "finetune",
            "from_run": from_run,
            "mode": mode,
            "images": None if images is None else list(images),
            "network": dict(network or {}),
            "training": dict(training or {}),
            "device": device,
            "seed": seed,
        },
        on_event,
    )


def resume(project: Project | str | Path, run: str, *, on_event: OnEvent | None = None) -> Run:
    """Go on with a stopped run; the result is what it would have been without the stop.

    Raises
    ------
    MedsslError
        If the run is done, is being worked on, or has no checkpoint.
    """
    return _train(project, {"kind": "resume", "run": run}, on_event)


def predict(
    source: Project | str | Path,
    *,
    run: str | Path | Run,
    out: str | Path | None = None,
    images: Iterable[str] | None = None,
    overwrite: bool = True,
    device: DeviceName = "auto",
    on_event: OnEvent | None = None,
) -> list[Path]:
    """Segment the images of a project, or of a folder that is none.

    Parameters
    ----------
    source : Project or path
        A project, or a folder of images (then `out` is needed, and `run` is a path or a `Run`).
    run : str, path or Run
        Which model.
    out : path, optional
        Folder for the label TIFFs; the project's own predictions by default.
    images : iterable of str, optional
        Names of the images; all by default.
    overwrite : bool
        Segment images again that have a prediction.
    device, on_event
        As for `pretrain`.

    Returns
    -------
    list of Path
        The files written: uint16, 1 is background, 2 and above are the classes.
    """
    path = source.path if isinstance(source, Project) else Path(source)
    is_project = isinstance(source, Project) or (path / "project.json").is_file()
    job = {
        "kind": "predict",
        "project" if is_project else "folder": str(path),
        "run": str(run.path if isinstance(run, Run) else run),
        "out": None if out is None else str(out),
        "images": None if images is None else list(images),
        "overwrite": overwrite,
        "device": device,
    }
    written = []
    for event in events_of(job, on_event):
        if isinstance(event, Saved):
            written.append(Path(event.path))
    return written


def evaluate(
    project: Project | str | Path,
    *,
    run: str,
    truth: str | Path,
    masks_as: MasksAs = "auto",
    images: Iterable[str] | None = None,
    device: DeviceName = "auto",
    on_event: OnEvent | None = None,
) -> Evaluation:
    """Predict the images that have truth with a run, and score them.

    Parameters
    ----------
    project : Project or path
        The project.
    run : str
        Name of the run.
    truth : path
        Folder of masks, found by image name.
    masks_as : {"auto", "binary", "classes", "instances", "labels"}
        What the values of the masks mean; ``auto`` looks at them.
    images : iterable of str, optional
        Names of the images to score; all that have truth by default.
    device, on_event
        As for `pretrain`.

    Returns
    -------
    Evaluation
        Scores per image and class, their means, and pooled over all pixels.
    """
    project = opened(project)
    found = load_truth(project, truth, masks_as=masks_as)
    names = with_truth(project, images, found)
    predict(project, run=run, images=names, device=device, on_event=on_event)
    return score(project, project.run(run), found, names)


def _train(project: Project | str | Path, job: dict[str, Any], on_event: OnEvent | None) -> Run:
    project = opened(project)
    name = ""
    for event in events_of(job | {"project": str(project.path)}, on_event):
        if isinstance(event, Done):
            name = event.run
    return project.run(name)
