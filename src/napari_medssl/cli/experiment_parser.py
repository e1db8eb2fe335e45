"""What can be typed after `medssl experiment` and `medssl ranks`, with its help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.cli.options import add_device, add_masks_as, add_project, add_settings

if TYPE_CHECKING:
    import argparse

__all__ = ["BUILDERS", "EXAMPLES"]


def _experiment(parser: argparse.ArgumentParser) -> None:
    """Compare pretraining methods on a folder with full truth: Dice against the number of annotated units.

    Units are images, or the project's groups (patients, fields), and are divided once: test units score, validation
    units score while you choose settings, of the others k are annotated. Each method is pretrained on the others,
    once for every draw; linear probes on its frozen features, and fine-tuned networks, are taught by k drawn units.
    Beside them stand: no pretraining, all foreground, Otsu's threshold, and a random forest on filtered images.

    The expected time is told first (--estimate tells it alone). Results are kept cell by cell: started again with
    the same name, the experiment goes on where it was stopped or killed.
    """
    add_project(parser)
    parser.add_argument(
        "--truth",
        metavar="DIR",
        help="folder of masks (default: the project's finished annotations)",
    )
    add_masks_as(parser, default=None)
    parser.add_argument("--name", metavar="NAME", help="its name (default: experiment)")
    parser.add_argument(
        "--out", metavar="DIR", help="where it is kept (default: experiments/NAME in the project)"
    )
    parser.add_argument(
        "--methods", nargs="+", metavar="METHOD", help="what to pretrain with (default: all)"
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="compare starts from these encoder weights as well: a file, or imagenet (which downloads those "
        "of other encoders than EfficientNet-Lite0)",
    )
    parser.add_argument(
        "--ablation",
        metavar="TABLE",
        help="compare variants of one method instead, as a table of its paper does: medsass-thresholds, "
        "medsass-losses, dicoh-siamese, dicoh-positives, dicoh-negatives, dicoh-percentile, dicoh-lambda, "
        "dicoh-queue, dicoh-start, pix2rep-table-2",
    )
    parser.add_argument(
        "--units", nargs="+", type=int, metavar="K", help="annotated units (default: 1 2 4 8)"
    )
    parser.add_argument(
        "--rates",
        nargs="*",
        type=float,
        metavar="R",
        help="instead of numbers of units: shares of them, and all of them besides, so that the report has the "
        "integrated quality criterion (IQC); alone, the evaluation paper's .01 .02 .04 .08 .16 .32 .64",
    )
    parser.add_argument(
        "--tune",
        choices=("full", "frozen", "both"),
        help="fine-tune whole networks (default), with a frozen encoder, or both",
    )
    parser.add_argument("--draws", type=int, metavar="N", help="draws of them (default: 5)")
    parser.add_argument(
        "--tune-units", nargs="+", type=int, metavar="K", help="fine-tune for these (default: 2 8)"
    )
    parser.add_argument(
        "--tune-draws", type=int, metavar="N", help="and for so many draws (default: 3)"
    )
    parser.add_argument(
        "--supervised", action="store_true", help="fine-tune on all annotations as well"
    )
    parser.add_argument("--no-forest", action="store_true", help="leave the random forest out")
    parser.add_argument(
        "--score-on", choices=("test", "validation"), help="which units score (default: test)"
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="compute in so many processes side by side, each with its share of the cores (default: 1)",
    )
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="have the workers of this Dask scheduler compute, such as tcp://node7:8786; they need the same folders "
        "at the same paths",
    )
    parser.add_argument(
        "--estimate", action="store_true", help="say how long it would take, and end"
    )
    add_settings(
        parser, config="an experiment as YAML or JSON (plan.json)", such="pretraining.steps=400"
    )
    add_device(parser)


def _ranks(parser: argparse.ArgumentParser) -> None:
    """Rank the arms of several experiments: the mean of their ranks over the projects, 1 being the best.

    All experiments have the same arms. They are ranked by the integrated quality criterion (of
    experiments over annotation rates) or by the mean of Dice over the numbers of annotated units.
    """
    parser.add_argument(
        "results", nargs="+", metavar="CSV", help="the results.csv of an experiment each"
    )
    parser.add_argument(
        "--by", choices=("iqc", "dice"), default="iqc", help="what to rank by (default: iqc)"
    )
    parser.add_argument(
        "--downstream",
        choices=("probe", "frozen", "full"),
        default="full",
        help="the way to segment that is compared (default: full)",
    )
    parser.add_argument(
        "--scored-on", choices=("test", "validation"), default="test", help="(default: test)"
    )


BUILDERS = {"experiment": _experiment, "ranks": _ranks}
EXAMPLES = {
    "experiment": (
        "medssl experiment my-project --truth masks/ --estimate",
        "medssl experiment my-project --truth masks/ --weights mobilenet_v2.safetensors",
        "medssl experiment my-project --truth masks/ --rates --tune both --draws 3 --tune-draws 3 --workers 4",
        "medssl experiment my-project --truth masks/ --ablation dicoh-positives --set pretraining.steps=200",
    ),
    "ranks": (
        "medssl ranks first/experiments/experiment/results.csv second/experiments/experiment/results.csv",
    ),
}
