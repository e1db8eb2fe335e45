"""Pix2Rep: pixel features that move with the image and do not change with its intensities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_medssl.config import Config, advanced
from napari_medssl.errors import MedsslError
from napari_medssl.learn.augment import (
    View,
    add_bias_field,
    add_noise,
    blur,
    change_gamma,
    change_intensity,
    cut,
    draw_view,
)
from napari_medssl.learn.collapse import CollapseWatch
from napari_medssl.learn.contrast import info_nce_pairs, similarity_of_pairs
from napari_medssl.learn.patches import Batch, Cache
from napari_medssl.learn.picture import beside
from napari_medssl.learn.pretext.base import Layer, PretextMethod
from napari_medssl.project.working_scale import ScaledImages, ScaleRule, to_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.project import Project

__all__ = ["Pix2Rep", "Pix2RepConfig", "PixelHead", "TwoViewsConfig", "draw_motion", "in_pixels"]

ROUNDING = 1e-3
"""Pixels by which rounding may move a coordinate over the border."""


class TwoViewsConfig(Config):
    """Settings that Pix2Rep and Pix2Rep-v2 share."""

    dimension: int = advanced(64, ge=4, le=4096)
    """Length of the vectors that are compared; 64 suits a CPU, 256 a GPU."""
    rotation: float = advanced(180.0, ge=0, le=180)
    """Largest turn between the two views, degrees either way; 0 is the paper's ablation without rotations."""
    zoom: float = advanced(1.5, ge=1, le=4)
    """Largest scale between the two views, either way."""
    flips: bool = advanced(True)
    """Whether one view may be mirrored."""
    reversal: float = advanced(0.5, ge=0, le=1)
    """Probability that a view's intensities are reversed (1 - x). Set 0 where bright and dark must stay apart."""
    intensity: float = advanced(0.3, ge=0, lt=1)
    """Strength of the brightness and contrast changes."""
    gamma: float = advanced(0.5, ge=0, le=4)
    """Powers of the intensities lie between 1 / (1 + gamma) and 1 + gamma."""
    bias_field: float = advanced(0.3, ge=0, le=2)
    """Strength of the smooth field that the image is multiplied by."""
    blur: float = advanced(1.0, ge=0, le=10)
    """Largest Gaussian blur, pixels."""
    noise: float = advanced(0.05, ge=0, le=1)
    """Largest standard deviation of the Gaussian noise, as a share of the value range."""


class Pix2RepConfig(TwoViewsConfig):
    """Settings of Pix2Rep."""

    temperature: float = advanced(0.53, gt=0, le=10)
    """Divides the similarities in the contrastive loss."""
    pixels: int = advanced(1000, ge=2, le=1_000_000)
    """Pixels that are compared with one another (see `pixels_per`)."""
    pixels_per: Literal["batch", "image"] = advanced("batch")
    """Whether `pixels` counts for the whole batch (the authors' code) or for every image of it (the paper)."""


