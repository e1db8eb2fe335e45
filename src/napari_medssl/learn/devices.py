"""Which device a job runs on, and why."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import torch

from napari_medssl.errors import MedsslError
from napari_medssl.events import Device

__all__ = ["DeviceName", "choose_device", "choose_threads"]

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(wanted: DeviceName = "auto") -> Device:
    """Resolve a wish into a device that works, with the reason as a sentence.

    Parameters
    ----------
    wanted : {"auto", "cpu", "cuda", "mps"}
        ``auto`` takes a CUDA GPU, else an Apple GPU, else the CPU.

    Raises
    ------
    MedsslError
        If a device was asked for by name and is not there.
    """
    cuda, why_not = _cuda()
    mps = torch.backends.mps.is_available()
    if wanted == "cuda" and not cuda:
        raise MedsslError(
            f"A CUDA GPU was asked for, but {why_not}.", advice='Choose "auto" or "cpu".'
        )
    if wanted == "mps" and not mps:
        raise MedsslError(
            "The Apple GPU (mps) was asked for, but this torch or this computer has none.",
            advice='Choose "auto" or "cpu".',
        )
    if wanted == "cuda" or (wanted == "auto" and cuda):
        properties = torch.cuda.get_device_properties(0)
        gibibytes = properties.total_memory / 2**30
        reason = "it was asked for" if wanted == "cuda" else "a CUDA GPU is there"
        return Device(name="cuda", label=f"{properties.name} ({gibibytes:.0f} GiB)", reason=reason)
    if wanted == "mps" or (wanted == "auto" and mps):
        reason = "it was asked for" if wanted == "mps" else "an Apple GPU is there"
        return Device(name="mps", label="Apple GPU", reason=reason)
    threads = torch.get_num_threads()
    reason = "it was asked for" if wanted == "cpu" else why_not
    return Device(
        name="cpu", label=f"CPU, {threads} thread{'s' if threads > 1 else ''}", reason=reason
    )


def choose_threads() -> int:
    """Give the number of CPU threads to compute with: as many as there are cores with nothing to do.

    A thread on a busy core holds all others up, so that fewer are quicker. At least one.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, min(cores, round(cores - busy)))


def _cuda() -> tuple[bool, str]:
    if torch.version.cuda is None:
        return False, "this torch was built without CUDA"
    if torch.cuda.is_available():
        return True, ""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in {"", "-1"}:
        return False, "CUDA_VISIBLE_DEVICES hides every GPU"
    if not (Path("/proc/driver/nvidia").exists() or Path("/dev/nvidia0").exists()):
        return False, "no NVIDIA GPU or driver was found"
    return False, f"the NVIDIA driver does not work with this torch (CUDA {torch.version.cuda})"
