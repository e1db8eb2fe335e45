"""The warm engine: answers interactive requests about single images without importing torch again."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medssl.engine.activating import keep_activation
from napari_medssl.engine.embedding import embedded, open_source, usual_stride, write_embedding
from napari_medssl.engine.job import CompareJob
from napari_medssl.engine.method_plan import settled, what_it_takes
from napari_medssl.engine.prediction_outputs import stored_outputs
from napari_medssl.engine.predictor import Predictor, check_channels, find_run, model_of
from napari_medssl.engine.runs import check_start, model_at_start
from napari_medssl.errors import MedsslError
from napari_medssl.explore.store import index_path, weights_of
from napari_medssl.learn.devices import choose_device
from napari_medssl.learn.memory import lack_explained
from napari_medssl.learn.predict import Tiles
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.learn.recommend import recommend
from napari_medssl.learn.scale_choice import choose_scale, network_view, patch_at
from napari_medssl.learn.sources import check_source
from napari_medssl.project import Project, Run, atomic, read_json, write_json
from napari_medssl.project.listing import identity_of
from napari_medssl.project.paths import given
from napari_medssl.project.working_scale import ScaledImages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medssl.engine.protocol import Request
    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.project.working_scale import ScaleRule

__all__ = ["Interactive"]

KEPT_MODELS = 2

KEPT_BYTES = 1_000_000_000
"""Of single images' embeddings in a project: above this, those that were not asked for lately are deleted."""
KEPT_SECONDS = 3600.0
"""How long an embedding is surely kept after it was last asked for."""


class Interactive:
    """Answers requests, keeping the last used models and the project in memory.

    Parameters
    ----------
    tell : callable
        Takes a sentence for the user that comes before an answer.
    """

    def __init__(self, *, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._tiles = Tiles(tell=tell)
        self._models: OrderedDict[tuple[str, int, str, bool], SegmentationModel] = OrderedDict()
        self._project: Project | None = None
        self._project_written = 0
        self._threads = torch.get_num_threads()

    def answer(self, request: Request) -> dict[str, Any]:
        """Give the data of the `Result`; keys as listed in `protocol.Request`.

        Raises
        ------
        MedsslError
            If the request cannot be answered.
        """
        torch.set_num_threads(request.threads or self._threads)
        began = time.monotonic()
        handler = {
            "predict": self._predict,
            "embed": self._embed,
            "preview": self._preview,
            "activate": self._activate,
            "device": self._device,
            "recommend": self._recommend,
            "compare": self._compare,
        }[request.request]
        with lack_explained():
            data = handler(request)
        return data | {"seconds": time.monotonic() - began}

    def _device(self, request: Request) -> dict[str, Any]:
        return choose_device(request.device).model_dump()

    def _recommend(self, request: Request) -> dict[str, Any]:
        project = Project.open(request.project)  # anew: images may have come since
        return recommend(project, start=request.start, device=request.device).model_dump(
            mode="json"
        )

    def _compare(self, request: Request) -> dict[str, Any]:
        job = CompareJob(project=request.project, device=request.device)
        return {"text": what_it_takes(settled(job, Project.open(request.project))[1])}

    def _predict(self, request: Request) -> dict[str, Any]:
        project = self._open(request)
        run = find_run(request.run, project)
        model, device = self._model(run, project, request)
        predictor = Predictor(model, run, project)
        seen, planes = project.fingerprints.of(request.image), project.planes(request.image)
        prediction = predictor.prediction(
            request.image, planes, seen, device=device, tiles=self._tiles
        )
        for output in stored_outputs(project, predictor, maps=request.maps):
            output.write(prediction)
        path = project.prediction_path(predictor.name, request.image)
        return {"path": path.relative_to(project.path).as_posix()}

    def _embed(self, request: Request) -> dict[str, Any]:
        project, run = self._opened(request)
        shape = project.shape(request.image)
        stride = request.stride or usual_stride(shape)
        source = _source_name(request)
        path = project.embedding_path(_folder(request), request.image)
        made_from = _identities(run, source, project, request.image) | {
            "source": source,
            "stride": stride,
            "channels": list(project.settings.channel_indices or ()),
            "axes": dict(project.settings.axes),
        }
        if not _is_current(path, made_from):
            model, device = self._model(run, project, request)
            opened = open_source(source, run, project, model, device, tell=self._tell)
            planes = project.planes(request.image)
            features = embedded(
                opened,
                planes,
                factor=ScaledImages(project, model.spec.scale).factor(request.image),
                stride=stride,
                device=device,
                tiles=self._tiles,
            )
            write_embedding(path, features, run)
            write_json(path.with_suffix(".json"), made_from)
            _make_room(project)
        else:
            os.utime(path.with_suffix(".json"))  # asked for just now
        return {
            "path": path.relative_to(project.path).as_posix(),
            "stride": stride,
            "shape": list(shape),
        }

    def _preview(self, request: Request) -> dict[str, Any]:
        project = self._open(request)
        scale, patch, why = _seen_at(project, request)
        layers = [network_view(ScaledImages(project, scale), request.image, patch=patch, why=why)]
        if request.method:
            method = pretext_method(request.method)
            config = method.config_type.parse(
                request.method_config, where=f"settings of {request.method}"
            )
            layers += method.preview(config, project, request.image, scale=scale, patch=patch)
        folder = project.path / "derived" / "preview"
        described = []
        for number, layer in enumerate(layers):
            path = folder / f"{number}.npy"
            with atomic(path) as temporary, temporary.open("wb") as file:
                np.save(file, layer.data)
            described.append(
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "path": path.relative_to(project.path).as_posix(),
                    "text": layer.text,
                    "pixel": layer.pixel,
                }
            )
        return {"layers": described}

    def _activate(self, request: Request) -> dict[str, Any]:
        project, run = self._opened(request)
        model, device = self._model(run, project, request)
        planes = project.planes(request.image)
        factor = ScaledImages(project, model.spec.scale).factor(request.image)
        kept = keep_activation(
            model, run, request.image, planes, request.value, factor=factor, device=device
        )
        path = (run.path / kept.file).relative_to(project.path).as_posix()
        return {"path": path, "top": kept.top, "left": kept.left}

    def _open(self, request: Request) -> Project:
        """Open the project, or keep the one that is open: classes and images may have changed since."""
        path = given(request.project).resolve()
        settings = path / "project.json"
        written = settings.stat().st_mtime_ns if settings.is_file() else 0
        project = self._project
        if (
            project is None
            or project.path != path
            or written != self._project_written
            or request.image not in project.images
        ):
            project = Project.open(path)
            self._project, self._project_written = project, written
        if request.image not in project.images:
            raise MedsslError(f"There is no image {request.image!r} in the project {path}.")
        return project

    def _opened(self, request: Request) -> tuple[Project, Run]:
        project = self._open(request)
        return project, project.run(request.run)

    def _model(
        self, run: Run, project: Project, request: Request
    ) -> tuple[SegmentationModel, torch.device]:
        device = torch.device(choose_device(request.device).name)
        weights = run.weights("best")
        written = weights.stat().st_mtime_ns if weights is not None else 0
        key = (str(run.path), written, device.type, request.at_start)
        if key not in self._models:
            model = model_at_start(project, run) if request.at_start else model_of(run)
            self._models[key] = model.to(device)
            while len(self._models) > KEPT_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        model = self._models[key]
        check_channels(model, project, run)
        return model, device


