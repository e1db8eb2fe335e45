"""MedSASS: a network learns to reproduce, under augmentation, each image's own threshold mask."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_medssl.config import Config, advanced
from napari_medssl.errors import MedsslError
from napari_medssl.learn.augment import change_intensity, cut, draw_view
from napari_medssl.learn.losses import focal, focal_tversky
from napari_medssl.learn.patches import Batch, Cache, collate, step_rng
from napari_medssl.learn.pretext.base import Layer, PretextMethod
from napari_medssl.learn.task import UNREADABLE, PretrainingConfig, to_device
from napari_medssl.learn.thresholds import (
    adaptive_mask,
    bright_side,
    ght_threshold,
    multi_otsu,
    otsu_threshold,
    vote,
)
from napari_medssl.project.units import units_of
from napari_medssl.project.working_scale import ScaleRule, to_network, to_targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.project import ClassInfo, Project

__all__ = ["MedSASS", "MedSASSConfig", "foreground_is_dark", "pseudo_label"]

FLAT = 1e-3
"""Patches whose standard deviation (of values in [0, 1]) is below this show nothing to learn."""
MAX_REDRAWS = 10
VALIDATION_PATCHES = 64
TITLES = {
    "otsu": "Otsu's threshold",
    "ght": "the generalized histogram threshold",
    "adaptive_mean": "the adaptive mean threshold",
    "adaptive_gaussian": "the adaptive Gaussian threshold",
    "multi_otsu": "Otsu's method",
}


class MedSASSConfig(Config):
    """Settings of MedSASS."""

    threshold: Literal["otsu", "ght", "adaptive_mean", "adaptive_gaussian", "multi_otsu"] = "otsu"
    """How an image is divided: Otsu's threshold (the paper's choice), generalized histogram thresholding, the mean of
    each pixel's neighbourhood (plain or Gaussian), or Otsu's method for several classes (ours)."""
    polarity: Literal["auto", "bright", "dark"] = "auto"
    """Which side of the threshold is foreground; auto looks at the folder once: the side that touches
    the image borders less, or else the smaller one."""
    threshold_scope: Literal["image", "patch"] = "image"
    """Threshold of the whole image (steady on patches without objects), or of each patch (the paper)."""
    classes: int = advanced(3, ge=3, le=4)
    """Number of classes of multi_otsu. They have a last layer of their own: no prediction without fine-tuning."""
    block: int = advanced(51, ge=3, le=1001)
    """Side of the neighbourhood of the adaptive thresholds in an image of 224 pixels; grows with the image."""
    offset: float = advanced(2.0, ge=-255, le=255)
    """How far below its neighbourhood's mean a pixel still is bright, in 1/255 of the image's range (adaptive)."""
    ght_nu: float = advanced(0.0, ge=0, le=1e12)
    """Generalized histogram thresholding: strength of the belief in `ght_tau`; 0 is minimum-error thresholding."""
    ght_tau: float = advanced(0.0, ge=0, le=256)
    """Generalized histogram thresholding: expected standard deviation of both sides, in 1/256 of the range."""
    ght_kappa: float = advanced(0.0, ge=0, le=1e12)
    """Generalized histogram thresholding: strength of the belief in `ght_omega`, in pixels."""
    ght_omega: float = advanced(0.5, ge=0, le=1)
    """Generalized histogram thresholding: expected share of the dark side."""
    loss: Literal["focal_tversky", "tversky", "focal", "cross_entropy"] = advanced("focal_tversky")
    """The paper's loss, or those of its ablation."""
    alpha: float = advanced(0.7, ge=0, le=10)
    """Weight of missed foreground (false negatives) in the focal Tversky loss."""
    beta: float = advanced(0.3, ge=0, le=10)
    """Weight of false foreground (false positives) in the focal Tversky loss."""
    gamma: float = advanced(0.75, gt=0, le=10)
    """Exponent of the focal Tversky loss."""
    focal_gamma: float = advanced(2.0, ge=0, le=10)
    """Exponent of the focal loss."""
    smooth: float = advanced(1.0, gt=0, le=1e6)
    """Added to numerator and denominator of the Tversky index."""
    min_crop: float = advanced(0.5, gt=0, le=1)
    """Smallest crop of the random crop-resize, as a share of the largest one's area."""
    intensity: float = advanced(0.2, ge=0, lt=1)
    """Strength of the brightness and contrast changes."""
    held_out: float = advanced(0.1, ge=0, le=0.5)
    """Share of the images kept for validation, at least 2 and whole groups (patients, files); none in folders below 20
    images."""


@dataclass(frozen=True)
class _Image:
    planes: NDArray[np.float32]
    mask: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        return self.planes.nbytes + self.mask.nbytes


