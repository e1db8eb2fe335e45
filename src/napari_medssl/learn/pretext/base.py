"""What every pretext method has in common."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from napari_medssl.config import Config
from napari_medssl.errors import MedsslError
from napari_medssl.learn.patches import Batch, collate
from napari_medssl.learn.task import UNREADABLE, PretrainingConfig, Task
from napari_medssl.project.working_scale import ScaledImages, ScaleRule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_medssl.learn.networks import NetworkConfig, SegmentationModel
    from napari_medssl.project import ClassInfo, Project

__all__ = ["Layer", "PretextMethod"]


@dataclass(frozen=True)
class Layer:
    """Something to look at over an image, before any training."""

    name: str
    kind: Literal["labels", "image"]
    data: NDArray[np.generic]
    """``(Y, X)``; an image may have ``(Y, X, 3)`` or ``(Y, X, 4)`` colours (uint8, RGBA), and be
    larger than the image it lies over to show more beside it."""
    text: str
    """What it shows, as a sentence."""
    pixel: float = 1.0
    """File pixels per pixel of `data`."""


class PretextMethod(Task):
    """Base of all pretext methods: a `Task` whose batches come from unlabelled images.

    Class attributes, set in the class statement or body: `key` (lower case, for files and the shell),
    `title` (the paper's name), `paper` (citation), `config_type` (settings). The summary is the first
    line of the class docstring.
    """

    registry: ClassVar[dict[str, type[PretextMethod]]] = {}
    key: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str] = ""
    config_type: ClassVar[type[Config]] = Config

    def __init_subclass__(cls, *, key: str, title: str, **kwargs: object) -> None:
        """Register the method; a second method under one key is refused."""
        super().__init_subclass__(**kwargs)
        known = PretextMethod.registry.get(key)
        if known is not None and known.__qualname__ != cls.__qualname__:
            raise TypeError(f"pretext method {key!r} is defined by both {known} and {cls}")
        cls.key, cls.title = key, title
        PretextMethod.registry[key] = cls

    def __init__(
        self,
        *,
        config: Config,
        model: SegmentationModel,
        project: Project,
        training: PretrainingConfig,
        seed: int,
    ) -> None:
        super().__init__()
        if not project.images:
            raise MedsslError(
                f"The project {project.path} has no usable images.",
                advice="Look at the folder report for the reasons.",
            )
        self.config = config
        self.model = model
        self.project = project
        self.training_config = training
        self.seed = seed
        self.scaled = ScaledImages(project, model.spec.scale)
        """The images in network pixels, of which patches are cut."""
        self.validate_every, self.patience = training.validate_every, training.patience
        self.images: tuple[str, ...] = project.images
        self.notes: list[str] = self.scaled.notes(project.images)
        """Sentences for the user about what was decided from the data."""

    @staticmethod
    def output_classes(project: Project) -> tuple[ClassInfo, ...]:
        """Classes that the pretrained network's own last layer separates."""
        return project.settings.classes

    @classmethod
    def segments(cls, config: Any) -> bool:
        """Whether the pretrained network's last layer segments; where it learned features alone, it cannot predict.

        Parameters
        ----------
        config : Config
            Settings of the method, a `config_type`.
        """
        return False

    @classmethod
    def trained_stages(cls, config: Any, network: NetworkConfig) -> int | None:
        """Give the number of decoder stages, from the coarsest on, that training reaches; None for all.

        Parameters
        ----------
        config : Config
            Settings of the method, a `config_type`.
        network : NetworkConfig
            What is trained.
        """
        return None

    @property
    def epoch(self) -> int:
        """Steps in which every image is drawn once, on average."""
        return math.ceil(len(self.images) / self.training_config.batch_size)

    @abc.abstractmethod
    def sample(self, name: str, rng: np.random.Generator) -> Batch:
        """Draw one training example from an image; same keys and shapes every time."""

    def batch(self, rng: np.random.Generator) -> Batch:
        """Draw one example from each of `batch_size` random images.

        In the place of an image that cannot be read any more there is another one.

        Raises
        ------
        MedsslError
            If none can be read any more.
        """
        samples: list[Batch] = []
        chosen = rng.integers(len(self.images), size=self.training_config.batch_size)
        for name in (self.images[i] for i in chosen):
            while True:
                try:
                    samples.append(self.sample(name, rng))
                    break
                except UNREADABLE as error:
                    left = self.leave_out(name, error, others=self.images)
                    name = left[int(rng.integers(len(left)))]
        return collate(samples)

    def projected(self, images: Tensor) -> Tensor:
        """Give what the projector makes of images ``(B, C, Y, X)``: ``(B, D, Y/s, X/s)``; methods with one override."""
        raise MedsslError(
            f"{self.title} has no projector.", advice='Use another source, such as "mix".'
        )

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]

    @classmethod
    def preview(
        cls, config: Config, project: Project, name: str, *, scale: ScaleRule, patch: int
    ) -> list[Layer]:
        """Show what the method would learn from on one image; empty if there is nothing to show.

        Parameters
        ----------
        config : Config
            Settings of the method, a `config_type`.
        project : Project
            Whose image.
        name : str
            The image.
        scale : ScaleRule
            The working scale.
        patch : int
            Side of a patch, network pixels.
        """
        return []
