"""What a run's features are worth, all measures together: as the engine finds them, for files and for reading."""

from __future__ import annotations

import csv
import math
import statistics
from typing import TYPE_CHECKING, Literal, NamedTuple

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.training_time import Settling
from napari_medssl.project.checkpoint import atomic, read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medssl.project import Run

__all__ = [
    "Activation",
    "Application",
    "Assessment",
    "CkaResult",
    "Classification",
    "Focus",
    "Likeness",
    "Neighbourhood",
    "Relatives",
    "Spread",
    "read_assessments",
]

FOLDER = "assessments"
"""In the folder of the run."""


class Relatives(Config):
    """The images most and least like one, each with its class as a whole; empty where it has none."""

    image: str
    label: str
    nearest: str
    nearest_label: str
    farthest: str
    farthest_label: str


class Neighbourhood(Config):
    """How well classes of whole images lie together; see `representation.nqc`."""

    nqc: float
    expected: float
    """NQC of features without meaning."""
    expected_with_itself: float
    """The evaluation paper's figure for that, which counts an image among its own neighbours."""
    between_groups: float | None = None
    """NQC with the neighbours in other groups (patients) alone: images of one group are alike whatever the features.
    Unset where no images belong together: neither by the project's groups nor as planes of one file."""
    expected_between_groups: float | None = None
    images: int
    classes: int


class Classification(Config):
    """How well a linear classifier of whole images tells their classes; see `classification.classify`."""

    recall: float
    """Mean over classes, always in groups that it did not learn from."""
    chance: float
    recalls: dict[str, float]
    """Of each class."""
    gamma: float
    """Exponent of its focal loss; 0 is cross-entropy."""
    images: int
    folds: int


class Spread(Config):
    """How vectors of places in images lie on the unit sphere; see `representation`."""

    of: Literal["encoder", "projector"] = "encoder"
    """Whose output: the projector's, which pretraining spreads over its sphere, or else the encoder's last, which has
    no negative values and so never fills it."""

    feature_std: float
    full: float
    """What vectors that fill the sphere have: 1 / sqrt(dimension)."""
    positive: float
    """Mean cosine of cells that show the same place in two views."""
    negative: float
    """Mean cosine of cells of different images."""
    images: int
    dimension: int


class Likeness(Config):
    """How the annotated classes lie in the pixel features; of images that did not teach the run, or a note says so."""

    balanced_accuracy: float
    """Of a linear classifier of pixels, always tested on images of other groups (patients) than it was fitted on."""
    chance: float
    silhouette: float | None
    images: int
    pixels: int


class Activation(Config):
    """The class activation map of one image and class."""

    image: str
    label: str
    """The class."""
    inside: float | None
    """Share of the map's mass inside the annotated mask; unset for a map that is 0 everywhere and looks at nothing."""
    area: float
    """Share of the annotated area that is inside it: what a map without focus would have."""
    file: str
    """The map, a float32 TIFF (Y, X), relative to the run's folder."""
    top: int
    """Where in the image it begins, pixels: of large images it is the middle."""
    left: int


class Focus(NamedTuple):
    """The class activation maps of one class together."""

    label: str
    inside: float | None
    """Mean share of the mass inside the mask, of the maps that have any; None where none has."""
    area: float | None
    """Mean share of the area inside it, of the same images."""
    maps: int
    empty: int
    """Of these, such that are 0 everywhere: they have no share, and are in neither mean."""


class CkaResult(Config):
    """How alike the encoders of two runs are, stage by stage; see `cka.cka`."""

    against: str
    kind: Literal["unbiased", "paper"]
    """All images in a few batches, whole stages; or biased, in batches of 12, mean over a stage's layers."""
    images: int
    batches: int
    stages: tuple[float, ...]
    """From the finest to the coarsest; of as many as both have."""
    table: tuple[tuple[float, ...], ...] = ()
    """Each stage of this run (rows) with each of the other; empty for ``paper``."""

    @property
    def mean(self) -> float:
        """The mean over stages."""
        return math.fsum(self.stages) / len(self.stages)


class Application(Config):
    """What a pretraining asks for, as in table II of the evaluation paper."""

    method: str
    settings: int
    """Settings of the method that are shown first: what one would tune."""
    parameters_added: int
    """In training, beside the encoder."""
    batch_size: int
    memory: int
    """Bytes that its training is expected to take on a CPU."""
    steps: int
    """That were made."""
    seconds: float
    """That they took."""
    device: str


