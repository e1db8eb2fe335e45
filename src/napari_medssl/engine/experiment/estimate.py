"""How long an experiment will take: from a few timed steps, corrected by what parts really took."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_medssl.engine.experiment.cells import segments
from napari_medssl.learn.networks import SegmentationModel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_medssl.engine.experiment.plan import Arm, ExperimentJob
    from napari_medssl.evaluate.results import Cell
    from napari_medssl.learn.networks import ModelSpec

__all__ = ["Costs", "Pace", "timed"]

FOREST_PIXELS_PER_SECOND = 100_000
"""Order of magnitude of a forest's prediction on one core, and of its fit."""
PROBE_FIT_SECONDS = 2.0


@dataclass(frozen=True)
class Costs:
    """Seconds that parts of an experiment are expected to take."""

    job: ExperimentJob
    step: float
    """Forward and backward of the bare network on a batch of patches."""
    pixel: float
    """Forward of the bare network, per pixel."""
    test_pixels: int
    """Pixels of the images that score."""
    unit_pixels: float
    """Pixels of the images of one unit."""

    def pretraining(self, arm: Arm) -> float:
        """Cost of an arm's pretraining; methods of two views compute twice as much."""
        if arm.method is None:
            return 0.0
        steps = int(arm.training.get("steps", self.job.pretraining.steps))
        return steps * self.step * (1.1 if segments(arm) else 2.2)

    def cells(self, cells: Iterable[Cell]) -> float:
        """Cost of cells of one arm and kind."""
        total, embedded = 0.0, 0
        for cell in cells:
            if cell.downstream == "threshold":
                total += self.test_pixels * 1e-7
            elif cell.downstream == "zero-shot":
                total += self.test_pixels * self.pixel
            elif cell.downstream == "probe":
                embedded = 1
                total += PROBE_FIT_SECONDS + cell.k * self.unit_pixels * self.pixel / 2
            elif cell.downstream == "forest":
                total += self.test_pixels / 4 / FOREST_PIXELS_PER_SECOND
                total += 20_000 * cell.k / FOREST_PIXELS_PER_SECOND * 4
            else:
                steps = self.job.finetuning.steps
                total += steps * self.step + self.test_pixels * self.pixel
        return total + embedded * 1.5 * self.test_pixels * self.pixel


class Pace:
    """Turns finished cost into progress and time left.

    Parameters
    ----------
    total : float
        Expected cost of all that is left, seconds.
    """

    def __init__(self, total: float) -> None:
        self.total, self.done = max(total, 1.0), 0.0
        self._began = time.monotonic()

    def leave_out(self, seconds: float) -> None:
        """Take time in which nothing was computed (a pause) out of the rate."""
        self._began += seconds

    @property
    def rate(self) -> float:
        """Expected seconds done per second."""
        return max(self.done, 1e-3) / max(time.monotonic() - self._began, 1e-3)

    @property
    def eta(self) -> float:
        """Seconds left."""
        return max(0.0, self.total - self.done) / self.rate


def timed(spec: ModelSpec, job: ExperimentJob, device: torch.device) -> tuple[float, float]:
    """Time the bare network: a training step on a batch of patches, and a forward pass per pixel, seconds."""
    model = SegmentationModel(spec).to(device)
    size = job.pretraining.patch_size
    images = torch.rand(job.pretraining.batch_size, len(spec.channels), size, size, device=device)
    steps = []
    model.train()
    for _ in range(3):
        began = time.perf_counter()
        model(images).float().mean().backward()
        _wait(device)
        steps.append(time.perf_counter() - began)
    model.eval()
    with torch.inference_mode():
        passes = []
        for _ in range(2):
            began = time.perf_counter()
            model(images[:1])
            _wait(device)
            passes.append(time.perf_counter() - began)
    return statistics.median(steps), min(passes) / size**2


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
