"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["DEVICES", "add_device", "add_project"]

DEVICES = ("auto", "cpu", "cuda", "mps")


def add_project(parser: argparse.ArgumentParser) -> None:
    """Take the project."""
    parser.add_argument("project", metavar="PROJECT", help="the project's folder")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Take the device."""
    parser.add_argument(
        "--device",
        choices=DEVICES,
        help="where to compute (default: auto, a usable GPU or else the CPU)",
    )
