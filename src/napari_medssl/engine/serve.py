"""The warm engine: answers interactive requests about single images without importing torch again."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_medssl.engine.predicting import check_channels, model_of
from napari_medssl.errors import MedsslError
from napari_medssl.learn.devices import choose_device
from napari_medssl.learn.features import calibrate, pixel_embedding
from napari_medssl.learn.predict import predict_labels
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.project import Project, Run, atomic
from napari_medssl.project.checkpoint import write_tiff_labels

if TYPE_CHECKING:
    from napari_medssl.engine.protocol import Request
    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["Interactive"]

KEPT_MODELS = 2
SMALL_IMAGE = 512
"""Up to this side, pixels, embeddings are made at stride 2, above at stride 4."""


class Interactive:
    """Answers requests, keeping the last used models and the project in memory."""

    def __init__(self) -> None:
        self._models: OrderedDict[tuple[str, int, str], SegmentationModel] = OrderedDict()
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
            "device": self._device,
        }[request.request]
        data = handler(request)
        return data | {"seconds": time.monotonic() - began}

    def _device(self, request: Request) -> dict[str, Any]:
        return choose_device(request.device).model_dump()

    def _predict(self, request: Request) -> dict[str, Any]:
        project, run = self._opened(request)
        model, device = self._model(run, project, request)
        labels = predict_labels(model, project.planes(request.image), device=device)
        path = project.prediction_path(run.name, request.image)
        write_tiff_labels(path, labels, note={"run": run.name})
        return {"path": path.relative_to(project.path).as_posix()}

    def _embed(self, request: Request) -> dict[str, Any]:
        project, run = self._opened(request)
        shape = project.shape(request.image)
        stride = 2 if max(shape) <= SMALL_IMAGE else 4
        path = project.embedding_path(run.name, request.image)
        if not self._is_current(path, run, project, request.image):
            model, device = self._model(run, project, request)
            calibrate(model, project, device=device)
            planes = project.planes(request.image)
            embedding = pixel_embedding(model, planes, stride=stride, device=device)
            with atomic(path) as temporary, temporary.open("wb") as file:
                np.save(file, embedding.astype(np.float16))
        return {
            "path": path.relative_to(project.path).as_posix(),
            "stride": stride,
            "shape": list(shape),
        }

    def _is_current(self, path: Path, run: Run, project: Project, image: str) -> bool:
        weights = run.weights("best")
        if weights is None or not path.is_file():
            return False
        made = path.stat().st_mtime_ns
        sources = (weights, project.image_root / image)
        return all(source.stat().st_mtime_ns < made for source in sources)

    def _preview(self, request: Request) -> dict[str, Any]:
        project = self._open(request)
        method = pretext_method(request.method)
        config = method.config_type.parse(
            request.method_config, where=f"settings of {request.method}"
        )
        folder = project.path / "derived" / "preview"
        described = []
        for number, layer in enumerate(method.preview(config, project, request.image)):
            path = folder / f"{number}.npy"
            with atomic(path) as temporary, temporary.open("wb") as file:
                np.save(file, layer.data)
            described.append(
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "path": path.relative_to(project.path).as_posix(),
                    "text": layer.text,
                }
            )
        return {"layers": described}

    def _open(self, request: Request) -> Project:
        """Open the project, or keep the one that is open: classes and images may have changed since."""
        path = Path(request.project).expanduser().resolve()
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
        key = (str(run.path), written, device.type)
        if key not in self._models:
            self._models[key] = model_of(run).to(device)
            while len(self._models) > KEPT_MODELS:
                self._models.popitem(last=False)
        self._models.move_to_end(key)
        model = self._models[key]
        check_channels(model, project, run)
        return model, device
