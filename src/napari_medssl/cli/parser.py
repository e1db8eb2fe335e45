"""What can be typed after `medssl`, with its help."""

from __future__ import annotations

import argparse

from napari_medssl import __version__
from napari_medssl.cli import evaluating_parser, experiment_parser, explore_parser, planning_parser
from napari_medssl.cli.options import (
    add_device,
    add_masks_as,
    add_objects,
    add_project,
    add_settings,
)

__all__ = ["COMMANDS", "build_parser"]

COMMANDS = {
    "init": "make a project of an image folder",
    "check": "look at every image of a project whole and say what is wrong",
    "groups": "say which images belong together, and the class of each",
    "recommend": "plan a pretraining that suits the folder and this computer",
    "compare": "find out which pretraining helps on the annotated images",
    "pretrain": "learn from the images alone, without labels",
    "finetune": "learn from the annotated images",
    "resume": "go on where a run stopped",
    "predict": "segment a project, or any folder",
    "evaluate": "score the predictions of a run against truth",
    "assess": "measure what the features of a run are worth",
    "export": "write the weights of a run, or a part of them, for use elsewhere",
    "embed": "store the pixel features of a folder",
    "similar": "map how alike all pixels of an image, or a folder, are to some",
    "neighbours": "list the images most and least like one",
    "colours": "colour images by their features",
    "suggest": "say which images are best annotated next, why, and where in them",
    "more": "estimate what more annotated images would buy",
    "experiment": "compare pretraining methods on a folder with full truth",
    "ranks": "rank methods over the experiments on several projects",
    "runs": "list the runs of a project and how they ended",
    "describe": "list the methods, or the settings of one",
    "demo": "do the whole loop on small images and write a report",
    "doctor": "check this installation and say what mends it",
}

_SETTINGS_HELP = """
Settings are given as --set key=value. The key is a dotted path in the job, such as
training.steps; its last part is enough where that is unambiguous. Values are written as in YAML:
300, 1e-3, true, null, [a, b]. --config reads a whole job from a YAML or JSON file, in the form of
the job.json of a run folder; --set and the other options override it.
`medssl describe METHOD` lists all settings.
"""

_ENDING_HELP = """
Ctrl-C stops after the current step and keeps everything learned so far (exit code 130; go on with
`medssl resume`). A second Ctrl-C aborts.
"""