class Assessment(Config):
    """The measures of a run that its project allows."""

    run: str
    encoder: str
    images: int
    """That were looked at."""
    side: int
    """Of the parts of images that cells and stages were compared on, pixels."""
    neighbourhood: Neighbourhood | None = None
    classification: Classification | None = None
    relatives: tuple[Relatives, ...] = ()
    """Of some images, one of each class at least."""
    spread: Spread | None = None
    likeness: Likeness | None = None
    activations: tuple[Activation, ...] = ()
    cka: CkaResult | None = None
    settling: tuple[Settling, ...] = ()
    application: Application | None = None
    notes: tuple[str, ...] = ()
    """What could not be measured, and why."""

    @property
    def name(self) -> str:
        """What its files are called."""
        return "alone" if self.cka is None else f"{self.cka.kind}-{self.cka.against}"

    def write(self, run: Run) -> tuple[Path, Path]:
        """Write JSON and CSV into the run's folder, atomically; gives both paths."""
        folder = run.path / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / f"{self.name}.json", folder / f"{self.name}.csv"
        write_json(paths[0], self.model_dump(mode="json"))
        with atomic(paths[1]) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["measure", "of", "value"])
            writer.writerows(self.rows())
        return paths

    def focus(self) -> Iterator[Focus]:
        """Put the class activation maps of each class together."""
        for label in dict.fromkeys(found.label for found in self.activations):
            own = [found for found in self.activations if found.label == label]
            shares = [(found.inside, found.area) for found in own if found.inside is not None]
            inside, area = (
                map(statistics.fmean, zip(*shares, strict=True)) if shares else (None, None)
            )
            yield Focus(label, inside, area, len(own), len(own) - len(shares))

    def rows(self) -> Iterator[tuple[str, str, float | None]]:
        """Give every figure: measure, of what, value; None for one that is not defined."""
        for part, title in (
            (self.neighbourhood, "neighbourhood"),
            (self.classification, "classes of images"),
            (self.spread, "spread"),
            (self.likeness, "pixels"),
            (self.application, "training"),
        ):
            for key, value in part.model_dump().items() if part is not None else ():
                if isinstance(value, int | float):
                    yield key, title, value
        for name, recall in self.classification.recalls.items() if self.classification else ():
            yield "recall", name, recall
        for found in self.activations:
            yield "inside", f"{found.image}: {found.label}", found.inside
            yield "area", f"{found.image}: {found.label}", found.area
        if self.cka is not None:
            for number, value in enumerate(self.cka.stages, start=1):
                yield "cka", f"stage {number}", value
            yield "cka", "mean over stages", self.cka.mean
        for time in self.settling:
            yield f"seconds to settled {time.curve}", time.run, time.seconds
            yield "rqc", time.run, time.rqc

    def text(self) -> str:
        """Say it, a line a measure."""
        return "\n".join([f"{self.run}, {self.encoder}, {self.images} images", *self._lines()])

    def _lines(self) -> Iterator[str]:
        if (near := self.neighbourhood) is not None:
            yield (
                f"nearest image of the same class (NQC): {near.nqc:.3f}, by chance {near.expected:.3f} "
                f"({near.images} images, {near.classes} classes)"
            )
            if near.between_groups is not None:
                yield (
                    f"nearest image of another group of the same class: {near.between_groups:.3f}, by chance "
                    f"{near.expected_between_groups:.3f}"
                )
        if (told := self.classification) is not None:
            yield (
                f"classes of images by a linear classifier: macro recall {told.recall:.3f}, chance {told.chance:.2f} "
                f"({', '.join(f'{name} {recall:.2f}' for name, recall in told.recalls.items())})"
            )
        if (spread := self.spread) is not None:
            yield f"spread of the {spread.of}'s output: {spread.feature_std:.4f}, full {spread.full:.4f}"
            yield (
                f"similarity of the same place in two views: {spread.positive:.3f}, of different images: "
                f"{spread.negative:.3f}"
            )
        if (pixels := self.likeness) is not None:
            edge = "" if pixels.silhouette is None else f", silhouette {pixels.silhouette:.3f}"
            yield (
                f"classes of pixels by a linear classifier: balanced accuracy {pixels.balanced_accuracy:.3f}, chance "
                f"{pixels.chance:.2f}{edge} ({pixels.images} images)"
            )
        for found in self.focus():
            empty = f"{found.empty} of {found.maps} maps are empty"
            if found.inside is None:
                yield f"class activation inside {found.label}: {empty}"
                continue
            yield (
                f"class activation inside {found.label}: {found.inside:.3f} of its mass, {found.area:.3f} of the area "
                f"({found.maps - found.empty} images{f'; {empty}' if found.empty else ''})"
            )
        if (cka := self.cka) is not None:
            stages = " ".join(f"{value:.3f}" for value in cka.stages)
            yield f"CKA with {cka.against} ({cka.kind}): {stages}; mean {cka.mean:.3f}"
        for time in self.settling:
            yield f"{time.curve} of {time.run} settled after {time.seconds:.0f} s, RQC {time.rqc:.2f}"
        if (cost := self.application) is not None:
            yield (
                f"{cost.method}: {cost.settings} settings, +{cost.parameters_added / 1e6:.1f} M parameters, batches of "
                f"{cost.batch_size}, {cost.memory / 2**30:.1f} GiB, {cost.steps} steps in {cost.seconds:.0f} s "
                f"on {cost.device}"
            )
        for note in self.notes:
            yield f"note: {note}"


def read_assessments(run: Run) -> tuple[Assessment, ...]:
    """Read all assessments of a run, the newest first; none where it was never assessed.

    Raises
    ------
    MedsslError
        If a file is damaged.
    """
    folder = run.path / FOLDER
    if not folder.is_dir():
        return ()
    paths = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    found: list[Assessment] = []
    for path in paths:
        try:
            found.append(Assessment.parse(read_json(path), where=str(path)))
        except MedsslError as error:
            raise MedsslError(error.message, advice=f"Delete {path} and assess again.") from error
    return tuple(found)
