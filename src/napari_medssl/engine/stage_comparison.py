"""How alike the encoders of two runs are, stage by stage or layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.assessment import CkaResult
from napari_medssl.evaluate.cka import LEAST, PAPER_BATCH, Alignment, kernel
from napari_medssl.events import Event, Note
from napari_medssl.learn.augment import View, cut
from napari_medssl.learn.stages import layers_of, stage_maps
from napari_medssl.learn.task import UNREADABLE
from napari_medssl.project.working_scale import ScaledImages

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import Literal

    from numpy.typing import NDArray

    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.project import Project

__all__ = ["compared", "refuse_unequal"]

BATCH = 32
"""Images at a time, about; the unbiased estimate hardly depends on it."""


def refuse_unequal(
    model: SegmentationModel, other: SegmentationModel, *, kind: Literal["unbiased", "paper"]
) -> None:
    """Refuse to compare the layers of different encoders."""
    names = [network.spec.network.encoder for network in (model, other)]
    depths = [network.spec.network.encoder_depth for network in (model, other)]
    if kind == "paper" and (names[0] != names[1] or depths[0] != depths[1]):
        raise MedsslError(
            f"Layers are compared one by one, but the encoders differ: {names[0]} of depth {depths[0]}, {names[1]} of "
            f"depth {depths[1]}.",
            advice="Compare whole stages (cka unbiased).",
        )


def compared(
    model: SegmentationModel,
    other: SegmentationModel,
    names: Sequence[str],
    project: Project,
    *,
    kind: Literal["unbiased", "paper"],
    against: str,
    side: int,
    seed: int,
    device: torch.device,
    each: Callable[[], Iterator[Event]],
) -> Generator[Event, None, CkaResult]:
    """Compare two encoders by CKA on the middle of images.

    Parameters
    ----------
    model, other : SegmentationModel
        On `device`, in eval mode; for ``paper`` with the same encoder.
    names : sequence of str
        Images of `project`.
    kind : {"unbiased", "paper"}
        See `CkaResult`.
    against : str
        What to call the other one.
    side : int
        Of the middle, network pixels of `model`: a multiple of both networks' stride.
    seed : int
        Which images share a batch.
    device : torch.device
        Where to compute.
    each : callable
        Its events come before each image.

    Raises
    ------
    MedsslError
        If there are too few images for one batch.
    """
    order = np.random.default_rng(seed).permutation(len(names))
    if kind == "paper":
        sizes = [PAPER_BATCH] * (len(names) // PAPER_BATCH)
        batches = np.split(order[: sum(sizes)], len(sizes)) if sizes else []
    else:
        batches = np.array_split(order, max(1, round(len(names) / BATCH)))
    least = PAPER_BATCH if kind == "paper" else LEAST
    scaled = ScaledImages(project, model.spec.scale)  # one scale for both: the same input
    stages = Alignment()
    layers: list[tuple[int, Alignment]] = []
    looked = 0
    for batch in batches:
        pictures = []
        for name in (names[i] for i in batch):
            yield from each()
            try:
                pictures.append(_middle(scaled.planes(name), side))
            except (*UNREADABLE, MemoryError) as error:
                yield Note(level="warning", text=f"Left out {name}: {error}")
        if len(pictures) < least:
            continue
        looked += len(pictures)
        images = torch.from_numpy(np.stack(pictures)).to(device)
        if kind == "unbiased":
            stages.add(
                *(
                    [kernel(maps) for maps in stage_maps(network, images)]
                    for network in (model, other)
                )
            )
            continue
        found = [layers_of(network, images, kernel) for network in (model, other)]
        if not layers:
            layers = [(layer.stage, Alignment(biased=True)) for layer in found[0]]
        for (_, sums), own, theirs in zip(layers, *found, strict=True):
            sums.add([own.value], [theirs.value])
    if not looked:
        raise MedsslError(
            f"CKA compares batches of {least} images and more; there are {len(names)}.",
            advice="Take more images, or leave out what to compare with (against).",
        )
    if kind == "paper":
        by_stage: dict[int, list[float]] = {}
        for stage, sums in layers:
            by_stage.setdefault(stage, []).append(float(sums.table()[0, 0]))
        diagonal = [float(np.mean(by_stage[stage])) for stage in sorted(by_stage)]
        table: tuple[tuple[float, ...], ...] = ()
        count = layers[0][1].batches
    else:
        values = stages.table()
        diagonal = np.diagonal(values).tolist()
        table = tuple(tuple(row) for row in values.tolist())
        count = stages.batches
    return CkaResult(
        against=against,
        kind=kind,
        images=looked,
        batches=count,
        stages=tuple(diagonal),
        table=table,
    )


def _middle(planes: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Cut the middle ``(C, side, side)`` out; a smaller image is mirrored around it."""
    top, left = ((size - side) // 2 for size in planes.shape[1:])
    matrix = np.array([[1, 0, left], [0, 1, top]], np.float64)
    return cut(planes, View(matrix=matrix, size=side))
