"""The Python interface: each function carries out one job in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medssl.engine.calls import OnEvent, events_of, opened
from napari_medssl.engine.comparing import Comparison, compare
from napari_medssl.engine.experiment.call import experiment
from napari_medssl.engine.exploring import (
    colours,
    embed,
    label_similar,
    make_query,
    neighbours,
    rank,
    similar,
)
from napari_medssl.engine.forecasting import more_annotations
from napari_medssl.engine.method_comparison import compare_methods
from napari_medssl.engine.pairing import compare_scores
from napari_medssl.engine.ranking import mean_ranks
from napari_medssl.engine.scoring import assess, evaluate
from napari_medssl.engine.suggesting import suggest
from napari_medssl.events import Done, Saved
from napari_medssl.learn.recommend import recommend as _recommend
from napari_medssl.plan import Recommendation
from napari_medssl.project import Project, Run
from napari_medssl.project.method_comparison import MethodComparison

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_medssl.learn.devices import DeviceName
    from napari_medssl.learn.finetune import Mode, Preset
    from napari_medssl.learn.objects import ObjectsFrom
    from napari_medssl.learn.transfer import Part
    from napari_medssl.learn.weights import ExportNames, ExportPart
    from napari_medssl.plan import Answer, Start
    from napari_medssl.project.label_exports import LabelFormat
    from napari_medssl.project.working_scale import ScaleRule

__all__ = [
    "Comparison",
    "MethodComparison",
    "Recommendation",
    "assess",
    "colours",
    "compare",
    "compare_methods",
    "compare_scores",
    "embed",
    "evaluate",
    "experiment",
    "export",
    "finetune",
    "label_similar",
    "make_query",
    "mean_ranks",
    "more_annotations",
    "neighbours",
    "predict",
    "pretrain",
    "rank",
    "recommend",
    "resume",
    "similar",
    "suggest",
]


def pretrain(
    project: Project | str | Path,
    method: str = "medsass",
    *,
    config: Mapping[str, Any] | None = None,
    network: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    from_run: str | Path | Run | None = None,
    take: Part = "everything",
    scale: ScaleRule | None = None,
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
    from_run : str, path or Run, optional
        An earlier run to start from: its name, or a run of another project.
    take : {"everything", "encoder+decoder", "encoder"}
        What is taken over from that run; the last layer only where the classes are the same.
    scale : ScaleRule, optional
        The working scale; by default that of the run it starts from, or what suits the folder.
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
            "from_run": _named(from_run),
            "take": take,
            "scale": None if scale is None else scale.model_dump(),
            "device": device,
            "seed": seed,
        },
        on_event,
    )


def recommend(
    project: Project | str | Path,
    *,
    method: str | None = None,
    start: Start | None = None,
    device: DeviceName = "auto",
) -> Recommendation:
    """Plan a pretraining that suits a project and this computer; nothing is trained or changed.

    Parameters
    ----------
    project : Project or path
        The project.
    method : str, optional
        Plan for this pretext method; otherwise the images decide.
    start : {"none", "imagenet", "file"}, optional
        What the encoder starts from; otherwise ImageNet's weights, which come with medssl.
    device : {"auto", "cpu", "cuda", "mps"}
        Where to compute.

    Returns
    -------
    Recommendation
        The choices, each with the reason; ``job`` holds the settings that `pretrain` takes.

    Raises
    ------
    MedsslError
        If no image can be read, or there is no such method or device.
    """
    return _recommend(opened(project), method=method, start=start, device=device)


def finetune(
    project: Project | str | Path,
    *,
    from_run: str | Path | Run | None = None,
    take: Part = "everything",
    scale: ScaleRule | None = None,
    mode: Mode = "full",
    preset: Preset = "default",
    answer: Answer | None = None,
    estimate: bool = True,
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
    from_run : str, path or Run, optional
        The run to start from: its name, or a run of another project; a fresh network otherwise.
    take : {"everything", "encoder+decoder", "encoder"}
        As for `pretrain`.
    scale : ScaleRule, optional
        As for `pretrain`.
    mode : {"probe", "frozen", "full"}
        Linear probe on the features, decoder on a frozen encoder, or the whole network.
    preset : {"default", "pix2rep", "dicoh", "evaluation"}
        The recipe: ours, or that of a paper.
    answer : {"network", "forest", "mean"}, optional
        What predicts; by default what the leave-one-out estimates favour.
    estimate : bool
        Whether to make these estimates, which train up to four times more.
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
            "from_run": _named(from_run),
            "take": take,
            "scale": None if scale is None else scale.model_dump(),
            "mode": mode,
            "preset": preset,
            "answer": answer,
            "estimate": estimate,
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
    out_format: LabelFormat = "tiff",
    out_objects: bool = False,
    overwrite: bool = True,
    probabilities: bool = False,
    uncertainty: bool = False,
    objects: ObjectsFrom = "auto",
    flips: bool = True,
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
        A folder for label images, for other programs. A project keeps its predictions as TIFF all the same.
    images : iterable of str, optional
        Names of the images; all by default.
    out_format : {"tiff", "png", "ome-zarr"}
        Of the files in `out`.
    out_objects : bool
        The files in `out` hold the number of each object instead of its class.
    overwrite : bool
        Segment images again that these weights segmented already.
    probabilities, uncertainty : bool
        Keep such maps in the project, see `Project.predicted_map_path`.
    objects : {"auto", "none", "distance", "separate", "connected"}
        Tell objects apart: in the map of distances of a run that learned objects (``auto``: where there is one), as
        areas of a class parted at their necks, or as its connected areas; see `Project.predicted_objects_path`.
    flips : bool
        Average the network's answers over the image and its mirrored versions: better, and four times as long.
    device, on_event
        As for `pretrain`.

    Returns
    -------
    list of Path
        The files written, in `out` where it is given: 1 is background, 2 and above are the classes.
    """
    path = source.path if isinstance(source, Project) else Path(source)
    is_project = isinstance(source, Project) or (path / "project.json").is_file()
    job = {
        "kind": "predict",
        "project" if is_project else "folder": str(path),
        "run": _named(run),
        "out": None if out is None else str(out),
        "images": None if images is None else list(images),
        "out_format": out_format,
        "out_objects": out_objects,
        "overwrite": overwrite,
        "probabilities": probabilities,
        "uncertainty": uncertainty,
        "objects": objects,
        "flips": flips,
        "device": device,
    }
    wanted = "prediction" if out is None else "mask"
    events = events_of(job, on_event)
    return [Path(e.path) for e in events if isinstance(e, Saved) and e.what == wanted]


