"""Training rate of a pretext method beside the bare network's, on the same number of views, in the same run.

The method runs as a user's job runs: reading, thresholds, views, augmentation, loss, optimiser, progress,
metrics. The bare network does forward, backward and the same optimiser's step on a random batch that is
there already. Blocks of both alternate, so that a machine whose speed drifts slows both.

    python benchmarks/throughput.py IMAGE_FOLDER [--method medsass] [--encoder mobilenet_v2] ...

Prints a table and, with --json, writes the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from napari_medssl.engine.job import execute
from napari_medssl.events import Progress
from napari_medssl.learn.devices import choose_device, choose_threads
from napari_medssl.learn.networks import ModelSpec, NetworkConfig
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.learn.training import TrainingConfig
from napari_medssl.learn.transfer import build_model
from napari_medssl.project import Project


def bare_steps(
    project: Project, options: argparse.Namespace, device: torch.device
) -> Iterator[float]:
    """Yield the seconds of one forward, backward and update of the bare network after another."""
    kind = pretext_method(options.method)
    spec = ModelSpec(
        network=NetworkConfig(encoder=options.encoder),
        channels=project.settings.channels,
        classes=kind.output_classes(project),
        normalisation=project.settings.normalisation,
    )
    model = build_model(spec, note=print).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    shape = (options.batch * options.views, len(spec.channels), options.patch, options.patch)
    images = torch.rand(shape).to(device, memory_format=torch.channels_last)
    half = device.type == "cuda"
    while True:
        began = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            loss = model(images).float().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if half:
            torch.cuda.synchronize()
        yield time.perf_counter() - began


def method_steps(project: Project, options: argparse.Namespace) -> Iterator[int]:
    """Yield the step number of a real pretraining job, again and again."""
    training = TrainingConfig(
        steps=1_000_000,
        batch_size=options.batch,
        patch_size=options.patch,
        validate_every=1_000_000,
        checkpoint_seconds=86_400,
    )
    job = {
        "kind": "pretrain",
        "project": str(project.path),
        "method": options.method,
        "network": {"encoder": options.encoder},
        "training": training.model_dump(),
        "device": options.device,
        "threads": options.threads,
    }
    for event in execute(job):
        if isinstance(event, Progress):
            yield event.step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--method", default="medsass")
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument(
        "--views", type=int, default=1, help="views per patch that the method makes"
    )
    parser.add_argument(
        "--blocks", type=int, default=8, help="blocks of each, the first not counted"
    )
    parser.add_argument("--steps", type=int, default=12, help="steps per block, at least")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.threads = options.threads or choose_threads()
    device = torch.device(choose_device(options.device).name)
    with tempfile.TemporaryDirectory() as scratch:
        project = Project.create(options.images, project=Path(scratch) / "project")
        method = method_steps(project, options)
        bare = bare_steps(project, options, device)
        first = next(method)
        while first < 3:  # the first steps read the images and choose kernels
            first = next(method)
        for _ in range(3):
            next(bare)
        ratios, rates, bare_rates = [], [], []
        step = first
        for block in range(options.blocks):
            began, start = time.perf_counter(), step
            while step - start < options.steps:
                step = next(method)
            rate = (step - start) / (time.perf_counter() - began)
            bare_rate = 1 / statistics.fmean(next(bare) for _ in range(options.steps))
            if block > 0:
                rates.append(rate)
                bare_rates.append(bare_rate)
                ratios.append(rate / bare_rate)
        method.close()
    views = options.batch * options.views
    result = {
        "method": options.method,
        "encoder": options.encoder,
        "batch": options.batch,
        "patch": options.patch,
        "device": str(device),
        "threads": options.threads,
        "images_per_second": statistics.median(rates) * views,
        "bare_images_per_second": statistics.median(bare_rates) * views,
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "blocks": len(ratios),
    }
    for name, value in result.items():
        print(f"{name:24} {value:.3f}" if isinstance(value, float) else f"{name:24} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
