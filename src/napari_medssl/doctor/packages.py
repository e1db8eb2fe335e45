"""Which versions are installed, and whether they are those that napari-medssl asks for."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from napari_medssl.doctor.diagnosis import Finding
from napari_medssl.errors import MedsslError
from napari_medssl.learn.bundled import PACKAGE, TITLE, bundled_file

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check", "unmet"]

_PACKAGE = "napari-medssl"
_SHOWN = (
    "numpy",
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "timm",
    "accelerate",
    "scikit-image",
    "opencv-python-headless",
    "tifffile",
    "napari",
)
_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")


def check() -> list[Finding]:
    """Report Python, the main packages, every requirement that is not met, and the ImageNet weights."""
    python = f"Python {platform.python_version()} on {platform.platform()}"
    shown = [f"{name} {version}" for name in _SHOWN if (version := _version(name))]
    return [
        Finding(topic="Python", state="ok", text=f"{python}, {sys.executable}"),
        Finding(topic="packages", state="ok", text=", ".join(shown)),
        *unmet(metadata.requires(_PACKAGE) or []),
        *_bindings(),
        *_opencv(),
        _imagenet(),
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def unmet(requirements: Sequence[str]) -> list[Finding]:
    """Report each requirement that is missing or has another version than asked for.

    Parameters
    ----------
    requirements : sequence of str
        As in ``pyproject.toml``; those of extras are passed over.
    """
    findings = []
    for line in requirements:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        there = _version(wanted.name)
        if there is not None and wanted.specifier.contains(there, prereleases=True):
            continue
        has = "is not installed" if there is None else f"is version {there}"
        findings.append(
            Finding(
                topic=wanted.name,
                state="problem",
                text=f"{wanted.name} {has}; {_PACKAGE} needs {wanted.specifier or 'it'}.",
                mend=f'{_pip()} install --upgrade "{wanted.name}{wanted.specifier}"',
            )
        )
    return findings


def _bindings() -> list[Finding]:
    there = [f"{name} {version}" for name in _BINDINGS if (version := _version(name))]
    if len(there) < 2:
        return []
    return [
        Finding(
            topic="Qt bindings",
            state="note",
            text=f"{' and '.join(there)} are installed side by side; qtpy takes the first that it finds.",
            mend="set QT_API to the one you want, for example QT_API=pyqt6",
        )
    ]


def _opencv() -> list[Finding]:
    clashing = [n for n in ("opencv-python", "opencv-contrib-python") if _version(n)]
    if not clashing:
        return []
    name = clashing[0]
    return [
        Finding(
            topic="OpenCV",
            state="problem",
            text=f"{name} brings a Qt of its own, with which napari's window can fail to open.",
            mend=f"{_pip()} uninstall -y {name} opencv-python-headless"
            f" && {_pip()} install opencv-python-headless",
        )
    ]


def _imagenet() -> Finding:
    topic = "ImageNet weights"
    try:
        bundled_file()
    except MedsslError as error:
        return Finding(topic=topic, state="problem", text=error.message, mend=error.advice)
    return Finding(topic=topic, state="ok", text=f"{TITLE}'s, as published ({PACKAGE})")


def _pip() -> str:
    return f'"{sys.executable}" -m pip' if " " in sys.executable else f"{sys.executable} -m pip"
