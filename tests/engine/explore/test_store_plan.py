from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medssl.errors import MedsslError
from napari_medssl.explore.store_plan import decoded_bytes, expected_plan, plan, stored_bytes

if TYPE_CHECKING:
    from napari_medssl.project import Project
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


def test_what_is_stored_keeps_its_fineness_while_it_is_within_the_budget(
    project: Project, make_store: MakeStore
) -> None:
    stored = make_store({"a.png": np.zeros((2, 2, 8))}, stride=8).index
    fresh = expected_plan(project, None)
    assert fresh.bytes <= decoded_bytes(project) == fresh.budget
    assert (fresh.stride, fresh.dimensions) != (8, 8)
    kept = expected_plan(project, stored)
    assert (kept.stride, kept.dimensions) == (8, 8)
    assert expected_plan(project, stored, stride=4).stride == 4  # asked for by name
    smaller = expected_plan(project, stored, budget=kept.bytes - 1)
    assert smaller.bytes < kept.bytes
