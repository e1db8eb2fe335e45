"""What can be typed after the commands of Explore, with their help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medssl.cli.options import add_device, add_project

if TYPE_CHECKING:
    import argparse

__all__ = ["BUILDERS", "EXAMPLES"]


def _embed(parser: argparse.ArgumentParser) -> None:
    """Store the pixel features of a folder, for similar, neighbours and colours.

    Images whose features are stored already, from the same network and the same content, are left
    alone; so a stopped command goes on where it was. The other commands call this one by themselves.
    """
    add_project(parser)
    _run_and_source(parser)
    parser.add_argument("--images", nargs="+", metavar="NAME", help="only these images")
    parser.add_argument(
        "--budget",
        metavar="SIZE",
        help="what the files may take, such as 2GB (default: as much as the decoded images); decides "
        "how finely features are stored",
    )
    parser.add_argument(
        "--stride", type=int, choices=(1, 2, 4, 8, 16), help="pixels per cell, instead of a budget"
    )
    parser.add_argument("--dimensions", type=int, metavar="N", help="features per cell, at most 64")
    add_device(parser)


def _similar(parser: argparse.ArgumentParser) -> None:
    """Map how alike the network finds all pixels to one or several, in an image or the whole folder.

    Values are cosine similarities of the pixel features, from -1 to 1. With counter-examples (--not)
    a value is half the difference between the similarity to the nearest example and that to the
    nearest counter-example: above 0 a pixel is nearer to an example.
    """
    add_project(parser)
    _run_and_source(parser)
    parser.add_argument(
        "--image", metavar="NAME", help="the image to map, as `medssl init` lists it"
    )
    parser.add_argument(
        "--at",
        action="append",
        metavar="[NAME:]Y,X",
        help="an example pixel: row and column, counted from 0 at the top left; can be given "
        "several times, and lie in other images",
    )
    parser.add_argument(
        "--not",
        dest="not_at",
        action="append",
        metavar="[NAME:]Y,X",
        help="a counter-example; can be given several times",
    )
    parser.add_argument(
        "--region", metavar="FILE", help="one more example: a mask of the image, above 0 within"
    )
    parser.add_argument(
        "--how",
        choices=("auto", "mean", "max", "contrast"),
        default="auto",
        help="compare with the examples' mean, with the nearest, or with the nearest against the "
        "nearest counter-example (default: contrast where there are counter-examples, else mean)",
    )
    parser.add_argument("--query", metavar="NAME", help="examples that were kept with --save-query")
    parser.add_argument("--save-query", metavar="NAME", help="keep the examples in the project")
    parser.add_argument(
        "--compare", nargs="+", metavar="RUN", help="draw the maps of these runs beside the first"
    )
    parser.add_argument(
        "--folder", action="store_true", help="rank all images by their best matching pixel"
    )
    parser.add_argument(
        "--top", type=int, default=12, metavar="N", help="images to show (default: 12)"
    )
    parser.add_argument("--least", action="store_true", help="the least similar images first")
    parser.add_argument(
        "--threshold", type=float, metavar="T", help="the similarity from which on a pixel counts"
    )
    parser.add_argument(
        "--label",
        metavar="CLASS",
        help="annotate what reaches the threshold with this class, to be corrected: in the image, or "
        "with --folder in all images that reach it",
    )
    parser.add_argument(
        "--smoothing", type=float, default=1.0, metavar="S", help="of labels, pixels (default: 1)"
    )
    parser.add_argument(
        "--minimum-area",
        type=int,
        default=16,
        metavar="N",
        help="of labelled pieces, pixels (default: 16)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="cover labels that are there already"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="a .tif gets the float32 values, a .png, .pdf or .svg a figure, a .csv the ranking",
    )
    add_device(parser)


def _neighbours(parser: argparse.ArgumentParser) -> None:
    """List the images most and least like one, and draw the folder as a map.

    Distances are Euclidean, between the images' mean features in ten principal components.
    """
    add_project(parser)
    _run_and_source(parser)
    parser.add_argument("--image", required=True, metavar="NAME", help="the image")
    parser.add_argument(
        "--count", type=int, default=6, metavar="N", help="images to list (default: 6)"
    )
    parser.add_argument("--out", metavar="FILE", help="a figure of them: .png, .pdf or .svg")
    parser.add_argument("--map", metavar="FILE", help="a figure of the folder: .png, .pdf or .svg")
    parser.add_argument(
        "--map-images", type=int, default=150, metavar="N", help="images on the map (default: 150)"
    )
    add_device(parser)


def _colours(parser: argparse.ArgumentParser) -> None:
    """Colour images by their features: what the network finds alike gets the same colour.

    Colours are fitted on the whole folder, so that they agree between images. pca: the first three
    principal components as red, green and blue. tsne: a flat map of the features with a colour for
    each place (Pix2Rep, figure 4). kmeans: clusters.
    """
    add_project(parser)
    _run_and_source(parser)
    parser.add_argument(
        "--kind", choices=("pca", "tsne", "kmeans"), default="pca", help="(default: pca)"
    )
    parser.add_argument(
        "--clusters", type=int, default=8, metavar="K", help="for kmeans (default: 8)"
    )
    parser.add_argument("--images", nargs="+", metavar="NAME", help="only these images")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the fit (default: 0)")
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE|DIR",
        help="a figure of some images (.png, .pdf, .svg); or a folder, for a PNG of each image "
        "(kmeans: a label TIFF)",
    )
    add_device(parser)


def _suggest(parser: argparse.ArgumentParser) -> None:
    """Say which images are best annotated next, why, and where in them to begin.

    As long as there are no annotations of two classes: images that stand for many others. Afterwards: images that
    a linear probe on the features, learned from all annotations, is uncertain about and that are unlike the annotated
    ones. Nothing is changed.
    """
    add_project(parser)
    _run_and_source(parser)
    parser.add_argument(
        "--count", type=int, default=5, metavar="N", help="images to suggest (default: 5)"
    )
    add_device(parser)


def _run_and_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, metavar="RUN", help="its name, or latest")
    parser.add_argument(
        "--source",
        default="mix",
        metavar="SOURCE",
        help="what of the network: mix (all decoder stages, the default), decoder-1 (the coarsest), "
        "decoder-2 ..., encoder-1 (the finest), encoder-2 ..., or projector",
    )


BUILDERS = {
    "embed": _embed,
    "similar": _similar,
    "neighbours": _neighbours,
    "colours": _colours,
    "suggest": _suggest,
}

EXAMPLES = {
    "embed": (
        "medssl embed my-project --run latest",
        "medssl embed my-project --run latest --source encoder-4 --budget 500MB",
    ),
    "similar": (
        "medssl similar my-project --run latest --image a.png --at 120,88 --out heat.tif",
        "medssl similar my-project --run latest --image a.png --at 120,88 --not 10,12 --out heat.pdf",
        "medssl similar my-project --run latest --at a.png:120,88 --folder --out gallery.png",
        "medssl similar my-project --run latest --query vessels --folder --threshold 0.8 --label 2",
        "medssl similar my-project --run RUN-A --compare RUN-B --image a.png --at 120,88 --out both.png",
    ),
    "neighbours": (
        "medssl neighbours my-project --run latest --image a.png",
        "medssl neighbours my-project --run latest --image a.png --out like-a.png --map folder.pdf",
    ),
    "colours": (
        "medssl colours my-project --run latest --out colours.png",
        "medssl colours my-project --run latest --kind tsne --images a.png b.png --out map.pdf",
        "medssl colours my-project --run latest --kind kmeans --clusters 6 --out clusters/",
    ),
    "suggest": (
        "medssl suggest my-project --run latest",
        "medssl suggest my-project --run latest --count 10 --json",
    ),
}
