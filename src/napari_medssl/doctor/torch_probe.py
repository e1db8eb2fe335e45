"""Run as a child by `doctor.computing`: loads torch, tries it, prints what it found as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any


def probe() -> dict[str, Any]:
    """Load torch and torchvision, choose the device that jobs would take, and compute on it."""
    import torch

    answer: dict[str, Any] = {"torch": torch.__version__, "cuda_build": torch.version.cuda}
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:  # torch of another build: an operator is missing
        answer["torchvision_error"] = str(error).splitlines()[0]
        return answer
    answer["torchvision"] = torchvision.__version__

    from napari_medssl.learn.devices import choose_device

    device = choose_device()
    answer |= {"device": device.name, "label": device.label, "reason": device.reason}
    try:
        product = torch.nn.functional.conv2d(
            torch.ones(1, 1, 8, 8, device=device.name), torch.ones(1, 1, 3, 3, device=device.name)
        )
        answer["right"] = bool((product == 9).all())
    except RuntimeError as error:  # a GPU that this torch has no kernels for
        answer["compute_error"] = str(error).splitlines()[0]
    return answer


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe()) + "\n")