class PixelHead(nn.Module):
    """Projection head on single pixels: linear, batch norm, ReLU, linear; ``(N, inputs)`` to ``(N, outputs)``.

    The same as 1 x 1 convolutions on a map. What the batch norm has to know, mean and variance of the first
    layer's outputs over all pixels, follows exactly from mean and covariance of its inputs (`statistics`), so
    that the head can be applied to some of the pixels without ever holding its hidden maps of all of them.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, outputs, bias=False)  # the norm takes away a bias
        self.scale = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))
        self.second = nn.Linear(outputs, outputs)

    def statistics(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Give mean and variance of the first layer's outputs over ``(N, inputs)`` pixels."""
        mean = pixels.mean(0)
        centred = pixels - mean
        covariance = centred.T @ centred / len(pixels)
        weight = self.first.weight
        return weight @ mean, ((weight @ covariance) * weight).sum(1)

    def hidden(self, pixels: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
        """Give what the last layer sees of ``(n, inputs)`` pixels."""
        mean, variance = statistics
        scale = self.scale * (variance.clamp_min(0) + 1e-5).rsqrt()
        # Normalising what a linear layer gives is another linear layer: one product instead of five maps.
        weight, bias = self.first.weight * scale[:, None], self.shift - mean * scale
        return F.relu_(F.linear(pixels, weight, bias))

    def forward(self, pixels: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
        """Project ``(n, inputs)`` pixels."""
        projected: Tensor = self.second(self.hidden(pixels, statistics))
        return projected


def draw_motion(
    rng: np.random.Generator, *, rotation: float, zoom: float, flips: bool
) -> NDArray[np.float32]:
    """Draw a spatial transformation, as the matrix (2, 3) that torch's ``affine_grid`` takes.

    Maps coordinates (x, y, 1) in the moved image to coordinates in the original; both run from -1 to 1 over
    the image, from border to border. This is the paper's inverse of phi.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness.
    rotation : float
        Largest angle, degrees.
    zoom : float
        Largest scale, in and out. A window that is zoomed in lies anywhere in the image.
    flips : bool
        Whether to mirror, half of the time.
    """
    angle = np.deg2rad(rng.uniform(-rotation, rotation))
    scale = zoom ** rng.uniform(-1, 1)
    mirror = -1.0 if rng.integers(2) and flips else 1.0
    shift = rng.uniform(-1, 1, size=2) * max(0.0, 1 - scale)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array(
        [[mirror * cos, -sin, shift[0]], [mirror * sin, cos, shift[1]]], dtype=np.float32
    )


def in_pixels(motion: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """Turn a motion's matrix into one between pixel centres (x, y, 1) of ``size x size`` images."""
    linear = motion[:, :2].astype(np.float64)
    shift = (linear.sum(1) * (1 - size) + motion[:, 2] * size + size - 1) / 2
    return np.column_stack([linear, shift])


def visible(motion: NDArray[np.float32], size: int) -> NDArray[np.bool_]:
    """Say which pixels (Y, X) of the moved image come from inside the original, not from beyond its border."""
    matrix = in_pixels(motion, size)
    ys, xs = np.mgrid[:size, :size]
    source = np.tensordot(matrix[:, :2], np.stack([xs, ys]), axes=1) + matrix[:, 2, None, None]
    inside = (source > -ROUNDING) & (source < size - 1 + ROUNDING)
    return np.asarray(inside.all(axis=0), np.bool_)


def moved(maps: Tensor, motion: Tensor) -> Tensor:
    """Apply motions (B, 2, 3) to maps (B, C, Y, X): linear interpolation, mirrored beyond the border."""
    with torch.autocast(
        maps.device.type, enabled=False
    ):  # coordinates of half precision miss by pixels
        grid = F.affine_grid(motion.float(), list(maps.shape), align_corners=False)
        return F.grid_sample(maps.float(), grid, padding_mode="reflection", align_corners=False)


def rows_of(maps: Tensor) -> Tensor:
    """Turn maps (B, C, Y, X) into pixels (B Y X, C) in full precision; a view where memory allows."""
    return maps.float().permute(0, 2, 3, 1).flatten(0, 2)


class Pix2Rep(PretextMethod, key="pix2rep", title="Pix2Rep"):
    """Learns pixel features that follow the image's geometry and ignore its intensities, by contrast.

    Two versions of a patch differ in intensities; one of them is also turned, zoomed and mirrored (phi), for
    the other the network's output is. What lies at the same pixel then is a positive pair, all else negative.
    Trains the whole encoder-decoder; no moving average, both branches carry gradient.

    Deviations from the paper, noted on the method's page: phi moves the representation before the
    projection head, which acts on each pixel alone; pixels from beyond the border of the view are left out;
    1000 pixels are compared per batch, as in the authors' code, not per image (`pixels_per`).

    References
    ----------
    Seince, Le Folgoc, Facury de Souza and Angelini, "Dense Self-Supervised Learning for Medical Image
    Segmentation", MIDL 2024, equations 1 and 2.
    """

    paper: ClassVar[str] = (
        "Seince et al., Dense Self-Supervised Learning for Medical Image Segmentation, MIDL 2024"
    )
    config_type: ClassVar[type[Config]] = Pix2RepConfig
    config: TwoViewsConfig

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        if self.model.stage_strides[-1] != 1:
            raise MedsslError(
                f"{self.title} needs features of every pixel, and the {self.model.spec.network.architecture} "
                f"gives one for {self.model.stage_strides[-1]} x {self.model.stage_strides[-1]} of them.",
                advice='Choose the architecture "unet".',
            )
        self._cache: Cache[NDArray[np.float32]] = Cache(self.scaled.planes)
        self.head = PixelHead(self.model.stage_widths[-1], self.config.dimension)
        self.watch = CollapseWatch(
            self.config.dimension,
            remedy="Stop, and train again with a lower learning rate or weaker intensity changes.",
        )

    def sample(self, name: str, rng: np.random.Generator) -> Batch:
        """Draw two intensity versions (C, Y, X) of a patch, the motion of the second, and what is compared."""
        planes = self._cache(name)
        size = self.training_config.patch_size
        _, first, second, motion = draw_pair(self.config, planes, size, rng)
        return {
            "first": first,
            "second": second,
            "motion": motion,
            **self.compared(visible(motion, size), rng),
        }

    def compared(self, seen: NDArray[np.bool_], rng: np.random.Generator) -> Batch:
        """Draw the pixels that are compared, ``pixels`` (M,), from those that both views show."""
        config = self.config
        assert isinstance(config, Pix2RepConfig)
        parts = self.training_config.batch_size if config.pixels_per == "batch" else 1
        count = -(-config.pixels // parts)
        where = np.flatnonzero(seen)
        return {"pixels": rng.choice(where, count, replace=len(where) < count)}

    def representations(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Give phi f(v) and f(phi v'), each ``(B, D, Y, X)``."""
        views = torch.cat([batch["first"], moved(batch["second"], batch["motion"])])
        still, turned = self.model.stages(views)[-1].chunk(2)
        return moved(still, batch["motion"]), turned

    def projected(self, images: Tensor) -> Tensor:
        """Give what the head makes of every pixel, ``(B, D, Y, X)``; its statistics are those of these images."""
        maps = self.model.stages(images)[-1]
        rows = rows_of(maps)
        vectors: Tensor = self.head(rows, self.head.statistics(rows))
        return vectors.view(len(maps), *maps.shape[-2:], -1).permute(0, 3, 1, 2)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the contrastive loss of pixels at the same place, and how alike they are."""
        config = self.config
        assert isinstance(config, Pix2RepConfig)
        maps = self.representations(batch)
        size = maps[0].shape[-2] * maps[0].shape[-1]
        first_of_image = size * torch.arange(len(batch["pixels"]), device=maps[0].device)
        chosen = (batch["pixels"] + first_of_image[:, None]).flatten()
        with torch.autocast(maps[0].device.type, enabled=False):
            vectors = []
            for branch in maps:
                rows = rows_of(branch)
                vectors.append(self.head(rows[chosen], self.head.statistics(rows)))
        loss = info_nce_pairs(*vectors, temperature=config.temperature)
        told = similarity_of_pairs(*vectors)
        self.watch.see(told["feature_std"])
        return {"loss": loss, **told}

    def after_step(self, step: int, total: int) -> None:
        """Look whether the features have collapsed."""
        warning = self.watch.warning(step)
        if warning:
            self.tell(warning)

    @classmethod
    def preview(
        cls, config: Config, project: Project, name: str, *, scale: ScaleRule, patch: int
    ) -> list[Layer]:
        """Show one patch as both branches see it, with pixels that are positive pairs."""
        if not isinstance(config, TwoViewsConfig):
            raise MedsslError(f"{cls.title} takes a {cls.config_type.__name__}.")
        factor, size = ScaledImages(project, scale).factor(name), patch
        planes = to_network(project.planes(name), factor)
        rng = np.random.default_rng(0)
        start, first, second, motion = draw_pair(config, planes, size, rng)
        turned = moved(torch.from_numpy(second)[None], torch.from_numpy(motion)[None])[0].numpy()
        matrix = in_pixels(motion, size)
        end = start.inside(matrix)
        ys, xs = np.unravel_index(
            rng.choice(np.flatnonzero(visible(motion, size)), 12), (size, size)
        )
        points = np.stack([xs, ys], axis=1).astype(np.float64)  # in the second view
        before = points @ matrix[:, :2].T + matrix[:, 2]
        picture = beside(planes.shape[1:], [(start, first, before), (end, turned, points)])
        text = (
            "On the image: the patch, and what the second view shows of it. Beside it: the patch with changed "
            "intensities, and the second view, turned and changed otherwise. Points of one colour are pairs "
            "that get the same features."
        )
        return [Layer(name="pair of views", kind="image", data=picture, text=text, pixel=factor)]


def draw_pair(
    config: TwoViewsConfig, planes: NDArray[np.float32], size: int, rng: np.random.Generator
) -> tuple[View, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Draw where a patch lies, the patch in two intensity versions (C, Y, X), and a motion (2, 3)."""
    view = draw_view(rng, planes.shape[1:], size, crop=(1, 1), flips=False, rotations=False)
    patch = cut(planes, view)
    first, second = (change(config, patch, rng) for _ in range(2))
    motion = draw_motion(rng, rotation=config.rotation, zoom=config.zoom, flips=config.flips)
    return view, first, second, motion


def change(
    config: TwoViewsConfig, patch: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Change the intensities of a patch in [0, 1], with all that the paper names."""
    changed = change_gamma(rng, patch, strength=config.gamma)
    changed = add_bias_field(rng, changed, strength=config.bias_field)
    changed = change_intensity(rng, changed, strength=config.intensity)
    if rng.uniform() < config.reversal:
        changed = 1 - changed
    changed = blur(rng, changed, sigma=config.blur)
    return add_noise(rng, changed, sigma=config.noise)
