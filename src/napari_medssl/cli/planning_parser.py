"""What can be typed after `medssl recommend`, `medssl compare` and `medssl groups`, with its help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.cli.options import add_device, add_project, add_settings

if TYPE_CHECKING:
    import argparse

__all__ = ["BUILDERS", "EXAMPLES", "add_image_rules"]


def add_image_rules(parser: argparse.ArgumentParser) -> None:
    """Take where the groups and the classes of whole images stand."""
    for name, what in (
        ("groups", "which images belong together (a patient's, a plate's)"),
        ("labels", "which class each image as a whole has"),
    ):
        parser.add_argument(
            f"--{name}-csv", metavar="FILE", help=f"a CSV or TSV table that says {what}"
        )
        parser.add_argument(
            f"--{name}-column",
            metavar="COLUMN",
            help="the column of that table; the images are found by their names in another one",
        )
        parser.add_argument(
            f"--{name}-pattern",
            metavar="REGEX",
            help="instead of a table: a regular expression on the image's name, whose first group (or "
            "whole match) says it",
        )


def _recommend(parser: argparse.ArgumentParser) -> None:
    """Say which method, network and training suit a project and this computer, each with the reason.

    Up to 32 images are looked at, and the network is timed for a moment; nothing is trained or
    changed. `medssl pretrain --recommended` carries the plan out.
    """
    add_project(parser)
    parser.add_argument("--method", metavar="NAME", help="plan for this pretext method")
    parser.add_argument(
        "--weights",
        metavar="FILE|imagenet|none",
        help="plan for an encoder that starts from there; otherwise ImageNet",
    )
    add_device(parser)


def _compare(parser: argparse.ArgumentParser) -> None:
    """Find out which pretraining method helps on a project's own annotations.

    Each method pretrains the network for some minutes; from each, and from the start alone, the whole network is
    fine-tuned, and left-out annotated images or groups score it (leave-one-out). At least two must be annotated.

    The expected time is told first (--estimate tells it alone). Ctrl-C stops it; the same command goes on where it was
    stopped. The runs stay in the project, and `medssl recommend` uses what was found.
    """
    add_project(parser)
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help="up to three pretext methods (default: the one that is recommended)",
    )
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="budget of each pretraining (default: 5)"
    )
    parser.add_argument("--estimate", action="store_true", help="only say how long it would take")
    add_settings(parser, config="a job as YAML or JSON", such="finetuning.steps=100")
    add_device(parser)


def _groups(parser: argparse.ArgumentParser) -> None:
    """Show or say which images belong together, and the class of each image as a whole.

    Groups are patients, plates or fields: where images are parted for a test, those of a group stay
    together. Images that a rule gives nothing have no group, or no class. The planes of a stack
    have what their file has.
    """
    add_project(parser)
    add_image_rules(parser)
    parser.add_argument("--no-groups", action="store_true", help="forget the groups")
    parser.add_argument("--no-labels", action="store_true", help="forget the classes")


BUILDERS = {"recommend": _recommend, "compare": _compare, "groups": _groups}

EXAMPLES = {
    "recommend": ("medssl recommend my-project", "medssl recommend my-project --weights imagenet"),
    "compare": (
        "medssl compare my-project",
        "medssl compare my-project --methods medsass pix2rep_v2 --minutes 10",
    ),
    "groups": (
        "medssl groups my-project",
        "medssl groups my-project --groups-csv list.tsv --groups-column patient",
        "medssl groups my-project --groups-pattern 'patient([0-9]+)' --no-labels",
    ),
}
