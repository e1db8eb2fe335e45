"""Pix2Rep-v2: Pix2Rep without negatives, on all pixels, by the redundancy reduction of Barlow Twins."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from napari_medssl.config import Config, advanced
from napari_medssl.learn.contrast import barlow_twins, cross_correlation, similarity_of_pairs
from napari_medssl.learn.pretext.pix2rep import Pix2Rep, TwoViewsConfig, rows_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_medssl.learn.patches import Batch

__all__ = ["Pix2RepV2", "Pix2RepV2Config"]

MEASURED = 1024
"""Pairs of pixels on which similarities are measured, for the curves."""


class Pix2RepV2Config(TwoViewsConfig):
    """Settings of Pix2Rep-v2."""

    off_diagonal: float = advanced(0.005, ge=0, le=1)
    """Weight of the squared correlations between different features."""


class Pix2RepV2(Pix2Rep, key="pix2rep_v2", title="Pix2Rep-v2"):
    """Learns pixel features that follow the image's geometry and ignore its intensities, without negatives.

    Views and network as in Pix2Rep. Over all pixels that both views show, in the whole batch, each feature
    of one branch shall correlate with the same feature of the other branch, and with no other one.

    References
    ----------
    Seince, Le Folgoc, Facury de Souza and Angelini, "Dense Self-Supervised Learning for Medical Image
    Segmentation", MIDL 2024, section 3, "Pix2Rep-v2"; Zbontar et al., "Barlow Twins", ICML 2021, equation 1.
    """

    config_type: ClassVar[type[Config]] = Pix2RepV2Config

    def compared(self, seen: NDArray[np.bool_], rng: np.random.Generator) -> Batch:
        """Say for every pixel whether both views show it, ``seen`` (Y, X)."""
        return {"seen": seen}

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the Barlow Twins loss over all pixels seen twice, and how alike some of them are."""
        config = self.config
        assert isinstance(config, Pix2RepV2Config)
        maps = self.representations(batch)
        chosen = batch["seen"].flatten()
        with torch.autocast(maps[0].device.type, enabled=False):
            rows = [rows_of(branch)[chosen] for branch in maps]
            statistics = [self.head.statistics(branch) for branch in rows]

            def hidden(part: Tensor, branch: int) -> Tensor:
                return self.head.hidden(part, statistics[branch])

            correlation = cross_correlation(*rows, head=hidden, weight=self.head.second.weight)
            with torch.no_grad():
                some = slice(None, None, max(1, len(rows[0]) // MEASURED))
                told = similarity_of_pairs(
                    *(self.head(rows[n][some], statistics[n]) for n in range(2))
                )
        self.watch.see(told["feature_std"])
        return {"loss": barlow_twins(correlation, off_diagonal=config.off_diagonal), **told}