def export(
    run: str | Path | Run,
    out: str | Path,
    *,
    project: Project | str | Path | None = None,
    part: ExportPart = "encoder",
    names: ExportNames = "medssl",
    overwrite: bool = False,
    on_event: OnEvent | None = None,
) -> Path:
    """Write the weights of a run, or a part of them, into a file for use elsewhere.

    Parameters
    ----------
    run : str, path or Run
        Which model: a run, its folder, or its name in `project`.
    out : path
        The file to write, ``.safetensors``.
    project : Project or path, optional
        Needed where the run is given by its name.
    part : {"encoder", "encoder+decoder", "whole"}
        What to write.
    names : {"medssl", "smp", "encoder"}
        What to call the tensors: as here (a whole model opens again), as segmentation-models-pytorch does, or as the
        encoder alone does in torchvision or timm.
    overwrite : bool
        Replace a file that exists.
    on_event : callable, optional
        Called with every event.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    MedsslError
        If the run has no weights, the file exists, or it cannot be written.
    """
    place = project.path if isinstance(project, Project) else project
    job = {
        "kind": "export",
        "project": None if place is None else str(place),
        "run": _named(run),
        "out": str(out),
        "part": part,
        "names": names,
        "overwrite": overwrite,
    }
    for _ in events_of(job, on_event):
        pass
    return Path(out)


def _named(run: str | Path | Run | None) -> str | None:
    """Write down a run as jobs do: its name, or the whole path of its folder."""
    if isinstance(run, Run):
        return str(run.path)
    return str(run.resolve()) if isinstance(run, Path) else run


def _train(project: Project | str | Path, job: dict[str, Any], on_event: OnEvent | None) -> Run:
    project = opened(project)
    name = ""
    for event in events_of(job | {"project": str(project.path)}, on_event):
        if isinstance(event, Done):
            name = event.run
    return project.run(name)
