"""What the features of a run are worth: the measures of the evaluation paper, as one job."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from napari_medssl.engine.activating import keep_activation, middle
from napari_medssl.engine.embedding import embedded, open_source
from napari_medssl.engine.predicting import check_channels, chosen_images, find_run, model_of
from napari_medssl.engine.stage_comparison import compared, refuse_unequal
from napari_medssl.engine.whole_images import classification, neighbourhood, relatives
from napari_medssl.errors import MedsslError
from napari_medssl.evaluate.assessment import (
    Activation,
    Application,
    Assessment,
    CkaResult,
    Likeness,
    Spread,
)
from napari_medssl.evaluate.measured import measured_on
from napari_medssl.evaluate.representation import (
    feature_std,
    mass_inside,
    pair_similarity,
    silhouette,
)
from napari_medssl.evaluate.training_time import settling, training_clock
from napari_medssl.events import Done, Event, Note, Progress, Saved, Started
from napari_medssl.explore.labelled import MOST_IMAGES, cells_of, evenly, joined
from napari_medssl.explore.separability import separability_of
from napari_medssl.learn.augment import change_intensity, cut, draw_view, matched_cells
from napari_medssl.learn.control import pausing
from napari_medssl.learn.devices import choose_device
from napari_medssl.learn.memory import lack_explained
from napari_medssl.learn.predict import Tiles, over_tiles
from napari_medssl.learn.pretext import method as pretext_method
from napari_medssl.learn.sources import has_projector, maps_of, task_of
from napari_medssl.learn.task import UNREADABLE, PretrainingConfig
from napari_medssl.learn.trial import expected_memory
from napari_medssl.project import Project, Run
from napari_medssl.project.working_scale import ScaledImages

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

    from napari_medssl.engine.job import AssessJob
    from napari_medssl.explore.labelled import LabelledCells
    from napari_medssl.learn.control import Control

__all__ = ["assess"]

SIDE = 224
"""Of the parts that cells and stages are compared on, pixels, less in small images: what the papers' networks see."""
STRIDE = 4
"""Pixels per cell where classes of pixels are told apart."""
MOST_PLACES = 1024
"""Places of an image that are compared between two views: a projector may have one for each pixel."""
ACTIVATIONS = 12
"""Images that get class activation maps."""


def assess(job: AssessJob, control: Control) -> Iterator[Event]:
    """Measure the features of a run, and write the outcome into its folder."""
    project = Project.open(job.project)
    yield from _Assessing(job, project, find_run(job.run, project), control).events()


class _StoppedError(Exception):
    """The job was asked to end."""


