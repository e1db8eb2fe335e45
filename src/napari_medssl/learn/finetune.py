"""Learn from annotations: a linear probe, a decoder on a frozen encoder, or the whole network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from napari_medssl.config import advanced
from napari_medssl.errors import MedsslError
from napari_medssl.learn.augment import change_intensity, cut, draw_view
from napari_medssl.learn.features import pixel_embedding
from napari_medssl.learn.losses import IGNORED, dice_cross_entropy
from napari_medssl.learn.patches import Batch, Cache, collate
from napari_medssl.learn.predict import Tiles, predict_probabilities
from napari_medssl.learn.task import UNREADABLE, Task, TrainingConfig, nothing_left
from napari_medssl.project.images import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.project import Project

__all__ = ["FinetuneConfig", "FinetuneTask", "Mode", "ProbeTask", "hold_out"]

Mode = Literal["probe", "frozen", "full"]
IMAGES_FOR_HOLD_OUT = 5
"""From this many annotated images on, whole images are held out; below, squares of them are."""
PROBE_PIXELS = 4096
"""Pixels per step of the linear probe."""
PIXELS_PER_IMAGE = 20_000
"""Annotated pixels of an image that the linear probe keeps."""


class FinetuneConfig(TrainingConfig):
    """How long, how fast, and what is held out."""

    steps: int = Field(300, ge=1, le=10_000_000)
    """Number of optimiser steps."""
    learning_rate: float = Field(5e-4, gt=0, le=10)
    """Peak learning rate of what is new; pretrained parts use `pretrained_rate` of it."""
    pretrained_rate: float = advanced(1.0, gt=0, le=1)
    """Rate of pretrained parts as a share of the learning rate."""
    validate_every: int = advanced(25, ge=1, le=1_000_000)
    """Steps between two validations."""
    patience: int = advanced(6, ge=0, le=10_000)
    """Validations without improvement before stopping early; 0 never stops early."""
    held_out: float = advanced(0.2, gt=0, le=0.5)
    """Share of the annotations kept for validation: whole images if there are five, else squares."""
    intensity: float = advanced(0.2, ge=0, lt=1)
    """Strength of the brightness and contrast changes."""
    probe_l2: float = advanced(0.05, ge=0, le=1000)
    """Strength of the linear probe's L2 penalty: the fewer the annotations, the more it matters."""


def hold_out(
    labels: dict[str, NDArray[np.uint16]], *, share: float, seed: int
) -> dict[str, NDArray[np.bool_]]:
    """Choose the annotated pixels that validate; never an empty set, nor all of a class.

    With at least five annotated images, whole images are held out (first those that together hold
    every class). With fewer, squares of the images are, as large as the annotations allow, at
    least one for every class.

    Parameters
    ----------
    labels : dict of ndarray of shape (Y, X)
        Annotated images; 0 is not annotated.
    share : float
        Wanted share, of images or of squares.
    seed : int
        Chooses which.

    Returns
    -------
    dict of ndarray of shape (Y, X)
        For each image, True where a pixel validates. A class with a single annotated pixel has it
        in both sets.
    """
    rng = np.random.default_rng(seed)
    names = sorted(labels)
    held = {name: np.zeros(labels[name].shape, dtype=bool) for name in names}
    values = sorted({int(v) for array in labels.values() for v in np.unique(array)} - {0})
    if len(names) >= IMAGES_FOR_HOLD_OUT:
        present = {name: set(np.unique(labels[name]).tolist()) - {0} for name in names}
        count = max(1, round(share * len(names)))
        chosen = [names[i] for i in rng.permutation(len(names))[:count]]
        kept = set().union(*(present[name] for name in names if name not in chosen))
        if kept == set(values) and set().union(*(present[n] for n in chosen)) == set(values):
            for name in chosen:
                held[name] = labels[name] > 0
            return held
    for value in values:
        _hold_out_squares(labels, held, value, share, rng)
    return held


