"""The pixel features of a folder: computed once, kept up to date, stored within a budget."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_medssl.engine.predicting import check_channels, chosen_images, find_run, model_of
from napari_medssl.errors import MedsslError
from napari_medssl.events import Done, Event, Note, Progress, Saved, Started
from napari_medssl.explore.store import (
    Entry,
    Index,
    file_of,
    index_path,
    store_path,
    weights_of,
)
from napari_medssl.explore.store_plan import Plan, expected_plan
from napari_medssl.learn.control import pausing
from napari_medssl.learn.devices import choose_device
from napari_medssl.learn.features import BORDER, calibrate, fit_projection, pixel_embedding
from napari_medssl.learn.memory import lack_explained
from napari_medssl.learn.predict import Tiles
from napari_medssl.learn.sources import FeatureSource, maps_of, task_of
from napari_medssl.learn.task import UNREADABLE
from napari_medssl.project import Project, Run, atomic
from napari_medssl.project.entries import digest_of
from napari_medssl.project.listing import identity_of
from napari_medssl.project.locks import held
from napari_medssl.project.working_scale import ScaledImages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medssl.engine.job import EmbedJob
    from napari_medssl.learn.control import Control
    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["embed", "embedded", "open_source", "usual_stride", "write_embedding"]

INDEX_SECONDS = 5.0
"""How often the index is written: a kill costs no more than the images of so long."""
SMALL_IMAGE = 512
"""Up to this side, pixels, a single image is embedded at stride 2, above at stride 4."""


def embed(job: EmbedJob, control: Control) -> Iterator[Event]:
    """Store the features of a project's images; those that are stored already and still true are left alone."""
    project = Project.open(job.project)
    run = find_run(job.run, project)
    folder = store_path(project, run.name, job.source)
    what = f"The features of the run {run.name} ({job.source})"
    with held(
        folder.with_name(f"{folder.name}.lock"),
        busy=f"{what} are being made by another process.",
        unwritable=f"{what} cannot be stored",
    ):
        yield from _embed(job, project, run, folder, control)


def _embed(
    job: EmbedJob, project: Project, run: Run, folder: Path, control: Control
) -> Iterator[Event]:
    device = choose_device(job.device)
    torch_device = torch.device(device.name)
    model = model_of(run).to(torch_device)
    check_channels(model, project, run)
    names = chosen_images(project, job.images)
    index, plan = _prepared(job, project, run, folder)
    due = [name for name in names if not _is_current(index, folder, project, name)]
    yield Started(
        kind=job.kind,
        title=f"Pixel features of {len(due)} images with {run.name}",
        total=len(due),
        device=device,
    )
    kept = f" {len(names) - len(due)} images are up to date." if len(due) < len(names) else ""
    yield Note(text=plan.text() + kept)
    notes: list[str] = []
    # where the folder was never calibrated this takes as long as some images
    source = open_source(job.source, run, project, model, torch_device, tell=notes.append)
    source, scaled = source.reduced(plan.dimensions), ScaledImages(project, model.spec.scale)
    index = _without(index, folder, project, due)
    index.write(index_path(folder))  # from here on it holds nothing that is about to change
    failed = 0
    tiles = Tiles(tell=notes.append)
    began = written = time.monotonic()
    try:
        for done, name in enumerate(due, start=1):
            began += yield from pausing(control, done - 1)
            if control.stopped:
                summary = f"Stopped after {done - 1} of {len(due)} images."
                yield Done(stopped=True, summary=summary)
                return
            with lack_explained():
                try:
                    identity, digest = project.fingerprints.of(name)
                    planes = project.planes(name)
                except (*UNREADABLE, MemoryError) as error:  # one such file does not end a folder
                    failed += 1
                    yield Note(level="warning", text=f"Left out {name}: {error}")
                    continue
                features = embedded(
                    source,
                    planes,
                    factor=scaled.factor(name),
                    stride=plan.stride,
                    device=torch_device,
                    tiles=tiles,
                )
            path = file_of(folder, name)
            write_embedding(path, features, run)
            size, mtime = identity
            shape = (planes.shape[1], planes.shape[2])
            index.images[name] = Entry(shape=shape, sha256=digest, size=size, mtime=mtime)
            while notes:
                yield Note(level="warning", text=notes.pop())
            yield Saved(what="embedding", path=str(path), image=name)
            now = time.monotonic()
            if now - written >= INDEX_SECONDS:
                index.write(index_path(folder))
                written = now
            rate = done / (now - began)
            yield Progress(step=done, total=len(due), rate=rate, eta=(len(due) - done) / rate)
    finally:
        index.write(index_path(folder))
        project.fingerprints.save()
    if due and failed == len(due) == len(names):
        raise MedsslError("The features of not one image could be made; the reasons stand above.")
    left_out = f", {failed} left out" if failed else ""
    yield Done(
        summary=f"{len(names) - failed} images in embeddings/{folder.name}{left_out}.",
        metrics={
            "images": float(len(index.images)),
            "stride": float(plan.stride),
            "dimensions": float(plan.dimensions),
            "bytes": float(plan.bytes),
        },
    )


