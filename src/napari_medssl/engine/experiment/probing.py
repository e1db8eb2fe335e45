"""Many linear probes on the frozen features of one network: images are embedded once for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from napari_medssl.learn.features import pixel_embedding
from napari_medssl.learn.finetune.annotated import annotated_pixels, pixels_per_image
from napari_medssl.learn.finetune.linear import LinearProbe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from napari_medssl.engine.experiment.scoring import Scorer
    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.learn.predict import Tiles
    from napari_medssl.project.working_scale import ScaledImages

__all__ = ["Probe", "apply_probes", "fit_probes"]

Probe = tuple["NDArray[np.float32]", "NDArray[np.float32]"]
"""Weight (K, D) and bias (K)."""


def fit_probes(
    model: SegmentationModel,
    annotated: Sequence[Sequence[str]],
    scaled: ScaledImages,
    truth: Callable[[str], NDArray[np.uint16]],
    images_of_unit: Mapping[str, int],
    *,
    values: Sequence[int],
    l2: float,
    device: torch.device,
    tiles: Tiles,
) -> Iterator[Probe]:
    """Fit a probe for each set of annotated images.

    Parameters
    ----------
    model : SegmentationModel
        Calibrated, on `device`, in eval mode.
    annotated : sequence of sequences of str
        The images of each probe; an image that several probes share is embedded once.
    scaled : ScaledImages
        The images at the network's working scale.
    truth : callable
        Reads the labels (Y, X) of an image.
    images_of_unit : mapping of str to int
        Image -> number of images of its unit.
    values : sequence of int
        Label values of the classes, background first.
    l2 : float
        Strength of the penalty.
    device : torch.device
        Where the model lives.
    tiles : Tiles
        How large the tiles are.
    """
    index = np.zeros(int(np.iinfo(np.uint16).max) + 1, dtype=np.int64)
    index[list(values)] = np.arange(len(values))
    kept: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}

    def pixels_of(name: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if name not in kept:
            rng = np.random.default_rng(0)
            labels = truth(name)
            most = pixels_per_image(images_of_unit[name])
            ys, xs = annotated_pixels(labels, most=most, rng=rng)
            embedding = _embedding(model, scaled, name, device=device, tiles=tiles)
            kept[name] = embedding[ys, xs], index[labels[ys, xs]]
        return kept[name]

    for names in annotated:
        pixels, targets = zip(*(pixels_of(name) for name in names), strict=True)
        yield fit_probe(np.concatenate(pixels), np.concatenate(targets), classes=len(values), l2=l2)


def apply_probes(
    model: SegmentationModel,
    probes: Sequence[Probe],
    names: Iterable[str],
    scaled: ScaledImages,
    truth: Callable[[str], NDArray[np.uint16]],
    scorers: Sequence[Scorer],
    *,
    values: Sequence[int],
    device: torch.device,
    tiles: Tiles,
) -> Iterator[str]:
    """Score all probes on some images, each of which is embedded once; yields the names of those done."""
    labels = np.array(values, dtype=np.uint16)
    for name in names:
        embedding = _embedding(model, scaled, name, device=device, tiles=tiles)
        flat, known = embedding.reshape(-1, embedding.shape[-1]), truth(name)
        for (weight, bias), scorer in zip(probes, scorers, strict=True):
            chosen = (flat @ weight.T + bias).argmax(1)
            scorer.add(name, labels[chosen].reshape(known.shape), known)
        yield name


def _embedding(
    model: SegmentationModel,
    scaled: ScaledImages,
    name: str,
    *,
    device: torch.device,
    tiles: Tiles,
) -> NDArray[np.float32]:
    """Compute the features (Y, X, D) of every pixel of an image."""
    planes, factor = scaled.images.planes(name), scaled.factor(name)
    return pixel_embedding(model, planes, factor=factor, stride=1, device=device, tiles=tiles)


def fit_probe(
    pixels: NDArray[np.float32], targets: NDArray[np.int64], *, classes: int, l2: float
) -> Probe:
    """Fit the linear probe of fine-tuning to pixel features (N, D) with class indices (N)."""
    probe = LinearProbe(pixels, classes=classes, l2=l2)
    probe.converge(pixels, targets)
    layer = nn.Linear(pixels.shape[1], classes)
    probe.fold_into(layer)
    return layer.weight.detach().numpy(), layer.bias.detach().numpy()
