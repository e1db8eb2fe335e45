"""DiCoH: dense contrast with diverse positive pixels and whole images as negatives."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_medssl.config import Config, advanced
from napari_medssl.errors import MedsslError
from napari_medssl.learn.augment import (
    View,
    add_noise,
    blur,
    change_colour,
    change_intensity,
    cut,
    draw_view,
    matched_cells,
)
from napari_medssl.learn.collapse import CollapseWatch
from napari_medssl.learn.contrast import contrast, log_sum_of_negatives
from napari_medssl.learn.networks import stage_strides
from napari_medssl.learn.patches import Batch, Cache, step_rng
from napari_medssl.learn.picture import beside
from napari_medssl.learn.pretext.base import Layer, PretextMethod
from napari_medssl.learn.queue import KeyQueue
from napari_medssl.learn.task import to_device
from napari_medssl.project.images import split_plane
from napari_medssl.project.working_scale import ScaledImages, ScaleRule, to_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.learn.networks import NetworkConfig, SegmentationModel
    from napari_medssl.project import Project

__all__ = ["DiCoH", "DiCoHConfig", "queue_size"]

PREFILLED = 1024
"""Keys computed before the first step; larger queues grow to their size while training."""


class DiCoHConfig(Config):
    """Settings of DiCoH."""

    local_weight: float = advanced(0.5, ge=0, le=1)
    """Weight of the pixels' loss; the images' loss has the rest (lambda of the paper)."""
    temperature: float = advanced(0.2, gt=0, le=10)
    """Divides the similarities in all losses."""
    positives: Literal["both", "spatial", "similarity", "none"] = advanced("both")
    """Which pixels of the other view are positives: those at the same place, the most similar one, or both."""
    negatives: Literal["image", "pixel"] = advanced("image")
    """What a pixel is contrasted with: whole images (the method), or single pixels of other images (its ablation)."""
    percentile: float | None = advanced(None, ge=0, lt=100)
    """Negatives less similar to a pixel than this percentile are left out. Empty: 75, or 0 for queues below 1024."""
    queue: int | None = advanced(None, ge=2, le=1_000_000)
    """Length of the queue of negatives. Empty: half the number of images, from 256 to 65536."""
    momentum: float | None = advanced(None, ge=0, le=1)
    """Of the target network's moving average. Empty: 1 - 10 / steps, from .9 to .999."""
    features: Literal["decoder", "encoder"] = advanced("decoder")
    """What is trained: encoder and first decoder stages (DeepLabV3: its pyramid), or the encoder alone."""
    stride: Literal["auto", "4", "8", "16"] = advanced("auto")
    """Pixels per cell of a U-Net's stage that is compared; the paper's DeepLabV3 has 16, small objects need 4 or 8."""
    dimension: int = advanced(128, ge=4, le=4096)
    """Length of the vectors that are compared."""
    hidden: int = advanced(512, ge=4, le=8192)
    """Width of the projector's hidden layer."""
    global_projector: bool = advanced(False)
    """Ablation: images have a projector of their own."""
    predictor: bool = advanced(False)
    """Ablation: the online network has one more projection (an asymmetric architecture)."""
    symmetrised: bool = advanced(False)
    """Whether both views are query and key in turn; the paper's equations have one direction."""
    min_crop: float = advanced(0.2, gt=0, le=1)
    """Smallest crop of the random crop-resize, as a share of the largest one's area."""
    turns: bool = advanced(False)
    """Whether views are turned by multiples of 90 degrees beside being mirrored (not in the paper)."""
    intensity: float = advanced(0.4, ge=0, lt=1)
    """Strength of the changes of brightness, contrast, hue and saturation."""
    blur: float = advanced(1.0, ge=0, le=10)
    """Largest Gaussian blur, pixels."""
    noise: float = advanced(0.05, ge=0, le=1)
    """Largest standard deviation of the Gaussian noise, as a share of the value range."""


