"""Notice when a network starts to give every pixel the same features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CollapseWatch"]

EVERY = 50
"""Steps between two looks: each waits for the device once."""
COLLAPSED = 0.3
"""Share of ``1 / sqrt(D)``, the spread of vectors that fill their sphere, below which they count as collapsed.
DiCoH's Table 5 calls .029 and .039 a collapse and has .087, about ``1 / sqrt(128)``, without."""


class CollapseWatch(nn.Module):
    """Follows the spread of normalised features, and says once if it is nearly gone.

    Parameters
    ----------
    dimension : int
        Length of the feature vectors.
    remedy : str
        What the user can do, as a sentence.
    """

    spread: Tensor  # () moving average of the standard deviation
    told: Tensor  # () bool: a resumed run does not say it again

    def __init__(self, dimension: int, *, remedy: str) -> None:
        super().__init__()
        self.full = dimension**-0.5
        self.remedy = remedy
        self.register_buffer("spread", torch.tensor(self.full))
        self.register_buffer("told", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def see(self, feature_std: Tensor) -> None:
        """Take one step's standard deviation; does not wait for the device."""
        self.spread.lerp_(feature_std.detach().to(self.spread.dtype), 0.1)

    def warning(self, step: int) -> str | None:
        """Give a sentence, once, if the features have collapsed."""
        if (step + 1) % EVERY or bool(self.told) or float(self.spread) >= COLLAPSED * self.full:
            return None
        self.told.fill_(True)
        return (
            f"The features have nearly collapsed to one point at step {step + 1}: their standard deviation is "
            f"{float(self.spread):.4f}, {self.full:.3f} would fill the space. {self.remedy}"
        )
