"""napari, its Qt binding, and OpenGL."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

from napari_medssl.doctor.children import ask_child
from napari_medssl.doctor.diagnosis import Finding

__all__ = ["check", "judge"]

_SECONDS = 90
_INSTALL = 'install "napari-medssl[gui]"'


def check() -> list[Finding]:
    """Say whether napari's window can open; napari is not needed for the command line."""
    try:
        version = metadata.version("napari")
    except metadata.PackageNotFoundError:
        return [
            Finding(
                topic="napari",
                state="note",
                text="napari is not installed; the command line works without it.",
                mend=f"{sys.executable} -m pip {_INSTALL}",
            )
        ]
    if _no_screen():
        return [
            Finding(
                topic="napari",
                state="note",
                text=f"napari {version} is installed, but there is no screen here (DISPLAY and"
                " WAYLAND_DISPLAY are unset), so its window cannot open; the command line works.",
                mend="open napari on a desktop, or on a virtual screen: xvfb-run -s '-screen 0 1280x800x24' napari",
            )
        ]
    answer, trouble = ask_child("napari_medssl.widgets.window_probe", seconds=_SECONDS)
    return judge(version, answer, trouble)


def judge(version: str, answer: dict[str, Any] | None, trouble: str) -> list[Finding]:
    """Turn what the probe found into findings.

    Parameters
    ----------
    version : str
        Of napari.
    answer : dict or None
        What `widgets.window_probe` printed.
    trouble : str
        Why there is no answer.
    """
    if answer is None:
        return [
            Finding(
                topic="napari",
                state="problem",
                text=f"napari {version} is installed, but no window can open: {trouble}.",
                mend=_mend_window(trouble),
            )
        ]
    found = Finding(
        topic="napari", state="ok", text=f"napari {version}, {answer['binding']}, {answer['qt']}"
    )
    if not answer.get("renderer"):
        return [
            found,
            Finding(
                topic="OpenGL",
                state="problem",
                text=f"Qt works, but gives no OpenGL on the platform {answer['platform']!r}.",
                mend="unset QT_QPA_PLATFORM, and install the graphics driver"
                " (Debian: apt-get install libgl1-mesa-dri libegl1)",
            ),
        ]
    drawn = f"OpenGL {answer['version']} by {answer['renderer']}"
    software = any(name in answer["renderer"].lower() for name in ("llvmpipe", "softpipe", "swr"))
    if software:
        return [
            found,
            Finding(
                topic="OpenGL",
                state="note",
                text=f"{drawn}: drawn without a graphics card, so large images move slowly.",
            ),
        ]
    return [found, Finding(topic="OpenGL", state="ok", text=drawn)]


def _no_screen() -> bool:
    if platform.system() != "Linux":
        return False
    return not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _mend_window(trouble: str) -> str:
    if "No Qt bindings" in trouble or "QtBindingsNotFound" in trouble:
        return f"{sys.executable} -m pip {_INSTALL}"
    if platform.system() == "Linux":
        return (
            "apt-get install libegl1 libgl1 libgl1-mesa-dri libxcb-cursor0 libxkbcommon-x11-0"
            " libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 libxcb-xinerama0"
        )
    return (
        f"{sys.executable} -m pip install --force-reinstall PyQt6, and update the graphics driver"
    )
