"""Train the decoder, or the whole network, on annotated pixels."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from napari_medssl.errors import MedsslError
from napari_medssl.learn.augment import change_intensity, cut, draw_view
from napari_medssl.learn.features import calibrate
from napari_medssl.learn.finetune.annotated import AnnotationTask
from napari_medssl.learn.finetune.batch_norm import (
    decoder_norms,
    encoder_norms,
    encoder_statistics,
    reestimate,
)
from napari_medssl.learn.finetune.linear import LinearProbe, embedded_pixels
from napari_medssl.learn.finetune.mean_teacher import MeanTeacher
from napari_medssl.learn.finetune.rates import blocks_of, groups_of
from napari_medssl.learn.losses import (
    IGNORED,
    dice_cross_entropy,
    distance_loss,
    focal_tversky_of_classes,
)
from napari_medssl.learn.networks import SegmentationModel
from napari_medssl.learn.patches import CACHE_BYTES, Batch, Cache, collate, step_rng
from napari_medssl.learn.predict import predict_maps
from napari_medssl.learn.task import UNREADABLE, Rival, nothing_left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_medssl.learn.finetune.config import Part

__all__ = ["FinetuneTask"]

LOSSES = {"dice_ce": dice_cross_entropy, "focal_tversky": focal_tversky_of_classes}
STATISTICS_PATCHES = (64, 256)
"""New batch statistics are measured on as many patches as there are images, within these limits."""


class FinetuneTask(AnnotationTask):
    """Trains the decoder, or everything, on the annotated pixels.

    Parameters
    ----------
    mode : {"frozen", "full"}
        What is trained: a frozen encoder keeps its weights.
    pretrained : collection of {"encoder", "decoder"}
        The parts that are not new: `pretrained_rate`, `layer_decay` and `l2_start` are about them, and their batch
        statistics are kept unless `batch_norm` says otherwise.

    Raises
    ------
    MedsslError
        If a mean teacher has no images without annotation, statistics are to be kept that a new encoder lacks, or
        objects are to be learned of which none is known.

    Notes
    -----
    Where the model has a layer of distances (`ModelSpec.objects`), its loss is added to that of the classes, and its
    mean error on held-out pixels is taken off the score: Dice alone settles long before distances are learned. Only
    what has learned distances is a candidate for being handed back: a start whose layer of distances is new is none,
    nor is a probe on its features.

    References
    ----------
    L2 towards the start: Li, Grandvalet and Davoine, "Explicit Inductive Bias for Transfer Learning with Convolutional
    Networks", ICML 2018, equation 3 (L2-SP; their beta on new layers is the weight decay here). Averaging with the
    start: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, equation 1 (WiSE-FT; their alpha is 1
    minus `start_share`).
    """

    def __init__(
        self, *, mode: Literal["frozen", "full"], pretrained: Collection[Part], **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        config = self.training_config
        self.mode, self.pretrained = mode, frozenset(pretrained)
        self._statistics = config.batch_norm
        if self._statistics == "auto":
            self._statistics = "frozen" if "encoder" in self.pretrained else "trained"
        elif self._statistics == "frozen" and "encoder" not in self.pretrained:
            raise MedsslError(
                'batch_norm = "frozen" keeps the batch statistics of a pretrained encoder; this one is new.',
                advice='Choose "auto", "reestimated" or "trained", or start from a run.',
            )
        # Which of the decoder's were measured before: some methods train its first stages alone. A buffer, for after
        # the first step all were.
        measured = [bool(norm.num_batches_tracked) for norm in decoder_norms(self.model)]
        self.register_buffer("decoder_measured", torch.tensor(measured, dtype=torch.bool))
        self.register_load_state_dict_pre_hook(_all_measured)  # type: ignore[no-untyped-call]
        self._blocks = blocks_of(self.model)
        if mode == "frozen":
            for parameter in self.model.encoder_parameters():
                parameter.requires_grad_(False)
            self._blocks = [block for block in self._blocks if block.part != "encoder"]
        self._pulled: list[nn.Parameter] = []
        if config.l2_start > 0:
            kept = [block for block in self._blocks if block.part in self.pretrained]
            self._pulled = [parameter for block in kept for parameter in block.parameters]
        self._averaged: list[nn.Parameter] = []
        if config.start_share:
            self._averaged = [item for item in self.model.parameters() if item.requires_grad]
        self._start_of: dict[nn.Parameter, str] = {}
        for parameter in dict.fromkeys([*self._pulled, *self._averaged]):
            self._start_of[parameter] = f"start_{len(self._start_of)}"
            self.register_buffer(self._start_of[parameter], parameter.detach().clone())
        if self._statistics == "reestimated":
            for number, values in enumerate(encoder_statistics(self.model)):
                self.register_buffer(f"statistics_{number}", values.clone())
        self.teacher: MeanTeacher | None = None
        self._unlabelled: tuple[str, ...] = ()
        if config.mean_teacher:
            self._add_teacher()
        # Patches are drawn around annotated pixels, every class equally often.
        self._points: list[list[tuple[str, NDArray[np.int32]]]] = []
        for info in self.model.spec.classes:
            places = [
                (name, np.argwhere((self._labels[name] == info.value) & self._learned_from(name)))
                for name in self.annotated
            ]
            found = [(name, xy.astype(np.int32)) for name, xy in places if len(xy)]
            if found:
                self._points.append(found)
        self._drawn = {name for places in self._points for name, _ in places}
        if self.model.spec.objects:
            self._check_objects()

    def _check_objects(self) -> None:
        known = (self._knows_objects(name) & self._learned_from(name) for name in self.annotated)
        if not any(inside.any() for inside in known):
            raise MedsslError(
                "Objects are to be learned, and none of them is annotated with all that is around it.",
                advice="Draw or import objects, label the pixels around them as background, or make them of the"
                ' classes (objects_from = "classes").',
            )
        if not bool(self.model.distance_learned):
            self.notes.append(
                "Objects: the network has no map of distances yet, so what it starts from is no candidate for what"
                " is kept."
            )

    def _add_teacher(self) -> None:
        taught = set(self.annotated)
        self._unlabelled = tuple(name for name in self.project.images if name not in taught)
        if not self._unlabelled:
            raise MedsslError(
                "A mean teacher learns from images without annotation, and there are none: "
                f"all {len(taught)} images of the project are used with their annotations.",
                advice="Turn mean_teacher off, or add images to the folder.",
            )
        self.teacher = MeanTeacher(self.model)
        self.images = (*self.annotated, *self._unlabelled)
        self._cache = Cache(self._load, limit=CACHE_BYTES // 2)
        self._unlabelled_cache = Cache(self.project.planes, limit=CACHE_BYTES // 2)
        self.notes.append(
            f"Mean teacher: {len(self._unlabelled)} images without annotation are learned from, too."
        )

    def prepare(self) -> None:
        """Measure the encoder's batch statistics anew, where that is asked for."""
        if self._statistics != "reestimated":
            return
        reestimate(self.model, self._statistics_batches())
        if self.teacher is not None:
            self.teacher.model.load_state_dict(self.model.state_dict())

    def _statistics_batches(self) -> Iterator[Tensor]:
        device = next(self.parameters()).device
        names = self.project.images
        count = min(max(len(names), STATISTICS_PATCHES[0]), STATISTICS_PATCHES[1])
        rng = step_rng(self.seed, 2**31)  # no training step has this number
        for _ in range(-(-count // self.training_config.batch_size)):
            patches = self._patches(rng, names, self.project.planes)
            yield torch.from_numpy(np.stack(patches)).to(device)

    def _patches(
        self,
        rng: np.random.Generator,
        names: tuple[str, ...],
        read: Callable[[str], NDArray[np.float32]],
    ) -> list[NDArray[np.float32]]:
        """Draw a batch of patches (C, Y, X) from these images, without labels."""
        config = self.training_config
        patches: list[NDArray[np.float32]] = []
        left = [name for name in names if name not in self.lost]
        if not left:
            raise nothing_left()
        while len(patches) < config.batch_size:
            name = left[int(rng.integers(len(left)))]
            try:
                planes = read(name)
            except UNREADABLE as error:
                left = self.leave_out(name, error, others=names)
                continue
            _, height, width = planes.shape
            patches.append(cut(planes, draw_view(rng, (height, width), config.patch_size)))
        return patches

    def set_training(self) -> None:
        """Train, but keep batch statistics of pretrained parts where they are not to be learned."""
        self.train()
        if self._statistics == "trained":
            return
        for model in [self.model] if self.teacher is None else [self.model, self.teacher.model]:
            for norm in encoder_norms(model):
                norm.eval()
            if "decoder" in self.pretrained:
                measured = self.get_buffer("decoder_measured").tolist()
                for norm, was_measured in zip(decoder_norms(model), measured, strict=True):
                    norm.train(not was_measured)

    def parameter_groups(self, rate: float) -> list[dict[str, Any]]:
        """Give a group for each block, pretrained ones at their share of the rate, and one for the last layer."""
        return groups_of(
            self._blocks,
            self.model.head_parameters(),
            rate=rate,
            pretrained=self.pretrained,
            config=self.training_config,
        )

    def batch(self, rng: np.random.Generator) -> Batch:
        """Draw patches around annotated pixels: ``image`` (B, C, Y, X), ``target`` (B, Y, X).

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
            view = draw_view(
                rng, item.train.shape, config.patch_size, centre=(float(y) + 0.5, float(x) + 0.5)
            )
            patch = change_intensity(rng, cut(item.planes, view), strength=config.intensity)
            target = cut(item.train, view, labels=True).astype(np.int64)
            sample: Batch = {"image": patch.astype(np.float32), "target": target}
            if item.distance is not None:
                known = np.where(target == IGNORED, np.nan, cut(item.distance, view))
                sample["distance"] = known.astype(np.float32)
            samples.append(sample)
        batch = collate(samples)
        if self.teacher is not None:
            patches = self._patches(rng, self._unlabelled, self._unlabelled_cache)
            changed = [change_intensity(rng, p, strength=config.intensity) for p in patches]
            batch["unlabelled"] = np.stack(changed).astype(np.float32)
        return batch

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the loss on the annotated pixels, and the terms that are added to it."""
        images = batch["image"]
        count, terms = len(images), {}
        if self.teacher is not None:
            images = torch.cat([images, batch["unlabelled"]])
        if self.model.spec.objects:
            logits, distance = self.model.with_distance(images)
            error = distance_loss(distance[:count], batch["distance"])
            terms["distance"] = self.training_config.distance_weight * error
        else:
            logits = self.model(images)
        if self.teacher is not None:
            terms["consistency"] = self.teacher.consistency(logits[count:], images[count:])
        logits = logits[:count]
        supervised = LOSSES[self.training_config.loss](logits, batch["target"])
        if self._pulled:
            terms["l2_start"] = 0.5 * self.training_config.l2_start * self._moved()
        if not terms:
            return {"loss": supervised}
        return {
            "loss": supervised + torch.stack([*terms.values()]).sum(),
            "supervised": supervised,
            **terms,
        }

    def _moved(self) -> Tensor:
        """Give the squared distance of the pretrained weights from their start."""
        squares = [
            (parameter - self.get_buffer(self._start_of[parameter])).square().sum()
            for parameter in self._pulled
        ]
        return torch.stack(squares).sum()

    @torch.no_grad()
    def kept(self) -> SegmentationModel:
        """Give the average of what was learned and of the start, where `start_share` asks for it."""
        share = self.training_config.start_share
        if not share:
            return self.model
        model = copy.deepcopy(self.model).eval()
        mine = dict(model.named_parameters())
        for name, parameter in self.model.named_parameters():
            if parameter in self._start_of:
                mine[name].lerp_(self.get_buffer(self._start_of[parameter]), share)
        return model

    def after_step(self, step: int, total: int) -> None:
        """Let the teacher follow, and note that distances have been learned."""
        if self.model.spec.objects:
            self.model.distance_learned.fill_(True)
        if self.teacher is not None:
            self.teacher.follow(self.model, step, total)

    def validate(self) -> dict[str, float]:
        """Give the Dice score over held-out pixels, and the mean error of distances that are known there.

        Nothing before a map of distances that was asked for is learned.
        """
        if self.model.spec.objects and not bool(self.model.distance_learned):
            return {}
        return self._validated(self.kept())

    def _validated(self, model: SegmentationModel) -> dict[str, float]:
        device = next(model.parameters()).device
        errors = []

        def pairs() -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
            for item in self._readable(name for name in self.annotated if self._held[name].any()):
                seen = item.validation != IGNORED
                maps = predict_maps(model, item.planes, device=device, tiles=self._tiles)
                if maps.distance is not None and item.distance is not None:
                    error = np.abs(maps.distance - item.distance)[seen]
                    errors.append(error[np.isfinite(error)])
                yield maps.chances.argmax(0)[seen], item.validation[seen].astype(np.int64)

        measured = self._score(pairs())
        if measured and sum(map(len, errors)):
            error = float(np.concatenate(errors).mean(dtype=np.float64))
            measured |= {"distance": error, "score": measured["score"] - error}
        return measured

    def rival(self, measured: dict[str, float]) -> Rival | None:
        """Make what training has to surpass beside the network that it starts from.

        A linear probe on the features that training starts from: the same fit as the mode ``probe``. With few
        annotations it is often better than what training from it gives, and a network's own head is random where
        the run before had other classes. Where batch statistics were measured anew, the network as it was before
        that, and a probe on its features, are rivals as well.
        """
        if "dice" not in measured:
            return None
        rivals = [self._probed(self.model)]  # before the first step it is what is kept
        text = "validation Dice is {} as the network is, and {} with a linear probe on its features"
        if self._statistics == "reestimated":
            before = self._before_prepare()
            rivals += [Rival(model=before, measured=self._validated(before)), self._probed(before)]
            text += "; with the batch statistics it came with {} and {}"
        if not all(rival.measured for rival in rivals):  # their files have gone
            return None
        scores = [measured, *(rival.measured for rival in rivals)]
        told = text.format(*(f"{score['dice']:.3f}" for score in scores))
        self.tell(
            f"Before training, {told}. The best of them is kept unless training surpasses it.",
            level="info",
        )
        return max(rivals, key=lambda rival: rival.measured["score"])

    def _before_prepare(self) -> SegmentationModel:
        """Copy the model, with the batch statistics that its encoder came with."""
        model = copy.deepcopy(self.model).eval()
        for number, values in enumerate(encoder_statistics(model)):
            values.copy_(self.get_buffer(f"statistics_{number}"))
        return model

    def _probed(self, start: SegmentationModel) -> Rival:
        """Fit a linear probe to the features of a network; its measures are empty if no annotation can be read."""
        device = next(start.parameters()).device
        model = SegmentationModel(start.spec.model_copy(update={"head": "probe"}))
        model.load_state_dict(start.state_dict(), strict=False)  # all but the probe
        model.eval().to(device)
        calibrate(model, self.project, device=device, tell=self.tell)
        rng = np.random.default_rng(0)
        embedded = [
            embedded_pixels(
                model,
                item,
                images=len(self.annotated),
                rng=rng,
                device=device,
                tiles=self._tiles,
                validation=False,
            )
            for item in self._readable(self.annotated)
        ]
        if not any(len(item.target) for item in embedded):  # their files have gone
            return Rival(model=model, measured={})
        pixels = np.concatenate([item.train for item in embedded])
        targets = np.concatenate([item.target for item in embedded])
        probe = LinearProbe(
            pixels, classes=len(model.spec.classes), l2=self.training_config.probe_l2
        )
        probe.converge(pixels, targets)
        probe.fold_into(model.probe)
        return Rival(model=model, measured=self._validated(model))


def _all_measured(task: nn.Module, state: dict[str, Tensor], *_: Any) -> None:
    """Go on as it began with a run that was stopped before decoder stages were told apart (November 2026)."""
    state.setdefault("decoder_measured", torch.ones_like(task.get_buffer("decoder_measured")))
