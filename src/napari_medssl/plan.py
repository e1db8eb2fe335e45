"""What `recommend` answers: a plan for a folder, with its reasons. Needs no torch, so that the viewer can read it."""

from __future__ import annotations

from typing import Any, Literal

from napari_medssl.config import Config

__all__ = ["STARTS", "Advice", "Answer", "Basis", "FolderFacts", "Recommendation", "Start"]

Start = Literal["none", "imagenet", "file"]
"""What an encoder starts from: random numbers, ImageNet's weights, or a file."""
STARTS: dict[Start, str] = {
    "none": "random weights",
    "imagenet": "ImageNet",
    "file": "your weights file",
}

Basis = Literal["measured here", "measured on other folders", "rule"]
"""What a recommendation rests on."""
Answer = Literal["network", "forest", "mean"]
"""What predicts after a fine-tuning: the network, a random forest on filtered images, or the mean of both."""


class FolderFacts(Config):
    """A folder in numbers: medians over the images that were looked at."""

    n_images: int
    n_looked_at: int
    height: int
    """Pixels."""
    width: int
    dtypes: tuple[str, ...]
    """Pixel types, the most frequent first."""
    channels: int
    """That the project reads."""
    separability: float
    """Otsu's eta of the grey values, 0 to 1."""
    steadiness: float
    """How little Otsu's mask depends on where exactly the threshold lies, 0 to 1."""
    n_two_sided: int
    """Images of those looked at that are both separable and steady."""
    structure: float
    """Size of what gives the images most of their contrast, pixels."""

    @property
    def two_sided(self) -> float:
        """Share of the images whose dark and bright side fall apart clearly."""
        return self.n_two_sided / self.n_looked_at


class Advice(Config):
    """One choice."""

    name: str
    value: str
    """For people."""
    why: str
    """One sentence."""
    basis: Basis = "rule"
    """What it rests on."""


class Recommendation(Config):
    """A plan for a folder."""

    facts: FolderFacts
    advice: tuple[Advice, ...]
    """The choices and why, in the order in which they were made."""
    job: dict[str, Any]
    """The settings of a pretraining job that carry the plan out; without the project."""
    minutes: float
    """That the pretraining takes, estimated."""

    def headline(self) -> str:
        """Give the plan in one line."""
        value = {item.name: item.value for item in self.advice}
        training = self.job["training"]
        return (
            f"{value['method']}, {value['encoder']}, {training['patch_size']} px,"
            f" batch {training['batch_size']}, {training['steps']} steps, {value['time']} on {value['device']}"
        )
