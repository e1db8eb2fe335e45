"""A stand-in for the engine: the same protocol and the same files, no torch, done in a moment.

The seed of a job says what happens: 13 fails with a sentence, 66 prints half a line and waits to be killed.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from napari_medssl.config import Config, advanced
from napari_medssl.engine.protocol import Command, Description, Method, Request
from napari_medssl.events import (
    Device,
    Done,
    Event,
    Failed,
    Note,
    Paused,
    Progress,
    Result,
    Resumed,
    Saved,
    Started,
)
from napari_medssl.explore.store import Entry, Index, file_of, index_path, store_path
from napari_medssl.plan import Advice, FolderFacts, Recommendation
from napari_medssl.project import Project, Run, read_labels, write_tiff_labels
from napari_medssl.project.applied_run import applied_run
from napari_medssl.project.checkpoint import write_tiff
from napari_medssl.project.entries import digest_of
from napari_medssl.project.label_exports import label_export
from napari_medssl.project.listing import identity_of
from napari_medssl.project.method_comparison import Candidate, MethodComparison
from napari_medssl.project.prediction_table import (
    PredictionRow,
    add_to_table,
    predicted_images,
    prediction_name,
    weights_digest,
)
from napari_medssl.project.project import PREDICTED_MAPS, PredictedMap

DEVICE = Device(name="cpu", label="CPU, 2 threads", reason="there is no GPU")
PLAN = Recommendation(
    facts=FolderFacts(
        n_images=3,
        n_looked_at=3,
        height=90,
        width=70,
        dtypes=("uint8",),
        channels=1,
        separability=0.8,
        steadiness=0.8,
        n_two_sided=3,
        structure=20.0,
    ),
    advice=tuple(
        Advice(name=name, value=value, why=f"This is why it is {value}.")
        for name, value in (
            ("device", "this CPU"),
            ("encoder", "ResNet-50"),
            ("method", "Fake"),
            ("time", "about 6 minutes"),
        )
    ),
    job={
        "method": "fake",
        "network": {"encoder": "resnet50", "encoder_weights": "imagenet"},
        "training": {"steps": 77, "batch_size": 4, "patch_size": 64, "learning_rate": 4.7e-4},
        "device": "auto",
    },
    minutes=6.0,
)


class Network(Config):
    architecture: Literal["unet"] = advanced("unet")
    encoder: str = "mobilenet_v2"
    encoder_weights: Literal["none", "imagenet", "file"] = "none"
    weights_file: str | None = None


class Training(Config):
    steps: int = Field(40, ge=1, le=10_000_000)
    """Number of optimiser steps."""
    batch_size: int = Field(8, ge=1, le=4096)
    """Patches per step."""
    patch_size: int = Field(128, ge=32, le=2048, multiple_of=32)
    """Side of a patch, pixels."""
    learning_rate: float = advanced(3.6e-4, gt=0, le=10)
    """Peak learning rate."""
    seconds_per_step: float = advanced(0.02, ge=0, le=10)


class Fake(Config):
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.07
    """Temperature of the loss."""
    polarity: Literal["auto", "bright", "dark"] = advanced("auto")
    """Which side of the threshold is foreground."""
    clip: float | None = advanced(None)
    """Clip gradients at this norm."""


class Pretrain(Config):
    kind: Literal["pretrain"] = "pretrain"
    project: str
    method: str = "fake"
    method_config: dict[str, Any] = Field(default_factory=dict)
    network: Network = Network()
    training: Training = Training()
    from_run: str | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = Field(0, ge=0)


class Finetune(Config):
    kind: Literal["finetune"] = "finetune"
    project: str
    from_run: str | None = None
    mode: Literal["probe", "frozen", "full"] = "probe"
    images: tuple[str, ...] | None = None
    network: Network = Network()
    training: Training = Training()
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    seed: int = Field(0, ge=0)


class Predict(Config):
    kind: Literal["predict"] = "predict"
    project: str | None = None
    folder: str | None = None
    run: str
    out: str | None = None
    out_format: Literal["tiff", "png", "ome-zarr"] = "tiff"
    out_objects: bool = False
    images: tuple[str, ...] | None = None
    overwrite: bool = True
    probabilities: bool = False
    uncertainty: bool = False
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"


class Embed(Config):
    kind: Literal["embed"] = "embed"
    project: str
    run: str
    source: str = "mix"
    budget: int | None = None
    stride: int | None = None
    dimensions: int | None = None


class Export(Config):
    kind: Literal["export"] = "export"
    project: str
    run: str
    out: str
    part: Literal["encoder", "whole"] = "encoder"
    names: Literal["medssl", "smp"] = "medssl"
    overwrite: bool = False


class Resume(Config):
    kind: Literal["resume"] = "resume"
    project: str
    run: str


def say(event: Event) -> None:
    sys.stdout.write(event.model_dump_json() + "\n")
    sys.stdout.flush()


class Control:
    """What came on standard input; its end is a stop."""

    def __init__(self) -> None:
        self.paused = False
        self.stopped = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin:
            command = Command.model_validate_json(line).command
            self.paused = command == "pause"
            self.stopped = self.stopped or command == "stop"
        self.stopped = True

    def wait(self, step: int) -> bool:
        """Whether to go on."""
        if self.paused and not self.stopped:
            say(Paused(step=step))
            while self.paused and not self.stopped:
                time.sleep(0.01)
            if not self.stopped:
                say(Resumed(step=step))
        return not self.stopped


def run_of(project: Project, name: str) -> Run:
    return Run(name) if Path(name).is_dir() else project.run(name)


def _weights(project: Project, run: Run) -> str:
    own = prediction_name(project, run) == run.name
    return weights_digest(run.weights()) if own else applied_run(project, run).weights


def segment(project: Project, run: str, image: str, maps: tuple[PredictedMap, ...] = ()) -> Path:
    found = run_of(project, run)
    name = prediction_name(project, found)
    grey = project.grey(image)
    labels = np.where(grey > grey.mean(), 2, 1).astype(np.uint16)
    path = project.prediction_path(name, image)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tiff_labels(path, labels, note={})
    chances = np.stack([1 - grey, grey]).astype(np.float16)
    for which in maps:
        values = chances if which == "probability" else chances.min(0)
        write_tiff(project.predicted_map_path(name, image, which), values, note={"values": [1, 2]})
    row = PredictionRow(
        uncertainty=0.5,
        shares={"background": 0.5, "foreground": 0.5},
        objects=None,
        bytes=path.stat().st_size,
        weights=_weights(project, found),
        seen=project.fingerprints.of(image),
    )
    add_to_table(project, name, image, row, classes=["background", "foreground"])
    return path


def train(
    job: Pretrain | Finetune, control: Control, run: Run | None = None, step: int = 0
) -> None:
    project = Project.open(job.project)
    if run is None:
        run = project.new_run("fake" if isinstance(job, Pretrain) else f"finetune-{job.mode}")
        run.write_job(job.model_dump(mode="json"))
    total = job.training.steps
    with run.lock():

        def tell(event: Event) -> None:
            run.append(event)
            say(event)

        tell(
            Started(
                kind=job.kind,
                title=f"{job.kind.capitalize()} on {len(project.images)} images",
                run=run.name,
                step=step,
                total=total,
                device=DEVICE,
            )
        )
        if job.seed == 66:
            sys.stdout.write('{"event": "progr')
            sys.stdout.flush()
            time.sleep(60)
        if job.seed == 13:
            sys.stderr.write("Traceback: CUDA out of memory\n")
            tell(
                Failed(
                    error="The batch does not fit into memory.",
                    advice="Make the batch smaller.",
                    details="Traceback ...",
                )
            )
            raise SystemExit(1)
        tell(Note(text="One image is constant and was left out."))
        print("a library talks on standard output")
        while step < total and control.wait(step):
            step += 1
            time.sleep(job.training.seconds_per_step)
            values = {"loss": 1 / step + 0.05, "learning_rate": 1e-3}
            if step % 5 == 0:
                values["validation/loss"] = 1 / step + 0.1
            run.log_metrics(step, values)
            rate = 1 / max(job.training.seconds_per_step, 1e-3)
            say(
                Progress(
                    step=step, total=total, rate=rate, eta=(total - step) / rate, metrics=values
                )
            )
        for path in (run.best_path, run.last_path, run.state_path):
            path.write_bytes(f"fake {step}".encode())
        tell(Saved(what="last", path=str(run.last_path), step=step))
        tell(
            Done(
                run=run.name,
                stopped=step < total,
                summary=f"Kept after {step} of {total} steps.",
            )
        )


def predict(job: Predict, control: Control) -> None:
    project = Project.open(str(job.project))
    run = run_of(project, job.run)
    name_of_run = prediction_name(project, run)
    wanted = {"probability": job.probabilities, "uncertainty": job.uncertainty}
    maps = tuple(which for which in PREDICTED_MAPS if wanted[which])
    done = predicted_images(project, name_of_run, _weights(project, run))
    names = [name for name in project.images if job.overwrite or job.out or name not in done]
    export = None
    if job.out is not None:
        classes = project.settings.classes
        folder = Path(job.out)
        note = {"weights": _weights(project, run)}
        export = label_export(job.out_format, folder, project, names, classes=classes, note=note)
    say(Started(kind="predict", title="Predicting", total=len(names), device=DEVICE))
    for step, name in enumerate(names, start=1):
        if not control.wait(step):
            say(Done(stopped=True, summary=f"{step - 1} of {len(names)} images predicted."))
            return
        path = segment(project, job.run, name, maps)
        say(Saved(what="prediction", path=str(path), image=name))
        if export is not None:
            export.write(name, read_labels(path))
        say(Progress(step=step, total=len(names), rate=10.0, eta=0.1))
    say(Done(summary=f"{len(names)} images predicted."))


def export(job: Export) -> None:
    say(Started(kind="export", title=f"Export of {job.run}", total=1, device=DEVICE))
    mode = "wb" if job.overwrite else "xb"
    with Path(job.out).open(mode) as file:
        file.write(Project.open(job.project).run(job.run).best_path.read_bytes())
    say(Saved(what="export", path=job.out))
    say(Done(summary=f"{job.part} of {job.run} written, names of {job.names}."))


def features_of(project: Project, image: str, stride: int) -> np.ndarray:
    planes = project.planes(image)[:, ::stride, ::stride]
    rows, columns = np.mgrid[: planes.shape[1], : planes.shape[2]] / 50
    return np.stack([planes[0], 1 - planes[0], rows, columns], axis=-1).astype(np.float16)


def embed(job: Embed, control: Control) -> None:
    project = Project.open(job.project)
    folder = store_path(project, job.run, job.source)
    weights = project.run(job.run).best_path
    size, mtime = identity_of(weights)
    index = Index(
        run=job.run,
        source=job.source,
        stride=4,
        dimensions=4,
        weights_sha256=digest_of(weights),
        weights_size=size,
        weights_mtime=mtime,
    )
    names = project.images
    say(Started(kind="embed", title="Pixel features", total=len(names), device=DEVICE))
    for step, name in enumerate(names, start=1):
        if not control.wait(step):
            break
        path = file_of(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, features_of(project, name, 4))
        size, mtime = identity_of(project.image_path(name))
        shape = project.shape(name)
        index.images[name] = Entry(shape=shape, sha256="1" * 64, size=size, mtime=mtime)
        say(Progress(step=step, total=len(names), rate=10.0, eta=0.1))
    index.write(index_path(folder))
    done = len(index.images)
    say(Done(stopped=done < len(names), summary=f"{done} images stored."))


def compare(path: str) -> None:
    say(Started(kind="compare", title="Comparison", total=2, device=DEVICE))
    candidates = [
        Candidate(
            method=method,
            title=title,
            runs=("a",),
            scores={
                name: {"network": dice + add, "forest": 0.5, "mean": 0.6}
                for name, add in (("a", 0.0), ("b", 0.1))
            },
            seconds=60,
        )
        for method, title, dice in ((None, "ImageNet alone", 0.6), ("fake", "Fake", 0.7))
    ]
    found = MethodComparison(
        asked={},
        folds=2,
        trainings={"fake": {}, "finetune": {}},
        expected={},
        candidates=tuple(candidates),
    )
    folder = Path(path) / "comparisons" / "one"
    folder.mkdir(parents=True)
    found.write(folder)
    say(Done(summary=found.verdict()))


def run_job(path: str) -> None:
    control = Control()
    job = json.loads(Path(path).read_text())
    kind = job["kind"]
    if kind == "resume":
        resume = Resume.model_validate(job)
        run = Project.open(resume.project).run(resume.run)
        model = {"pretrain": Pretrain, "finetune": Finetune}[run.kind]
        step = int(run.state_path.read_text().split()[1])
        train(model.model_validate(run.job), control, run, step)
    elif kind == "predict":
        predict(Predict.model_validate(job), control)
    elif kind == "export":
        export(Export.model_validate(job))
    elif kind == "compare":
        compare(job["project"])
    elif kind == "embed":
        embed(Embed.model_validate(job), control)
    else:
        train({"pretrain": Pretrain, "finetune": Finetune}[kind].model_validate(job), control)


def answer(request: Request) -> dict[str, Any]:
    project = Project.open(request.project)
    if request.request == "predict":
        path = segment(project, request.run, request.image, request.maps)
        return {"path": path.relative_to(project.path).as_posix(), "seconds": 0.01}
    if request.request == "preview":
        path = project.path / "derived" / "preview.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = project.grey(request.image)
        write_tiff_labels(path, (grey > grey.mean()).astype(np.uint16), note={})
        layer = {
            "name": "pseudo-labels",
            "kind": "labels",
            "path": "derived/preview.tif",
            "text": "Otsu's threshold, foreground bright.",
        }
        return {"layers": [layer]}
    if request.request == "activate":  # of the middle, as the engine does where an image is large
        run, shape = project.run(request.run), project.shape(request.image)
        top, left = shape[0] // 4, shape[1] // 4
        values = np.full((shape[0] // 2, shape[1] // 2), request.value, np.float32)
        path = run.path / "assessments" / "cam" / f"{request.image}.{request.value}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tiff(path, values, note={})
        place = path.relative_to(project.path).as_posix()
        return {"path": place, "top": top, "left": left, "seconds": 0.01}
    if request.request == "embed":
        folder = f"{request.run}.start" if request.at_start else request.run
        if request.source != "mix":
            folder = f"{folder}.{request.source}.open"
        stride = request.stride or 4
        if request.stride is not None:
            folder = f"{folder}.stride-{stride}"
        path = project.embedding_path(folder, request.image)
        path.parent.mkdir(parents=True, exist_ok=True)
        features = features_of(project, request.image, stride)
        if request.source != "mix":
            features[..., 0] = 0  # their places, whatever the grey
        np.save(path, features[..., :2] if request.at_start else features)  # grey alone before
        return {
            "path": path.relative_to(project.path).as_posix(),
            "stride": stride,
            "shape": list(project.shape(request.image)),
            "seconds": 0.01,
        }
    if request.request == "recommend":
        plan = PLAN.model_dump(mode="json")
        if request.start is not None:
            plan["job"]["network"]["encoder_weights"] = request.start
        return plan | {"seconds": 0.01}
    if request.request == "compare":
        return {"text": "Expected to take about 6 min.", "seconds": 0.01}
    return DEVICE.model_dump()


def serve() -> None:
    for line in sys.stdin:
        request = Request.model_validate_json(line)
        if request.run == "crash":
            raise SystemExit(3)
        say(Result(id=request.id, data=answer(request)))


def describe() -> None:
    description = Description(
        version="0",
        device=DEVICE,
        encoders=["mobilenet_v2", "resnet18", "resnet50"],
        jobs={
            "pretrain": Pretrain.model_json_schema(),
            "finetune": Finetune.model_json_schema(),
            "predict": Predict.model_json_schema(),
            "export": Export.model_json_schema(),
        },
        methods=[
            Method(
                key="fake",
                title="Fake",
                summary="Learns nothing, quickly.",
                paper="Nobody et al., 2026",
                config_schema=Fake.model_json_schema(),
            )
        ],
    )
    sys.stdout.write(description.model_dump_json())


def main() -> None:
    what = sys.argv[1]
    if what == "run":
        run_job(sys.argv[2])
    elif what == "serve":
        serve()
    else:
        describe()


if __name__ == "__main__":
    main()