def open_source(
    name: str,
    run: Run,
    project: Project,
    model: SegmentationModel,
    device: torch.device,
    *,
    tell: Callable[[str], None],
) -> FeatureSource:
    """Give the pixel features of a run from one source.

    What the folder teaches about it (mean and principal directions) is computed once and kept beside the stored
    features; that of ``mix`` is in the weights file.

    Parameters
    ----------
    name : str
        The source, as `check_source` takes it.
    run : Run
        The run.
    project : Project
        Its project.
    model : SegmentationModel
        The run's, on `device`, in eval mode.
    device : torch.device
        Where to compute.
    tell : callable
        Takes a sentence for the user.

    Raises
    ------
    MedsslError
        If the network has no such stage, or the run no projector.
    """
    if name == "mix":
        calibrate(model, project, device=device, tell=tell)
        return FeatureSource(
            model.feature_maps, model.feature_mean, model.feature_basis, stride=model.stride
        )
    task = None
    if name == "projector":
        task = task_of(run, project, model_of(run)).to(device)
    maps = maps_of(name, model, task)
    folder = store_path(project, run.name, name)
    path = folder.with_name(f"{folder.name}.npz")
    made_from = digest_of(_weights(run, name))
    found = _read_projection(path, made_from)
    if found is None:
        scaled = ScaledImages(project, model.spec.scale)
        mean, basis = fit_projection(maps, scaled, multiple=model.stride, device=device, tell=tell)
        found = mean.float().numpy(), basis.float().numpy()
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, mean=found[0], basis=found[1], made_from=np.array(made_from))
    mean, basis = (torch.from_numpy(part).to(device) for part in found)
    return FeatureSource(maps, mean, basis, stride=model.stride)


def embedded(
    source: FeatureSource,
    planes: NDArray[np.float32],
    *,
    factor: float,
    stride: int,
    device: torch.device,
    tiles: Tiles | None = None,
) -> NDArray[np.float32]:
    """Compute the features of an image to look at, ``(Y/stride, X/stride, D)``: its border like its middle."""
    return pixel_embedding(
        source,
        planes,
        factor=factor,
        stride=stride,
        device=device,
        tiles=tiles,
        border=max(BORDER, source.stride),
    )


def usual_stride(shape: tuple[int, int]) -> int:
    """Give the stride of the features of a single image (Y, X), which need not fit into a budget."""
    return 2 if max(shape) <= SMALL_IMAGE else 4


def write_embedding(path: Path, features: NDArray[np.float32], run: Run) -> None:
    """Write features as half precision.

    Raises
    ------
    MedsslError
        If they are not finite.
    """
    half = features.astype(np.float16)
    if not np.isfinite(half).all():
        raise MedsslError(
            f"The network of the run {run.name} gives features that are not finite numbers.",
            advice="It has diverged: choose another run.",
        )
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, half)


def _prepared(job: EmbedJob, project: Project, run: Run, folder: Path) -> tuple[Index, Plan]:
    """Give the index to go on with, and how finely to store."""
    weights = _weights(run, job.source)
    size, mtime = identity_of(weights)
    known = Index.read(index_path(folder)) if index_path(folder).is_file() else None
    digest = digest_of(weights)
    same = known if known is not None and known.weights_sha256 == digest else None
    chosen = expected_plan(
        project, same, budget=job.budget, stride=job.stride, dimensions=job.dimensions
    )
    fresh = Index(
        run=run.name,
        source=job.source,
        stride=chosen.stride,
        dimensions=chosen.dimensions,
        weights_sha256=digest,
        weights_size=size,
        weights_mtime=mtime,
    )
    if known is None:
        return fresh, chosen
    if known.made_alike(fresh):
        return fresh.model_copy(update={"images": dict(known.images)}), chosen
    for name in known.images:
        file_of(folder, name).unlink(missing_ok=True)
    return fresh.model_copy(update={"images": {}}), chosen


def _is_current(index: Index, folder: Path, project: Project, name: str) -> bool:
    entry = index.images.get(name)
    if entry is None or not file_of(folder, name).is_file():
        return False
    try:
        if identity_of(project.image_path(name)) == (entry.size, entry.mtime):
            return True
        identity, digest = project.fingerprints.of(name)
    except UNREADABLE:
        return False  # said when its turn comes
    if digest != entry.sha256:
        return False
    index.images[name] = entry.model_copy(update={"size": identity[0], "mtime": identity[1]})
    return True


def _without(index: Index, folder: Path, project: Project, names: list[str]) -> Index:
    """Forget the images that are to be made anew, and those that are no longer in the project."""
    kept = set(project.images) - set(names)
    for name in index.images.keys() - set(project.images):
        file_of(folder, name).unlink(missing_ok=True)
    images = {name: entry for name, entry in index.images.items() if name in kept}
    return index.model_copy(update={"images": images})


def _weights(run: Run, source: str) -> Path:
    """Give the file that the features of a source depend on."""
    weights = weights_of(run, source)
    if weights is None:
        raise MedsslError(
            f"The run {run.name} has no weights for its {source} ({run.status}).",
            advice="Choose another run.",
        )
    return weights


def _read_projection(
    path: Path, made_from: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["made_from"]) != made_from:
                return None
            return file["mean"], file["basis"]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise MedsslError(
            f"{path} is damaged: {error}.", advice="Delete it; it is computed again."
        ) from error
