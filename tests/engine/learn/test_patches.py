"""Batches come in order, from the step alone; the cache keeps to its limit."""

from __future__ import annotations

import threading

import numpy as np

from napari_medssl.learn.patches import Cache, prefetched, step_rng


def test_prefetched_batches_are_those_of_the_steps_in_order() -> None:
    def make(step: int) -> dict[str, np.ndarray]:
        return {"x": step_rng(3, step).random(4)}

    batches = list(prefetched(make, 5, 25, threads=4))
    for step, batch in enumerate(batches, start=5):
        np.testing.assert_array_equal(batch["x"], step_rng(3, step).random(4))
    assert len(batches) == 20


def test_closing_ends_the_threads() -> None:
    before = threading.active_count()
    batches = prefetched(lambda step: {"x": np.zeros(1)}, 0, 1000, threads=4)
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_the_cache_forgets_the_least_used() -> None:
    loaded = []

    def load(name: str) -> np.ndarray:
        loaded.append(name)
        return np.zeros(10, np.uint8)

    cache = Cache(load, limit=25)
    for name in ("a", "b", "a", "c", "a", "b"):  # c pushes b out
        cache(name)
    assert loaded == ["a", "b", "c", "b"]
