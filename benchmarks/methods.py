"""Rate and peak memory of every pretext method beside the bare network's, on the same number of views.

The method draws its batches ahead in threads as a run does, and makes whole steps: forward, loss, backward,
optimiser, queues and moving averages. The bare network does forward, backward and the same optimiser's step on
random views that are there already. Blocks of both alternate, so that a machine whose speed drifts slows both; the
ratio is the median over pairs of blocks. Memory is what forward and backward take on top of what is there before
them, each in a process of its own.

    python benchmarks/methods.py [IMAGE_FOLDER] [--methods medsass dicoh] [--encoder mobilenet_v2] ...

Without a folder, synthetic images are used. Prints a table and, with --json, writes the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import torch

from napari_medssl.learn.devices import choose_device, choose_threads
from napari_medssl.learn.memory import peak_memory
from napari_medssl.learn.networks import ModelSpec, NetworkConfig, SegmentationModel
from napari_medssl.learn.patches import batch_threads, prefetched, step_rng
from napari_medssl.learn.pretext import PretextMethod, methods
from napari_medssl.learn.task import TrainingConfig, to_device
from napari_medssl.project import Project
from napari_medssl.synthetic import nuclei

BARE = "bare"
Step = Callable[[], None]


def make_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(16):
        cv2.imwrite(str(folder / f"{number}.png"), nuclei(rng, shape=(256, 256)).image)


def model_for(project: Project, options: argparse.Namespace, key: str) -> SegmentationModel:
    torch.manual_seed(0)
    return SegmentationModel(
        ModelSpec(
            network=NetworkConfig(encoder=options.encoder),
            channels=project.settings.channels,
            classes=methods()[key].output_classes(project),
            normalisation=project.settings.normalisation,
        )
    )


def task_for(project: Project, options: argparse.Namespace, key: str) -> PretextMethod:
    kind = methods()[key]
    return kind(
        config=kind.config_type(),
        model=model_for(project, options, key),
        project=project,
        training=TrainingConfig(steps=600, batch_size=options.batch, patch_size=options.patch),
        seed=0,
    )


def views_of(task: PretextMethod) -> int:
    """Count the images of a patch's size that a sample has."""
    size = task.training_config.patch_size
    sample = task.sample(task.images[0], step_rng(0, 0))
    return sum(array.ndim == 3 and array.shape[-1] == size for array in sample.values())


def updater(parameters: Any, device: torch.device) -> Callable[[Callable[[], torch.Tensor]], None]:
    optimizer = torch.optim.AdamW(parameters, 1e-4)

    def update(loss_of: Callable[[], torch.Tensor]) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return update


def method_steps(task: PretextMethod, device: torch.device) -> Iterator[None]:
    """Make a whole training step of the method for each item."""
    task.to(device, memory_format=torch.channels_last).train()
    update = updater(task.parameter_groups(1e-4), device)
    batches = prefetched(
        lambda step: task.batch(step_rng(0, step)), 0, 1_000_000, threads=batch_threads()
    )
    with closing(batches):
        for step, batch in enumerate(batches):
            tensors = to_device(batch, device, torch.channels_last)
            update(lambda tensors=tensors: task(tensors)["loss"])
            task.after_step(step, 600)
            yield


def bare_steps(
    model: SegmentationModel, views: int, patch: int, device: torch.device
) -> Iterator[None]:
    """Make a step of the network alone for each item."""
    model.to(device, memory_format=torch.channels_last).train()
    update = updater(model.parameters(), device)
    channels = len(model.spec.channels)
    images = torch.rand(views, channels, patch, patch).to(device, memory_format=torch.channels_last)
    while True:
        update(lambda: model(images).float().mean())
        yield


def rates(project: Project, options: argparse.Namespace, key: str) -> dict[str, float]:
    """Compare alternating blocks of steps."""
    device = torch.device(options.device)
    task = task_for(project, options, key)
    views = views_of(task)
    method = method_steps(task, device)
    bare = bare_steps(
        model_for(project, options, key), views * options.batch, options.patch, device
    )
    with closing(method), closing(bare):
        for _ in range(3):  # reading, filling queues, choosing kernels
            next(method)
            next(bare)
        seconds: dict[Any, list[float]] = {method: [], bare: []}
        for _ in range(options.blocks):
            for steps in (method, bare):
                began = time.perf_counter()
                for _ in range(options.steps):
                    next(steps)
                seconds[steps].append((time.perf_counter() - began) / options.steps)
    pairs = zip(seconds[bare], seconds[method], strict=True)
    ratios = [alone / whole for alone, whole in pairs]
    return {
        "views": views,
        "method_steps_per_s": 1 / statistics.median(seconds[method]),
        "bare_steps_per_s": 1 / statistics.median(seconds[bare]),
        "rate": statistics.median(ratios),
        "rate_low": min(ratios),
        "rate_high": max(ratios),
    }


