"""What the demo works on: generated nuclei, a real tissue section, or the user's own images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image
from scipy import ndimage

from napari_medssl.demo import tissue
from napari_medssl.errors import MedsslError
from napari_medssl.project import ClassInfo, Project
from napari_medssl.synthetic import nuclei

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Case", "Click", "Shell", "nuclei_case", "own_case", "tissue_case"]

Shell = Callable[[Sequence[str]], None]
"""Runs a `medssl` command line; raises where it fails."""

_SEED = 7
_TAUGHT = 4
_SMALL = {"batch_size": 4, "patch_size": 96}
"""Small batches of small patches: the demo is to end within minutes on two CPU cores."""
_ENOUGH = {"batch_size": 4, "patch_size": 128}
"""Segmenting without annotation needs to have seen larger patches."""
_MOST_SCORED = 24
"""Of a user's own images no more than this are scored: the demo is to end while one waits."""


@dataclass(frozen=True)
class Click:
    """A pixel to compare with all others of its image."""

    image: str
    at: tuple[int, int]
    """(y, x)"""
    what: str
    """What lies there."""


@dataclass(frozen=True)
class Case:
    """One folder of images, ready to be pretrained on."""

    key: str
    """For file names."""
    title: str
    intro: str
    project: Project
    """Is pretrained and fine-tuned on."""
    scored: Project
    """Holds the images that are predicted; may be the same."""
    names: tuple[str, ...]
    """The images to predict; none of them teaches."""
    truth: dict[str, NDArray[np.uint16]]
    """Of the images to predict; empty where nobody knows."""
    truth_note: str
    """Where the truth comes from."""
    taught: tuple[str, ...]
    """Images whose annotations teach; may be empty."""
    clicks: tuple[Click, ...]
    pretrain: tuple[str, ...]
    """More options for pretraining."""
    finetune: tuple[str, ...]
    """More options for fine-tuning."""
    binary: bool = True
    """Whether there is one class beside the background."""


def nuclei_case(folder: Path, shell: Shell, *, quick: bool) -> Case:
    """Generate nuclei: a folder to learn from and one to score on, both with truth."""
    rng = np.random.default_rng(_SEED)
    n_train, n_test = (12, 4) if quick else (24, 8)
    for part, count in (("train", n_train), ("test", n_test)):
        for number in range(count):
            field = nuclei(rng)
            _write_tiff(folder / part / f"nuclei_{number:02d}.tif", field.image)
            _write_tiff(folder / f"{part}-truth" / f"nuclei_{number:02d}.tif", field.labels)
    train, test = folder / "train-project", folder / "test-project"
    for part, project in (("train", train), ("test", test)):
        masks = ["--masks", str(folder / f"{part}-truth"), "--masks-as", "instances"]
        shell(["init", str(folder / part), "--project", str(project), *masks])
    learned, scored = Project.open(train), Project.open(test)
    taught = learned.images[:_TAUGHT]
    shown = learned.images[_TAUGHT]
    truth = {name: scored.annotations.read(name) for name in scored.images}
    return Case(
        key="nuclei",
        title="Generated nuclei, truth known",
        intro=f"{n_train} images of {_size(learned)} pixels in the manner of a fluorescence "
        "microscope: nuclei of varying size and brightness, some touching, some out of focus, "
        f"uneven background, shot noise. {_TAUGHT} of them are annotated. {n_test} further images, "
        "never seen in any training, are scored.",
        project=learned,
        scored=scored,
        names=scored.images,
        truth=truth,
        truth_note="The generator knows the truth.",
        taught=taught,
        pretrain=_pretraining(20 if quick else 150),
        finetune=_finetuning(20 if quick else 150),
        clicks=(_click(shown, learned.annotations.read(shown) > 1, "a nucleus"),),
    )


