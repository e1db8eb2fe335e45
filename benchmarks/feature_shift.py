"""How far the features of a network lie from the cells that they stand for, and what that costs mirrored views.

A cell of stride s stands for s x s pixels, but convolutions that skip pixels look a little to one side of its centre.
Mirrored, they look to the other: what shows one place in both views then lies twice as far apart. Measured for each
stage of encoder and decoder:

- shift: centroid of the squared gradient of a cell in the middle less the cell's centre, pixels, mean of both axes;
- alike: correlation of the features of an image with those of the mirrored image, mirrored back, cell by cell;
- moved: the same with cells moved by twice the shift, to the nearest whole cell.

    python benchmarks/feature_shift.py [--encoder mobilenet_v2 ...] [--model FILE.safetensors]

Networks have random weights and the batch statistics of the (synthetic) images, unless a file of a run is given.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.weights import load_model
from napari_medssl.project import Normalisation, ProjectSettings
from napari_medssl.synthetic import nuclei

Stages = Callable[[Tensor], list[Tensor]]
SIDE, IMAGES = 256, 8


def shift(maps: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """Give how far to the right and below of its centre a cell looks, pixels."""
    generator, found = torch.Generator().manual_seed(0), []
    for image in images:
        pixels = image[None].clone().requires_grad_()
        cells = maps(pixels)  # (1, C, n, n)
        middle = cells.shape[-1] // 2
        stride = SIDE // cells.shape[-1]
        direction = torch.randn(cells.shape[1], generator=generator)
        (gradient,) = torch.autograd.grad(cells[0, :, middle, middle] @ direction, pixels)
        energy = gradient[0].square().sum(0)
        centre = stride * middle + (stride - 1) / 2
        for axis in (0, 1):
            along = energy.sum(axis)
            found.append(float(along @ torch.arange(SIDE).float() / along.sum()) - centre)
    return float(np.mean(found))


@torch.no_grad()
def alike(maps: Callable[[Tensor], Tensor], images: Tensor, *, moved: int) -> float:
    """Correlate features with those of mirrored images, mirrored back and moved by some cells."""
    first, second = maps(images), maps(images.flip(-1)).flip(-1)  # (B, C, n, n)
    second = second.roll(-moved, -1)
    inner = slice(abs(moved), first.shape[-1] - abs(moved))
    a, b = (m[..., inner] - m[..., inner].mean((0, 2, 3), keepdim=True) for m in (first, second))
    return float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt())


def network(encoder: str, images: Tensor) -> SegmentationModel:
    """Make a network with random weights, and batch statistics that fit them."""
    torch.manual_seed(0)
    model = SegmentationModel(
        ModelSpec(
            network=NetworkConfig(encoder=encoder),
            channels=("grey",),
            classes=ProjectSettings.model_fields["classes"].get_default(call_default_factory=True),
            normalisation=Normalisation(),
        )
    ).train()
    with torch.no_grad():
        for _ in range(30):
            model(images)
    return model.eval()


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--encoder", nargs="*", default=["mobilenet_v2", "tu-tf_efficientnet_lite0"]
    )
    parser.add_argument("--model", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    scenes = np.stack([nuclei(rng, shape=(SIDE, SIDE)).image for _ in range(IMAGES)])
    images = torch.from_numpy(scenes[:, None].astype(np.float32) / 255)
    models = {name: network(name, images) for name in options.encoder if not options.model}
    models |= {path.stem: load_model(path).eval() for path in options.model}
    for name, model in models.items():
        print(
            f"\n{name}\n| stage | stride | shift, px | alike | moved |\n| --- | --- | --- | --- | --- |"
        )
        parts: dict[str, Stages] = {
            "encoder": lambda x, m=model: m.encode(x)[1:],  # type: ignore[misc]
            "decoder": model.stages,
        }
        for part, stages in parts.items():
            with torch.no_grad():
                sizes = [maps.shape[-1] for maps in stages(images[:1])]
            for number, size in enumerate(sizes):
                maps = lambda x, s=stages, n=number: s(x)[n]  # noqa: E731
                found, stride = shift(maps, images), SIDE // size
                cells = round(2 * found / stride)
                row = [alike(maps, images, moved=by) for by in (0, cells)]
                print(
                    f"| {part}-{number + 1} | {stride} | {found:.1f} | {row[0]:.2f} | {row[1]:.2f} |"
                )


if __name__ == "__main__":
    main()
