"""Cores, memory and disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import psutil

from napari_medssl.doctor.diagnosis import Finding

__all__ = ["check", "disk"]

_GIB = 2**30
_LITTLE_MEMORY = 4 * _GIB
"""What a training with the default network and its batch needs, the desktop beside it."""
_LITTLE_DISK = 2 * _GIB


def check() -> list[Finding]:
    """Report cores, free memory, and the room in the home and temporary folders."""
    folders = dict.fromkeys((Path.home(), Path(tempfile.gettempdir())))
    return [_cores(), _memory(), *(disk("disk", folder) for folder in folders if folder.is_dir())]


def disk(topic: str, folder: Path) -> Finding:
    """Report the room where a folder lies."""
    free = psutil.disk_usage(str(folder)).free
    if free < _LITTLE_DISK:
        return Finding(
            topic=topic,
            state="problem" if free < _LITTLE_DISK / 8 else "note",
            text=f"Only {free / _GIB:.1f} GiB are free in {folder}; a run keeps some hundred MiB.",
            mend=f"make room in {folder}, or keep the project on another disk",
        )
    return Finding(topic=topic, state="ok", text=f"{free / _GIB:.0f} GiB free in {folder}")


def _cores() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{usable} of {os.cpu_count()} cores usable"
    if hasattr(os, "getloadavg"):
        text += f", load {os.getloadavg()[0]:.1f}"
    return Finding(topic="processor", state="ok", text=text)


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    text = f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free"
    if limit := _group_limit():
        text += f"; this process may use {limit / _GIB:.1f} GiB (limit of its control group)"
    if min(memory.available, limit or memory.available) < _LITTLE_MEMORY:
        return Finding(
            topic="memory",
            state="note",
            text=f"{text}. Training may need more.",
            mend="close other programs, or train with a smaller batch_size and patch_size",
        )
    return Finding(topic="memory", state="ok", text=text)


def _group_limit() -> int | None:
    """Give what a container or a batch system allows; None where nothing is set."""
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        path = Path(name)
        if path.is_file():
            text = path.read_text(encoding="ascii").strip()
            if text.isdecimal() and int(text) < psutil.virtual_memory().total:
                return int(text)
    return None
