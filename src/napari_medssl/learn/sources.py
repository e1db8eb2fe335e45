"""Where in a network pixel features come from: all trained decoder stages together, a single stage, the projector."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_medssl.errors import MedsslError
from napari_medssl.learn.networks import SegmentationModel, project_maps
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.learn.pretext.base import PretextMethod
from napari_medssl.learn.task import PretrainingConfig

if TYPE_CHECKING:
    from napari_medssl.project import Project, Run

__all__ = ["FeatureSource", "check_source", "has_projector", "maps_of", "task_of"]

_STAGE = re.compile(r"(?P<part>decoder|encoder)-(?P<number>[1-9])")

Maps = Callable[[Tensor], list[Tensor]]


class FeatureSource:
    """Pixel features of a network, from one source, reduced to some dimensions.

    Parameters
    ----------
    maps : callable
        Maps images ``(B, C, Y, X)`` to maps ``(B, C_s, Y_s, X_s)``.
    mean : Tensor of shape (F,)
        Of the channels of all maps.
    basis : Tensor of shape (D, F)
        Principal directions, the most important first.
    stride : int
        Multiple that input height and width must have.
    """

    def __init__(self, maps: Maps, mean: Tensor, basis: Tensor, *, stride: int) -> None:
        self._maps, self._mean, self._basis = maps, mean, basis
        self._stride = stride

    @property
    def stride(self) -> int:
        """Multiple that input height and width must have."""
        return self._stride

    @property
    def dimensions(self) -> int:
        """Features of a pixel."""
        return len(self._basis)

    def reduced(self, dimensions: int) -> FeatureSource:
        """Keep the most important dimensions alone."""
        return FeatureSource(self._maps, self._mean, self._basis[:dimensions], stride=self._stride)

    def embed(self, images: Tensor, *, stride: int = 1) -> Tensor:
        """Give ``(B, D, Y/stride, X/stride)`` for images ``(B, C, Y, X)``."""
        size = (images.shape[-2] // stride, images.shape[-1] // stride)
        return project_maps(self._maps(images), self._basis, self._mean, size)


def check_source(name: str) -> str:
    """Refuse what names no source.

    Raises
    ------
    ValueError
        With the names there are.
    """
    if name not in ("mix", "projector") and not _STAGE.fullmatch(name):
        raise ValueError(
            f"there is no source {name!r}; there are mix (all decoder stages), decoder-1 (the coarsest), "
            "decoder-2 ..., encoder-1 (the finest), encoder-2 ..., and projector"
        )
    return name


def maps_of(name: str, model: SegmentationModel, task: PretextMethod | None) -> Maps:
    """Give what computes the maps of a source.

    Parameters
    ----------
    name : str
        As `check_source` takes it.
    model : SegmentationModel
        The network.
    task : PretextMethod, optional
        With the projector, for the source ``projector``; see `task_of`.

    Raises
    ------
    MedsslError
        If the network has no such stage.
    """
    if name == "projector":
        assert task is not None
        return lambda images: [task.projected(images)]
    if name == "mix":
        return model.feature_maps
    match = _STAGE.fullmatch(name)
    assert match is not None  # checked by `check_source`
    number = int(match["number"])
    available = (
        len(model.stage_widths) if match["part"] == "decoder" else model.spec.network.encoder_depth
    )
    if number > available:
        raise MedsslError(
            f"The network has no {match['part']} stage {number}.",
            advice=f"It has {match['part']}-1 to {match['part']}-{available}.",
        )
    if match["part"] == "decoder":
        return lambda images: model.stages(images, count=number)[-1:]
    return lambda images: model.encode(images)[number : number + 1]  # 0 is the input itself


def has_projector(run: Run) -> bool:
    """Whether a run pretrained with a method that has a projector."""
    if run.kind != "pretrain":
        return False
    method = pretext_method(str(run.job.get("method", "")))
    return method.projected is not PretextMethod.projected


def task_of(run: Run, project: Project, model: SegmentationModel) -> PretextMethod:
    """Rebuild the pretext task of a run, with its projector as the last checkpoint has it.

    Parameters
    ----------
    run : Run
        The run.
    project : Project
        Whose images it was trained on.
    model : SegmentationModel
        A network like the run's; gets its last weights.

    Raises
    ------
    MedsslError
        If the run is no pretraining, or its checkpoint is missing or damaged.
    """
    job = run.job
    if run.kind != "pretrain":
        raise MedsslError(
            f"The run {run.name} is no pretraining, so it has no projector.",
            advice='Use another source, such as "mix".',
        )
    method = pretext_method(str(job.get("method", "")))
    if not has_projector(run):
        raise MedsslError(
            f"{method.title} has no projector.", advice='Use another source, such as "mix".'
        )
    if not run.state_path.is_file():
        raise MedsslError(
            f"The run {run.name} has no checkpoint with its projector ({run.state_path.name}).",
            advice='Copy it from where the run was made, or use another source, such as "mix".',
        )
    task = method(
        config=method.config_type.parse(job["method_config"], where=str(run.job_path)),
        model=model,
        project=project,
        training=PretrainingConfig.parse(job["training"], where=str(run.job_path)),
        seed=int(job["seed"]),
    )
    try:
        state = torch.load(run.state_path, map_location="cpu", weights_only=True)["task"]
        task.load_state_dict(state)
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise MedsslError(
            f"The checkpoint of the run {run.name} cannot be used ({run.state_path.name}): {error}",
            advice='Restore it from a copy, or use another source, such as "mix".',
        ) from error
    return task.eval()