class _Assessing:
    def __init__(self, job: AssessJob, project: Project, run: Run, control: Control) -> None:
        self.job, self.project, self.run, self.control = job, project, run, control
        self.device = choose_device(job.device)
        self.torch_device = torch.device(self.device.name)
        self.model = model_of(run).to(self.torch_device)
        check_channels(self.model, project, run)
        self.compared: Literal["encoder", "projector"] = (
            "projector" if has_projector(run) and run.state_path.is_file() else "encoder"
        )
        task = task_of(run, project, model_of(run)) if self.compared == "projector" else None
        encoder = f"encoder-{self.model.spec.network.encoder_depth}"
        self.maps = maps_of(
            "projector" if task else encoder, self.model, task and task.to(self.torch_device)
        )
        self.other = None if job.against is None else find_run(job.against, project)
        if self.other is not None:
            self.other_model = model_of(self.other).to(self.torch_device)
            check_channels(self.other_model, project, self.other)
            refuse_unequal(self.model, self.other_model, kind=job.cka)
        names = chosen_images(project, job.images)
        self.names = evenly(names, job.most)
        if len(self.names) < 2:
            raise MedsslError(
                f"An assessment compares images; these are {len(self.names)}.",
                advice="Take at least two images.",
            )
        self.annotated = measured_on(project, [run], names)
        self.probed = evenly(self.annotated.names, MOST_IMAGES)
        self.scaled = ScaledImages(project, self.model.spec.scale)
        smallest = min(min(self.scaled.shape(name)) for name in self.names)
        multiple = self.model.stride
        if self.other is not None:
            multiple = max(multiple, self.other_model.stride)
        self.side = max(2 * multiple, min(SIDE, smallest) // multiple * multiple)
        self.notes = list(self.annotated.notes)
        self.told: list[str] = []
        self.tiles = Tiles(tell=self.told.append)
        self.began = time.monotonic()
        self.done = 0
        self.total = len(self.names) + len(self.probed)
        self.total += len(self._mapped()) + (len(self.names) if self.other is not None else 0)

    def events(self) -> Iterator[Event]:
        rivals = [find_run(name, self.project) for name in self.job.rivals]
        times = settling([self.run, *rivals]) if rivals else ()  # refused before the long work
        yield Started(
            kind=self.job.kind,
            title=f"Assessment of {self.run.name} on {len(self.names)} images",
            total=self.total,
            device=self.device,
        )
        try:
            with lack_explained():
                means, spread = yield from self._encoded()
                found = Assessment(
                    run=self.run.name,
                    encoder=self.model.spec.network.encoder,
                    images=len(means),
                    side=self.side,
                    neighbourhood=neighbourhood(self.project, means, note=self.notes.append),
                    classification=classification(
                        self.project, means, gamma=self.job.focal, note=self.notes.append
                    ),
                    relatives=relatives(self.project, means),
                    spread=spread,
                    likeness=(yield from self._likeness()),
                    activations=(yield from self._activations()),
                    cka=(yield from self._alignment()),
                    settling=times,
                    application=self._application(),
                    notes=tuple(self.notes),
                )
        except _StoppedError:
            yield Done(stopped=True, summary="Stopped; no assessment was written.")
            return
        for path in found.write(self.run):
            yield Saved(what="report", path=str(path))
        metrics = {"nqc": found.neighbourhood.nqc} if found.neighbourhood else {}
        if found.cka is not None:
            metrics["cka"] = found.cka.mean
        yield Done(summary=found.text(), metrics=metrics)

    # -- the encoder's last output, and the projector's ------------------------------------------

    def _encoded(
        self,
    ) -> Generator[Event, None, tuple[dict[str, NDArray[np.float32]], Spread | None]]:
        """Give the mean of the encoder's last output of each image, and how places are spread (`Spread.of`)."""
        means: dict[str, NDArray[np.float32]] = {}
        first: list[NDArray[np.float32]] = []
        second: list[NDArray[np.float32]] = []
        of: list[str] = []
        for number, name in enumerate(self.names):
            yield from self._next()
            try:
                planes = self.scaled.planes(name)
            except (*UNREADABLE, MemoryError) as error:  # one such file does not end a folder
                yield Note(level="warning", text=f"Left out {name}: {error}")
                continue
            output = over_tiles(
                lambda images: self.model.encode(images)[-1],
                planes,
                multiple=self.model.stride,
                device=self.torch_device,
                stride=self.model.encoder_stride,
                tiles=self.tiles,
            )
            means[name] = output.mean((1, 2))
            cells = self._same_places(planes, np.random.default_rng((self.job.seed, number)))
            for rows, part in zip((first, second), cells, strict=True):
                rows.append(part)
            of += [name] * len(cells[0])
            yield from self._said()
        if len(means) < 2:
            raise MedsslError(
                "Fewer than two images could be read; nothing can be compared.",
                advice="Look at the reasons above, or take more images.",
            )
        if len(set(of)) < 2:
            self.notes.append(
                "Two views of an image never showed the same place, so no pairs compare."
            )
            return means, None
        a, b = np.concatenate(first), np.concatenate(second)
        pairs = pair_similarity(a, b, of)
        spread = Spread(
            of=self.compared,
            feature_std=feature_std(a),
            full=a.shape[1] ** -0.5,
            positive=pairs.positive,
            negative=pairs.negative,
            images=len(set(of)),
            dimension=a.shape[1],
        )
        return means, spread

    @torch.inference_mode()
    def _same_places(
        self, planes: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give the vectors (N, D) of two views of an image that show the same places."""
        shape = (planes.shape[1], planes.shape[2])
        views = [draw_view(rng, shape, self.side) for _ in range(2)]
        pictures = np.stack([change_intensity(rng, cut(planes, view)) for view in views])
        images = torch.from_numpy(pictures).to(self.torch_device)
        maps = self.maps(images)[0].float().cpu().numpy()
        cells = maps.reshape(2, maps.shape[1], -1).transpose(0, 2, 1)  # (2, cells, D)
        match = matched_cells(views[0], views[1], self.side // maps.shape[-1])
        seen = rng.permutation(np.flatnonzero(match >= 0))[:MOST_PLACES]
        return cells[0][seen], cells[1][match[seen]]

    # -- where annotations are -------------------------------------------------------------------

    def _likeness(self) -> Generator[Event, None, Likeness | None]:
        """Tell annotated pixels apart by their features from all decoder stages."""
        source = open_source(
            "mix", self.run, self.project, self.model, self.torch_device, tell=self.told.append
        )
        rng = np.random.default_rng(self.job.seed)
        parts: dict[str, LabelledCells] = {}
        for name in self.probed:
            yield from self._next()
            found = yield from self._annotated(name)
            if found is None:
                continue
            planes, labels = found
            grid = embedded(
                source,
                planes,
                factor=self.scaled.factor(name),
                stride=STRIDE,
                device=self.torch_device,
                tiles=self.tiles,
            )
            parts[name] = cells_of(grid, STRIDE, labels, rng=rng)
            yield from self._said()
        cells = joined(parts, self.annotated.groups)
        separable = separability_of(cells)
        if separable is None:
            self.notes.append(
                "Classes of pixels are not told apart: that takes two classes that are annotated in two images each, "
                "of different groups."
            )
            return None
        return Likeness(
            balanced_accuracy=separable.balanced_accuracy,
            chance=1 / separable.classes,
            silhouette=silhouette(cells, seed=self.job.seed),
            images=separable.images,
            pixels=separable.pixels,
        )

    def _mapped(self) -> list[str]:
        """Name the images that get class activation maps."""
        if self.model.spec.head == "none":
            return []
        return list(evenly(self.annotated.names, ACTIVATIONS))

    def _annotated(
        self, name: str
    ) -> Generator[Event, None, tuple[NDArray[np.float32], NDArray[np.uint16]] | None]:
        """Read an image (C, Y, X) and its labels (Y, X); where one of the two cannot be read, say so and give None."""
        try:
            return self.project.planes(name), self.project.annotations.read(name)
        except (*UNREADABLE, MedsslError, MemoryError) as error:
            text = f"Left out {name}: {error}"
            yield Note(level="warning", text=text)
            if text not in self.notes:  # it has two measures to be missing from
                self.notes.append(text)
            return None

    def _activations(self) -> Generator[Event, None, tuple[Activation, ...]]:
        if self.model.spec.head == "none":
            self.notes.append("No class activation maps: the run learned features, not classes.")
        found = []
        for name in self._mapped():
            yield from self._next()
            pair = yield from self._annotated(name)
            if pair is None:
                continue
            planes, labels = pair[0], pair[1][middle(pair[1].shape)]
            for info in self.model.spec.classes[1:]:
                mask = labels == info.value
                if not mask.any():
                    continue
                kept = keep_activation(
                    self.model,
                    self.run,
                    name,
                    planes,
                    info.value,
                    factor=self.scaled.factor(name),
                    device=self.torch_device,
                )
                known = labels > 0
                found.append(
                    Activation(
                        image=name,
                        label=info.name,
                        inside=mass_inside(kept.values * known, mask),
                        area=float(mask.sum() / known.sum()),
                        file=kept.file,
                        top=kept.top,
                        left=kept.left,
                    )
                )
        return tuple(found)

    # -- other runs ------------------------------------------------------------------------------

    def _alignment(self) -> Generator[Event, None, CkaResult | None]:
        if self.other is None:
            return None
        result = yield from compared(
            self.model,
            self.other_model,
            self.names,
            self.project,
            kind=self.job.cka,
            against=self.other.name,
            side=self.side,
            seed=self.job.seed,
            device=self.torch_device,
            each=self._next,
        )
        return result

    def _application(self) -> Application | None:
        """Say what the run's pretraining asked for; None for another kind of run."""
        job = self.run.job
        if job.get("kind") != "pretrain":
            return None
        method = pretext_method(str(job["method"]))
        model = model_of(self.run)
        try:
            task = method(
                config=method.config_type.parse(job["method_config"]),
                model=model,
                project=self.project,
                training=PretrainingConfig.parse(job["training"]),
                seed=int(job["seed"]),
            )
            memory = expected_memory(task, seed=int(job["seed"]), device=torch.device("cpu"))
        except MedsslError as error:
            self.notes.append(f"What the pretraining asks for is not known: {error.message}")
            return None
        fields = method.config_type.model_fields.values()
        steps, seconds = training_clock(self.run)
        started = [event for event in self.run.events() if isinstance(event, Started)]
        return Application(
            method=method.title,
            settings=sum(not _is_advanced(field.json_schema_extra) for field in fields),
            parameters_added=_count(task) - _count(model.net.encoder),
            batch_size=task.training_config.batch_size,
            memory=memory,
            steps=steps[-1] if steps else 0,
            seconds=seconds[-1] if seconds else 0.0,
            device=started[-1].device.label if started else "",
        )

    # -- the way ---------------------------------------------------------------------------------

    def _next(self) -> Iterator[Event]:
        """Wait or end where asked to, before an image is begun; tell how far it has come."""
        self.began += yield from pausing(self.control, self.done)
        if self.control.stopped:
            raise _StoppedError
        if self.done:
            rate = self.done / max(time.monotonic() - self.began, 1e-6)
            left = max(0, self.total - self.done)
            yield Progress(
                step=min(self.done, self.total), total=self.total, rate=rate, eta=left / rate
            )
        self.done += 1

    def _said(self) -> Iterator[Event]:
        for text in self.told:
            yield Note(level="warning", text=text)
        self.told.clear()


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _is_advanced(extra: object) -> bool:
    return isinstance(extra, dict) and bool(extra.get("advanced"))