def build_parser() -> argparse.ArgumentParser:
    """Make the parser. Every subcommand stores its name as `command`."""
    parser = argparse.ArgumentParser(
        prog="medssl",
        description="Annotate a few images, get the whole folder segmented.",
        epilog="""\
a first session:
  medssl init images/ --masks masks/
  medssl pretrain images-medssl
  medssl finetune images-medssl
  medssl predict images-medssl --run latest --out segmented/

exit codes: 0 done, 1 failed, 2 wrong command line or setting, 130 stopped (what was learned is kept).
`medssl COMMAND --help` explains a command.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"medssl {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, build in _BUILDERS.items():
        description, examples = build.__doc__ or "", _EXAMPLES[name]
        command = commands.add_parser(
            name,
            help=COMMANDS[name],
            description=_unindent(description),
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        build(command)
        command.add_argument(
            "--json",
            action="store_true",
            help="print one JSON event per line on standard output, and nothing else",
        )
    return parser


def _init(parser: argparse.ArgumentParser) -> None:
    """Make a project of an image folder.

    Lists what was found and what was skipped, with reasons. The images are neither copied nor
    changed. Masks are matched by file name and become annotations.
    """
    parser.add_argument("folder", metavar="FOLDER", help="the folder with the images")
    parser.add_argument(
        "--project",
        metavar="DIR",
        help="where to make the project (default: beside the images, FOLDER-medssl)",
    )
    parser.add_argument("--masks", metavar="DIR", help="existing masks to import as annotations")
    add_masks_as(parser)
    parser.add_argument("--flat", action="store_true", help="leave out the images of subfolders")
    parser.add_argument(
        "--channels",
        nargs="+",
        metavar="CHANNEL",
        help="the channels to read, by name or by number counted from 0 (default: grey or RGB where "
        "the files are; else all of up to 4 channels, or the first of more)",
    )
    parser.add_argument(
        "--axes",
        action="append",
        default=[],
        metavar="STORED=MEANT",
        help="how to read the axes of stacks that do not tell, such as QYX=CYX: T time, Z depth, "
        "P position, C channel, S colour; can be given several times",
    )
    planning_parser.add_image_rules(parser)


def _check(parser: argparse.ArgumentParser) -> None:
    """Look at every image of a project whole and say what is wrong.

    Finds files that are cut short, hold NaN, are the same everywhere or copies of others, and
    annotated images that changed since. What was found is kept, so a second check is quick. Ctrl-C
    stops it.
    """
    add_project(parser)
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="where the image folder is now, if it was moved; the project remembers it",
    )


def _pretrain(parser: argparse.ArgumentParser) -> None:
    """Learn from the images of a project without any label."""
    add_project(parser)
    parser.add_argument(
        "--method",
        metavar="NAME",
        help="the pretext method (default: medsass; `medssl describe` lists them)",
    )
    parser.add_argument(
        "--recommended",
        action="store_true",
        help="what `medssl recommend` says, for everything that is not given here",
    )
    parser.add_argument(
        "--from",
        dest="from_run",
        metavar="RUN",
        help="start from the weights of this run: its name, or the folder of another project's",
    )
    _training(parser)


def _finetune(parser: argparse.ArgumentParser) -> None:
    """Teach the network your classes, from the annotated images of a project."""
    add_project(parser)
    parser.add_argument(
        "--from",
        dest="from_run",
        metavar="RUN|none",
        help="the run to start from, by name or by the folder of another project's; none starts "
        "a new network (default: the newest pretraining run of the project, none if there is none)",
    )
    parser.add_argument(
        "--mode",
        choices=("probe", "frozen", "full"),
        help="what is trained: a linear layer on fixed features (probe, seconds), all but the "
        "encoder (frozen), or everything (full, the default)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        metavar="NAME",
        help="use the annotations of these images alone (default: all annotated images)",
    )
    parser.add_argument(
        "--preset",
        choices=("default", "pix2rep", "dicoh", "evaluation"),
        help="the recipe: ours, or that of a paper with its optimiser, rates and loss",
    )
    parser.add_argument(
        "--answer",
        choices=("network", "forest", "mean"),
        help="what predicts: the network, a random forest on filtered images, or their mean "
        "(default: what leave-one-out estimates favour)",
    )
    parser.add_argument(
        "--no-estimate",
        action="store_true",
        help="leave out the leave-one-out estimates, which train up to four times more",
    )
    _training(parser)


def _resume(parser: argparse.ArgumentParser) -> None:
    """Go on with a run that was stopped or killed, from its last checkpoint."""
    add_project(parser)
    parser.add_argument("run", metavar="RUN", help="its name, or latest")


def _predict(parser: argparse.ArgumentParser) -> None:
    """Segment all images of a project, or of any folder.

    Writes one label image per image: 1 is background, 2 and up are the classes. A project keeps its
    own as TIFF, with a table of them (images.csv); --out is for files for other programs.
    """
    parser.add_argument(
        "project", metavar="PROJECT|FOLDER", help="a project, or a folder with images"
    )
    parser.add_argument(
        "--run",
        required=True,
        metavar="RUN",
        help="the run to predict with: its name, latest, or the path of a run folder (a path is "
        "needed with a bare folder)",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="a folder for label images, for other programs (a bare folder of images needs it)",
    )
    parser.add_argument(
        "--format",
        choices=("tiff", "png", "ome-zarr"),
        default="tiff",
        help="of the files in --out: TIFF (default), PNG, or OME-Zarr with the planes of a stack in "
        "one volume",
    )
    parser.add_argument("--images", nargs="+", metavar="NAME", help="only these images")
    parser.add_argument(
        "--out-objects",
        action="store_true",
        help="write the number of each object to --out instead of its class",
    )
    done = parser.add_mutually_exclusive_group()
    done.add_argument(
        "--skip-done",
        action="store_true",
        help="leave out images that the run, as it is now, predicted already; what --out lacks of "
        "them is written",
    )
    done.add_argument("--overwrite", action="store_true", help="predict all images again (default)")
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="keep the probability of each class in the project, as float16 TIFF",
    )
    parser.add_argument(
        "--uncertainty",
        action="store_true",
        help="keep the uncertainty of each pixel in the project, as float16 TIFF",
    )
    add_objects(parser)
    parser.add_argument(
        "--no-flips",
        action="store_true",
        help="look at each image once instead of averaging over its mirrored versions: faster",
    )
    add_device(parser)


def _export(parser: argparse.ArgumentParser) -> None:
    """Write the weights of a run, or a part of them, into a .safetensors file.

    The file starts other networks here (--weights FILE) and, under the names of smp, in your own
    programs. Its header tells the network, and how images are to be standardised.
    """
    add_project(parser)
    parser.add_argument(
        "--run", required=True, metavar="RUN", help="its name, latest, or the path of a run folder"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the file, .safetensors")
    parser.add_argument(
        "--part",
        choices=("encoder", "encoder+decoder", "whole"),
        default="encoder",
        help="what to write (default: encoder)",
    )
    parser.add_argument(
        "--names",
        choices=("medssl", "smp", "encoder"),
        default="medssl",
        help="what to call the tensors: as in a run's own files (medssl, the default), as "
        "segmentation-models-pytorch does (smp), or as the encoder alone does in torchvision or "
        "timm (encoder)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that exists")


def _runs(parser: argparse.ArgumentParser) -> None:
    """List the runs of a project: status, method, steps, best score, and what they descend from."""
    add_project(parser)


def _describe(parser: argparse.ArgumentParser) -> None:
    """List the pretext methods, or all settings of one method with their defaults."""
    parser.add_argument(
        "method",
        nargs="?",
        metavar="METHOD",
        help="a method, or finetune or predict for the settings of those jobs",
    )


def _demo(parser: argparse.ArgumentParser) -> None:
    """Do the whole loop on small images and write a report with pictures and scores.

    Needs no data and no network: nuclei are generated with their truth, real images come with
    scikit-image. With --images it does the same on yours.
    """
    parser.add_argument(
        "--out", default="demo-report", metavar="DIR", help="where to write (default: demo-report)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer images and steps: a look at the machinery"
    )
    parser.add_argument("--images", metavar="FOLDER", help="use these images instead")
    parser.add_argument(
        "--masks", metavar="FOLDER", help="their true masks: a few teach, the others score"
    )
    add_device(parser)


def _doctor(parser: argparse.ArgumentParser) -> None:
    """Check versions, torch, GPU, window, memory and disk.

    Each problem comes with the command that mends it. The report can be pasted into an issue. Exit
    code 1 where something does not work.
    """
    parser.add_argument("project", nargs="?", metavar="PROJECT", help="a project to check as well")


def _training(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--take",
        choices=("encoder", "encoder+decoder", "everything"),
        help="what is taken over from the run it starts from: the encoder, all but the last layer, "
        "or everything, the last layer where the classes are the same (default)",
    )
    parser.add_argument("--encoder", metavar="NAME", help="the network's encoder")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="encoder weights to start from: a file, none, or imagenet (the default for EfficientNet-Lite0, "
        "with which they come; downloads those of other encoders)",
    )
    parser.add_argument(
        "--scale",
        metavar="RULE:N",
        help="the working scale: fit:256 (the whole image in 256 network pixels along its longer side), fixed:2 (2 "
        "file pixels per network pixel), or physical:0.65 (micrometres per network pixel); default: that of the "
        "run it starts from, or what suits the folder",
    )
    add_settings(parser, config="a job as YAML or JSON")
    add_device(parser)
    parser.description = f"{parser.description}\n{_SETTINGS_HELP}{_ENDING_HELP}".rstrip()


_BUILDERS = {
    "init": _init,
    "check": _check,
    **planning_parser.BUILDERS,
    "pretrain": _pretrain,
    "finetune": _finetune,
    "resume": _resume,
    "predict": _predict,
    **evaluating_parser.BUILDERS,
    "export": _export,
    **explore_parser.BUILDERS,
    **experiment_parser.BUILDERS,
    "runs": _runs,
    "describe": _describe,
    "demo": _demo,
    "doctor": _doctor,
}

_EXAMPLES = {
    "init": (
        "medssl init images/",
        "medssl init images/ --project my-project --masks masks/ --masks-as instances",
        "medssl init stacks/ --channels DAPI GFP --axes QYX=ZYX",
        "medssl init images/ --groups-csv list.tsv --groups-column patient",
    ),
    "check": ("medssl check my-project", "medssl check my-project --images /data/images"),
    **planning_parser.EXAMPLES,
    "pretrain": (
        "medssl pretrain my-project",
        "medssl pretrain my-project --recommended",
        "medssl pretrain my-project --method medsass --set training.steps=2000 --set polarity=dark",
        "medssl pretrain my-project --encoder resnet50 --weights imagenet",
        "medssl pretrain my-project --config job.yaml --set training.steps=50",
    ),
    "finetune": (
        "medssl finetune my-project",
        "medssl finetune my-project --mode full --images a.png b.png",
        "medssl finetune my-project --from none --mode full --set training.steps=500",
    ),
    "resume": ("medssl resume my-project latest",),
    "predict": (
        "medssl predict my-project --run latest",
        "medssl predict other-images/ --run my-project/runs/20260401-probe-01 --out segmented/",
    ),
    **evaluating_parser.EXAMPLES,
    "export": (
        "medssl export my-project --run latest --out encoder.safetensors",
        "medssl export my-project --run latest --part encoder+decoder --names smp --out unet.safetensors",
    ),
    **explore_parser.EXAMPLES,
    **experiment_parser.EXAMPLES,
    "runs": ("medssl runs my-project",),
    "describe": ("medssl describe", "medssl describe medsass", "medssl describe --json"),
    "demo": (
        "medssl demo",
        "medssl demo --quick --out /tmp/demo",
        "medssl demo --images images/ --masks masks/",
    ),
    "doctor": ("medssl doctor", "medssl doctor my-project", "medssl doctor --json"),
}


def _unindent(text: str) -> str:
    """Take the indentation off a docstring."""
    return "\n".join(line.strip() for line in text.strip().splitlines())