def tissue_case(folder: Path, shell: Shell, *, quick: bool) -> Case:
    """Cut scikit-image's tissue section into four images; strokes on two of them teach."""
    for name, piece in tissue.tiles().items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(piece).save(path)
    place = folder / "project"
    shell(["init", str(folder / "images"), "--project", str(place)])
    project = Project.open(place)
    background, foreground = project.settings.classes
    gland = ClassInfo(value=foreground.value, name=tissue.CLASSES[1], color=foreground.color)
    project.update(classes=(background, gland))
    strokes = tissue.strokes()
    for name, labels in strokes.items():
        project.annotations.write(name, labels)
    names = tuple(name for name in project.images if name not in strokes)
    outlines = tissue.truth()
    return Case(
        key="tissue",
        title="Real tissue, annotated with a few strokes",
        intro="Colon glands (FHL2 in brown, nuclei in blue), an image that comes with scikit-image, "
        f"cut into four pieces of {tissue.TILE} x {tissue.TILE} pixels. Two pieces carry a few "
        "brush strokes, all that fine-tuning sees; the other two are scored. With only four "
        "pieces, pretraining sees all of them, without any label.",
        project=project,
        scored=project,
        names=names,
        truth={name: outlines[name] for name in names},
        truth_note="The image comes without truth. The glands were outlined by hand for this demo, a few "
        "pixels exact; a band along the outline and the hollows of the glands are not scored. Two "
        "pieces of one image are an illustration, not a benchmark.",
        taught=tuple(strokes),
        pretrain=_pretraining(15 if quick else 60),
        finetune=_finetuning(10 if quick else 50),
        clicks=(
            Click(names[-1], (144, 64), "in a gland"),
            Click(names[-1], (96, 205), "in the stroma"),
        ),
    )


def own_case(folder: Path, shell: Shell, *, images: str, masks: str | None, quick: bool) -> Case:
    """Make a project of the user's images; with masks, some teach and the others score."""
    place = folder / "project"
    given = ["--masks", masks] if masks else []
    shell(["init", images, "--project", str(place), *given])
    project = Project.open(place)
    if not project.images:
        raise MedsslError(f"{images} has no usable image.", advice=project.report.text())
    known = project.annotations.annotated()
    taught = _evenly(known, min(2 if quick else _TAUGHT, len(known) // 2))
    rest = [name for name in (known or project.images) if name not in taught]
    names = _evenly(rest, min(len(rest), 4 if quick else _MOST_SCORED))
    truth = {name: project.annotations.read(name) for name in names} if known else {}
    inside = truth[names[0]] > 1 if known else _bright(project.grey(names[0]))
    intro = f"{len(project.images)} images from {Path(images).name}. "
    if taught:
        intro += (
            f"{len(taught)} annotated ones teach, {len(names)} others are scored. Pretraining sees "
            "all images, without any label."
        )
    else:
        intro += "There are no masks for them, so nothing is fine-tuned and nothing scored."
    return Case(
        key="own",
        title=f"Your images: {Path(images).name}",
        intro=intro,
        project=project,
        scored=project,
        names=names,
        truth=truth,
        truth_note=f"Truth: the masks in {Path(masks).name}." if masks else "",
        taught=taught,
        pretrain=_pretraining(20 if quick else 300),
        finetune=_finetuning(20 if quick else 150),
        clicks=(_click(names[0], inside, "in an object" if known else "in a bright place"),),
        binary=len(project.settings.classes) == 2,
    )


def _pretraining(steps: int) -> tuple[str, ...]:
    return _settings(steps=steps, **_ENOUGH)


def _finetuning(steps: int) -> tuple[str, ...]:
    return _settings(steps=steps, **_SMALL)


def _settings(**values: object) -> tuple[str, ...]:
    pairs = (("--set", f"training.{key}={value}") for key, value in values.items())
    return tuple(part for pair in pairs for part in pair)


def _write_tiff(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array, compression="zlib")


def _size(project: Project) -> str:
    return " x ".join(str(side) for side in project.shape(project.images[0]))


def _evenly(names: Sequence[str], count: int) -> tuple[str, ...]:
    """Take `count` names, spread over the whole list."""
    return tuple(names[round(i * (len(names) - 1) / max(1, count - 1))] for i in range(count))


def _click(image: str, inside: NDArray[np.bool_], what: str) -> Click:
    """Choose the pixel that lies deepest inside, away from the image's border if possible."""
    central = np.zeros_like(inside)
    height, width = inside.shape
    central[height // 5 : -height // 5, width // 5 : -width // 5] = True
    sought = inside & central if (inside & central).any() else inside
    depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(np.where(sought, depth, -1).argmax()), depth.shape)
    return Click(image, (int(y), int(x)), what)


def _bright(grey: NDArray[np.float32]) -> NDArray[np.bool_]:
    smooth = ndimage.gaussian_filter(grey, 3)
    inside: NDArray[np.bool_] = smooth >= np.percentile(smooth, 98)
    return inside