class MedSASS(PretextMethod, key="medsass", title="MedSASS"):
    """Learns to segment each image the way its own threshold does, under augmentation.

    A pseudo-label is made from every image by Otsu's threshold on its grey values before
    normalisation; the whole encoder-decoder is trained to reproduce it with the focal Tversky loss.
    Transfers with its decoder and can segment without any annotation.

    Deviations from the paper, each a setting: the threshold is the whole image's, and its mask
    follows the crop (`threshold_scope`); the foreground may be the dark side (`polarity`); crops,
    flips, quarter turns and intensity changes are settled here, as the paper does not state its augmentations.

    References
    ----------
    Singh and Cirrone, "Exploring Intrinsic Properties of Medical Images for Self-Supervised Binary
    Semantic Segmentation", section 3.3.
    """

    paper: ClassVar[str] = (
        "Singh and Cirrone, Exploring Intrinsic Properties of Medical Images for Self-Supervised "
        "Binary Semantic Segmentation"
    )
    config_type: ClassVar[type[Config]] = MedSASSConfig
    config: MedSASSConfig

    def __init__(
        self,
        *,
        config: Config,
        model: SegmentationModel,
        project: Project,
        training: PretrainingConfig,
        seed: int,
    ) -> None:
        super().__init__(config=config, model=model, project=project, training=training, seed=seed)
        self._dark = foreground_is_dark(self.config, project)
        several = self.config.threshold == "multi_otsu"
        self._head = (
            nn.Conv2d(model.stage_widths[-1], self.config.classes, 3, padding=1)
            if several
            else None
        )
        if self.config.polarity == "auto" and not several:
            self.notes.append(
                f"Foreground is the {'dark' if self._dark else 'bright'} side of the threshold "
                "(voted over the folder; set polarity to choose)."
            )
        self._cache: Cache[_Image] = Cache(self._load)
        self._held_out: tuple[str, ...] = ()
        if len(project.images) >= 20 and self.config.held_out > 0:
            count = max(2, round(self.config.held_out * len(project.images)))
            held = _held_out(project, count, np.random.default_rng(seed))
            self._held_out = tuple(sorted(held))
            self.images = tuple(name for name in project.images if name not in held)
            self.notes.append(
                f"{len(held)} of {len(project.images)} images are held out for validation."
                if held
                else "No images are held out for validation: most of them belong together."
            )
        self._validation: Batch | None = None

    @staticmethod
    def output_classes(project: Project) -> tuple[ClassInfo, ...]:
        """Background and the project's first class."""
        return project.settings.classes[:2]

    @classmethod
    def segments(cls, config: MedSASSConfig) -> bool:
        """Pseudo-labels of two classes are learned by the last layer itself; more have a layer of their own."""
        return config.threshold != "multi_otsu"

    def sample(self, name: str, rng: np.random.Generator) -> Batch:
        """Draw a patch ``image`` (C, Y, X) with its pseudo-label ``mask`` (Y, X), classes from 0."""
        image = self._cache(name)
        size = self.training_config.patch_size
        for _ in range(MAX_REDRAWS):
            view = draw_view(rng, image.mask.shape, size, crop=(self.config.min_crop, 1.0))
            patch = cut(image.planes, view)
            if patch.std() > FLAT:
                break
        mask = cut(image.mask, view, labels=True)
        patch = change_intensity(rng, patch, strength=self.config.intensity)
        if self.config.threshold_scope == "patch":
            mask = pseudo_label(self.config, _grey(patch), dark=self._dark)
        return {"image": patch.astype(np.float32), "mask": mask}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the loss between the network's classes and the pseudo-label's."""
        config = self.config
        logits, target = self._logits(batch["image"]).float(), batch["mask"].long()
        if config.loss == "cross_entropy":
            return {"loss": F.cross_entropy(logits, target)}
        if config.loss == "focal":
            return {"loss": focal(logits, target, gamma=config.focal_gamma)}
        probability = logits.softmax(1)
        # Of two classes only the foreground counts, as in the paper; of several each against the others.
        counted = range(1, 2) if self._head is None else range(config.classes)
        losses = [
            focal_tversky(
                probability[:, number],
                target == number,
                alpha=config.alpha,
                beta=config.beta,
                gamma=config.gamma if config.loss == "focal_tversky" else 1.0,
                smooth=config.smooth,
            )
            for number in counted
        ]
        return {"loss": torch.stack(losses).mean()}

    def _logits(self, images: Tensor) -> Tensor:
        if self._head is None:
            return self.model(images)  # type: ignore[no-any-return]  # (B, 2, Y, X)
        return self._head(self.model.stages(images)[-1])  # type: ignore[no-any-return]  # (B, classes, Y, X)

    def validate(self) -> dict[str, float]:
        """Give the pseudo-label loss on held-out images; its negative is the score."""
        if not self._held_out:
            return {}
        if self._validation is None:
            self._validation = self._held_out_patches()
        device = next(self.parameters()).device
        size = self.training_config.batch_size
        losses = []
        for start in range(0, len(self._validation["mask"]), size):
            part = {key: value[start : start + size] for key, value in self._validation.items()}
            tensors = to_device(part, device, torch.contiguous_format)
            losses.append((self(tensors)["loss"].item(), len(part["mask"])))
        loss = float(np.average([v for v, _ in losses], weights=[n for _, n in losses]))
        return {"loss": loss, "score": -loss}

    def _held_out_patches(self) -> Batch:
        samples = []
        for number in range(VALIDATION_PATCHES):
            rng = step_rng(self.seed, 2**31 + number)  # no training step has this number
            name = self._held_out[number % len(self._held_out)]
            try:
                samples.append(self.sample(name, rng))
            except UNREADABLE as error:
                self.leave_out(name, error, others=self._held_out)
        return collate(samples)

    @classmethod
    def preview(
        cls, config: Config, project: Project, name: str, *, scale: ScaleRule, patch: int
    ) -> list[Layer]:
        """Show the pseudo-label of one image."""
        if not isinstance(config, MedSASSConfig):
            raise MedsslError(f"MedSASS takes a MedSASSConfig, not a {type(config).__name__}.")
        dark = foreground_is_dark(config, project)
        mask = pseudo_label(config, project.grey(name), dark=dark)
        method = TITLES[config.threshold]
        if config.threshold == "multi_otsu":
            shares = ", ".join(f"{100 * (mask == n).mean():.0f}%" for n in range(config.classes))
            text = f"The classes of {method}, from dark to bright: {shares} of this image."
            labels = mask.astype(np.uint16) + 1
            return [Layer(name="pseudo-label", kind="labels", data=labels, text=text)]
        text = (
            f"The {'dark' if dark else 'bright'} side of {method}: "
            f"{100 * mask.mean():.0f}% of this image is foreground."
        )
        foreground = cls.output_classes(project)[1].value
        labels = np.where(mask == 1, foreground, 0).astype(np.uint16)
        return [Layer(name="pseudo-label", kind="labels", data=labels, text=text)]

    def _load(self, name: str) -> _Image:
        mask = pseudo_label(self.config, self.project.grey(name), dark=self._dark)
        factor = self.scaled.factor(name)
        classes = range(self.config.classes if self._head is not None else 2)
        shares = to_targets(mask.astype(np.uint16), classes, factor)
        return _Image(
            planes=to_network(self.project.planes(name), factor),
            mask=shares.argmax(0).astype(np.uint8),
        )


def _held_out(project: Project, count: int, rng: np.random.Generator) -> set[str]:
    """Draw whole units (patients, files; see `units_of`) until they have this many images, but not more than half."""
    of, units = units_of(project), defaultdict(set)
    for name in project.images:
        units[of.get(name, name)].add(name)
    held: set[str] = set()
    for unit in rng.permutation(np.array(list(units))):
        if len(held) < count and 2 * len(held | units[unit]) <= len(project.images):
            held |= units[unit]
    return held


def pseudo_label(
    config: MedSASSConfig, grey: NDArray[np.float32], *, dark: bool
) -> NDArray[np.uint8]:
    """Give the pseudo-label of a grey image (Y, X): 0 and 1, or the class of several.

    Parameters
    ----------
    config : MedSASSConfig
        Which threshold.
    grey : ndarray of shape (Y, X)
        In any unit.
    dark : bool
        Whether the foreground is the dark side; means nothing to several classes.
    """
    if config.threshold == "multi_otsu":
        return multi_otsu(grey, config.classes)
    bright = _bright(config, grey)
    return 1 - bright if dark else bright


def _bright(config: MedSASSConfig, grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    if config.threshold in ("adaptive_mean", "adaptive_gaussian"):
        kind: Literal["mean", "gaussian"] = (
            "mean" if config.threshold == "adaptive_mean" else "gaussian"
        )
        return adaptive_mask(grey, kind=kind, block=config.block, offset=config.offset)
    if config.threshold == "ght":
        return bright_side(
            grey,
            ght_threshold(
                grey,
                nu=config.ght_nu,
                tau=config.ght_tau,
                kappa=config.ght_kappa,
                omega=config.ght_omega,
            ),
        )
    return bright_side(grey, otsu_threshold(grey))


def foreground_is_dark(config: MedSASSConfig, project: Project) -> bool:
    """Resolve the polarity; the vote of a folder is taken once for each threshold and kept in the project."""
    if config.polarity != "auto" or config.threshold == "multi_otsu":
        return config.polarity == "dark"
    key = f"medsass-polarity-{config.threshold}"
    return project.derived(key, lambda: _vote_of(config, project)) == "dark"


def _vote_of(config: MedSASSConfig, project: Project) -> str:
    every = np.unique(np.linspace(0, len(project.images) - 1, 64).round().astype(int))
    return vote([_bright(config, project.grey(project.images[i])) for i in every])


def _grey(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(planes) == 3:
        weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        grey: NDArray[np.float32] = np.tensordot(weights, planes, axes=1)
        return grey
    mean: NDArray[np.float32] = planes.mean(axis=0, dtype=np.float32)
    return mean