def _hold_out_squares(
    labels: dict[str, NDArray[np.uint16]],
    held: dict[str, NDArray[np.bool_]],
    value: int,
    share: float,
    rng: np.random.Generator,
) -> None:
    """Hold out squares that contain a class, the largest of which there are at least three."""
    for side in (64, 32, 16, 8, 4, 2, 1):
        squares = [
            (name, int(y), int(x))
            for name in sorted(labels)
            for y, x in np.unique(np.argwhere(labels[name] == value) // side, axis=0)
        ]
        if len(squares) >= 3 or side == 1:
            break
    count = min(max(1, round(share * len(squares))), max(1, len(squares) - 1))
    for index in rng.permutation(len(squares))[:count]:
        name, y, x = squares[index]
        window = (slice(y * side, (y + 1) * side), slice(x * side, (x + 1) * side))
        # Only this class: another one's only pixels may lie in the same square.
        held[name][window] |= labels[name][window] == value


@dataclass(frozen=True)
class _Annotated:
    """One annotated image: planes, class index per pixel (`IGNORED` where none), validation pixels."""

    planes: NDArray[np.float32]
    train: NDArray[np.int16]
    validation: NDArray[np.int16]

    @property
    def nbytes(self) -> int:
        return self.planes.nbytes + self.train.nbytes + self.validation.nbytes


class _AnnotationTask(Task):
    """What the probe and fine-tuning share: annotated images, split, and the score of a prediction."""

    def __init__(
        self,
        *,
        model: SegmentationModel,
        project: Project,
        images: tuple[str, ...],
        config: FinetuneConfig,
        seed: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.project = project
        self.images = images
        self.training_config = config
        labels = {name: project.annotations.read(name) for name in images}
        self._check(labels)
        self._labels = labels
        self._held = hold_out(labels, share=config.held_out, seed=seed)
        self._cache: Cache[_Annotated] = Cache(self._load)
        self._tiles = Tiles(tell=self.tell)
        self.notes = [self._split_note()]

    def _check(self, labels: dict[str, NDArray[np.uint16]]) -> None:
        classes = self.model.spec.classes
        found = {int(v) for array in labels.values() for v in np.unique(array)} - {0}
        unknown = found - {info.value for info in classes}
        if unknown:
            raise MedsslError(
                f"Labels hold the values {sorted(unknown)}, which are no classes of the project.",
                advice="Add the classes, or erase these labels.",
            )
        if len(found) < 2:
            have = ", ".join(info.name for info in classes if info.value in found) or "nothing"
            raise MedsslError(
                f"Training needs annotations of at least two classes (background is one); there is {have}.",
                advice="Paint some background and some of each class.",
            )

    def _split_note(self) -> str:
        whole = [name for name in self.images if self._held[name][self._labels[name] > 0].all()]
        pixels = sum(int(mask.sum()) for mask in self._held.values())
        where = f"{len(whole)} whole images" if whole else "squares of the annotated images"
        return f"Held out for validation: {pixels:,} annotated pixels ({where})."

    def _load(self, name: str) -> _Annotated:
        index = np.full(int(np.iinfo(np.uint16).max) + 1, IGNORED, dtype=np.int16)
        for position, info in enumerate(self.model.spec.classes):
            index[info.value] = position
        target = index[self._labels[name]]
        held = self._held[name]
        train = np.where(held, np.int16(IGNORED), target)
        if (train == IGNORED).all() and not held.any():
            raise MedsslError(f"The image {name} has no annotation.")
        validation = np.where(held, target, np.int16(IGNORED))
        planes = self.project.planes(name)
        if planes.shape[1:] != train.shape:
            raise UnreadableImageError(
                f"{name} is {planes.shape[1:]} pixels now, its labels are {train.shape}."
            )
        return _Annotated(planes=planes, train=train, validation=validation)

    def _score(
        self, pairs: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]
    ) -> dict[str, float]:
        """Give the Dice score over pixels, mean over the classes that the truth holds.

        `pairs` are (predicted, true) class indices of the same pixels; without any there is no score.
        """
        classes = self.model.spec.classes
        n = len(classes)
        confusion = np.zeros((n, n), dtype=np.int64)  # truth x prediction
        for predicted, truth in pairs:
            confusion += np.bincount(truth * n + predicted, minlength=n * n).reshape(n, n)
        present = confusion.sum(1) > 0
        if not present.any():
            return {}
        dice = 2 * np.diag(confusion) / np.maximum(confusion.sum(0) + confusion.sum(1), 1)
        mean = float(dice[present].mean())
        per_class = {f"dice/{classes[i].name}": float(dice[i]) for i in np.flatnonzero(present)}
        return {"dice": mean, "score": mean, **per_class}


class FinetuneTask(_AnnotationTask):
    """Trains the decoder, or everything, with Dice and cross-entropy on the annotated pixels.

    Parameters
    ----------
    mode : {"frozen", "full"}
        What is trained.
    fresh : bool
        The network was not pretrained: everything learns at the full rate, and the encoder's batch
        norm is trained. A pretrained encoder keeps its batch statistics (small batches spoil them).
    """

    def __init__(self, *, mode: Literal["frozen", "full"], fresh: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mode, self.fresh = mode, fresh
        if mode == "frozen":
            for parameter in self.model.encoder_parameters():
                parameter.requires_grad_(False)
        # Patches are drawn around annotated pixels, every class equally often.
        self._points: list[list[tuple[str, NDArray[np.int32]]]] = []
        for info in self.model.spec.classes:
            places = [
                (name, np.argwhere((self._labels[name] == info.value) & ~self._held[name]))
                for name in self.images
            ]
            found = [(name, xy.astype(np.int32)) for name, xy in places if len(xy)]
            if found:
                self._points.append(found)
        self._drawn = {name for places in self._points for name, _ in places}

    def set_training(self) -> None:
        """Train, but keep the batch statistics of a pretrained encoder (a random one's mean nothing)."""
        self.train()
        if not self.fresh:
            for module in self.model.net.encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Pretrained parts at a lower rate than the new last layer."""
        config = self.training_config
        assert isinstance(config, FinetuneConfig)
        slow = rate if self.fresh else rate * config.pretrained_rate
        groups = [
            {"params": list(self.model.decoder_parameters()), "lr": slow},
            {"params": list(self.model.head_parameters()), "lr": rate},
        ]
        if self.mode == "full":
            groups.append({"params": list(self.model.encoder_parameters()), "lr": slow})
        return groups

    def batch(self, rng: np.random.Generator) -> Batch:
        """Draw patches around annotated pixels: ``image`` (B, C, Y, X), ``target`` (B, Y, X)."""
        config = self.training_config
        assert isinstance(config, FinetuneConfig)
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
            view = draw_view(
                rng, item.train.shape, config.patch_size, centre=(float(y) + 0.5, float(x) + 0.5)
            )
            patch = change_intensity(rng, cut(item.planes, view), strength=config.intensity)
            target = cut(item.train, view, labels=True).astype(np.int64)
            sample: Batch = {"image": patch.astype(np.float32), "target": target}
            samples.append(sample)
        return collate(samples)

    def validate(self) -> dict[str, float]:
        """Give the Dice score over held-out pixels."""
        device = next(self.parameters()).device

        def pairs() -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
            for name in self.images:
                if self._held[name].any() and name not in self.lost:
                    try:
                        item = self._cache(name)
                    except UNREADABLE as error:
                        self.leave_out(name, error)
                        continue
                    seen = item.validation != IGNORED
                    chances = predict_probabilities(
                        self.model, item.planes, device=device, tiles=self._tiles
                    )
                    yield chances.argmax(0)[seen], item.validation[seen].astype(np.int64)

        return self._score(pairs())

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give Dice plus cross-entropy on the annotated pixels."""
        return {"loss": dice_cross_entropy(self.model(batch["image"]), batch["target"])}


class ProbeTask(_AnnotationTask):
    """Trains one linear layer on pixel embeddings, which are computed once.

    The model must be calibrated and its `spec.head` be ``probe``.
    """

    pixel_mean: Tensor
    pixel_scale: Tensor

    def __init__(self, *, device: torch.device, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        self.model.eval().to(device)
        self._validation_pixels: list[tuple[Tensor, NDArray[np.int64]]] = []
        pixels, targets = [], []
        rng = np.random.default_rng(0)
        for name in self.images:
            item = self._load(name)
            embedding = pixel_embedding(
                self.model, item.planes, stride=1, device=device, tiles=self._tiles
            )
            ys, xs = np.nonzero(item.train != IGNORED)
            if len(ys) > PIXELS_PER_IMAGE:
                chosen = rng.choice(len(ys), PIXELS_PER_IMAGE, replace=False)
                ys, xs = ys[chosen], xs[chosen]
            pixels.append(embedding[ys, xs])
            targets.append(item.train[ys, xs])
            seen = item.validation != IGNORED
            if seen.any():
                held = torch.from_numpy(embedding[seen])
                self._validation_pixels.append((held, item.validation[seen].astype(np.int64)))
        self._pixels = np.concatenate(pixels)
        self._targets = np.concatenate(targets).astype(np.int64)
        # One scale for all directions: the principal components keep their order of importance, and
        # the penalty falls on those that hardly vary, in which a few annotations tell nothing.
        self._start(self._pixels.mean(0), float(self._pixels.std(0).max()) + 1e-6)

    def _start(self, mean: NDArray[np.float32], scale: float) -> None:
        """Learn on centred, scaled embeddings; folded into the layer, which stays one linear map."""
        self.register_buffer("pixel_mean", torch.from_numpy(mean))
        self.register_buffer("pixel_scale", torch.tensor(scale))
        self.weight = nn.Parameter(torch.zeros_like(self.model.probe.weight))
        self.bias = nn.Parameter(torch.zeros_like(self.model.probe.bias))

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Only the linear layer; a convex problem that takes a high rate."""
        return [{"params": [self.weight, self.bias], "lr": 40 * rate}]

    def set_training(self) -> None:
        """Keep the network in eval mode: nothing but the linear layer learns."""
        self.eval()

    def batch(self, rng: np.random.Generator) -> Batch:
        """Draw annotated pixels as often as they occur: ``pixels`` (N, D), ``target`` (N).

        Classes are not balanced: a probe that saw as much foreground as background finds too much of it.
        """
        drawn = rng.integers(len(self._pixels), size=PROBE_PIXELS)
        return {"pixels": self._pixels[drawn], "target": self._targets[drawn]}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the cross-entropy of the linear layer plus its L2 penalty."""
        config = self.training_config
        assert isinstance(config, FinetuneConfig)
        cross_entropy = nn.functional.cross_entropy(self._logits(batch["pixels"]), batch["target"])
        penalty = 0.5 * config.probe_l2 * self.weight.square().sum()
        return {"loss": cross_entropy + penalty, "cross_entropy": cross_entropy}

    def after_step(self, step: int, total: int) -> None:
        """Fold the centring and scaling into the model's probe."""
        with torch.no_grad():
            weight = self.weight / self.pixel_scale
            self.model.probe.weight.copy_(weight)
            self.model.probe.bias.copy_(self.bias - weight @ self.pixel_mean)

    def validate(self) -> dict[str, float]:
        """Give the Dice score over held-out pixels, from their stored embeddings; no `score`.

        The penalised fit has one optimum, and held-out pixels of few images cannot tell a better one:
        stopping early by them lost a fifth of the Dice on new images. So the last fit is the one to use.
        """
        device = self.weight.device
        measured = self._score(
            (self._logits(pixels.to(device)).argmax(1).cpu().numpy(), truth)
            for pixels, truth in self._validation_pixels
        )
        measured.pop("score", None)
        return measured

    def _logits(self, pixels: Tensor) -> Tensor:
        scaled = (pixels - self.pixel_mean) / self.pixel_scale
        return nn.functional.linear(scaled, self.weight, self.bias)
