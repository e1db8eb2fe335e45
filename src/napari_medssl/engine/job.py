"""A job: what to do, strictly checked, and how it is carried out as a stream of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from napari_medssl.config import Config, ConfigError, advanced
from napari_medssl.engine.experiment.plan import ExperimentJob
from napari_medssl.engine.scoring_jobs import AssessJob, EvaluateJob
from napari_medssl.learn.control import Control
from napari_medssl.learn.devices import DeviceName
from napari_medssl.learn.finetune import PRESETS, FinetuneConfig, Mode, Preset
from napari_medssl.learn.networks import NetworkConfig
from napari_medssl.learn.objects import ObjectsFrom
from napari_medssl.learn.sources import check_source
from napari_medssl.learn.task import PretrainingConfig
from napari_medssl.learn.transfer import Part
from napari_medssl.learn.weights import ExportNames, ExportPart
from napari_medssl.plan import Answer
from napari_medssl.project.label_exports import LabelFormat
from napari_medssl.project.project import PREDICTED_MAPS, PredictedMap
from napari_medssl.project.run import without_version
from napari_medssl.project.working_scale import ScaleRule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medssl.events import Event

__all__ = [
    "JOBS",
    "AssessJob",
    "CompareJob",
    "EmbedJob",
    "EvaluateJob",
    "ExperimentJob",
    "ExportJob",
    "FinetuneJob",
    "Job",
    "PredictJob",
    "PretrainJob",
    "ResumeJob",
    "execute",
    "parse_job",
]


class _ProjectJob(Config):
    project: str
    """The project folder."""
    device: DeviceName = "auto"
    """Where to compute; auto takes a GPU where there is one."""


class _TrainingJob(_ProjectJob):
    network: NetworkConfig = NetworkConfig()
    """The network; ignored when the job starts from an earlier run, whose network it then is."""
    from_run: str | None = None
    """An earlier run to start from: its name, or the path of a run folder of another project."""
    scale: ScaleRule | None = None
    """The working scale: how large a network pixel is. Unset means that of the run it starts from, or the one that
    suits the folder."""
    take: Part = advanced("everything")
    """What is taken over from that run: the encoder, all but the last layer (encoder+decoder), or everything (the last
    layer where the classes are the same)."""
    seed: int = advanced(0, ge=0, lt=2**31)
    """Same seed, same result (on the same machine)."""
    threads: int | None = advanced(None, ge=1, le=1024)
    """CPU threads; unset means the number that a few steps show to be the fastest."""


class PretrainJob(_TrainingJob):
    """Learn from images alone."""

    kind: Literal["pretrain"] = "pretrain"
    method: str = "medsass"
    """Key of the pretext method."""
    method_config: dict[str, Any] = Field(default_factory=dict)
    """Settings of the method."""
    training: PretrainingConfig = PretrainingConfig()
    """How long, how fast."""


class FinetuneJob(_TrainingJob):
    """Learn from annotations."""

    kind: Literal["finetune"] = "finetune"
    mode: Mode = "full"
    """What is trained: a linear probe on the features, the decoder (frozen encoder), or everything."""
    preset: Preset = "default"
    """The recipe: ours, or that of a paper with its optimiser, rates and loss (pix2rep, dicoh, evaluation). Settings
    that are given beside it count."""
    answer: Answer | None = None
    """What predicts afterwards: the network, a random forest on filtered images, or the mean of both. Unset means what
    leave-one-out estimates favour, or the mean where there are none."""
    estimate: bool = True
    """Estimate by leave-one-out how good network, forest and their mean are on new images, where two images or groups
    are annotated: the training is repeated up to four times."""
    images: tuple[str, ...] | None = None
    """Annotated images to use; unset means all of them."""
    training: FinetuneConfig = FinetuneConfig()
    """How long, how fast, by which recipe."""

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, data: Any) -> Any:
        """Fill in what the preset says and the job does not."""
        if not isinstance(data, dict) or isinstance(data.get("training"), FinetuneConfig):
            return data
        recipe = PRESETS.get(
            data.get("preset", "default")
        )  # an unknown one is refused by its field
        training = data.get("training", {})
        if not recipe or not isinstance(training, dict):
            return data
        return data | {"training": recipe | training}

    def model_post_init(self, context: object, /) -> None:
        """Refuse objects, and a choice of what predicts, from a linear probe."""
        if self.mode == "probe" and self.training.objects:
            raise ValueError(
                'objects are learned by the modes "frozen" and "full"; a linear probe knows classes alone'
            )
        if self.mode == "probe" and self.answer not in (None, "network"):
            raise ValueError(
                f'answer = "{self.answer}": a linear probe predicts by itself; the forest goes with "frozen" and "full"'
            )


class CompareJob(_ProjectJob):
    """Compare pretraining methods on the project's own annotations, by leave-one-out estimates."""

    kind: Literal["compare"] = "compare"
    methods: tuple[str, ...] = Field((), max_length=3)
    """Keys of the pretext methods; none means the one that is recommended. The start alone, without pretraining, is
    compared as well."""
    minutes: float = Field(5.0, gt=0, le=10_000)
    """That each pretraining may take; its steps follow from the speed of this computer."""
    steps: int | None = advanced(None, ge=1, le=10_000_000)
    """Steps of each pretraining, however long they take; unset means what the minutes allow."""
    network: NetworkConfig = NetworkConfig()
    """The network, with what its encoder starts from."""
    finetuning: FinetuneConfig = FinetuneConfig()
    """How long, how fast, by which recipe the whole network is fine-tuned from each."""
    seed: int = advanced(0, ge=0, lt=2**31)
    """Same seed, same result (on the same machine)."""
    threads: int | None = advanced(None, ge=1, le=1024)
    """CPU threads; unset means the number that a few steps show to be the fastest."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse a method that is named twice."""
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"methods {', '.join(self.methods)}: each can be compared once")


