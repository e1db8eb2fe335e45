"""Class activation maps: what in an image a network's decision for a class rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_medssl.errors import MedsslError
from napari_medssl.learn.predict import padded
from napari_medssl.project.working_scale import to_native, to_network

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["activation_map"]


def activation_map(
    model: SegmentationModel,
    planes: NDArray[np.float32],
    value: int,
    *,
    factor: float,
    device: torch.device,
) -> NDArray[np.float32]:
    """Give the Grad-CAM of a class on the last block of the encoder.

    With A the block's output and s the sum of the class's logit over the pixels that are predicted to be of it:
    ``relu(sum over channels of A_k times the mean over cells of ds/dA_k)``, interpolated to the size of the image.

    Parameters
    ----------
    model : SegmentationModel
        On `device`, in eval mode.
    planes : ndarray of shape (C, Y, X)
        Values in [0, 1]. The whole of it is computed at once: of a large image give a part.
    value : int
        The class, as in labels (2 is the first after background).
    factor : float
        File pixels per network pixel.
    device : torch.device
        Where the model lives.

    Returns
    -------
    ndarray of shape (Y, X)
        0 or more, float32; not normalised. 0 everywhere where no pixel is predicted to be of the class.

    Raises
    ------
    MedsslError
        If the model learned features alone, or does not know the class.

    References
    ----------
    Selvaraju et al., "Grad-CAM", ICCV 2017, equations 1 and 2. Summed over predicted pixels: Vinogradova et al.,
    "Seg-Grad-CAM", AAAI 2020.
    """
    known = [info.value for info in model.spec.classes]
    if model.spec.head == "none":
        raise MedsslError(
            "This network learned features, not classes, so no class activates it.",
            advice="Choose a run that was fine-tuned.",
        )
    if value not in known:
        raise MedsslError(f"The network does not know the class {value}; it knows {known}.")
    scaled = to_network(planes, factor)
    height, width = scaled.shape[-2:]
    images = torch.from_numpy(padded(scaled, model.stride))[None].to(device)
    blocks: list[Tensor] = []

    def cut_off(module: nn.Module, _: Any, output: list[Tensor]) -> list[Tensor]:
        """Let gradients begin at the last block: those before it are not needed."""
        blocks.append(output[-1].detach().requires_grad_())
        return [*(maps.detach() for maps in output[:-1]), blocks[-1]]

    hook = model.net.encoder.register_forward_hook(cut_off)
    try:
        with torch.enable_grad():
            logits = model(images)[0, :, :height, :width].float()  # (K, Y, X)
            number = known.index(value)
            score = logits[number][logits.argmax(0) == number].sum()
            (gradient,) = torch.autograd.grad(score, blocks[-1])
    finally:
        hook.remove()
    with torch.no_grad():
        weights = gradient.mean((2, 3), keepdim=True)  # (1, C, 1, 1)
        activation = F.relu((weights * blocks[-1]).sum(1, keepdim=True))
        size = (images.shape[-2], images.shape[-1])
        enlarged = F.interpolate(activation, size=size, mode="bilinear", align_corners=False)
        result: NDArray[np.float32] = enlarged[0, :, :height, :width].float().cpu().numpy()
    return np.asarray(to_native(result, (planes.shape[1], planes.shape[2]))[0])
