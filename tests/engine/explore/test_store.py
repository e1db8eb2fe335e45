from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.explore.similarity import EmbeddingError
from napari_medssl.explore.store import Index, index_path, plan, stored_bytes

if TYPE_CHECKING:
    from tests.engine.explore.conftest import MakeStore

MEGABYTE = 10**6


@pytest.mark.parametrize("budget", [3_000_000, 800_000, 200_000, 40_000])
def test_a_plan_never_exceeds_its_budget_and_wastes_little(budget: int) -> None:
    shapes = [(256, 256), (200, 333), (31, 64)]
    chosen = plan(shapes, budget=budget)
    assert chosen.bytes == stored_bytes(shapes, chosen.stride, chosen.dimensions) <= budget
    if chosen.dimensions < 64:
        assert stored_bytes(shapes, chosen.stride, chosen.dimensions + 4) > budget


def test_planned_bytes_are_those_on_disk(make_store: MakeStore) -> None:
    store = make_store({"a.png": np.zeros((8, 9, 12)), "b.png": np.zeros((3, 4, 12))})
    shapes = [store.shape(name) for name in store.names]
    assert store.nbytes == stored_bytes(shapes, 4, 12)


def test_more_budget_is_never_coarser() -> None:
    shapes = [(512, 512)] * 10
    plans = [plan(shapes, budget=n * MEGABYTE) for n in (1, 3, 5, 10, 30, 90)]
    strides = [chosen.stride for chosen in plans]
    assert strides == sorted(strides, reverse=True)
    assert (plans[-1].stride, plans[-1].dimensions) == (4, 64)


def test_what_is_asked_for_by_name_is_kept_or_refused_in_words() -> None:
    shapes = [(256, 256)]
    assert plan(shapes, budget=1, stride=2, dimensions=48).bytes > 1
    assert plan(shapes, budget=MEGABYTE, stride=8).stride == 8
    with pytest.raises(
        MedsslError, match=r"1 images need at least 2\.2 kB; the budget is 100 bytes"
    ):
        plan(shapes, budget=100)


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
