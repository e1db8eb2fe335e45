"""Make the docs' figures of what pretraining changes: after DiCoH's figure 5 and Pix2Rep's figures 2 and 4.

Each shows the same pixels in the same images before pretraining and after it. "Before" is the same network with the
same start, trained for one step at a rate of nothing.

    python scripts/figures.py IMAGES MASKS --work DIR [--out docs/images] [--steps 300] [--weights FILE]

Finished runs in DIR are used again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from napari_medssl import Project, Run, embed, make_query, pretrain
from napari_medssl.engine.exploring import FullFeatures
from napari_medssl.explore.colours import MapColours, fit_colours
from napari_medssl.explore.figures import Panel, save_figure, similarity_figure, tsne_figure
from napari_medssl.project import load_truth

DPI = 110
CLASS_COLOURS = {1: "#4a4a52", 2: "#ffb000"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--weights", type=Path, help="ImageNet weights of mobilenet_v2, for DiCoH")
    options = parser.parse_args()
    place = options.work / "project"
    if (place / "project.json").is_file():
        project = Project.open(place)
    else:
        project = Project.create(options.images, project=place)
    truth = load_truth(project, options.masks)
    shown = _with_large_objects(project, truth, 3)
    pixels = {name: _middle(truth[name] >= 2) for name in shown}
    start = (
        {"encoder_weights": "file", "weights_file": str(options.weights)} if options.weights else {}
    )
    runs = {
        ("dicoh", when): _run(project, "dicoh", when, options.steps, start)
        for when in ("before", "after")
    } | {
        ("pix2rep", when): _run(project, "pix2rep", when, options.steps, {})
        for when in ("before", "after")
    }
    options.out.mkdir(parents=True, exist_ok=True)
    _dicoh_5(project, runs, pixels, options.out / "dicoh-figure-5.png")
    _pix2rep_2(project, runs, pixels, options.out / "pix2rep-figure-2.png")
    for when in ("before", "after"):
        path = options.out / f"pix2rep-figure-4-{when}.png"
        _pix2rep_4(project, runs["pix2rep", when], truth, shown, path)


def _dicoh_5(
    project: Project,
    runs: dict[tuple[str, str], Run],
    pixels: dict[str, tuple[int, int]],
    out: Path,
) -> None:
    """Ask a pixel within an object: the map should find the whole of it, and nothing else."""
    rows: list[list[Panel]] = [
        [Panel(name, project.planes(name), positive=[at])] for name, at in pixels.items()
    ]
    for when in ("before", "after"):
        features = FullFeatures(project, runs["dicoh", when], device="cpu")
        for row, (name, at) in zip(rows, pixels.items(), strict=True):
            heat = features(name).similarity([at])
            row.append(Panel(f"{when} DiCoH", project.planes(name), heat, [at]))
    save_figure(similarity_figure(rows), out, dpi=DPI)


def _pix2rep_2(
    project: Project,
    runs: dict[tuple[str, str], Run],
    pixels: dict[str, tuple[int, int]],
    out: Path,
) -> None:
    """Ask a pixel of one image; draw its best match and the map in two others."""
    (asked, at), *others = pixels.items()
    rows, labels = [], []
    for when in ("before", "after"):
        features = FullFeatures(project, runs["pix2rep", when], device="cpu")
        prototypes = make_query(asked, at).prototypes(features)
        row = [
            Panel(f"query: {asked}", project.planes(asked), positive=[at]),
            Panel("same image", project.planes(asked), features(asked).heat(prototypes), [at]),
        ]
        for name, _ in others:
            heat = features(name).heat(prototypes)
            y, x = np.unravel_index(int(heat.argmax()), heat.shape)
            row.append(Panel(name, project.planes(name), heat, [(int(y), int(x))]))
        rows.append(row)
        labels.append(f"{when} Pix2Rep")
    save_figure(similarity_figure(rows, labels=labels), out, dpi=DPI)


def _pix2rep_4(
    project: Project, run: Run, truth: dict[str, Any], shown: list[str], out: Path
) -> None:
    """Draw the t-SNE map of the features, coloured by place and by class, and images in its colours."""
    names = dict.fromkeys([*shown, *project.images[:: max(1, len(project.images) // 60)]])
    store = embed(project, run=run.name, images=names, stride=4, dimensions=64, device="cpu")
    view = fit_colours(store, "tsne")
    assert isinstance(view, MapColours)
    cells, classes = [], []
    for name in shown:
        labels = truth[name][2::4, 2::4]
        cells.append(store.flat(name))
        classes.append(labels.ravel())
    drawn = tsne_figure(
        view,
        [Panel(name, project.planes(name)) for name in shown],
        [view.image(store, name) for name in shown],
        truths=[truth[name] for name in shown],
        cells=(np.concatenate(cells), np.concatenate(classes)),
        class_colours=CLASS_COLOURS,
    )
    save_figure(drawn, out, dpi=DPI)


def _run(project: Project, method: str, when: str, steps: int, start: dict[str, Any]) -> Run:
    """Give the finished run of a kind, training it where there is none."""
    wanted = 1 if when == "before" else steps
    for run in project.runs():
        done = run.status == "done" and run.method == method
        if done and run.job["training"]["steps"] == wanted:
            return run
    training: dict[str, Any] = {"steps": wanted}
    if when == "before":
        training |= {"learning_rate": 1e-12, "weight_decay": 0.0}
    return pretrain(project, method, network=start, training=training, device="cpu")


def _with_large_objects(project: Project, truth: dict[str, Any], count: int) -> list[str]:
    """Choose images from different thirds of the folder, each with the largest object of its third."""
    names = [name for name in project.images if name in truth]
    thirds = [names[i * len(names) // count : (i + 1) * len(names) // count] for i in range(count)]
    return [
        max(third, key=lambda name: int(np.count_nonzero(truth[name] >= 2))) for third in thirds
    ]


def _middle(mask: np.ndarray) -> tuple[int, int]:
    """Give the pixel of a mask that is farthest from its border."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(y), int(x)


if __name__ == "__main__":
    main()