def memory_here(project: Project, options: argparse.Namespace) -> int:
    """Give the bytes that forward and backward need on top of what is there before, in this process."""
    device = torch.device(options.device)
    key = options.methods[0]
    task = task_for(project, options, key)
    batch = task.batch(step_rng(0, 0))
    small = task.training_config.model_copy(update={"batch_size": 2})
    whole, task.training_config = task.training_config, small
    first = task.batch(step_rng(0, 1))
    task.training_config = whole
    if options.child == BARE:
        views = views_of(task)
        model = task.model.to(device, memory_format=torch.channels_last).train()
        shape = (views * options.batch, len(model.spec.channels), options.patch, options.patch)
        images = torch.rand(shape).to(device, memory_format=torch.channels_last)

        def loss_of(part: slice) -> torch.Tensor:
            return model(images[part]).float().mean()

        kinds = [slice(0, 2), slice(None)]
    else:
        task.to(device, memory_format=torch.channels_last).train()
        kinds = [to_device(b, device, torch.channels_last) for b in (first, batch)]

        def loss_of(part: Any) -> torch.Tensor:
            return task(part)["loss"]

    def step(part: Any) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = loss_of(part)
        loss.backward()

    step(kinds[0])  # gradients, kernels and queues are there now
    process = psutil.Process()
    cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated() if cuda else process.memory_info().rss
    with peak_memory(device) as peak:
        for _ in range(2):
            step(kinds[1])
    return peak.bytes - before


def memory(project: Project, options: argparse.Namespace, key: str) -> dict[str, float]:
    """Measure method and bare network in fresh processes."""
    used = {}
    for who in (key, BARE):
        given = [
            f"--{name}={getattr(options, name)}" for name in ("encoder", "batch", "patch", "device")
        ]
        command = [sys.executable, __file__, str(project.path), "--methods", key, "--child", who]
        done = subprocess.run(
            [*command, *given, f"--threads={options.threads}"],
            check=True,
            capture_output=True,
            text=True,
            # Freed memory must go back to the system, or the peak of one step hides in what is kept of another.
            env=os.environ | {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536"},
        )
        used[who] = int(done.stdout.strip().splitlines()[-1])
    return {
        "method_mib": used[key] / 2**20,
        "bare_mib": used[BARE] / 2**20,
        "memory": used[key] / used[BARE],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument(
        "--methods", nargs="+", choices=sorted(methods()), default=sorted(methods())
    )
    parser.add_argument("--encoder", default="mobilenet_v2")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=5, help="pairs of blocks")
    parser.add_argument("--steps", type=int, default=4, help="steps of a block")
    parser.add_argument("--device", default=None)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.device = options.device or choose_device().name
    options.threads = options.threads or choose_threads()
    torch.set_num_threads(options.threads)
    if options.child:
        print(memory_here(Project.open(options.images), options))
        return
    with tempfile.TemporaryDirectory() as scratch:
        images = options.images
        if images is None:
            images = Path(scratch) / "images"
            images.mkdir()
            make_images(images)
        project = Project.create(images, project=Path(scratch) / "project")
        found = {}
        print(
            f"{options.encoder}, batch {options.batch}, {options.patch} px, {options.device}, "
            f"{options.threads} threads\n"
        )
        print("method        views   rate (lowest-highest)   memory   MiB (bare)")
        for key in options.methods:
            row = found[key] = rates(project, options, key) | memory(project, options, key)
            print(
                f"{key:12}  {row['views']:5}   {row['rate']:.2f} ({row['rate_low']:.2f}-{row['rate_high']:.2f})"
                f"        {row['memory']:8.2f}   {row['method_mib']:.0f} ({row['bare_mib']:.0f})",
                flush=True,
            )
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
