from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.explore.similarity import EmbeddingError
from napari_medssl.explore.store import Index, index_path

if TYPE_CHECKING:
    from tests.engine.explore.conftest import MakeStore


def test_reading_gives_what_was_written(make_store: MakeStore) -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(5, 6, 8))
    store = make_store({"plate/a.tif/t003": cells, "b.png": cells + 1})
    stored = store.read("plate/a.tif/t003")
    assert isinstance(stored, np.memmap)
    np.testing.assert_array_equal(stored, cells.astype(np.float16))
    assert store.flat("b.png").dtype == np.float32
    assert store.pixels("b.png").shape == (19, 22)


def test_a_damaged_file_is_named(make_store: MakeStore) -> None:
    store = make_store({"a.png": np.zeros((4, 4, 8))})
    path = store.path("a.png")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EmbeddingError, match=r"a\.png"):
        store.read("a.png")
    np.save(path, np.zeros((4, 5, 8), np.float16))
    with pytest.raises(EmbeddingError, match=r"\(4, 5, 8\)"):
        store.read("a.png")


def test_a_sample_draws_evenly_from_all_images(make_store: MakeStore) -> None:
    store = make_store({f"{n}.png": np.full((4, 4, 3), n) for n in range(5)})
    drawn = store.sample(20, seed=1)
    assert np.bincount(drawn[:, 0].astype(int)).tolist() == [4] * 5
    np.testing.assert_array_equal(drawn, store.sample(20, seed=1))
    assert len(store.sample(10**6)) == 80
    assert set(store.sample(2)[:, 0]) == {0, 4}  # fewer than images: spread over the folder


def test_the_index_is_strict(tmp_path: Path, make_store: MakeStore) -> None:
    store = make_store({"a.png": np.zeros((2, 2, 4))})
    path = index_path(store.folder)
    store.index.write(path)
    assert Index.read(path) == store.index
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"schema_version": 2}))
    with pytest.raises(MedsslError, match="newer napari-medssl"):
        Index.read(path)
    path.write_text(json.dumps(data | {"stride": "four"}))
    with pytest.raises(MedsslError, match="stride"):
        Index.read(path)
    path.write_text("{")
    with pytest.raises(MedsslError, match="damaged"):
        Index.read(path)