def queue_size(images: int) -> int:
    """Give the default length of the queue for a folder."""
    return min(max(images // 2, 256), 65536)


class Projector(nn.Sequential):
    """1 x 1 convolution, ReLU, 1 x 1 convolution; no batch norm (the head of CP2)."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, outputs, 1)
        )


@dataclass(frozen=True)
class Branch:
    """What one network says about a batch of views."""

    features: Tensor  # (B, cells, C1), h of the paper
    pixels: Tensor  # (B, cells, D), normalised z
    image: Tensor  # (B, D), normalised mean of normalised pixels


class Siamese(nn.Module):
    """A segmentation network's encoder (and decoder up to a stage) with its projectors."""

    def __init__(self, model: SegmentationModel, config: DiCoHConfig) -> None:
        super().__init__()
        self.model = model
        self.stage = _stage(
            model.spec.network, config
        )  # number of decoder stages; 0 is the encoder alone
        width = model.stage_widths[self.stage - 1] if self.stage else model.encoder_width
        self.project = Projector(width, config.hidden, config.dimension)
        self.project_image = (
            Projector(width, config.hidden, config.dimension) if config.global_projector else None
        )

    @property
    def stride(self) -> int:
        """Pixels per cell."""
        return self.model.stage_strides[self.stage - 1] if self.stage else self.model.encoder_stride

    def maps(self, images: Tensor) -> Tensor:
        """Give the features h of views ``(B, C, Y, X)``: ``(B, C1, Y/s, X/s)``."""
        model = self.model
        return (model.stages(images, count=self.stage) if self.stage else model.encode(images))[-1]

    def forward(self, images: Tensor, predict: nn.Module | None = None) -> Branch:
        """Represent views ``(B, C, Y, X)``."""
        maps = self.maps(images)
        projected = self.project(maps)
        pixels = _cells(projected if predict is None else predict(projected))
        of_image = pixels
        if self.project_image is not None:
            whole = self.project_image(maps)
            of_image = _cells(whole if predict is None else predict(whole))
        return Branch(
            features=maps.flatten(2).transpose(1, 2),
            pixels=pixels,
            image=F.normalize(of_image.mean(1), dim=1),
        )


def _cells(maps: Tensor) -> Tensor:
    return F.normalize(maps.float().flatten(2).transpose(1, 2), dim=2)  # (B, cells, D)


def _stage(network: NetworkConfig, config: DiCoHConfig) -> int:
    if config.features == "encoder":
        return 0
    strides = stage_strides(network)
    if config.stride == "auto":
        return next((n for n, stride in enumerate(strides, 1) if stride <= 8), 1)
    if int(config.stride) not in strides:
        raise MedsslError(
            f"This {network.architecture} has no stage of stride {config.stride}.",
            advice=f"Set stride to auto or one of {', '.join(str(s) for s in strides if s >= 4)}.",
        )
    return strides.index(int(config.stride)) + 1


class DiCoH(PretextMethod, key="dicoh", title="DiCoH"):
    """Learns features of small regions by contrasting two views of an image with a queue of other images.

    A cell of one view is pulled towards the cell of the other view at the same place in the image, and towards
    the one that is most similar to it; it is pushed away from the most similar of a queue of whole images. The
    second view goes through a target network, a moving average of the trained one. For images that all look
    alike; start it from ImageNet weights or from another pretraining.

    Settled here, as the paper does not say (each a setting): projector, temperature, momentum, crops. The
    queue holds patches' keys, is filled before the first step, and never offers an image keys of its own
    unit: of the images of its group (a patient, a field), where the project has groups, else of its file. Where
    all images are of one unit, each is one of its own, which is told.

    Cells are matched by the centres of the pixels they stand for. Strided convolutions look a little to one side of
    these, and to the other in a mirrored view: by almost half a cell each with random weights (3.5 pixels at stride 8
    in MobileNetV2), so that spatial positives of views mirrored against each other are then up to one cell apart; by a
    fraction of that with ImageNet's (``benchmarks/feature_shift.py``). As it depends on the weights, it is not
    compensated.

    References
    ----------
    "DiCoH: Rethinking Self-Supervised Pretraining for Semantic Segmentation in Homogenous Medical Domains",
    equations 1 to 5.
    """

    paper: ClassVar[str] = (
        "DiCoH: Rethinking Self-Supervised Pretraining for Semantic Segmentation in Homogenous Medical Domains"
    )
    config_type: ClassVar[type[Config]] = DiCoHConfig
    config: DiCoHConfig

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        if len(self.images) < 2:
            raise MedsslError(
                "DiCoH contrasts images with each other, and there is only one.",
                advice="Add images, or choose Pix2Rep or MedSASS.",
            )
        config = self.config
        self._units = self._number_units()
        self._cache: Cache[NDArray[np.float32]] = Cache(self.scaled.planes)
        self._rgb = self.project.settings.channels == ("red", "green", "blue")
        self.online = Siamese(self.model, config)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.predict = (
            Projector(config.dimension, config.hidden, config.dimension)
            if config.predictor
            else None
        )
        length = config.queue or queue_size(len(self.images))
        self.queue = KeyQueue(length, config.dimension)
        self._fresh: list[tuple[Tensor, Tensor, Tensor]] = []  # what the queue takes
        self.watch = CollapseWatch(
            config.dimension,
            remedy="Stop, and train again from ImageNet weights or another run, with a lower learning rate or "
            "a longer queue, and without a predictor.",
        )
        spec = self.model.spec
        if spec.network.encoder_weights == "none" and len(spec.ancestry) < 2:
            self.notes.append(
                "DiCoH starts from random weights, from which it learns little (the paper's mean IoU: .25 "
                "against .63): better start from ImageNet weights or from a MedSASS or Pix2Rep run."
            )

    def _number_units(self) -> dict[str, int]:
        """Give image -> the number of its unit: the project's group, else the file; images where that is one."""
        groups = self.project.groups()
        units = {name: groups.get(name, split_plane(name)[0]) for name in self.images}
        if len(set(units.values())) < 2:
            self.notes.append(
                f"All {len(self.images)} images belong to one {'group' if groups else 'file'}, so DiCoH contrasts "
                "them with each other, also those that show nearly the same, such as neighbouring planes."
            )
            units = {name: name for name in self.images}
        numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units.values()))}
        return {name: numbers[unit] for name, unit in units.items()}

    @classmethod
    def trained_stages(cls, config: DiCoHConfig, network: NetworkConfig) -> int:
        """Count those up to the one that is compared; 0 where the encoder alone is trained."""
        return _stage(network, config)

    def sample(self, name: str, rng: np.random.Generator) -> Batch:
        """Draw two views ``query`` and ``key`` (C, Y, X) that overlap, and which cells show the same."""
        planes = self._cache(name)
        start, end = draw_views(self.config, rng, planes.shape[1:], self.training_config.patch_size)
        stride = self.online.stride
        sample: Batch = {
            "query": self._look(rng, cut(planes, start)),
            "key": self._look(rng, cut(planes, end)),
            "match": matched_cells(start, end, stride),
            "unit": np.array(self._units[name]),
            "pixel": np.array(rng.integers((start.size // stride) ** 2)),
        }
        if self.config.symmetrised:
            sample["match_back"] = matched_cells(end, start, stride)
        return sample

    def projected(self, images: Tensor) -> Tensor:
        """Give the projector's output z of the online network, ``(B, D, Y/s, X/s)``."""
        projected: Tensor = self.online.project(self.online.maps(images))
        return projected

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the weighted sum of the local and the global loss, and how alike pairs are."""
        if self.queue.held == 0:
            self._prefill(batch["query"].device)
        held = self.queue.held
        self._fresh = []
        keep = _kept(self.config.percentile, len(self.queue), held)
        losses = self._one_way(batch["query"], batch["key"], batch["match"], batch, keep)
        if self.config.symmetrised:
            back = self._one_way(batch["key"], batch["query"], batch["match_back"], batch, keep)
            losses = {name: (value + back[name]) / 2 for name, value in losses.items()}
        self.watch.see(losses["feature_std"])
        filled = losses["loss"].new_tensor(held / len(self.queue))
        return losses | {"queue_filled": filled}

    def after_step(self, step: int, total: int) -> None:
        """Let the target network follow, and put this step's keys into the queue."""
        momentum = self.config.momentum
        if momentum is None:
            momentum = min(max(1 - 10 / total, 0.9), 0.999)
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), self.online.parameters(), strict=True):
                slow.lerp_(fast, 1 - momentum)
            for fresh in self._fresh:
                self.queue.put(*fresh)
        warning = self.watch.warning(step)
        if warning:
            self.tell(warning)

    def _one_way(
        self, queries: Tensor, keys: Tensor, match: Tensor, batch: dict[str, Tensor], keep: int
    ) -> dict[str, Tensor]:
        config = self.config
        query = self.online(queries, self.predict)
        with torch.no_grad():
            key = self.target(keys)
        self._fresh.append((key.image, _picked(key.pixels, batch["pixel"]), batch["unit"]))
        of_images = log_sum_of_negatives(
            query.image,
            self.queue.keys,
            self.queue.from_others(batch["unit"]),
            temperature=config.temperature,
        )
        whole = contrast(
            (query.image * key.image).sum(1), of_images, temperature=config.temperature
        ).mean()
        local, positive = self._local(query, key, match, batch["unit"], keep)
        loss = config.local_weight * local + (1 - config.local_weight) * whole
        with torch.no_grad():
            others = self.queue.mean_of_others(batch["unit"], of_pixels=config.negatives == "pixel")
            # The product of means is the mean of all products.
            negative = (query.pixels.mean(1) * others).sum(1).mean()
        return {
            "loss": loss,
            "local_loss": local.detach(),
            "global_loss": whole.detach(),
            "positive_similarity": positive,
            "negative_similarity": negative,
            "feature_std": key.pixels.flatten(0, 1).std(0).mean(),  # the target's, as in Fig. 4a
        }

    def _local(
        self, query: Branch, key: Branch, match: Tensor, units: Tensor, keep: int
    ) -> tuple[Tensor, Tensor]:
        """Give the local loss (equation 3), and the similarity of cells at the same place."""
        config = self.config
        seen = match >= 0  # (B, cells)
        same_place = (query.pixels * _taken(key.pixels, match.clamp_min(0))).sum(2)
        overlap = seen.sum().clamp_min(1)
        positive = (same_place.detach() * seen).sum() / overlap
        if config.positives == "none":
            return positive.new_zeros(()), positive
        count, cells, dimension = query.pixels.shape
        negatives = log_sum_of_negatives(
            query.pixels.reshape(count * cells, dimension),
            self.queue.pixels if config.negatives == "pixel" else self.queue.keys,
            self.queue.from_others(units.repeat_interleave(cells)),
            temperature=config.temperature,
            keep=keep,
        ).view(count, cells)
        loss = positive.new_zeros(())
        if config.positives in ("both", "spatial"):
            each = contrast(same_place, negatives, temperature=config.temperature)
            loss = loss + (each * seen).sum() / overlap  # equation 4
        if config.positives in ("both", "similarity"):
            alike = (
                query.pixels * _taken(key.pixels, most_similar(query.features, key.features))
            ).sum(2)
            loss = (
                loss + contrast(alike, negatives, temperature=config.temperature).mean()
            )  # equation 5
        return loss, positive

    @torch.no_grad()
    def _prefill(self, device: torch.device) -> None:
        """Fill the queue with keys from all over the folder: without negatives there is nothing to learn."""
        rng = step_rng(self.seed, 2**31)  # no training step has this number
        left = min(len(self.queue), PREFILLED)
        while left > 0:
            batch = to_device(self.batch(rng), device, torch.contiguous_format)
            key = self.target(batch["key"])
            self.queue.put(key.image, _picked(key.pixels, batch["pixel"]), batch["unit"])
            left -= len(key.image)

    def _look(self, rng: np.random.Generator, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        return change(self.config, patch, rng, rgb=self._rgb)

    @classmethod
    def preview(
        cls, config: Config, project: Project, name: str, *, scale: ScaleRule, patch: int
    ) -> list[Layer]:
        """Show two views and cells at the same place in both."""
        if not isinstance(config, DiCoHConfig):
            raise MedsslError(f"DiCoH takes a DiCoHConfig, not a {type(config).__name__}.")
        factor = ScaledImages(project, scale).factor(name)
        planes = to_network(project.planes(name), factor)
        rng = np.random.default_rng(0)
        size, stride = patch, 8 if config.stride == "auto" else int(config.stride)
        start, end = draw_views(config, rng, planes.shape[1:], size)
        rgb = project.settings.channels == ("red", "green", "blue")
        query, key = (change(config, cut(planes, view), rng, rgb=rgb) for view in (start, end))
        match = matched_cells(start, end, stride)
        both = np.flatnonzero(match >= 0)
        shown = (
            both[np.unique(np.linspace(0, len(both) - 1, 12).astype(int))] if len(both) else both
        )
        points = [_centres(cells, size, stride) for cells in (shown, match[shown])]
        picture = beside(planes.shape[1:], [(start, query, points[0]), (end, key, points[1])])
        text = (
            f"On the image: the frames of two views. Beside it: what the networks see. Points of one colour "
            f"are positives at the same place; {100 * len(both) / len(match):.0f}% of the first view's cells "
            "have one."
        )
        return [Layer(name="two views", kind="image", data=picture, text=text, pixel=factor)]


def draw_views(
    config: DiCoHConfig, rng: np.random.Generator, shape: tuple[int, ...], size: int
) -> tuple[View, View]:
    """Draw two views of an image (Y, X) that have at least one point in common."""
    height, width = shape
    centre = (rng.uniform(0, height), rng.uniform(0, width))
    start, end = (
        draw_view(
            rng,
            (height, width),
            size,
            crop=(config.min_crop, 1.0),
            rotations=config.turns,
            centre=centre,
        )
        for _ in range(2)
    )
    return start, end


def change(
    config: DiCoHConfig, patch: NDArray[np.float32], rng: np.random.Generator, *, rgb: bool
) -> NDArray[np.float32]:
    """Change the colours of a patch in [0, 1], blur it, add noise."""
    changed = change_colour(rng, patch, strength=config.intensity / 2, rgb=rgb)
    changed = change_intensity(rng, changed, strength=config.intensity)
    changed = blur(rng, changed, sigma=config.blur)
    return add_noise(rng, changed, sigma=config.noise)


@torch.no_grad()
def most_similar(query: Tensor, key: Tensor) -> Tensor:
    """Give the key cell that is most similar to each query cell (the map M), ``(B, cells)``.

    Cosine similarity of features ``(B, cells, C)``, image by image to bound the memory.
    """
    nearest = [
        (F.normalize(q.float(), dim=1) @ F.normalize(k.float(), dim=1).T).argmax(1)
        for q, k in zip(query, key, strict=True)
    ]
    return torch.stack(nearest)


def _taken(pixels: Tensor, cells: Tensor) -> Tensor:
    return pixels.gather(1, cells[:, :, None].expand(-1, -1, pixels.shape[2]))


def _picked(pixels: Tensor, cells: Tensor) -> Tensor:
    return pixels[torch.arange(len(cells), device=cells.device), cells]  # (B, D)


def _kept(percentile: float | None, length: int, held: int) -> int:
    """Give the number of hard negatives among the keys that a queue of this length holds now."""
    if percentile is None:
        percentile = 75 if length >= 1024 else 0
    return max(1, round(held * (1 - percentile / 100)))


def _centres(cells: NDArray[np.int64], size: int, stride: int) -> NDArray[np.float64]:
    rows, columns = np.divmod(cells, size // stride)
    return stride * np.stack([columns, rows], axis=1) + (stride - 1) / 2
