"""Annotate, fit a probe, predict: with every kind of pixels, and with classes whose values have gaps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_medssl import Project, finetune, predict
from napari_medssl.project import ClassInfo, read_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 64


def blobs(seed: int) -> NDArray[np.bool_]:
    """Draw where the objects are, (Y, X)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    centres = rng.uniform(12, SIZE - 12, (3, 2))
    return np.any([(y - cy) ** 2 + (x - cx) ** 2 < 9**2 for cy, cx in centres], axis=0)


def image(kind: str, seed: int) -> NDArray[Any]:
    """Make an image on which the objects are bright, in one channel where it has several."""
    rng = np.random.default_rng(100 + seed)
    noise = rng.uniform(0, 0.2, (4, SIZE, SIZE))
    noise[1] += 0.7 * blobs(seed)
    if kind == "grey8":
        return (255 * noise[1]).astype(np.uint8)
    if kind == "grey16":
        return (300 + 3000 * noise[1]).astype(np.uint16)  # as a 12-bit camera gives: far from full
    if kind == "float":
        return (noise[1] - 0.5).astype(np.float32)
    if kind == "rgb":
        return np.moveaxis((255 * noise[:3]).astype(np.uint8), 0, -1)
    if kind == "channels16":
        return (4000 * noise).astype(np.uint16)
    return np.stack([image("grey16", seed), image("grey16", seed + 50)])  # two planes


def save(kind: str, path: Path, pixels: NDArray[Any]) -> None:
    if kind == "rgb":
        tifffile.imwrite(path, pixels, photometric="rgb")
    elif kind == "channels16":
        tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "CYX"})
    elif kind == "stack":
        tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "ZYX"})
    else:
        tifffile.imwrite(path, pixels)


@pytest.mark.parametrize("kind", ["grey8", "grey16", "float", "rgb", "channels16", "stack"])
def test_scribbles_on_one_image_segment_another(
    tmp_path: Path, kind: str, tiny_network: dict[str, Any], tiny_training: dict[str, Any]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(2):
        save(kind, folder / f"{seed}.tif", image(kind, seed))
    project = Project.create(folder)
    background, cell = project.settings.classes
    debris = ClassInfo(value=3, name="debris", color="#123456")
    project.update(classes=(background, cell, debris))
    project.update(classes=(background, debris))  # the value 2 is never used again
    names = project.images
    teaching, other = names[0], names[-1]
    other_seed = 51 if kind == "stack" else 1
    labels = np.zeros((SIZE, SIZE), np.uint16)
    labels[::4] = np.where(blobs(0), 3, 1)[::4]
    project.annotations.write(teaching, labels)
    run = finetune(project, mode="probe", network=tiny_network, training=tiny_training)
    predict(project, run=run.name, images=(other,))
    predicted = read_labels(project.prediction_path(run.name, other))
    assert set(np.unique(predicted)) == {1, 3}
    truth = blobs(other_seed)
    dice = 2 * (truth & (predicted == 3)).sum() / (truth.sum() + (predicted == 3).sum())
    assert dice > 0.75
