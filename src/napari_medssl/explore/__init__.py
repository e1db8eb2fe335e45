"""What a network sees: similarity between pixels, from embeddings that the engine wrote.

Numpy, scipy and scikit-learn only: the viewer's process uses this room, so neither torch nor Qt may enter it. The
modules: `store` and `store_plan` (features on disk, within a budget), `query` and `similarity` (what is asked, and the
map), `ranking` (the folder), `annotate` (labels from a map), `colours`, `neighbours`, `separability`, `figures`;
`live_probe` with `linear`, `probe_features` and `probe_pixels` (a prediction that follows the brush), `suggest`,
`uncertainty` and `what_next` (what to annotate next).
"""

from __future__ import annotations

from napari_medssl.explore.similarity import PixelEmbedding, cosine_similarity

__all__ = ["PixelEmbedding", "cosine_similarity"]
