"""What an experiment compares, strictly checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from napari_medssl.config import Config, advanced
from napari_medssl.learn.devices import DeviceName
from napari_medssl.learn.finetune import FinetuneConfig
from napari_medssl.learn.networks import NetworkConfig
from napari_medssl.learn.task import PretrainingConfig
from napari_medssl.plan import Start
from napari_medssl.project import MasksAs
from napari_medssl.project.working_scale import ScaleRule

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["BASELINES", "Arm", "ExperimentJob", "standard_arms"]

BASELINES = ("all foreground", "Otsu", "pseudo-label")
"""Segmentations that need neither a network nor annotations."""
STARTS: dict[Start, str] = {"none": "", "file": " from file", "imagenet": " from ImageNet"}


class Arm(Config):
    """One way to a network whose features are then tried with few annotations."""

    name: str = Field(min_length=1, pattern=r"^[^,\n\r\"]+$")
    """For tables and plots; each arm has its own."""
    method: str | None = None
    """Key of the pretext method; unset means no pretraining."""
    method_config: dict[str, Any] = Field(default_factory=dict)
    """Settings of the method that differ from its defaults."""
    start: Start = "none"
    """What the encoder starts from: random numbers, the experiment's weights file, or ImageNet (downloaded where it
    does not come with medssl)."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Settings of the pretraining that differ from the experiment's."""
    network: dict[str, Any] = Field(default_factory=dict)
    """Settings of the network that differ from the experiment's: for ablations alone, arms of one table share it."""


def standard_arms(methods: Iterable[str], starts: Iterable[Start]) -> tuple[Arm, ...]:
    """Cross methods with starting points; each starting point is there without pretraining, too.

    Parameters
    ----------
    methods : iterable of str
        Keys of pretext methods.
    starts : iterable of {"none", "file", "imagenet"}
        What encoders start from; "none", from scratch, is always among them.
    """
    plain: dict[Start, str] = {"none": "scratch", "file": "file", "imagenet": "ImageNet"}
    chosen = [start for start in STARTS if start == "none" or start in set(starts)]
    arms = [Arm(name=plain[start], start=start) for start in chosen]
    wanted = set(starts) or {"none"}
    for key in dict.fromkeys(methods):
        arms += [
            Arm(name=f"{key}{STARTS[start]}", method=key, start=start)
            for start in chosen
            if start in wanted
        ]
    return tuple(arms)


