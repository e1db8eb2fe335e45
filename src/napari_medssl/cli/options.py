"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["DEVICES", "add_device", "add_masks_as", "add_objects", "add_project", "add_settings"]

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


def add_masks_as(parser: argparse.ArgumentParser, *, default: str | None = "auto") -> None:
    """Take what the values of masks mean; `default` is None where a job file may say so."""
    parser.add_argument(
        "--masks-as",
        choices=("auto", "binary", "classes", "instances", "labels"),
        default=default,
        help="what the values of the masks mean: two values, a class each, an object each, or "
        "labels written by this program (default: auto, decided from all masks together)",
    )


def add_objects(parser: argparse.ArgumentParser) -> None:
    """Take how the objects of predictions are told apart."""
    parser.add_argument(
        "--objects",
        choices=("auto", "none", "distance", "separate", "connected"),
        default="auto",
        help="tell objects apart: in the map of distances of a run that learned objects (auto: where "
        "there is one), as areas of a class parted at their necks (separate), or as its connected areas",
    )


def add_settings(parser: argparse.ArgumentParser, *, config: str, such: str = "") -> None:
    """Take a job file, single settings and a seed.

    Parameters
    ----------
    parser : ArgumentParser
        Of the command.
    config : str
        What the file holds, for the help.
    such : str
        An example of a setting, for the help.
    """
    parser.add_argument("--config", metavar="FILE", help=config)
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change one setting{f', such as {such}' if such else ''}; can be given several times",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of all randomness (default: 0)")