class PredictJob(Config):
    """Segment images."""

    kind: Literal["predict"] = "predict"
    project: str | None = None
    """The project folder."""
    folder: str | None = None
    """Instead of a project: a folder of images."""
    run: str
    """Name of a run of the project, or the path of a run folder."""
    out: str | None = None
    """A folder for label images, for other programs; in a project they are kept among its predictions all the same."""
    out_format: LabelFormat = "tiff"
    """Of the files in `out`: TIFF of 16 bits, PNG of 8 bits (16 where there are more than 255 label values), or
    OME-Zarr 0.5, where the planes of a stack are one volume."""
    out_objects: bool = False
    """The files in `out` hold the number of each object instead of its class."""
    images: tuple[str, ...] | None = None
    """Images to segment; unset means all of them."""
    overwrite: bool = True
    """Segment images again that these weights segmented already."""
    probabilities: bool = False
    """Keep the probability of each class for each pixel: 2 bytes each, before compression."""
    uncertainty: bool = False
    """Keep the uncertainty of each pixel: the entropy of its probabilities over that of chance."""
    objects: ObjectsFrom = "auto"
    """Tell objects apart: in the map of distances of a run that learned objects (distance; auto: where there is one),
    as areas of a class parted at their necks (separate), as its connected areas (connected), or not (none)."""
    flips: bool = advanced(True)
    """Average the network's answers over the image and its mirrored versions: better, and four times as long."""
    device: DeviceName = "auto"
    """Where to compute; auto takes a GPU where there is one."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse anything but exactly one source of images, and what has no place to go to."""
        if (self.project is None) == (self.folder is None):
            raise ValueError("give either a project or a folder")
        if self.folder is not None and self.out is None:
            raise ValueError("a folder without a project needs `out`, the folder for the results")
        if self.folder is not None and self.maps:
            raise ValueError(
                f"the {' and '.join(self.maps)} of each image can be kept in a project only"
            )
        if (
            self.folder is not None
            and self.objects not in ("auto", "none")
            and not self.out_objects
        ):
            raise ValueError(
                f'objects = "{self.objects}": the objects of each image can be kept in a project only; set out_objects'
                " to have them in `out`"
            )
        if self.out is None and self.out_objects:
            raise ValueError("out_objects is for the files in `out`; the project keeps both")
        if self.out is None and self.out_format != "tiff":
            raise ValueError(
                f'out_format "{self.out_format}" is for the files in `out`; the project keeps its own as TIFF'
            )

    @property
    def maps(self) -> tuple[PredictedMap, ...]:
        """The maps that are kept of each image."""
        wanted = {"probability": self.probabilities, "uncertainty": self.uncertainty}
        return tuple(which for which in PREDICTED_MAPS if wanted[which])