class ExperimentJob(Config):
    """Compare pretraining methods on a folder with full truth."""

    kind: Literal["experiment"] = "experiment"
    project: str
    """The project folder."""
    device: DeviceName = "auto"
    """Where to compute; auto takes a GPU where there is one."""
    out: str | None = None
    """Folder of the experiment; unset means ``experiments/<name>`` in the project."""
    name: str = Field("experiment", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the experiment. Started again under the same name, it goes on where it stopped."""
    truth: str | None = None
    """Folder of masks, found by image name; unset means the annotations of the project that are done."""
    masks_as: MasksAs = "auto"
    """What the values of the masks mean."""
    arms: tuple[Arm, ...] = standard_arms(("medsass", "dicoh", "pix2rep", "pix2rep_v2"), ())
    """What is compared."""
    network: NetworkConfig = NetworkConfig(encoder_weights="none")
    """The network of all arms; what its encoder starts from is the arms' matter."""
    scale: ScaleRule | None = None
    """The working scale of all arms; unset means the one that suits the folder."""
    weights_file: str | None = None
    """The weights file of arms that start from a file."""
    pretraining: PretrainingConfig = PretrainingConfig()
    """How long and how fast arms are pretrained."""
    units: tuple[int, ...] = (1, 2, 4, 8)
    """How many units (images, or groups where the project has them) are annotated."""
    rates: tuple[float, ...] = ()
    """Instead of `units` and `tune_units`: which shares of the units there are to draw from are annotated, each at
    least one unit; and all of them besides, so that IQC can be told. The evaluation paper's: .01 .02 .04 ... .64."""
    draws: int = Field(5, ge=1, le=1000)
    """How often the annotated units are drawn, and each method pretrained, anew; with more units, a draw keeps those it
    had."""
    tune: Literal["full", "frozen", "both"] = "full"
    """How networks are fine-tuned, beside the linear probe on their features: whole, with a frozen encoder, or both
    (the arm from scratch is then the frozen random baseline, too)."""
    tune_units: tuple[int, ...] = (2, 8)
    """For which of the `units` networks are fine-tuned; the probe is made for all."""
    tune_arms: tuple[str, ...] | None = None
    """Names of the arms that are fine-tuned; unset means all."""
    tune_draws: int = Field(3, ge=0, le=1000)
    """For how many of the draws networks are fine-tuned."""
    finetuning: FinetuneConfig = FinetuneConfig()
    """How long and how fast networks are fine-tuned."""
    supervised: bool = False
    """Whether the arms without pretraining are fine-tuned on all annotations, too, with the focal Tversky loss: the
    upper reference of MedSASS (appendix C)."""
    forest: bool = True
    """Whether a random forest on filtered images is trained beside: what people use today."""
    test: float = advanced(0.3, gt=0, lt=1)
    """Share of the units that score; never seen before, not even by pretraining."""
    validation: float = advanced(0.2, ge=0, lt=1)
    """Share of the units that score while settings are being chosen; they are not seen before, either."""
    score_on: Literal["test", "validation"] = "test"
    """Which of the two scores: choose settings on validation units, then run the test once."""
    estimate: bool = False
    """Only say how long it would take; nothing is settled by that."""
    seed: int = advanced(0, ge=0, lt=2**31)
    """Divides the units and seeds all trainings."""
    threads: int | None = advanced(None, ge=1, le=1024)
    """CPU threads; unset means what a few steps of each training show, or with several workers the cores divided by
    their number."""
    workers: int = Field(1, ge=1, le=1024)
    """How many processes of this computer work side by side; scores do not depend on who computes them."""
    dask: str | None = None
    """Address of a Dask scheduler, such as tcp://node7:8786, whose workers do the work instead. They need the same
    folders at the same paths."""

    @field_validator("network", mode="before")
    @classmethod
    def _without_start(cls, network: object) -> object:
        """Have a network that says no start start from nothing, as arms say it."""
        return {"encoder_weights": "none", **network} if isinstance(network, dict) else network

    def model_post_init(self, context: object, /) -> None:
        """Refuse arms of one name, counts that make no sense, and a file start without a file."""
        names = [arm.name for arm in self.arms]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"arms need names that differ, not {', '.join(names) or 'none'}")
        if not self.units or min(self.units) < 1 or len(set(self.units)) < len(self.units):
            raise ValueError(f"units are counts from 1, each once, not {self.units}")
        if wrong := [rate for rate in self.rates if not 0 < rate <= 1]:
            raise ValueError(f"rates are shares above 0 and up to 1, not {wrong}")
        if set(self.tune_units) - set(self.units):
            raise ValueError(f"tune_units {self.tune_units} are not all among units {self.units}")
        if self.tune_arms is not None and (unknown := set(self.tune_arms) - set(names)):
            raise ValueError(
                f"tune_arms names {', '.join(sorted(unknown))}; arms: {', '.join(names)}"
            )
        if self.dask is not None and self.workers > 1:
            raise ValueError(
                f"workers = {self.workers} are processes of this computer; those of {self.dask} are started there"
            )
        if self.tune_draws > self.draws:
            raise ValueError(f"tune_draws = {self.tune_draws} exceeds draws = {self.draws}")
        if self.test + self.validation >= 1:
            raise ValueError("test and validation leave no units to annotate")
        precisions: set[str] = {self.pretraining.precision, self.finetuning.precision}
        precisions |= {
            str(arm.training["precision"]) for arm in self.arms if "precision" in arm.training
        }
        if len(precisions) > 1:  # Accelerate has one precision per process
            raise ValueError(
                f"all trainings of an experiment have one precision, not {', '.join(sorted(precisions))}"
            )
        if self.weights_file is None and any(arm.start == "file" for arm in self.arms):
            raise ValueError("an arm starts from a file, but weights_file names none")
        if self.network.encoder_weights != "none":
            raise ValueError(
                f'what encoders start from is set by the arms (start), so network.encoder_weights is "none", not'
                f' "{self.network.encoder_weights}"'
            )
