"""MedSASS: a network learns to reproduce, under augmentation, each image's own threshold mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from skimage.filters import threshold_otsu
from torch import Tensor

from napari_medssl.config import Config, advanced
from napari_medssl.errors import MedsslError
from napari_medssl.learn.augment import change_intensity, cut, draw_view
from napari_medssl.learn.losses import focal_tversky
from napari_medssl.learn.patches import Batch, Cache, collate, step_rng
from napari_medssl.learn.pretext.base import Layer, PretextMethod
from napari_medssl.learn.training import TrainingConfig, to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medssl.learn.networks import SegmentationModel
    from napari_medssl.project import ClassInfo, Project

__all__ = ["MedSASS", "MedSASSConfig", "bright_side", "otsu_threshold", "vote"]

FLAT = 1e-3
"""Patches whose standard deviation (of values in [0, 1]) is below this show nothing to learn."""
MAX_REDRAWS = 10
VALIDATION_PATCHES = 64


class MedSASSConfig(Config):
    """Settings of MedSASS."""

    polarity: Literal["auto", "bright", "dark"] = "auto"
    """Which side of the threshold is foreground; auto looks at the folder once: the side that touches
    the image borders less, or else the smaller one."""
    threshold_scope: Literal["image", "patch"] = "image"
    """Threshold of the whole image (steady on patches without objects), or of each patch (the paper)."""
    alpha: float = advanced(0.7, ge=0, le=10)
    """Weight of missed foreground (false negatives) in the focal Tversky loss."""
    beta: float = advanced(0.3, ge=0, le=10)
    """Weight of false foreground (false positives) in the focal Tversky loss."""
    gamma: float = advanced(0.75, gt=0, le=10)
    """Exponent of the focal Tversky loss."""
    smooth: float = advanced(1.0, gt=0, le=1e6)
    """Added to numerator and denominator of the Tversky index."""
    min_crop: float = advanced(0.5, gt=0, le=1)
    """Smallest crop of the random crop-resize, as a share of the largest one's area."""
    intensity: float = advanced(0.2, ge=0, lt=1)
    """Strength of the brightness and contrast changes."""
    held_out: float = advanced(0.1, ge=0, le=0.5)
    """Share of the images kept for validation (at least 2; none in folders below 20 images)."""


def otsu_threshold(grey: NDArray[np.float32]) -> float:
    """Give Otsu's threshold of a grey image; pixels above it are the bright side.

    Parameters
    ----------
    grey : ndarray of shape (Y, X)
        In any unit.

    Returns
    -------
    float
        In the image's unit; infinity for a constant image, which has no bright side.

    References
    ----------
    Otsu 1979, as in scikit-image, with 256 bins; MedSASS section 3.3.3.
    """
    if grey.min() == grey.max():
        return float("inf")
    return float(threshold_otsu(grey))


