"""What is trained, and the settings of training: everything the loop needs to know of a method."""

from __future__ import annotations

import abc
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from napari_medssl.config import Config, advanced
from napari_medssl.errors import MedsslError
from napari_medssl.events import Note
from napari_medssl.learn.memory import MemoryShortageError
from napari_medssl.project.images import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import numpy as np

    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.learn.patches import Batch
    from napari_medssl.project import Project

__all__ = [
    "SMALLEST_BATCH",
    "UNREADABLE",
    "PretrainingConfig",
    "Task",
    "TrainingConfig",
    "nothing_left",
    "to_device",
]

SMALLEST_BATCH = 2
"""Batch normalisation compares the samples of a batch."""
UNREADABLE = (UnreadableImageError, OSError)
"""What reading an image raises when its file has gone or was damaged since the project was opened."""


class TrainingConfig(Config):
    """How long, how much at once, how fast."""

    steps: int = Field(600, ge=1, le=10_000_000)
    """Number of optimiser steps."""
    batch_size: int = Field(8, ge=SMALLEST_BATCH, le=4096)
    """Patches per step; at least two, since batch normalisation compares them."""
    patch_size: int = Field(128, ge=32, le=2048, multiple_of=32)
    """Side of a patch, network pixels (see the working scale)."""
    optimizer: Literal["adamw", "sgd"] = advanced("adamw")
    """AdamW, or SGD with a momentum of 0.9."""
    learning_rate: float = Field(3.6e-4, gt=0, le=10)
    """Peak learning rate."""
    weight_decay: float = advanced(1e-5, ge=0, le=10)
    """Weight decay; decoupled from the gradient in AdamW."""
    warmup: float = advanced(0.05, ge=0, lt=1)
    """Share of the steps in which the rate rises linearly before it falls along a cosine."""
    checkpoint_seconds: float = advanced(120.0, ge=1, le=86_400)
    """Time between two checkpoints; there is one at every pause and stop as well."""
    precision: Literal["auto", "no", "fp16", "bf16"] = advanced("auto")
    """Mixed precision; auto means bf16 or fp16 on a CUDA GPU and none elsewhere."""
    channels_last: bool | None = advanced(None)
    """Memory layout of images on the device; unset means the one that a few steps show to be faster."""


class PretrainingConfig(TrainingConfig):
    """How long, how much at once, how fast, and how held-out images are used."""

    validate_every: int = advanced(50, ge=1, le=1_000_000)
    """Steps between two validations, where the method holds images out."""
    patience: int = advanced(5, ge=0, le=10_000)
    """Epochs without improvement before stopping early, each of one patch per image; where these are shorter than the
    time between two validations, so many validations. 0 never stops early."""


class Task(nn.Module, abc.ABC):
    """What the loop trains: a model, where its batches come from, and what it is asked to do.

    ``forward(batch)`` takes tensors (those of `batch`, with a first axis B) and returns scalars by
    name, among them ``loss``. Everything that must survive an interruption is a parameter, or a buffer.
    The constructor may not compute with torch in a way that depends on the number of threads.
    """

    model: SegmentationModel
    project: Project
    training_config: TrainingConfig
    """Where memory runs out, the loop puts one with a smaller `batch_size` here: read it anew each time."""
    images: tuple[str, ...] = ()
    """The images that batches are drawn from."""
    validate_every: int = 0
    """Steps between two validations; 0 where there are none."""
    patience: int = 0
    """Epochs (or validations, where these are rarer) without improvement before stopping early; 0 never stops early."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: frozenset[str] = frozenset()
        """Images that could not be read any more since training began."""
        self._lost_lock = threading.Lock()
        self._told: deque[Note] = deque()

    @property
    def epoch(self) -> int:
        """Steps that patience counts as one, where validations are not further apart; 0 where it counts validations."""
        return 0

    @abc.abstractmethod
    def batch(self, rng: np.random.Generator) -> Batch:
        """Make one batch; runs in background threads and must use no other randomness than `rng`."""

    @abc.abstractmethod
    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the loss, and whatever else is worth logging, as scalars.

        ``queue_filled``, if there, is the share of a queue of negatives that is in use: losses compare from where it
        is 1 on.
        """

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Give the groups for the optimiser, each with ``params`` and its peak ``lr``."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": rate}]

    def prepare(self) -> None:
        """Do what must be done once, on the device, before the first step of a run; not when it is resumed."""

    def after_step(self, step: int, total: int) -> None:
        """Do what follows an optimiser step (moving averages, queues)."""

    def kept(self) -> SegmentationModel:
        """Return what the run hands back at its end, where it is not the best of several validations."""
        return self.model

    def validate(self) -> dict[str, float]:
        """Measure the model on held-out data; may be empty. `score`, if there, decides what is best: higher is."""
        return {}

    def set_training(self) -> None:
        """Put the parts that learn into training mode."""
        self.train()

    def tell(self, text: str, *, level: Literal["info", "warning"] = "warning") -> None:
        """Say something to the user, from any thread; it becomes a `Note` after the present step."""
        self._told.append(Note(level=level, text=text))

    def told(self) -> Iterator[Note]:
        """Take what was said since the last call."""
        while self._told:
            yield self._told.popleft()

    def leave_out(self, name: str, error: Exception, *, others: Collection[str] = ()) -> list[str]:
        """Go on without an image that cannot be read any more, and say so once.

        Parameters
        ----------
        name : str
            The image.
        error : Exception
            Why.
        others : collection of str
            Images of which one at least must be left.

        Returns
        -------
        list of str
            Those of the others that are left.

        Raises
        ------
        MedsslError
            If none of them is.
        """
        with self._lost_lock:
            if name not in self.lost:
                self.lost |= {name}
                self.tell(f"{name} cannot be read any more, training goes on without it: {error}")
            left = [other for other in others if other not in self.lost]
        if others and not left:
            raise nothing_left() from error
        return left

    def limit_batch(self, size: int) -> None:
        """Make batches of this size from now on."""
        self.training_config = self.training_config.model_copy(update={"batch_size": size})

    def halve_batch(self, device: torch.device) -> str:
        """Make smaller batches because memory ran out; gives what to tell.

        Raises
        ------
        MemoryShortageError
            If the batch was the smallest already.
        """
        size = self.training_config.batch_size
        where = "the GPU's memory" if device.type == "cuda" else "memory"
        if size <= SMALLEST_BATCH:
            raise MemoryShortageError(
                f"There is not enough of {where} even for batches of {size}.",
                advice="Lower patch_size, choose a smaller encoder, or close other programs.",
            )
        self.limit_batch(max(SMALLEST_BATCH, size // 2))
        return (
            f"Batches of {size} need more than is free of {where}: from here on they have "
            f"{self.training_config.batch_size}. Smaller batches learn a little differently "
            "(batch normalisation and losses between samples see fewer)."
        )


def nothing_left() -> MedsslError:
    """Give the error that ends a training whose images have all gone."""
    return MedsslError(
        "Not one of the images can be read any more.",
        advice="Bring the image folder back (was a disk or a share taken away?), then resume the run.",
    )


def to_device(batch: Batch, device: torch.device, layout: torch.memory_format) -> dict[str, Tensor]:
    """Copy a batch to the device, images (four axes) in the wanted memory layout."""
    tensors = {}
    for name, array in batch.items():
        tensor = torch.from_numpy(array)
        if device.type == "cuda":
            tensor = tensor.pin_memory()
        tensor = tensor.to(device, non_blocking=True)
        tensors[name] = tensor.to(memory_format=layout) if tensor.ndim == 4 else tensor
    return tensors