class EmbedJob(_ProjectJob):
    """Store the pixel features of a folder, for Explore."""

    kind: Literal["embed"] = "embed"
    run: str
    """Name of a run of the project."""
    source: Annotated[str, AfterValidator(check_source)] = "mix"
    """What of the network the features come from: mix (all decoder stages), decoder-1 (the coarsest), decoder-2 ...,
    encoder-1 (the finest), encoder-2 ..., or the projector of the pretraining."""
    images: tuple[str, ...] | None = None
    """Images to store; unset means all of them."""
    stride: Literal[1, 2, 4, 8, 16] | None = advanced(None)
    """Pixels per cell and axis; unset means what the budget allows."""
    dimensions: int | None = advanced(None, ge=2, le=64)
    """Features per cell; unset means what the budget allows."""
    budget: int | None = advanced(None, ge=1)
    """Bytes that the features may take; unset means as many as the decoded images."""


class ExportJob(Config):
    """Write the weights of a run, or a part of them, into a file for use elsewhere."""

    kind: Literal["export"] = "export"
    project: str | None = None
    """The project folder; not needed where the run is given as a path."""
    run: str
    """Name of a run of the project, or the path of a run folder."""
    out: str
    """The file to write, .safetensors."""
    part: ExportPart = "encoder"
    """What to write: the encoder, all but the last layer, or everything."""
    names: ExportNames = "medssl"
    """What to call the tensors: as medssl does (a whole model opens again), as a network of segmentation-models-pytorch
    does (smp), or as the encoder alone does in torchvision or timm (encoder)."""
    overwrite: bool = False
    """Replace a file that exists."""

    def model_post_init(self, context: object, /) -> None:
        """Refuse another kind of file, and the encoder's own names for more than the encoder."""
        if not self.out.endswith(".safetensors"):
            raise ValueError(f"out = {self.out!r}: weights are written as .safetensors")
        if self.names == "encoder" and self.part != "encoder":
            raise ValueError(
                f'names "encoder" are those of an encoder alone; for part "{self.part}" there are medssl and smp'
            )


class ResumeJob(Config):
    """Go on with a stopped run, as if it had never stopped."""

    kind: Literal["resume"] = "resume"
    project: str
    """The project folder."""
    run: str
    """Name of the run."""
    device: DeviceName | None = None
    """Where to compute; unset means what the run asked for."""


Job = (
    PretrainJob
    | FinetuneJob
    | PredictJob
    | EmbedJob
    | ExportJob
    | ResumeJob
    | ExperimentJob
    | AssessJob
    | EvaluateJob
    | CompareJob
)
JOBS: dict[str, type[Job]] = {
    "pretrain": PretrainJob,
    "finetune": FinetuneJob,
    "predict": PredictJob,
    "embed": EmbedJob,
    "export": ExportJob,
    "resume": ResumeJob,
    "experiment": ExperimentJob,
    "assess": AssessJob,
    "evaluate": EvaluateJob,
    "compare": CompareJob,
}


def parse_job(data: object, *, where: str = "job") -> Job:
    """Check a job.

    Raises
    ------
    ConfigError
        Saying of each setting what is wrong with it and what is allowed.
    """
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(kind, str) or kind not in JOBS:
        raise ConfigError(f"{where}: kind = {kind!r}: a job is one of {', '.join(JOBS)}.")
    job: Job = JOBS[kind].parse(without_version(data, where=where), where=where)
    return job


def execute(job: dict[str, Any] | Job, *, control: Control | None = None) -> Iterator[Event]:
    """Carry out a job.

    Parameters
    ----------
    job : dict or Job
        What to do.
    control : Control, optional
        Pauses, resumes and stops it from another thread.

    Yields
    ------
    Event
        `Started` first (only the note on a download comes earlier), `Done` last. Jobs that make a run write
        their events into it as well.

    Raises
    ------
    MedsslError
        If the job is refused or fails; a run keeps what it had, and the reason.
    """
    # they import this module's jobs
    from napari_medssl.engine import (
        assessing,
        embedding,
        evaluating,
        exporting,
        method_comparison,
        predicting,
        runs,
    )
    from napari_medssl.engine.experiment import running

    parsed = parse_job(job) if isinstance(job, dict) else job
    control = control or Control()
    if isinstance(parsed, PredictJob):
        yield from predicting.predict(parsed, control)
    elif isinstance(parsed, EmbedJob):
        yield from embedding.embed(parsed, control)
    elif isinstance(parsed, ExportJob):
        yield from exporting.export(parsed)
    elif isinstance(parsed, ExperimentJob):
        yield from running.experiment(parsed, control)
    elif isinstance(parsed, AssessJob):
        yield from assessing.assess(parsed, control)
    elif isinstance(parsed, EvaluateJob):
        yield from evaluating.evaluate(parsed, control)
    elif isinstance(parsed, CompareJob):
        yield from method_comparison.carry_out(parsed, control)
    else:
        yield from runs.start(parsed, control)
