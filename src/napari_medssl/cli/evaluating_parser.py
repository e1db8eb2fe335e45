"""What can be typed after `medssl evaluate`, `medssl assess` and `medssl more`, with its help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.cli.options import add_device, add_masks_as, add_objects, add_project

if TYPE_CHECKING:
    import argparse

__all__ = ["BUILDERS", "EXAMPLES"]


def _evaluate(parser: argparse.ArgumentParser) -> None:
    """Score a run against truth: Dice, intersection over union, precision and recall.

    The images are predicted first. Truth is matched by file name; pixels that are not annotated in
    it take no part. Images on which the run was fine-tuned are left out, and so are the others of
    their groups; images that are all but copies of them are named. Where the true masks number
    objects and objects are predicted, these are scored as well: AJI+, panoptic quality and F1.
    """
    add_project(parser)
    parser.add_argument("--run", required=True, metavar="RUN", help="its name, or latest")
    parser.add_argument(
        "--truth",
        metavar="DIR",
        help="folder with the true masks (default: the annotations that the run did not learn from)",
    )
    add_masks_as(parser)
    parser.add_argument("--images", nargs="+", metavar="NAME", help="only these images")
    parser.add_argument(
        "--units",
        choices=("group", "image"),
        help="what is kept apart from what taught: whole groups, or files of planes where there are no groups "
        "(default: group); or single images, whose scores flatter where others of their group taught",
    )
    parser.add_argument(
        "--boundary",
        action="store_true",
        help="score outlines as well: Hausdorff distance (95%%) and surface Dice",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="PIXELS",
        help="what deviation of an outline is near enough (default: 2)",
    )
    parser.add_argument(
        "--volumes",
        action="store_true",
        help="score each group of images (a patient's) as one volume as well: 3-D Dice",
    )
    parser.add_argument(
        "--background",
        action="store_true",
        help="count background as a class of volumes, as some papers do",
    )
    parser.add_argument(
        "--against",
        metavar="RUN",
        help="compare with this run, evaluated before: differences on the images that both were scored on",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="where to write the scores as well, as .json or .csv (always: evaluation.json in the "
        "run's folder)",
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="write an HTML report with pictures, and the scores as .json and .csv beside it",
    )
    add_objects(parser)
    add_device(parser)


def _assess(parser: argparse.ArgumentParser) -> None:
    """Measure what the features of a run are worth, before or after fine-tuning.

    Neighbours of whole images (NQC) and a linear classifier of them (where images have a class:
    `medssl groups`), spread of the features and similarity of views, separability of annotated
    pixels, class activation maps (of a fine-tuned run), what the pretraining asked for; with another
    run, how alike both encoders are, stage by stage (CKA). Written as JSON and CSV into the run's
    folder, and told in the report of `medssl evaluate --report`.
    """
    add_project(parser)
    parser.add_argument(
        "--run", required=True, metavar="RUN", help="its name, latest, or the path of a run folder"
    )
    parser.add_argument(
        "--against",
        metavar="RUN",
        help="compare the encoder with that of this run, such as one fine-tuned on all annotations",
    )
    parser.add_argument(
        "--paper",
        action="store_true",
        help="compare as the evaluation paper does: biased CKA in batches of 12 images, mean over "
        "the layers of a stage (of so few images it calls anything alike)",
    )
    parser.add_argument(
        "--rivals",
        nargs="+",
        metavar="RUN",
        help="compare the time until the loss had settled with that of these runs (RQC)",
    )
    parser.add_argument("--images", nargs="+", metavar="NAME", help="only these images")
    parser.add_argument(
        "--most",
        type=int,
        metavar="N",
        help="look at so many images, evenly spread, where there are more (default: 200)",
    )
    parser.add_argument(
        "--focal",
        type=float,
        metavar="GAMMA",
        help="exponent of the focal loss of the classifier of whole images (default: 2; 0 is cross-entropy)",
    )
    add_device(parser)


def _more(parser: argparse.ArgumentParser) -> None:
    """Estimate what more annotated images would buy.

    Linear probes on the features of a network learn from 1, 2, ... of the annotated images and are
    scored on the others; a learning curve is fitted to their Dice and extended, with intervals. The
    network is the run's or, where that has learned from annotated images, the newest one that it
    descends from and that has not. Fine-tuning mostly scores higher than a probe; fine-tuned runs
    that were evaluated are listed beside. It takes four annotated images, and says so where the
    scores do not tell. Nothing is changed.
    """
    add_project(parser)
    parser.add_argument("--run", required=True, metavar="RUN", help="its name, or latest")
    parser.add_argument(
        "--count", type=int, default=5, metavar="N", help="how many more images (default: 5)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="which images are drawn (default: 0)"
    )
    add_device(parser)


BUILDERS = {"evaluate": _evaluate, "assess": _assess, "more": _more}

EXAMPLES = {
    "evaluate": (
        "medssl evaluate my-project --run latest --truth truth/",
        "medssl evaluate my-project --run latest --truth truth/ --images c.png --out scores.csv",
        "medssl evaluate my-project --run latest --truth truth/ --boundary --report report.html",
        "medssl evaluate my-project --run latest --truth truth/ --against 20260402-finetune-full-01",
    ),
    "assess": (
        "medssl assess my-project --run latest",
        "medssl assess my-project --run 20260401-dicoh-01 --against 20260402-finetune-full-01",
    ),
    "more": (
        "medssl more my-project --run latest",
        "medssl more my-project --run latest --count 20 --json",
    ),
}
