"""torch, and the device that jobs would run on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from napari_medssl.doctor.children import ask_child
from napari_medssl.doctor.diagnosis import Finding

__all__ = ["check", "judge"]

_SECONDS = 180
_TORCH_SITE = "https://pytorch.org/get-started/locally/"


def check() -> list[Finding]:
    """Load torch in a child and say which device it takes, and why not a better one."""
    answer, trouble = ask_child("napari_medssl.doctor.torch_probe", seconds=_SECONDS)
    if answer is None:
        return [
            Finding(
                topic="torch",
                state="problem",
                text=f"torch cannot be loaded: {trouble}.",
                mend=f"{sys.executable} -m pip install --force-reinstall torch torchvision",
            )
        ]
    return judge(answer, driver=_driver(), gpu=_has_nvidia_gpu())


def judge(answer: dict[str, Any], *, driver: str, gpu: bool) -> list[Finding]:
    """Turn what the probe found into findings.

    Parameters
    ----------
    answer : dict
        What `torch_probe.probe` gives.
    driver : str
        What ``nvidia-smi`` says of card and driver; empty where there is none.
    gpu : bool
        Whether the system has an NVIDIA GPU, usable or not.
    """
    reinstall = f"{sys.executable} -m pip install --force-reinstall torch torchvision"
    if "torchvision_error" in answer:
        text = f"torch {answer['torch']} and torchvision do not fit together: {answer['torchvision_error']}."
        return [Finding(topic="torch", state="problem", text=text, mend=reinstall)]
    build = f"CUDA {answer['cuda_build']}" if answer["cuda_build"] else "no CUDA"
    torch = Finding(
        topic="torch",
        state="ok",
        text=f"torch {answer['torch']} ({build}), torchvision {answer['torchvision']}",
    )
    return [torch, _device(answer, driver=driver, gpu=gpu)]


def _device(answer: dict[str, Any], *, driver: str, gpu: bool) -> Finding:
    label, reason = answer["label"], answer["reason"]
    told = f"Jobs run on: {label} ({reason})."
    if "compute_error" in answer or not answer.get("right"):
        error = answer.get("compute_error", "a convolution gave a wrong result")
        return Finding(
            topic="device",
            state="problem",
            text=f"{label} is there, but computing on it fails: {error}.",
            mend=f'choose the device "cpu", or install a torch that knows this GPU: {_TORCH_SITE}',
        )
    if answer["device"] != "cpu":
        return Finding(topic="device", state="ok", text=f"{told} {driver}".rstrip())
    if gpu and not answer["cuda_build"]:
        return Finding(
            topic="device",
            state="problem",
            text=f"{told} There is an NVIDIA GPU, which this build of torch cannot use.",
            mend=f"install torch with CUDA: {_TORCH_SITE}",
        )
    if gpu:
        seen = driver or "nvidia-smi does not answer"
        return Finding(
            topic="device",
            state="problem",
            text=f"{told} The driver is likely older than CUDA {answer['cuda_build']} needs ({seen}).",
            mend=f"update the NVIDIA driver, or install torch for an older CUDA: {_TORCH_SITE}",
        )
    return Finding(topic="device", state="note", text=told)


def _has_nvidia_gpu() -> bool:
    if shutil.which("nvidia-smi"):
        return True
    vendors = Path("/sys/bus/pci/devices").glob("*/vendor")
    display = "0x03"
    return any(
        vendor.read_text(encoding="ascii").strip() == "0x10de"
        and vendor.with_name("class").read_text(encoding="ascii").startswith(display)
        for vendor in vendors
    )


def _driver() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    query = [program, "--query-gpu=name,driver_version,memory.free", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return "nvidia-smi does not answer"
    told = "; ".join(line.strip() for line in (done.stdout or done.stderr).splitlines() if line)
    return f"nvidia-smi: {told}" if told else ""
