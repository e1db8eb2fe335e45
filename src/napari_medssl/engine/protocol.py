"""How the viewer and the engine talk: JSON lines, one object a line.

Three ways to start the engine (``python -m napari_medssl.engine ...``):

``run JOB.json``
    Runs one job. Events on standard output. Reads `Command` lines from standard input when
    ``--control`` is given; the end of standard input is then a stop (the viewer has gone).
``describe``
    Prints one `Description` and exits.
``serve``
    The warm engine: reads `Request` lines, answers each with a `Result` or a `Failed` event
    carrying its id (other events may come before). Exits after `IDLE_SECONDS` without a request.

This module imports neither torch nor Qt: both sides use it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from napari_medssl.config import Config
from napari_medssl.events import Device
from napari_medssl.plan import Start
from napari_medssl.project.project import PredictedMap
from napari_medssl.project.working_scale import ScaleRule

__all__ = ["IDLE_SECONDS", "Command", "Description", "Method", "Request"]

IDLE_SECONDS = 300.0


class Command(Config):
    """What a running job can be told."""

    command: Literal["pause", "resume", "stop"]


class Request(Config):
    """What the warm engine can be asked; the answers' `Result.data` in brackets.

    ``predict``
        Segment one image with a run (its name, or the path of another project's), write the prediction and the `maps`
        that are asked for into the project [``path``: label TIFF relative to the project, ``seconds``].
    ``embed``
        Write the pixel embedding of one image, from `source`, at `stride` (unset: 2 for images up to 512 pixels, 4
        above), by the run's network or, `at_start`, by the one that it began with [``path``: ``.npy`` of float16
        ``(Y/stride, X/stride, D)`` relative to the project, ``stride``, ``shape`` (of the image: Y, X), ``seconds``].
    ``preview``
        What a pretext method would learn from on one image, before any training
        and the image as the network sees it, at the working `scale` (unset: the recommended one) with a patch of
        `patch_size` [``layers``: list of ``{"name", "kind": "labels" | "image" | "points", "path", "text",
        "pixel": file pixels per pixel}``].
    ``activate``
        Write the class activation map of one image and the class of label `value` into the run's folder [``path``:
        float32 TIFF relative to the project, ``top``, ``left``: where in the image it begins, ``seconds``].
    ``device``
        [the fields of `Device`].
    ``recommend``
        What suits the project, with an encoder that begins at `start` (unset: ImageNet)
        [the fields of `napari_medssl.plan.Recommendation`].
    ``compare``
        What a job of kind ``compare`` does with its defaults, and about how long [``text``].
    """

    id: int
    request: Literal["predict", "embed", "preview", "activate", "device", "recommend", "compare"]
    project: str = ""
    run: str = ""
    image: str = ""
    method: str = ""
    method_config: dict[str, Any] = Field(default_factory=dict)
    scale: ScaleRule | None = None
    patch_size: int = Field(256, ge=32)
    maps: tuple[PredictedMap, ...] = ()
    """Kept with a prediction: ``probability``, ``uncertainty``."""
    start: Start | None = None
    """What an encoder starts from."""
    source: str = "mix"
    """What of the network the features come from, as for a job of kind ``embed``."""
    stride: Literal[1, 2, 4, 8, 16] | None = None
    """Pixels per cell; 1 is full resolution."""
    value: int = 2
    """Label value of the class that is asked for; 2 is the first after background."""
    at_start: bool = False
    """The run's network as it was before its first step."""
    threads: int | None = None
    """Limit on CPU threads; 1 while a run trains."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"


class Method(Config):
    """One pretext method, as forms and ``medssl describe`` show it."""

    key: str
    title: str
    summary: str
    paper: str
    config_schema: dict[str, Any]
    """JSON Schema of ``method_config``."""


class Description(Config):
    """Everything a front needs to build its forms."""

    version: str
    device: Device
    encoders: list[str]
    jobs: dict[str, dict[str, Any]]
    """JSON Schema of each kind of job: ``pretrain``, ``finetune``, ``predict``, ``embed``."""
    methods: list[Method]