def bright_side(grey: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Give the bright side of Otsu's threshold as 0 and 1, same shape."""
    return (grey > otsu_threshold(grey)).astype(np.uint8)


def vote(masks: list[NDArray[np.uint8]]) -> Literal["bright", "dark"]:
    """Say which side of the threshold is the foreground of a folder.

    For every image, the side that covers the smaller share of the image border votes for itself; where
    both cover the same, the smaller side does.

    Parameters
    ----------
    masks : list of ndarray of shape (Y, X)
        The bright sides, as 0 and 1; one-sided masks do not vote.
    """
    votes = 0
    for mask in masks:
        area = float(mask.mean())
        if area in (0.0, 1.0):
            continue
        rim = float(np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]).mean())
        votes += 1 if (rim, area) < (1 - rim, 1 - area) else -1
    return "dark" if votes < 0 else "bright"


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
        training: TrainingConfig,
        seed: int,
    ) -> None:
        super().__init__(config=config, model=model, project=project, training=training, seed=seed)
        self._dark = foreground_is_dark(self.config, project)
        if self.config.polarity == "auto":
            self.notes.append(
                f"Foreground is the {'dark' if self._dark else 'bright'} side of the threshold "
                "(voted over the folder; set polarity to choose)."
            )
        self._cache: Cache[_Image] = Cache(self._load)
        self._held_out: tuple[str, ...] = ()
        if len(project.images) >= 20 and self.config.held_out > 0:
            count = max(2, round(self.config.held_out * len(project.images)))
            shuffled = np.random.default_rng(seed).permutation(np.array(project.images))
            self._held_out = tuple(sorted(str(name) for name in shuffled[:count]))
            held = set(self._held_out)
            self.images = tuple(name for name in project.images if name not in held)
            self.notes.append(
                f"{count} of {len(project.images)} images are held out for validation."
            )
        self._validation: Batch | None = None

    @staticmethod
    def output_classes(project: Project) -> tuple[ClassInfo, ...]:
        """Background and the project's first class."""
        return project.settings.classes[:2]

    def sample(self, name: str, rng: np.random.Generator) -> Batch:
        """Draw a patch ``image`` (C, Y, X) with its pseudo-label ``mask`` (Y, X) of 0 and 1."""
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
            mask = self._side(bright_side(_grey(patch)))
        return {"image": patch.astype(np.float32), "mask": mask}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the focal Tversky loss of the foreground probability."""
        logits = self.model(batch["image"])  # (B, 2, Y, X)
        foreground = torch.sigmoid((logits[:, 1] - logits[:, 0]).float())  # softmax of two
        config = self.config
        loss = focal_tversky(
            foreground,
            batch["mask"],
            alpha=config.alpha,
            beta=config.beta,
            gamma=config.gamma,
            smooth=config.smooth,
        )
        return {"loss": loss}

    def validate(self) -> dict[str, float]:
        """Give the pseudo-label loss on held-out images; its negative is the score."""
        if not self._held_out:
            return {}
        if self._validation is None:
            rng = step_rng(self.seed, 2**31)  # no training step has this number
            names = [self._held_out[i % len(self._held_out)] for i in range(VALIDATION_PATCHES)]
            self._validation = collate([self.sample(name, rng) for name in names])
        device = next(self.parameters()).device
        size = self.training_config.batch_size
        losses = []
        for start in range(0, VALIDATION_PATCHES, size):
            part = {key: value[start : start + size] for key, value in self._validation.items()}
            tensors = to_device(part, device, torch.contiguous_format)
            losses.append((self(tensors)["loss"].item(), len(part["mask"])))
        loss = float(np.average([v for v, _ in losses], weights=[n for _, n in losses]))
        return {"loss": loss, "score": -loss}

    @classmethod
    def preview(cls, config: Config, project: Project, name: str) -> list[Layer]:
        """Show the pseudo-label of one image."""
        if not isinstance(config, MedSASSConfig):
            raise MedsslError(f"MedSASS takes a MedSASSConfig, not a {type(config).__name__}.")
        dark = foreground_is_dark(config, project)
        mask = bright_side(project.grey(name))
        mask = 1 - mask if dark else mask
        text = (
            f"The {'dark' if dark else 'bright'} side of Otsu's threshold: "
            f"{100 * mask.mean():.0f}% of this image is foreground."
        )
        foreground = cls.output_classes(project)[1].value
        labels = np.where(mask == 1, foreground, 0).astype(np.uint16)
        return [Layer(name="pseudo-label", kind="labels", data=labels, text=text)]

    def _load(self, name: str) -> _Image:
        mask = self._side(bright_side(self.project.grey(name)))
        return _Image(planes=self.project.planes(name), mask=mask)

    def _side(self, bright: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return 1 - bright if self._dark else bright


def foreground_is_dark(config: MedSASSConfig, project: Project) -> bool:
    """Resolve the polarity; the vote of a folder is taken once and kept in the project."""
    if config.polarity != "auto":
        return config.polarity == "dark"
    voted = project.derived("medsass-polarity", lambda: _vote_of(project))
    return voted == "dark"


def _vote_of(project: Project) -> str:
    every = np.unique(np.linspace(0, len(project.images) - 1, 64).round().astype(int))
    return vote([bright_side(project.grey(project.images[i])) for i in every])


def _grey(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    if len(planes) == 3:
        weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
        grey: NDArray[np.float32] = np.tensordot(weights, planes, axes=1)
        return grey
    mean: NDArray[np.float32] = planes.mean(axis=0, dtype=np.float32)
    return mean
