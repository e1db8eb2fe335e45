"""What the computer can do: where it would train, with how much memory, and how fast."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_medssl.learn.devices import DeviceName, choose_device, choose_threads
from napari_medssl.learn.memory import available
from napari_medssl.learn.networks import ModelSpec, SegmentationModel
from napari_medssl.project.settings import BACKGROUND, FOREGROUND, Normalisation

if TYPE_CHECKING:
    from napari_medssl.events import Device
    from napari_medssl.learn.networks import NetworkConfig

__all__ = ["Machine", "this_machine"]

_TIMED = 3


@dataclass(frozen=True)
class Machine:
    """A computer as far as a plan depends on it."""

    device: Device
    memory: int
    """Bytes that are free where the network would be."""

    def seconds_per_view(
        self, network: NetworkConfig, *, channels: tuple[str, ...], patch: int, batch: int
    ) -> float:
        """Measure forward and backward of the bare network: seconds for each patch of a batch.

        The quickest of a few counts, as what else the computer does only ever adds to it. On a CPU, where time grows
        with the batch, two patches are enough.
        """
        device = torch.device(self.device.name)
        on_gpu = device.type != "cpu"
        count = batch if on_gpu else 2
        spec = ModelSpec(
            network=network.model_copy(update={"encoder_weights": "none", "weights_file": None}),
            channels=channels,
            classes=(BACKGROUND, FOREGROUND),
            normalisation=Normalisation(),
        )
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            model = SegmentationModel(spec).to(device).train()
            views = torch.rand(count, len(channels), patch, patch, device=device)
        seconds = []
        threads = torch.get_num_threads()
        torch.set_num_threads(min(threads, choose_threads()))
        for _ in range(1 + _TIMED):  # one to warm up
            began = time.monotonic()
            with (
                torch.autocast("cuda", torch.bfloat16)
                if device.type == "cuda"
                else contextlib.nullcontext()
            ):
                loss = model(views).float().mean()
            loss.backward()
            loss.item()  # waits for the device
            seconds.append(time.monotonic() - began)
        torch.set_num_threads(threads)
        return min(seconds[1:]) / count


def this_machine(wanted: DeviceName = "auto") -> Machine:
    """Give the computer that this runs on.

    Raises
    ------
    MedsslError
        If a device was asked for by name and is not there.
    """
    device = choose_device(wanted)
    if device.name == "cuda":
        return Machine(device, torch.cuda.mem_get_info(0)[0])
    if device.name == "mps":  # shares the computer's memory
        return Machine(device, min(available(), torch.mps.recommended_max_memory()))
    return Machine(device, available())
