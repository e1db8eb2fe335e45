"""What a network sees: similarity between pixels, from embeddings that the engine wrote.

Numpy only: the viewer's process uses this room, so neither torch nor Qt may enter it.
"""

from __future__ import annotations

from napari_medssl.explore.similarity import PixelEmbedding, cosine_similarity

__all__ = ["PixelEmbedding", "cosine_similarity"]
