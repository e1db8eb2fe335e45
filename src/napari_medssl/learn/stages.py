"""What the stages and layers of an encoder make of images: for comparing two networks, and for measures of features."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from napari_medssl.errors import MedsslError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["Layer", "layers_of", "stage_maps"]

T = TypeVar("T")


class Layer(NamedTuple, Generic[T]):
    """What was made of the output of one layer."""

    name: str
    """The module's path inside the encoder; one that is used several times comes as often."""
    stage: int
    """The stage it works towards, from 1 (the finest) on."""
    value: T


@torch.inference_mode()
def stage_maps(model: SegmentationModel, images: Tensor) -> list[NDArray[np.float32]]:
    """Give the output of each stage of a model's encoder.

    Parameters
    ----------
    model : SegmentationModel
        In eval mode.
    images : Tensor of shape (B, C, Y, X)
        Values in [0, 1], on the model's device; Y and X are multiples of its stride.

    Returns
    -------
    list of ndarray, (B, C_s, Y_s, X_s) each
        From the finest (half the image's resolution, in most encoders) to the coarsest.
    """
    return [_array(maps) for maps in model.encode(images)[1:]]  # 0 is the input itself


@torch.no_grad()
def layers_of(
    model: SegmentationModel, images: Tensor, take: Callable[[NDArray[np.float32]], T]
) -> list[Layer[T]]:
    """Look at the output of every layer of a model's encoder, one after the other.

    Layers are modules at any depth whose output is a map; a container whose output is that of its last part does not
    count again.

    Parameters
    ----------
    model, images
        As for `stage_maps`.
    take : callable
        Given each output, ``(B, C_l, Y_l, X_l)``, when it is there; what it returns is kept, the output is not.

    Returns
    -------
    list of Layer
        In the order of computation.

    Raises
    ------
    MedsslError
        If the encoder's stages are not outputs of its modules, so that layers do not belong to one.
    """
    taken: list[tuple[str, weakref.ref[Tensor], T]] = []

    def look(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def see(module: nn.Module, _: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4:
                return
            changed = getattr(module, "inplace", False)
            if not changed and any(known() is output for _, known, _ in taken):
                return  # handed on: by a container, or by what does nothing when it does not learn
            taken.append((name, weakref.ref(output), take(_array(output))))

        return see

    encoder = model.net.encoder
    hooks = [
        module.register_forward_hook(look(name)) for name, module in encoder.named_modules() if name
    ]
    try:
        outputs = model.encode(images)[1:]
    finally:
        for hook in hooks:
            hook.remove()
    ends = [
        max((i for i, (_, known, _) in enumerate(taken) if known() is output), default=-1)
        for output in outputs
    ]
    if -1 in ends:
        raise MedsslError(
            f"It cannot be told which layers of the encoder {model.spec.network.encoder} belong to which stage.",
            advice="Compare whole stages instead of their layers.",
        )
    return [
        Layer(name, stage, value)
        for i, (name, _, value) in enumerate(taken)
        if (stage := next((n for n, end in enumerate(ends, start=1) if end >= i), 0))
    ]


def _array(maps: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = maps.float().cpu().numpy()
    return array