def _seen_at(project: Project, request: Request) -> tuple[ScaleRule, int, str]:
    """Settle the working scale and the patch of a preview, as a training would; and say why, where they were chosen."""
    scale, why = request.scale, ""
    if scale is None and request.run:
        scale = model_of(find_run(request.run, project)).spec.scale
        why = f"The scale is that of {request.run}."
    if scale is not None:
        return scale, request.patch_size or patch_at(project, scale), why
    chosen = choose_scale(project)
    return chosen.rule, request.patch_size or chosen.patch, chosen.why


def _folder(request: Request) -> str:
    """Name the folder of an embedding; another question never replaces the file that answered one."""
    if request.at_start:
        name = f"{request.run}.start"
    else:  # `<run>.<source>` is the store of the whole folder
        name = request.run if request.source == "mix" else f"{request.run}.{request.source}.open"
    return name if request.stride is None else f"{name}.stride-{request.stride}"


def _source_name(request: Request) -> str:
    try:
        source = check_source(request.source)
    except ValueError as error:
        raise MedsslError(f"{str(error).capitalize()}.") from error
    if request.at_start:
        check_start(source)
    return source


def _identities(run: Run, source: str, project: Project, image: str) -> dict[str, Any]:
    """Give size and time of the files that an embedding is made from."""
    files = {"weights": weights_of(run, source), "image": project.image_path(image)}
    return {what: list(identity_of(path)) for what, path in files.items() if path is not None}


def _is_current(path: Path, made_from: dict[str, Any]) -> bool:
    """Whether an embedding was made from just these files; their order in time says nothing, clocks change."""
    note = path.with_suffix(".json")
    return path.is_file() and note.is_file() and bool(read_json(note) == made_from)


def _make_room(project: Project) -> None:
    """Delete embeddings of single images that nobody asked for lately, the oldest first, down to `KEPT_BYTES`."""
    found = []
    for folder in (project.path / "embeddings").iterdir():
        if not folder.is_dir() or index_path(folder).is_file():  # the store of the whole folder
            continue
        for note in folder.rglob("*.json"):
            features = note.with_suffix(".npy")
            if features.is_file():
                found.append((note.stat().st_mtime, features.stat().st_size, note))
    taken = sum(size for _, size, _ in found)
    for asked, size, note in sorted(found):
        if taken <= KEPT_BYTES or asked > time.time() - KEPT_SECONDS:
            return
        note.unlink()  # first: without it the features count as out of date
        note.with_suffix(".npy").unlink()
        taken -= size
