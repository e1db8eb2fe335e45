"""The jobs that measure: how good the predictions of a run are, and what its features are worth."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_medssl.config import Config, advanced
from napari_medssl.evaluate.truth import Units
from napari_medssl.learn.devices import DeviceName
from napari_medssl.learn.objects import ObjectsFrom
from napari_medssl.project import MasksAs

__all__ = ["AssessJob", "EvaluateJob"]


class AssessJob(Config):
    """Measure what the features of a run are worth."""

    kind: Literal["assess"] = "assess"
    project: str
    """The project folder."""
    device: DeviceName = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    run: str
    """Name of a run of the project, or the path of a run folder."""
    against: str | None = None
    """A run to compare the encoder with (CKA), such as one that was fine-tuned on all annotations; unset means none."""
    rivals: tuple[str, ...] = ()
    """Runs to compare the time with until the loss had settled (RQC)."""
    images: tuple[str, ...] | None = None
    """Images to look at; unset means all of them."""
    most: int = Field(200, ge=4, le=1_000_000)
    """Of more images than this, so many are taken, evenly spread over the folder."""
    cka: Literal["unbiased", "paper"] = advanced("unbiased")
    """How encoders are compared: whole stages by the unbiased estimate, or as the evaluation paper does (biased, in
    batches of 12 images, mean over the layers of a stage), which calls small sets of images alike."""
    focal: float = advanced(2.0, ge=0, le=10)
    """Exponent of the focal loss of the classifier of whole images; 0 is cross-entropy."""
    seed: int = advanced(0, ge=0, lt=2**31)
    """Draws views, pixels and batches."""


class EvaluateJob(Config):
    """Score the predictions of a run against truth."""

    kind: Literal["evaluate"] = "evaluate"
    project: str
    """The project folder."""
    device: DeviceName = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    run: str
    """Name of a run of the project."""
    truth: str | None = None
    """Folder of true masks, found by image name; unset means the annotations that the run did not learn from."""
    masks_as: MasksAs = "auto"
    """What the values of the masks mean."""
    images: tuple[str, ...] | None = None
    """Images to score; unset means all that have truth."""
    units: Units = "group"
    """What is kept apart from what taught: whole groups (without them, files with all their planes), or single images,
    whose scores flatter where others of their group taught."""
    objects: ObjectsFrom = "auto"
    """Where predicted objects come from, as for a prediction; they are scored where the masks number objects."""
    boundary: bool = False
    """Score outlines as well: Hausdorff distance (95%) and surface Dice."""
    tolerance: float = Field(2.0, ge=0, le=1000)
    """What deviation of an outline is near enough, pixels."""
    volumes: bool = False
    """Score each group of images (a patient) as one volume as well: 3-D Dice."""
    background: bool = advanced(False)
    """Count background as a class of volumes; some papers do, and score higher."""
    out: str | None = None
    """One more table of the scores, .json or .csv; evaluation.json in the run's folder is always written."""
    report: str | None = None
    """An HTML report with pictures; the scores as .json and .csv stand beside it."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse files of other kinds."""
        if self.out is not None and not self.out.endswith((".json", ".csv")):
            raise ValueError(f"out = {self.out!r}: scores are written as .json or .csv")
        if self.report is not None and not self.report.endswith(".html"):
            raise ValueError(f"report = {self.report!r}: a report is written as .html")
