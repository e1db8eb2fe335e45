"""Train the decoder, or the whole network, on annotated pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from napari_medssl.errors import MedsslError
from napari_medssl.learn.augment import (
    change_intensity,
    change_strongly,
    cut,
    draw_any_view,
    draw_view,
)
from napari_medssl.learn.finetune.annotated import AnnotationTask
from napari_medssl.learn.finetune.averaging import AveragedModel
from napari_medssl.learn.losses import (
    dice,
    dice_cross_entropy,
    distance_loss,
    focal_tversky_of_classes,
)
from napari_medssl.learn.patches import CACHE_BYTES, Batch, Cache, collate, step_rng
from napari_medssl.learn.task import UNREADABLE, nothing_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_medssl.learn.augment import View
    from napari_medssl.learn.networks import SegmentationModel

__all__ = ["FinetuneTask"]

LOSSES = {
    "dice_ce": dice_cross_entropy,
    "dice": dice,
    "focal_tversky": focal_tversky_of_classes,
}
MEASURED_PATCHES = 80
"""So many patches measure the batch statistics of the averaged weights."""
MOST_POINTS = 20_000
"""Annotated network pixels of a class in one image that patches are drawn around; a sample of more."""


class FinetuneTask(AnnotationTask):
    """Trains the decoder, or everything, on the annotated pixels.

    Images are seen at the model's working scale: whole where they fit into a patch, else around annotated pixels, every
    class equally often. What is handed back is the moving average of the weights.

    Parameters
    ----------
    mode : {"frozen", "full"}
        What is trained: a frozen encoder keeps its weights and batch statistics.

    Raises
    ------
    MedsslError
        If a mean teacher has no images without annotation, or objects are to be learned of which none is known.

    Notes
    -----
    Where the model has a layer of distances (`ModelSpec.objects`), its loss is added to that of the classes.
    """

    def __init__(self, *, mode: Literal["frozen", "full"], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        config = self.training_config
        self.mode = mode
        self._rgb = self.project.settings.channels == ("red", "green", "blue")
        if mode == "frozen":
            for parameter in self.model.encoder_parameters():
                parameter.requires_grad_(False)
        self.average: AveragedModel | None = None
        if config.average:
            self.average = AveragedModel(self.model, momentum=config.average)
        self._unlabelled: tuple[str, ...] = ()
        if config.mean_teacher:
            self._add_unlabelled()
        self._points = self._annotated_places()
        self._drawn = {name for places in self._points for name, _ in places}
        if self.model.spec.objects and not any(map(self._knows_objects, self.annotated)):
            raise MedsslError(
                "Objects are to be learned, and none of them is annotated with all that is around it.",
                advice="Draw or import objects, label the pixels around them as background, or make them of the"
                ' classes (objects_from = "classes").',
            )

    def _annotated_places(self) -> list[list[tuple[str, NDArray[np.float32]]]]:
        """Return for each annotated class the images it is in, with places (y, x) of it in network pixels."""
        rng = step_rng(self.seed, 2**31 + 1)
        places = []
        for info in self.model.spec.classes:
            found = []
            for name in self.annotated:
                points = np.argwhere(self._labels[name] == info.value)
                if len(points) > MOST_POINTS:
                    points = points[rng.choice(len(points), MOST_POINTS, replace=False)]
                if len(points):
                    scaled = (points + 0.5) / self.scaled.factor(name)
                    found.append((name, scaled.astype(np.float32)))
            if found:
                places.append(found)
        return places

    def _add_unlabelled(self) -> None:
        taught = set(self.annotated)
        self._unlabelled = tuple(name for name in self.project.images if name not in taught)
        if not self._unlabelled:
            raise MedsslError(
                "A mean teacher learns from images without annotation, and there are none: "
                f"all {len(taught)} images of the project are used with their annotations.",
                advice="Turn mean_teacher off, or add images to the folder.",
            )
        self.images = (*self.annotated, *self._unlabelled)
        self._cache = Cache(self._load, limit=CACHE_BYTES // 2)
        self._unlabelled_cache = Cache(self.scaled.planes, limit=CACHE_BYTES // 2)
        self.notes.append(
            f"Mean teacher: {len(self._unlabelled)} images without annotation are learned from, too."
        )

    def set_training(self) -> None:
        """Train, but keep the batch statistics of a frozen encoder."""
        self.train()
        if self.mode == "frozen":
            for model in self._models():
                model.net.encoder.eval()

    def _models(self) -> list[SegmentationModel]:
        return [self.model] if self.average is None else [self.model, self.average.model]

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Return the groups of encoder, decoder and last layer, each at its share of the rate."""
        config, model = self.training_config, self.model
        groups = [
            {"params": list(model.decoder_parameters()), "lr": rate * config.decoder_rate},
            {"params": list(model.head_parameters()), "lr": rate},
        ]
        if self.mode == "full":
            encoder = list(model.encoder_parameters())
            groups.insert(0, {"params": encoder, "lr": rate * config.encoder_rate})
        return groups

    def batch(self, rng: np.random.Generator) -> Batch:
        """Draw patches: ``image`` (B, C, Y, X), ``targets`` (B, K, Y, X).

        Where objects are learned there is their ``distance`` (B, Y, X), NaN where it is not known. With a mean teacher
        there are as many ``unlabelled`` (B, C, Y, X).
        """
        config = self.training_config
        samples: list[Batch] = []
        while len(samples) < config.batch_size:
            classes = self._points
            if self.lost:
                left = [[p for p in places if p[0] not in self.lost] for places in classes]
                classes = [places for places in left if places]
            if not classes:
                raise nothing_left()
            places = classes[int(rng.integers(len(classes)))]
            name, points = places[int(rng.integers(len(places)))]
            y, x = points[int(rng.integers(len(points)))]
            try:
                item = self._cache(name)
            except UNREADABLE as error:
                self.leave_out(name, error, others=self._drawn)
                continue
            view = self._view(rng, item.planes, (float(y), float(x)))
            sample: Batch = {
                "image": self._changed(rng, cut(item.planes, view)),
                "targets": cut(item.targets, view, outside=0.0),
            }
            if item.distance is not None:
                distance = cut(item.distance, view, outside=float("nan"))
                distance[sample["targets"].sum(0) == 0] = np.nan
                sample["distance"] = distance
            samples.append(sample)
        batch = collate(samples)
        if self._unlabelled:
            batch["unlabelled"] = np.stack(
                self._patches(rng, self._unlabelled, self._unlabelled_cache)
            )
        return batch

    def _view(
        self, rng: np.random.Generator, planes: NDArray[np.float32], centre: tuple[float, float]
    ) -> View:
        shape, size = planes.shape[1:], self.training_config.patch_size
        if self.training_config.augmentation == "strong":
            return draw_any_view(rng, (shape[0], shape[1]), size, centre=centre)
        return draw_view(rng, (shape[0], shape[1]), size, centre=centre)

    def _changed(self, rng: np.random.Generator, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.training_config.augmentation == "strong":
            return change_strongly(rng, patch, rgb=self._rgb).astype(np.float32)
        return change_intensity(rng, patch).astype(np.float32)

    def _patches(
        self,
        rng: np.random.Generator,
        names: tuple[str, ...],
        read: Callable[[str], NDArray[np.float32]],
    ) -> list[NDArray[np.float32]]:
        """Draw a batch of patches (C, Y, X) from these images, without labels."""
        patches: list[NDArray[np.float32]] = []
        left = [name for name in names if name not in self.lost]
        if not left:
            raise nothing_left()
        while len(patches) < self.training_config.batch_size:
            name = left[int(rng.integers(len(left)))]
            try:
                planes = read(name)
            except UNREADABLE as error:
                left = self.leave_out(name, error, others=names)
                continue
            y, x = rng.uniform(size=2) * planes.shape[1:]
            patches.append(self._changed(rng, cut(planes, self._view(rng, planes, (y, x)))))
        return patches

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the loss on the annotated pixels, and the terms that are added to it."""
        images = batch["image"]
        count, terms = len(images), {}
        if "unlabelled" in batch:
            images = torch.cat([images, batch["unlabelled"]])
        if self.model.spec.objects:
            logits, distance = self.model.with_distance(images)
            error = distance_loss(distance[:count], batch["distance"])
            terms["distance"] = self.training_config.distance_weight * error
        else:
            logits = self.model(images)
        if "unlabelled" in batch:
            assert self.average is not None  # checked by FinetuneConfig
            terms["consistency"] = self.average.consistency(logits[count:], images[count:])
        supervised = LOSSES[self.training_config.loss](logits[:count], batch["targets"])
        if not terms:
            return {"loss": supervised}
        return {
            "loss": supervised + torch.stack([*terms.values()]).sum(),
            "supervised": supervised,
            **terms,
        }

    def after_step(self, step: int, total: int) -> None:
        """Let the average follow, and note that distances have been learned."""
        if self.model.spec.objects:
            for model in self._models():
                model.distance_learned.fill_(True)
        if self.average is not None:
            self.average.follow(self.model, step, total)

    @torch.no_grad()
    def kept(self) -> SegmentationModel:
        """Return the averaged network with batch statistics of its own; the network itself where there is none."""
        if self.average is None:
            return self.model
        frozen = [self.average.model.net.encoder] if self.mode == "frozen" else []
        return self.average.measured(self._measuring_batches(), frozen=frozen)

    def _measuring_batches(self) -> Iterator[Tensor]:
        device = next(self.parameters()).device
        for number in range(-(-MEASURED_PATCHES // self.training_config.batch_size)):
            rng = step_rng(self.seed, 2**31 + 2 + number)  # no training step has this number
            yield torch.from_numpy(self.batch(rng)["image"]).to(device)
