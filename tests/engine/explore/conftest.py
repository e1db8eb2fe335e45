"""Stores of known features, written the way the engine writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from napari_medssl.explore.store import EmbeddingStore, Entry, Index, file_of

MakeStore = Callable[..., EmbeddingStore]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    def make(features: Mapping[str, np.ndarray], *, stride: int = 4) -> EmbeddingStore:
        folder = tmp_path / "run.mix"
        images = {}
        for name, cells in features.items():
            path = file_of(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, cells.astype(np.float16))
            cut = min(2, stride - 1)  # sizes that are no multiples of the stride
            shape = (cells.shape[0] * stride - min(1, cut), cells.shape[1] * stride - cut)
            images[name] = Entry(shape=shape, sha256="0", size=1, mtime=1)
        index = Index(
            run="run",
            source="mix",
            stride=stride,
            dimensions=next(iter(features.values())).shape[-1],
            weights_sha256="0",
            weights_size=1,
            weights_mtime=1,
            images=images,
        )
        return EmbeddingStore(folder, index, features)

    return make
